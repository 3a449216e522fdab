"""Layers that a 4f optical system computes: convolutions and linear layers with a device profile."""

from __future__ import annotations

from typing import Any

from archgraph.ir.dim import Num
from archgraph.ops.base import Emitter, Handle, OpError, attr
from archgraph.ops.conv import Conv2d, ConvTranspose2d
from archgraph.ops.kinds import SIZE, TEXT, OptionalKind
from archgraph.ops.linear import Linear

_DEVICE = "profile of the device: a shipped name or a file, changes behind a colon (`dmd:camera_bits=6`)"


class OpticalConv2d(Conv2d, name="optical_conv2d", rank=2):
    """`conv2d` in the Fourier plane of a 4f system: [B, C_in, H, W] → [B, out_channels, H', W'].

    Parameters, shapes and MACs are those of `conv2d`, and with the `ideal` device so are the numbers. Other devices
    simulate signed passes, levels, detection and noise (`archgraph devices` lists the shipped ones).
    """

    device: str = attr(TEXT, "ideal", doc=_DEVICE, inert=True, draw=["ideal"])
    padding_mode: str = attr(Conv2d.by_name["padding_mode"].kind, "zeros", doc="darkness", inert=True, draw=["zeros"])

    def lower(self, b: Emitter, *args: Handle) -> Any:
        return super().lower(_On(b, "OpticalConv2d", self.device), *args)

    def functional(self, b: Emitter, *args: Handle) -> Any:
        raise OpError("an optical layer can't be called with given weights")


class OpticalConvTranspose2d(ConvTranspose2d, name="optical_conv_transpose2d", rank=2):
    """`conv_transpose2d` in a 4f system: a full convolution of the input with zeros between its elements.

    Parameters, shapes and MACs are those of `conv_transpose2d`; see `optical_conv2d` for the device.
    """

    device: str = attr(TEXT, "ideal", doc=_DEVICE, inert=True, draw=["ideal"])

    def lower(self, b: Emitter, *args: Handle) -> Any:
        return super().lower(_On(b, "OpticalConvTranspose2d", self.device), *args)

    def functional(self, b: Emitter, *args: Handle) -> Any:
        raise OpError("an optical layer can't be called with given weights")


class OpticalLinear(Linear, name="optical_linear"):
    """`linear` in a 4f system: [..., C] → [..., out_features], a token's features laid out as a plane under kernels as
    large as it, which all tokens share (ConvShareViT, arXiv 2504.11517).

    Parameters, shapes and MACs are those of `linear`; see `optical_conv2d` for the device.
    """

    rows: Num | None = attr(
        OptionalKind(SIZE), None, doc="rows of the plane; the divisor next below the root if left out", inert=True
    )
    device: str = attr(TEXT, "ideal", doc=_DEVICE, inert=True, draw=["ideal"])

    def lower(self, b: Emitter, *args: Handle) -> Any:
        return super().lower(_On(b, "OpticalLinear", self.device, rows=self.rows), *args)

    def functional(self, b: Emitter, *args: Handle) -> Any:
        raise OpError("an optical layer can't be called with given weights")


class _On:
    """An emitter whose leaf modules are those of a device."""

    def __init__(self, emitter: Emitter, cls: str, device: str, **more: Any) -> None:
        self._emitter = emitter
        self._cls = f"archgraph.optical.layers.{cls}"
        self._more = {"device_profile": device, **more}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._emitter, name)

    def module(self, cls: str, *args: Handle, **kwargs: Any) -> Handle:
        return self._emitter.module(self._cls, *args, **kwargs, **self._more)
