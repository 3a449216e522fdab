"""Fixed position encodings: sines and cosines, rotary embeddings."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from archgraph.ir.dim import Num, divides, eq, le, prod
from archgraph.ir.types import Layout, TensorType
from archgraph.ops.base import Context, Cost, Emitter, Handle, Op, attr, fail, operand
from archgraph.ops.drawing import Draw, pick
from archgraph.ops.kinds import BOOL, COUNT, FLOAT, SIZE, OptionalKind, WordKind


def _positions(b: Emitter, n: Num, device: Handle, offset: Any) -> Handle:
    """0 … n-1 plus ``offset``, at run time."""
    found = b.call("torch.arange", b.size(n), device=device)
    return found if offset == 0 else b.call("operator.add", found, b.scalar(offset))


def _frequencies(b: Emitter, dim: Num, base: Any, device: Handle) -> Handle:
    """``base ** (-2 k / dim)`` at run time, [dim / 2], in torch's default dtype whatever the model's."""
    halves = b.call("torch.arange", 0, b.size(dim), 2, device=device)
    return b.call("torch.pow", b.scalar(base), b.call("operator.truediv", halves, b.size(-dim)))


class SinCos(Op):
    """Base of the sine and cosine tables, whatever the number of axes."""

    lengths: ClassVar[tuple[str, ...]]
    embed_dim: Num
    temperature: Any = attr(FLOAT, 10000.0, doc="ratio of the longest to the shortest wave", inert=True, draw=[10000.0])
    interleaved: bool = attr(BOOL, False, doc="sine and cosine of a frequency stand side by side, not in two halves")
    offset: Any = attr(FLOAT, 0.0, doc="position of the first element", inert=True, draw=[0.0, 1.0, 0.5])
    normalize: bool = attr(BOOL, False, doc="divide positions by the axis' length")
    scale: Any = attr(
        OptionalKind(FLOAT), None, doc="factor of the positions; 2π if normalised, else 1", inert=True, draw=[None, 3.0]
    )
    eps: Any = attr(FLOAT, 1e-6, doc="added to the length that divides", inert=True, draw=[1e-6])
    order: str
    free = True
    source = True

    @property
    def sizes(self) -> tuple[Num, ...]:
        return tuple(getattr(self, name) for name in self.lengths)

    @property
    def factor(self) -> Any:
        """What positions are multiplied with."""
        return self.scale if self.scale is not None else 2 * math.pi if self.normalize else 1.0

    def infer(self, cx: Context) -> TensorType:
        parts = 2 * len(self.sizes)
        cond = divides(parts, self.embed_dim)
        if cond is not True:
            cx.require(cond, f"embed_dim {self.embed_dim} must be a multiple of {parts}")
        layout = ((0, Layout(0, self.sizes)),) if len(self.sizes) > 1 else ()
        return TensorType("float", (prod(self.sizes), self.embed_dim), layout)

    def lower(self, b: Emitter) -> Handle:
        sizes = self.sizes
        width_first = len(sizes) > 1 and self.order == "wh"
        if all(isinstance(n, int) for n in sizes):
            return b.constant(
                "positional.sincos",
                *(sizes, self.embed_dim, self.temperature, self.interleaved, width_first),
                *(self.offset, self.normalize, self.factor, self.eps),
            )
        model = b.constant("source.full", 0.0, "float")
        device = b.call("builtins.getattr", model, "device")
        frequencies = _frequencies(b, self.embed_dim // len(sizes), self.temperature, device)
        tables = []
        for axis, n in enumerate(sizes):
            positions = _positions(b, n, device, self.offset)
            factor = self.factor / (n + self.eps) if self.normalize else self.factor
            if factor != 1.0:
                positions = b.call("operator.mul", positions, b.scalar(factor))
            angles = b.call("torch.outer", positions, frequencies)
            waves = [b.method("sin", angles), b.method("cos", angles)]
            if self.interleaved:
                table = b.method("flatten", b.call("torch.stack", waves, -1), 1)
            else:
                table = b.call("torch.cat", waves, -1)
            if len(sizes) > 1:
                table = b.method("expand", b.method("unsqueeze", table, 1 - axis), *map(b.size, sizes), -1)
            tables.append(table)
        if width_first:
            tables.reverse()
        table = tables[0] if len(sizes) == 1 else b.method("flatten", b.call("torch.cat", tables, -1), 0, 1)
        return b.method("type_as", table, model)


class SinCosPosition1d(SinCos, name="sincos_position_1d"):
    """Sines and cosines of positions: [length, embed_dim].

    Channel pair k has the angle ``position / temperature ** (2 k / embed_dim)``. The defaults give the halves of MAE,
    ``interleaved`` the table of "Attention Is All You Need" (arXiv 1706.03762).
    """

    length: Num = attr(SIZE, doc="number of positions", draw=[5, 1])
    embed_dim: Num = attr(SIZE, doc="size of the last axis; even", draw=[8, 2])
    lengths = ("length",)


class SinCosPosition2d(SinCos, name="sincos_position_2d"):
    """Sines and cosines of the positions on a map: [height * width, embed_dim], a token grid.

    Each axis has one half of the channels, as by `sincos_position_1d`. The defaults give the table of MAE
    (arXiv 2111.06377); DETR's (arXiv 2005.12872) is ``order: hw, interleaved: true, normalize: true, offset: 1``.
    """

    height: Num = attr(SIZE, doc="rows", draw=[3, 1])
    width: Num = attr(SIZE, doc="columns", draw=[2, 4])
    embed_dim: Num = attr(SIZE, doc="size of the last axis; a multiple of 4", draw=[8, 4])
    order: str = attr(WordKind("wh", "hw"), "wh", doc="which axis has the first half of the channels")
    lengths = ("height", "width")


def _draw_rotary_dim(draw: Draw, ins: tuple[TensorType, ...], attrs: dict[str, Any]) -> int | None:
    d = ins[0].shape[-1]
    even: list[int | None] = [*range(2, d + 1, 2)] if isinstance(d, int) else []
    return pick(draw, [None, *even] if divides(2, d) is True else even or [2])


class Rotary(Op, name="rotary"):
    """Rotates pairs of channels by their position's angles: [..., N, D] → [..., N, D].

    Pair k of position n turns by ``(n + offset) / base ** (2 k / rotary_dim)``, or by ``(n + offset) * freqs[k]`` if
    frequencies [rotary_dim / 2] are given. Element-wise work: 3 per rotated channel; with given frequencies 3 more per
    position and pair (angle, cosine, sine), otherwise the table is a constant. Source: RoFormer, arXiv 2104.09864.
    """

    base: Any = attr(
        FLOAT, 10000.0, doc="ratio of the slowest to the fastest rotation", inert=True, draw=[10000.0, 100.0]
    )
    interleaved: bool = attr(BOOL, False, doc="pairs are neighbours (RoFormer), not k and k + rotary_dim/2 (LLaMA)")
    rotary_dim: Num | None = attr(
        OptionalKind(COUNT), None, doc="leading channels that turn; all if left out", draw=_draw_rotary_dim
    )
    offset: Any = attr(FLOAT, 0.0, doc="position of the first element", inert=True, draw=[0.0, 3.0])
    operands = (operand("x", "... N D"), operand("freqs", "F", optional=True))

    def turned(self, x: TensorType) -> Num:
        """Number of channels that turn."""
        return x.shape[-1] if self.rotary_dim is None else self.rotary_dim

    def infer(self, cx: Context, x: TensorType, freqs: TensorType | None = None) -> TensorType:
        if x.rank < 2:
            fail("`rotary` takes positions and channels", "[..., N, D]", x)
        dim = self.turned(x)
        for cond, why in (
            (divides(2, dim), f"the {dim} channels that turn must be even in number"),
            (le(dim, x.shape[-1]), f"rotary_dim {dim} must not exceed the channels of {x}"),
            (freqs is None or eq(2 * freqs.shape[0], dim), f"freqs {freqs} must be half as many as the {dim} channels"),
        ):
            if cond is not True:
                cx.require(cond, why)
        return x

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        shape = outs[0].shape
        dim = self.turned(outs[0])
        tables = 3 * shape[-2] * (dim // 2) if len(ins) > 1 and ins[1] is not None else 0
        return Cost(elementwise=3 * prod(shape[:-1]) * dim + tables)

    def tables(self, b: Emitter, x: Handle, freqs: Handle) -> tuple[Handle, Handle]:
        """Cosines and sines [N, rotary_dim / 2]."""
        n, dim = b.in_types[0].shape[-2], self.turned(b.in_types[0])
        if freqs is None and isinstance(n, int):
            args = (n, dim, self.base, self.offset)
            return b.constant("positional.rotary", *args, "cos"), b.constant("positional.rotary", *args, "sin")
        device = b.call("builtins.getattr", x, "device")
        positions = _positions(b, n, device, self.offset)
        if freqs is not None:
            angles = b.call("torch.outer", positions, freqs)
            return b.method("cos", angles), b.method("sin", angles)
        angles = b.call("torch.outer", positions, _frequencies(b, dim, self.base, device))
        return b.method("type_as", b.method("cos", angles), x), b.method("type_as", b.method("sin", angles), x)

    def lower(self, b: Emitter, x: Handle, freqs: Handle = None) -> Handle:
        dim, d = self.turned(b.in_types[0]), b.in_types[0].shape[-1]
        cos, sin = self.tables(b, x, freqs)
        rest: list[Handle] = []
        if dim != d:
            rest = [b.method("narrow", x, -1, b.size(dim), b.size(d - dim))]
            x = b.method("narrow", x, -1, 0, b.size(dim))
        if self.interleaved:
            pairs = b.method("unbind", b.method("unflatten", x, -1, (-1, 2)), -1)
        else:
            pairs = b.method("chunk", x, 2, -1)
        first, second = b.item(pairs, 0), b.item(pairs, 1)

        def times(a: Handle, c: Handle) -> Handle:
            return b.call("operator.mul", a, c)

        turned = [
            b.call("operator.sub", times(first, cos), times(second, sin)),
            b.call("operator.add", times(second, cos), times(first, sin)),
        ]
        if not self.interleaved:
            return b.call("torch.cat", [*turned, *rest], -1)
        mixed = b.method("flatten", b.call("torch.stack", turned, -1), -2)
        return b.call("torch.cat", [mixed, *rest], -1) if rest else mixed
