"""Batch norms that stay in eval mode: the statistics of a frozen one neither move nor are taken from the batch."""

from __future__ import annotations

from torch import nn


class FrozenBatchNorm1d(nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` that ignores `train`."""

    def train(self, mode: bool = True) -> FrozenBatchNorm1d:
        return super().train(False)


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` that ignores `train`."""

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        return super().train(False)


class FrozenBatchNorm3d(nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` that ignores `train`."""

    def train(self, mode: bool = True) -> FrozenBatchNorm3d:
        return super().train(False)
