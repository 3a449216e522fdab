"""Layers of a 4f system as torch modules: their parameters are those of torch's own layers."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archgraph.optical.detection import detect, quantise
from archgraph.optical.device import Device, load_device
from archgraph.optical.fields import Pads, convolve, pair_fields
from archgraph.optical.optnn import optnn_convolve

__all__ = ["OpticalConv2d", "OpticalConvTranspose2d", "OpticalLinear", "optical_conv2d", "plane_rows", "set_device"]


def optical_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    device: Device,
    pads: Pads = ((0, 0), (0, 0)),
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """A convolution as a device computes it; the bias is added electronically, a stride leaves out what was computed.

    Parameters
    ----------
    x : Tensor [B, C_in, H, W]
    weight : Tensor [C_out, C_in / groups, kh, kw]
        As in `torch.nn.functional.conv2d`.

    Returns
    -------
    Tensor [B, C_out, H', W']
    """
    if device.geometry == "optnn":
        if stride != (1, 1) or dilation != (1, 1) or groups != 1:
            raise ValueError("optnn's geometry knows neither stride nor dilation nor groups")
        out = optnn_convolve(x, weight, device.pseudo_negative)
    elif device.is_exact:
        out = _exact(x, weight, pads, stride, dilation, groups)
    else:
        out = _signed(x, weight, pads, dilation, groups, device)[..., :: stride[0], :: stride[1]]
    return out if bias is None else out + bias[:, None, None]


def _exact(
    x: Tensor, weight: Tensor, pads: Pads, stride: tuple[int, int], dilation: tuple[int, int], groups: int
) -> Tensor:
    """Without levels and noise the passes add up to the convolution, by whichever way is shorter."""
    kh, kw = weight.shape[2:]
    if kh * kw <= 81 or (stride != (1, 1) and kh == stride[0]):
        return F.conv2d(F.pad(x, (*pads[1], *pads[0])), weight, None, stride, 0, dilation, groups)
    h, w = x.shape[2] + sum(pads[0]), x.shape[3] + sum(pads[1])
    positions = (h - (kh - 1) * dilation[0]) * (w - (kw - 1) * dilation[1])
    if 4 * positions < h * w:  # the kernel nearly covers the plane: few positions to sum at
        return F.conv2d(F.pad(x, (*pads[1], *pads[0])), weight, None, stride, 0, dilation, groups)
    return convolve(x, weight, pads, stride, dilation, groups)


def _signed(x: Tensor, weight: Tensor, pads: Pads, dilation: tuple[int, int], groups: int, device: Device) -> Tensor:
    """Signed inputs from passes with inputs that are not negative (section 2.2 of the 4f notes)."""

    def pass_(part: Tensor) -> Tensor:
        return _kernels(part, weight, pads, dilation, groups, device)

    if device.signed_input == "split":
        return pass_(x.clamp_min(0)) - pass_((-x).clamp_min(0))
    if device.signed_input == "clip":
        return pass_(x.clamp_min(0))
    # The padding is lifted as well, so that what is taken off is the same at every position.
    lift = (-x.detach().amin()).clamp_min(0)
    lifted = F.pad(x, (*pads[1], *pads[0])) + lift
    whole = _kernels(lifted, weight, ((0, 0), (0, 0)), dilation, groups, device)
    return whole - lift * weight.sum((1, 2, 3))[:, None, None]


def _kernels(x: Tensor, weight: Tensor, pads: Pads, dilation: tuple[int, int], groups: int, device: Device) -> Tensor:
    """Signed kernels from kernels that are not negative, for inputs that are not."""
    x = quantise(x, device.input_bits, x.detach().amax())
    if not device.pseudo_negative:
        return _pass(x, weight, pads, dilation, groups, device)
    return _pass(x, weight.clamp_min(0), pads, dilation, groups, device) - _pass(
        x, (-weight).clamp_min(0), pads, dilation, groups, device
    )


def _pass(x: Tensor, weight: Tensor, pads: Pads, dilation: tuple[int, int], groups: int, device: Device) -> Tensor:
    """One optical pass and its detection, [B, C_out, H', W']."""
    fourier_bits = device.kernel_bits if device.kernel_plane == "fourier" else None
    if fourier_bits is None and device.kernel_bits is not None:
        levels = quantise(weight.abs(), device.kernel_bits, weight.detach().abs().amax())
        weight = weight.detach().sign() * levels
    coherent = device.channel_sum == "coherent"

    def amplitudes() -> Iterator[Tensor]:
        return (field.abs() for field in pair_fields(x, weight, pads, dilation, groups, fourier_bits, coherent))

    if device.full_scale is not None:
        full: Tensor | float = device.full_scale
    else:
        with torch.no_grad():
            full = torch.stack([a.amax() for a in amplitudes()]).amax()
    return torch.cat([detect(a, device, full).sum(2) for a in amplitudes()], 1)


class OpticalConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` on a 4f device.

    Parameters
    ----------
    device_profile : str
        As `archgraph.optical.device.load_device` takes it; the others are those of `torch.nn.Conv2d`.
    """

    def __init__(self, *args: Any, device_profile: str = "ideal", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.device_profile = device_profile
        if self.padding_mode != "zeros":
            raise ValueError("a 4f system pads with darkness: `padding_mode` is zeros")

    def forward(self, input: Tensor) -> Tensor:
        device = load_device(self.device_profile)
        return optical_conv2d(
            input,
            self.weight,
            self.bias,
            device,
            _both(self.padding),
            _two(self.stride),
            _two(self.dilation),
            self.groups,
        )

    def extra_repr(self) -> str:
        torchs: str = super().extra_repr()  # type: ignore[no-untyped-call]  # torch does not type it
        return f"{torchs}, device_profile={self.device_profile!r}"


class OpticalConvTranspose2d(nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` on a 4f device: a full convolution of the input with zeros between its elements."""

    def __init__(self, *args: Any, device_profile: str = "ideal", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.device_profile = device_profile

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        device = load_device(self.device_profile)
        b, c, h, w = input.shape
        sh, sw = self.stride
        wide = input.new_zeros(b, c, (h - 1) * sh + 1, (w - 1) * sw + 1)
        wide[:, :, ::sh, ::sw] = input
        per_group, kh, kw = self.weight.shape[1:]
        by_group = self.weight.reshape(self.groups, -1, per_group, kh, kw).transpose(1, 2)
        weight = by_group.reshape(-1, c // self.groups, kh, kw).flip(-2, -1)
        around = [d * (k - 1) - p for d, k, p in zip(_two(self.dilation), (kh, kw), _two(self.padding), strict=True)]
        # A padding of more than the kernel's reach cuts from the input instead.
        cut = F.pad(wide, [min(around[1], 0)] * 2 + [min(around[0], 0)] * 2)
        pads = tuple((max(n, 0), max(n, 0) + extra) for n, extra in zip(around, self.output_padding, strict=True))
        return optical_conv2d(cut, weight, self.bias, device, _two(pads), (1, 1), _two(self.dilation), self.groups)

    def extra_repr(self) -> str:
        torchs: str = super().extra_repr()  # type: ignore[no-untyped-call]  # torch does not type it
        return f"{torchs}, device_profile={self.device_profile!r}"


class OpticalLinear(nn.Linear):
    """`torch.nn.Linear` on a 4f device: features are laid out as a plane, and each output is a kernel as large as it.

    All tokens share the kernels, so that they lie side by side in one frame (ConvShareViT, valid padding).

    Parameters
    ----------
    rows : int, optional
        Of the plane; the divisor of the features next below their root if left out.
    """

    def __init__(self, *args: Any, rows: int | None = None, device_profile: str = "ideal", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.device_profile = device_profile
        self.rows = plane_rows(self.in_features) if rows is None else rows

    def forward(self, input: Tensor) -> Tensor:
        device = load_device(self.device_profile)
        if device.is_exact:
            return F.linear(input, self.weight, self.bias)
        plane = (1, self.rows, self.in_features // self.rows)
        planes = optical_conv2d(input.reshape(-1, *plane), self.weight.reshape(-1, *plane), self.bias, device)
        return planes.reshape(*input.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rows={self.rows}, device_profile={self.device_profile!r}"


def plane_rows(features: int) -> int:
    """Rows of the plane nearest to a square that so many features fill."""
    return next(r for r in range(isqrt(features), 0, -1) if features % r == 0)


def _two(values: Any) -> tuple[Any, Any]:
    """A pair of torch's, which it types as a tuple of any length."""
    first, second = values
    return first, second


def _both(padding: Any) -> Pads:
    """Padding of torch's modules as elements before and after."""
    return _two([(p, p) for p in padding])


def set_device(model: nn.Module, text: str) -> int:
    """Put all optical layers of a model on another device; returns how many there are."""
    load_device(text)
    layers = [m for m in model.modules() if isinstance(m, (OpticalConv2d, OpticalConvTranspose2d, OpticalLinear))]
    for layer in layers:
        layer.device_profile = text
    return len(layers)


def optical_twin(module: nn.Module, device: str) -> nn.Module | None:
    """The optical layer with a layer's own parameters; None for what a 4f system does not compute.

    Raises
    ------
    ValueError
        For padding that is not darkness.
    """
    made: nn.Module
    if type(module) is nn.Linear:
        made = OpticalLinear(module.in_features, module.out_features, module.bias is not None, device_profile=device)
    elif type(module) in (nn.Conv2d, nn.ConvTranspose2d):
        assert isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
        cls = OpticalConv2d if type(module) is nn.Conv2d else OpticalConvTranspose2d
        extra = {"output_padding": module.output_padding} if cls is OpticalConvTranspose2d else {}
        made = cls(
            module.in_channels,
            module.out_channels,
            module.kernel_size,
            stride=module.stride,
            padding=module.padding,
            dilation=module.dilation,
            groups=module.groups,
            bias=module.bias is not None,
            padding_mode=module.padding_mode,
            device_profile=device,
            **extra,
        )
    else:
        return None
    made._parameters.update(module._parameters)
    return made.train(module.training)
