"""The public simulator optnn's own geometry: its plane, its reversed output, and its rolled channels.

optnn (riadibadulla/simulator, `OpticalConv2d`) calls `fftshift` twice without naming axes, which also rolls batch and
channels. Repeated here so that results of that simulator can be compared; nothing else uses it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["optnn_convolve"]

#: Zeros that optnn puts around an image.
MARGIN = 2


def optnn_convolve(x: Tensor, kernel: Tensor, pseudo_negative: bool = True) -> Tensor:
    """What optnn's layer gives without noise and bias.

    Parameters
    ----------
    x : Tensor [B, C_in, n, n]
        Not negative where signs are to mean anything.
    kernel : Tensor [C_out, C_in, k, k]
        A true convolution: not flipped as in torch.

    Returns
    -------
    Tensor [B, C_out, n, n]

    Raises
    ------
    ValueError
        For n < k < n + 4, which optnn refuses, and for images that are not square.
    """
    n, k = x.shape[-1], kernel.shape[-1]
    if x.shape[-2] != n or kernel.shape[-2] != k:
        raise ValueError(f"optnn takes square images and kernels, not {tuple(x.shape)} and {tuple(kernel.shape)}")
    if n < k < n + 2 * MARGIN:
        raise ValueError(f"optnn has no plane for kernels of {k} on images of {n}")
    side = max(n + 2 * MARGIN, k)
    image = _centred(x, side)
    if not pseudo_negative:
        return _amplitude(image, kernel, side, n)
    return _amplitude(image, kernel.clamp_min(0), side, n) - _amplitude(image, (-kernel).clamp_min(0), side, n)


def _centred(t: Tensor, side: int) -> Tensor:
    """Zeros around a map; the odd row and column come last."""
    before = (side - t.shape[-1]) // 2
    after = side - t.shape[-1] - before
    return F.pad(t, (before, after, before, after))


def _amplitude(image: Tensor, kernel: Tensor, side: int, n: int) -> Tensor:
    """One pass: amplitudes of all pairs, cut and summed over input channels, [B, C_out, n, n]."""
    used = torch.fft.fftshift(_centred(kernel, side), (0, 1))
    plane = torch.fft.ifft2(torch.fft.fft2(image)[:, None] * torch.fft.fft2(used))
    reversed_ = plane.flip(-2, -1).roll((1, 1), (-2, -1))
    first = 2 * MARGIN + max(0, (side - n - 2 * MARGIN) // 2)
    shifted: Tensor = torch.fft.fftshift(reversed_.abs())
    return shifted[..., first : first + n, first : first + n].sum(2)
