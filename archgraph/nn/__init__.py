"""Torch modules for what a `torch.fx` graph can't say; all of archgraph that a built model needs at run time."""

from archgraph.nn.control import Scan, Switch
from archgraph.nn.frozen import FrozenBatchNorm1d, FrozenBatchNorm2d, FrozenBatchNorm3d

__all__ = ["FrozenBatchNorm1d", "FrozenBatchNorm2d", "FrozenBatchNorm3d", "Scan", "Switch"]
