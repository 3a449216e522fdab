"""Many planes side by side under one kernel, and products of matrices by one convolution.

Shift invariance lets one kernel in the Fourier plane act on all tiles at once; that is why kernels have to be shared.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from archgraph.optical.fields import convolve

__all__ = ["matmul_by_convolution", "pitch", "tile", "tiled_convolve", "untile"]


def pitch(side: int, kernel: int, padding: str) -> int:
    """Distance of neighbouring tiles, pixels: none between them where windows stay inside (``valid``), the wider side
    of the padding where they do not (``same``: neighbours share the gap), all of it for ``full``."""
    gaps = {"valid": 0, "same": kernel - 1 - (kernel - 1) // 2, "full": kernel - 1}
    if padding not in gaps:
        raise ValueError(f"`padding` is one of {', '.join(gaps)}, not {padding!r}")
    return side + gaps[padding]


def tile(planes: Tensor, columns: int, step: tuple[int, int]) -> Tensor:
    """Planes [M, h, w] on one large plane, ``columns`` in a row, ``step`` pixels apart, with zeros around them."""
    m, h, w = planes.shape
    rows = -(-m // columns)
    padded = F.pad(planes, (0, step[1] - w, 0, step[0] - h, 0, rows * columns - m))
    grid = padded.reshape(rows, columns, *step)
    return grid.transpose(1, 2).reshape(rows * step[0], columns * step[1])


def untile(plane: Tensor, count: int, columns: int, step: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The windows of ``size`` at the tiles' corners, [count, h, w]; the opposite of `tile`."""
    rows = -(-count // columns)
    need = (rows - 1) * step[0] + size[0], (columns - 1) * step[1] + size[1]
    plane = F.pad(plane, (0, max(0, need[1] - plane.shape[1]), 0, max(0, need[0] - plane.shape[0])))
    return plane.unfold(0, size[0], step[0]).unfold(1, size[1], step[1])[:rows, :columns].flatten(0, 1)[:count]


def tiled_convolve(
    planes: Tensor, kernel: Tensor, padding: str = "valid", columns: int = 8, step: tuple[int, int] | None = None
) -> Tensor:
    """The planes under one kernel in one frame; equal to a convolution of each by itself if the pitch is wide enough.

    Parameters
    ----------
    planes : Tensor [M, h, w]
    kernel : Tensor [kh, kw]
    padding : {"valid", "same", "full"}
    step : pair of int, optional
        Pitch; `pitch` of both sides if left out. A narrower one lets neighbours run into each other.

    Returns
    -------
    Tensor [M, h', w']
    """
    h, w = planes.shape[1:]
    kh, kw = kernel.shape
    step = step or (pitch(h, kh, padding), pitch(w, kw, padding))
    lo = {"valid": (0, 0), "same": ((kh - 1) // 2, (kw - 1) // 2), "full": (kh - 1, kw - 1)}[padding]
    hi = {"valid": (0, 0), "same": (kh - 1 - lo[0], kw - 1 - lo[1]), "full": lo}[padding]
    large = tile(planes, columns, step)
    out = convolve(large[None, None], kernel[None, None], ((lo[0], hi[0]), (lo[1], hi[1])))[0, 0]
    size = h + lo[0] + hi[0] - kh + 1, w + lo[1] + hi[1] - kw + 1
    return untile(out, len(planes), columns, step, size)


def matmul_by_convolution(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` as the middle row of one full convolution.

    The rows of ``a`` stand apart so far that what ``b`` makes of them does not meet. The plane has about
    n x (m q) pixels, so that this serves small products only.

    Parameters
    ----------
    a : Tensor [m, n]
    b : Tensor [n, q]
    """
    m, n = a.shape
    q = b.shape[1]
    apart = a.new_zeros(m + (m - 1) * (q - 1), n)
    apart[::q] = a
    image = torch.rot90(apart)
    # Optics convolves: as a correlation, the kernel is b turned by half a circle.
    full = convolve(image[None, None], b.flip(0, 1)[None, None], ((n - 1, n - 1), (q - 1, q - 1)))[0, 0]
    return full[n - 1, : m * q].reshape(m, q)
