"""Levels of modulators and cameras, the square law, and noise. Gradients pass straight through what is not smooth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from archgraph.optical.device import Device

__all__ = ["detect", "quantise", "quantise_complex"]


def quantise(x: Tensor, bits: int | None, full: Tensor | float) -> Tensor:
    """Uniform levels over [0, full], 2**bits of them, halves to even; the gradient is that of the identity.

    None changes nothing.
    """
    if bits is None:
        return x
    steps = 2**bits - 1
    # A plane without any light stays dark.
    full = torch.as_tensor(full, dtype=x.dtype, device=x.device).clamp_min(torch.finfo(x.dtype).tiny)
    levels = torch.round((x / full).clamp(0, 1) * steps) / steps * full
    exact: Tensor = (levels - x).detach()
    return x + exact


def quantise_complex(z: Tensor, bits: int) -> Tensor:
    """Modulus in 2**bits levels over [0, max |z|] of each kernel, phase in steps of 2 pi / 2**bits."""
    modulus = z.abs()
    levels = quantise(modulus.detach(), bits, modulus.detach().amax((-2, -1), keepdim=True))
    step = 2 * torch.pi / 2**bits
    phase = torch.round(z.detach().angle() / step) * step
    return z + (torch.polar(levels, phase) - z.detach())


class _Root(torch.autograd.Function):
    """A square root whose gradient stays finite in the dark: below ``floor`` that of the chord."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, floor: float) -> Tensor:
        y = x.clamp_min(0).sqrt()
        ctx.save_for_backward(y)
        ctx.floor = floor
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return grads[0] / (2 * y.clamp_min(ctx.floor)), None


def _root(x: Tensor, floor: float) -> Tensor:
    found: Tensor = _Root.apply(x, floor)  # type: ignore[no-untyped-call]  # torch does not type it
    return found


def detect(amplitude: Tensor, device: Device, full: Tensor | float) -> Tensor:
    """What the camera makes of amplitudes: square law, shot, dark and read noise, saturation, levels, and the root.

    Parameters
    ----------
    amplitude : Tensor
        Not negative.
    full : Tensor or float
        Amplitude of a full pixel.

    Returns
    -------
    Tensor
        The estimated amplitude, in the units of ``amplitude``. Shot noise is Poisson's; where a gradient is asked for,
        its Gaussian of the same mean and variance.
    """
    full = torch.as_tensor(full, dtype=amplitude.dtype, device=amplitude.device)
    full = full.clamp_min(torch.finfo(amplitude.dtype).tiny)
    relative = amplitude / full
    signal = relative.square() if device.detector == "intensity" else relative
    if device.full_well is not None:
        signal = _electrons(signal * device.full_well, device) / device.full_well
    if device.full_well is not None or device.full_scale is not None or device.camera_bits is not None:
        signal = signal.clamp(0, 1)
    signal = quantise(signal, device.camera_bits, 1.0)
    if device.detector == "intensity":
        least = 0.5 / (2**device.camera_bits - 1) if device.camera_bits is not None else 1e-12
        signal = _root(signal, least**0.5)
    return signal * full


def _electrons(n: Tensor, device: Device) -> Tensor:
    """Detected electrons of expected ones."""
    if device.shot_noise:
        if n.requires_grad:
            n = n + n.detach().sqrt() * torch.randn_like(n)
        else:
            n = torch.poisson(n)
    dark = device.dark_current * device.exposure
    if dark > 0:
        n = n + torch.poisson(torch.full_like(n, dark))
    if device.read_noise > 0:
        n = n + device.read_noise * torch.randn_like(n)
    return n
