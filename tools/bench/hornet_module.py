"""HorNet-T written by hand as one would without archgraph (arXiv 2207.14284), for timing; weights as ours name them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.Module):
    """Normalises [B, C, H, W] over C."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.weight, self.bias, 1e-6)
        return x.permute(0, 3, 1, 2)


class Gated(nn.Module):
    """One recursion: a 1x1 convolution to the next width."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.pw = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return self.pw(x) * gate


class GnConv(nn.Module):
    """Recursive gated convolution."""

    def __init__(self, width: int, order: int, scale: float = 1 / 3) -> None:
        super().__init__()
        self.widths = [width // 2 ** (order - 1 - k) for k in range(order)]
        total = sum(self.widths)
        self.scale = scale
        self.proj_in = nn.Conv2d(width, 2 * width, 1)
        self.dwconv = nn.Conv2d(total, total, 7, padding=3, groups=total)
        self.pws = nn.ModuleList(Gated(a, b) for a, b in zip(self.widths[:-1], self.widths[1:], strict=True))
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        p, q = torch.split(self.proj_in(x), (self.widths[0], sum(self.widths)), dim=1)
        gates = torch.split(self.dwconv(q) * self.scale, self.widths, dim=1)
        p = p * gates[0]
        for pw, gate in zip(self.pws, gates[1:], strict=True):
            p = pw(p, gate)
        return self.proj_out(p)


class Block(nn.Module):
    """gnconv and MLP."""

    def __init__(self, width: int, order: int) -> None:
        super().__init__()
        self.gamma1 = nn.Parameter(torch.full((width,), 1e-6))
        self.gamma2 = nn.Parameter(torch.full((width,), 1e-6))
        self.norm1 = LayerNorm2d(width)
        self.gnconv = GnConv(width, order)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.gamma1.view(-1, 1, 1) * self.gnconv(self.norm1(x))
        y = self.norm2(x.permute(0, 2, 3, 1))
        y = self.gamma2 * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Down-sampling and blocks."""

    def __init__(self, before: int, width: int, depth: int, order: int, first: bool) -> None:
        super().__init__()
        self.first = first
        size = 4 if first else 2
        self.conv = nn.Conv2d(before, width, size, size)
        self.norm = LayerNorm2d(width if first else before)
        self.blocks = nn.Sequential(*[Block(width, order) for _ in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)) if self.first else self.conv(self.norm(x))
        return self.blocks(x)


class Turn(nn.Module):
    """A stage under the name that the spec's loop gives it."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        return self.stage(x)


class HorNet(nn.Module):
    """The classifier; without drop path, which `timm`'s own ViT is timed without as well."""

    def __init__(self, width: int = 64, depths: tuple[int, ...] = (2, 3, 18, 2), classes: int = 1000) -> None:
        super().__init__()
        widths = [3, *(width * 2**k for k in range(4))]
        self.stages = nn.Sequential(
            *[Turn(Stage(widths[k], widths[k + 1], depths[k], k + 2, k == 0)) for k in range(4)]
        )
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.stages(x).mean((2, 3))))
