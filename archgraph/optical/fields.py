"""Amplitudes behind a 4f system: convolutions by FFT, of each pair of channels or summed over the inputs.

Optics convolves and torch correlates, so kernels are flipped. An input that is padded to what a window sees needs no
more room: where a circular plane of that size wraps around, only what is cropped is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Kernels", "convolve", "fast_length", "pair_fields"]

#: Elements of the largest intermediate of `pair_fields`: 256 MiB of float32.
CHUNK: Final = 1 << 26

#: Zeros before and after each of two axes.
Pads = tuple[tuple[int, int], tuple[int, int]]


@lru_cache(maxsize=1024)
def fast_length(n: int) -> int:
    """The least length of at least ``n`` that has no prime factor above 5."""
    while True:
        rest = n
        for p in (2, 3, 5):
            while rest % p == 0:
                rest //= p
        if rest == 1:
            return n
        n += 1


class Kernels:
    """Transfer functions of a layer's kernels, for inputs of one size.

    Parameters
    ----------
    weight : Tensor [C_out, C_in / groups, kh, kw]
        As in `torch.nn.functional.conv2d`.
    height, width : int
        Of the padded input.
    bits : int, optional
        Levels of the modulus, over the largest, and of the phase, if the kernel is written in the Fourier plane.
    """

    def __init__(self, weight: Tensor, height: int, width: int, dilation: tuple[int, int], bits: int | None = None):
        self.weight = spread(weight, dilation)
        self.size = fast_length(height), fast_length(width)
        self.shape = height - self.weight.shape[2] + 1, width - self.weight.shape[3] + 1
        self.transfer = torch.fft.rfft2(_wide(self.weight).flip(-2, -1), self.size)
        if bits is not None:
            from archgraph.optical.detection import quantise_complex

            self.transfer = quantise_complex(self.transfer, bits)

    def crop(self, plane: Tensor) -> Tensor:
        """What the windows see: the last axes of a plane cut to the output."""
        kh, kw = self.weight.shape[2:]
        return plane[..., kh - 1 : kh - 1 + self.shape[0], kw - 1 : kw - 1 + self.shape[1]]


def _wide(x: Tensor) -> Tensor:
    """Transforms are taken in single precision at least."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def spread(weight: Tensor, dilation: tuple[int, int]) -> Tensor:
    """A dilated kernel with its zeros written out."""
    if dilation == (1, 1):
        return weight
    kh, kw = weight.shape[2:]
    wide = weight.new_zeros(*weight.shape[:2], (kh - 1) * dilation[0] + 1, (kw - 1) * dilation[1] + 1)
    wide[:, :, :: dilation[0], :: dilation[1]] = weight
    return wide


def convolve(
    x: Tensor,
    weight: Tensor,
    pads: Pads = ((0, 0), (0, 0)),
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """`torch.nn.functional.conv2d` by FFT, summed over input channels in the Fourier plane.

    Parameters
    ----------
    x : Tensor [B, C_in, H, W]
    weight : Tensor [C_out, C_in / groups, kh, kw]

    Returns
    -------
    Tensor [B, C_out, H', W']
    """
    x = F.pad(x, (*pads[1], *pads[0]))
    kernels = Kernels(weight, x.shape[2], x.shape[3], dilation)
    spectrum = torch.fft.rfft2(_wide(x), kernels.size)
    b, c = spectrum.shape[:2]
    o = weight.shape[0]
    # One product of matrices [B, C_in/g] x [C_in/g, C_out/g] for each frequency and group.
    left = spectrum.reshape(b, groups, c // groups, -1).permute(1, 3, 0, 2)
    right = kernels.transfer.reshape(groups, o // groups, c // groups, -1).permute(0, 3, 2, 1)
    product = (left @ right).permute(2, 0, 3, 1).reshape(b, o, *spectrum.shape[2:])
    out = kernels.crop(torch.fft.irfft2(product, kernels.size))
    return out[..., :: stride[0], :: stride[1]].to(x.dtype)


def pair_fields(
    x: Tensor,
    weight: Tensor,
    pads: Pads = ((0, 0), (0, 0)),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    fourier_bits: int | None = None,
    coherent: bool = False,
    method: str = "auto",
) -> Iterator[Tensor]:
    """Fields of every pair of an input and an output channel, a few output channels at a time.

    Parameters
    ----------
    x : Tensor [B, C_in, H, W]
    weight : Tensor [C_out, C_in / groups, kh, kw]
    fourier_bits : int, optional
        Levels of the transfer functions; see `Kernels`.
    coherent : bool
        The fields of the input channels superpose: one plane for each output channel.
    method : {"auto", "fft", "direct"}
        By FFT, or by torch's sums; the field is the same.

    Yields
    ------
    Tensor [B, some output channels, C_in / groups or 1, H', W']
        Together all output channels, in order.
    """
    x = F.pad(x, (*pads[1], *pads[0]))
    b, _, h, w = x.shape
    o, per_group = weight.shape[:2]
    single = coherent or per_group == 1
    if method == "auto":
        method = "fft" if fourier_bits is not None or _fft_pays(weight, h, w, dilation) else "direct"
    area = fast_length(h) * fast_length(w)
    step = max(1, CHUNK // (b * (per_group if method == "fft" or not single else 1) * area))
    if groups > 1 and (method == "direct" or step >= o):
        step = o
    kernels = Kernels(weight, h, w, dilation, fourier_bits) if method == "fft" else None
    spectrum = torch.fft.rfft2(_wide(x), kernels.size) if kernels is not None else x
    for first in range(0, o, step):
        some = slice(first, min(first + step, o))
        if kernels is None:
            yield _direct(x, weight[some], dilation, groups, single)
            continue
        if groups == 1:
            seen = spectrum[:, None]
        else:
            group = torch.arange(some.start, some.stop, device=x.device) // (o // groups)
            seen = spectrum.reshape(b, groups, per_group, *spectrum.shape[2:])[:, group]
        product = seen * kernels.transfer[some]
        if coherent:
            product = product.sum(2, keepdim=True)
        yield kernels.crop(torch.fft.irfft2(product, kernels.size)).to(x.dtype)


def _direct(x: Tensor, weight: Tensor, dilation: tuple[int, int], groups: int, single: bool) -> Tensor:
    """Fields of pairs by torch's sums; ``single``: there is one plane for each output channel."""
    if single and groups == 1 and weight.shape[2:] == x.shape[2:]:  # a kernel as large as the plane: one position
        return (x.flatten(1) @ weight.flatten(1).T)[:, :, None, None, None]
    if single:
        return F.conv2d(x, weight, dilation=dilation, groups=groups).unsqueeze(2)
    b, c = x.shape[:2]
    o, per_group, kh, kw = weight.shape
    apart = weight.reshape(groups, o // groups, per_group, kh, kw).transpose(1, 2).reshape(-1, 1, kh, kw)
    planes = F.conv2d(x, apart, dilation=dilation, groups=c)
    planes = planes.reshape(b, groups, per_group, o // groups, *planes.shape[2:])
    return planes.transpose(2, 3).reshape(b, o, per_group, *planes.shape[4:])


def _fft_pays(weight: Tensor, h: int, w: int, dilation: tuple[int, int]) -> bool:
    """Whether transforms are shorter than a sum over the kernel at every position of the window."""
    kh, kw = weight.shape[2:]
    positions = (h - (kh - 1) * dilation[0]) * (w - (kw - 1) * dilation[1])
    n = fast_length(h) * fast_length(w)
    return kh * kw * positions > 8 * n * max(1, n.bit_length())
