"""Tables of position encodings.

Every maker stands alone, since source export copies it. All compute in double precision and give torch's default dtype.
"""

from __future__ import annotations

import torch


def sincos(
    sizes: tuple[int, ...],
    embed_dim: int,
    temperature: float,
    interleaved: bool,
    reverse: bool,
    offset: float,
    normalize: bool,
    scale: float,
    eps: float,
) -> torch.Tensor:
    """Sines and cosines of the positions on a grid of ``sizes``: [prod(sizes), embed_dim].

    Each axis fills its share of the last axis, the last one first if ``reverse``.
    """
    rank = len(sizes)
    width = embed_dim // rank
    frequencies = temperature ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    tables = []
    for axis, n in enumerate(sizes):
        positions = torch.arange(n, dtype=torch.float64) + offset
        if normalize:
            positions = positions / (n + eps)
        angles = torch.outer(positions * scale, frequencies)
        waves = (angles.sin(), angles.cos())
        table = torch.stack(waves, -1).flatten(1) if interleaved else torch.cat(waves, -1)
        shape = [1] * rank + [width]
        shape[axis] = n
        tables.append(table.view(shape).expand(*sizes, width))
    if reverse:
        tables.reverse()
    return torch.cat(tables, -1).flatten(0, rank - 1).to(torch.get_default_dtype())


def rotary(length: int, dim: int, base: float, offset: float, function: str) -> torch.Tensor:
    """Cosines or sines (``function``) of the angles of rotary embeddings: [length, dim / 2]."""
    frequencies = base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float64) + offset, frequencies)
    table = angles.cos() if function == "cos" else angles.sin()
    return table.to(torch.get_default_dtype())
