"""Resizing maps: interpolation, pixel shuffling, sampling at given points."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Final

from archgraph.ir.dim import Num, divides, eq, le, prod
from archgraph.ir.real import Late, NeedsValue, Real, free, ratio
from archgraph.ir.types import TensorType
from archgraph.ops.base import Context, Cost, Emitter, Handle, Op, attr, fail, operand
from archgraph.ops.drawing import Draw, divisors, pick
from archgraph.ops.kinds import BOOL, SIZE, AttributeValueError, Kind, ListKind, OptionalKind, WordKind

TypesSoFar = tuple[TensorType | None, ...]


class RatioKind(Kind):
    """A positive fraction; a decimal is meant as it is written, so that 0.7 is 7/10."""

    expected = "a positive number"

    def convert(self, value: Any) -> Fraction:
        if isinstance(value, (Late, Real)):
            if free(value):
                raise NeedsValue(value)
            parts = ratio(value)
            if parts is not None and isinstance(parts[0], int):
                value = Fraction(parts[0], parts[1])
            else:
                value = value.evaluate({})
        if isinstance(value, float) and math.isfinite(value):
            value = Fraction(repr(value))
        if isinstance(value, (int, Fraction)) and not isinstance(value, bool) and value > 0:
            return Fraction(value)
        raise AttributeValueError(self.expected, value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"$ref": "#/$defs/expression"}]}


#: Operations per output element: interpolation between two elements takes 3, a sum of four products 7.
_WORK: Final = {"nearest": 0, "nearest-exact": 0, "linear": 3, "bilinear": 9, "trilinear": 21, "bicubic": 35}
#: Modes that are for one number of spatial axes.
_RANK: Final = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}


def _draw_size(draw: Draw, ins: TypesSoFar, attrs: dict[str, Any]) -> int | None:
    return pick(draw, [None, 3, 4]) if len(ins) < 2 or ins[1] is None else None


def _draw_factor(draw: Draw, ins: TypesSoFar, attrs: dict[str, Any]) -> float | None:
    return pick(draw, [2.0, 1.5, 1.0]) if attrs["size"] is None and (len(ins) < 2 or ins[1] is None) else None


def _draw_mode(draw: Draw, ins: TypesSoFar, attrs: dict[str, Any]) -> str:
    rank = ins[0].rank - 2 if ins[0] is not None else 2
    return pick(draw, ["nearest", "nearest-exact", "area", *(mode for mode, n in _RANK.items() if n == rank)])


def _draw_align(draw: Draw, ins: TypesSoFar, attrs: dict[str, Any]) -> bool | None:
    return pick(draw, [None, False, True] if attrs["mode"] in _RANK else [None])


def _draw_antialias(draw: Draw, ins: TypesSoFar, attrs: dict[str, Any]) -> bool:
    return pick(draw, [False, True] if attrs["mode"] in ("bilinear", "bicubic") else [False])


class Interpolate(Op, name="interpolate"):
    """Resizes the spatial axes: [B, C, ...] → [B, C, *size].

    The new size is ``size``, or ``floor(scale_factor * size of x)``, or that of the last axes of ``like``. Operations
    per output element: linear 3, bilinear 9, trilinear 21, bicubic 35 (whatever the anti-aliasing), nearest 0; area:
    one per input and per output element. Where the size provably stays, nothing is run.
    """

    size: tuple[Num, ...] | None = attr(
        OptionalKind(ListKind(SIZE, scalar=True)), None, doc="size of each spatial axis, or of all", draw=_draw_size
    )
    scale_factor: tuple[Fraction, ...] | None = attr(
        OptionalKind(ListKind(RatioKind(), scalar=True)),
        None,
        doc="factor of each spatial axis, or of all",
        draw=_draw_factor,
    )
    mode: str = attr(
        WordKind("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area"),
        "nearest",
        doc="how values between elements are found",
        draw=_draw_mode,
    )
    align_corners: bool | None = attr(
        OptionalKind(BOOL),
        None,
        doc="the centres of the corner elements stay in place; false if left out",
        inert=True,
        draw=_draw_align,
    )
    antialias: bool = attr(BOOL, False, doc="low-pass filter when shrinking", inert=True, draw=_draw_antialias)
    operands = (operand("x"), operand("like", dtype="any", optional=True))

    def infer(self, cx: Context, x: TensorType, like: TensorType | None = None) -> TensorType:
        rank = x.rank - 2
        if not 1 <= rank <= 3:
            fail("`interpolate` takes one to three spatial axes", "[B, C, ...]", x)
        if _RANK.get(self.mode, rank) != rank:
            right = [mode for mode, n in _RANK.items() if n == rank]
            fail(f"mode {self.mode} is not for {rank} spatial axes", " or ".join([*right, "nearest", "area"]), x)
        if self.align_corners is not None and self.mode not in _RANK:
            fail(f"align_corners means nothing to mode {self.mode}", "no align_corners")
        if self.antialias and self.mode not in ("bilinear", "bicubic"):
            fail(f"antialias is not for mode {self.mode}", "bilinear or bicubic")
        return x.with_shape(*x.shape[:2], *self.sizes(cx, x, like))

    def sizes(self, cx: Context, x: TensorType, like: TensorType | None) -> list[Num]:
        """The new size of each spatial axis."""
        rank = x.rank - 2
        if (self.size is not None) + (self.scale_factor is not None) + (like is not None) != 1:
            fail("`interpolate` needs a new size", "one of size, scale_factor and the operand `like`")
        if like is not None:
            if like.rank < rank:
                fail(f"`like` lacks the {rank} spatial axes of {x}", found=like)
            return list(like.shape[-rank:])
        if self.size is not None:
            return list(_for_all_axes(self.size, rank, "size"))
        sizes: list[Num] = []
        for n, factor in zip(x.shape[2:], self._factors(rank), strict=True):
            size = n * factor.numerator // factor.denominator
            cond = le(1, size)
            if cond is not True:
                cx.require(cond, f"scale_factor {factor} must leave an element of the {n}")
            sizes.append(size)
        return sizes

    def _factors(self, rank: int) -> tuple[Fraction, ...]:
        assert self.scale_factor is not None
        return _for_all_axes(self.scale_factor, rank, "scale_factor")

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        n = outs[0].numel
        return Cost(elementwise=ins[0].numel + n if self.mode == "area" else n * _WORK[self.mode])

    def lower(self, b: Emitter, x: Handle, like: Handle = None) -> Handle:
        before, after = b.in_types[0].shape[2:], b.out_types[0].shape[2:]
        if all(eq(m, n) is True for m, n in zip(before, after, strict=True)):
            return x
        options: dict[str, Any] = {}
        factors = None if self.scale_factor is None else self._factors(len(before))
        if factors is not None and all(map(_floors_alike, before, factors)):
            scales = [float(factor) for factor in factors]
            options["scale_factor"] = scales[0] if len(set(scales)) == 1 else scales
        else:
            options["size"] = [b.size(n) for n in after]
        if self.mode != "nearest":
            options["mode"] = self.mode
        if self.align_corners is not None:
            options["align_corners"] = self.align_corners
        if self.antialias:
            options["antialias"] = True
        return b.call("torch.nn.functional.interpolate", x, **options)


def _for_all_axes(values: tuple[Any, ...], rank: int, what: str) -> tuple[Any, ...]:
    if len(values) not in (1, rank):
        fail(f"{what} has {len(values)} values for {rank} spatial axes", f"1 or {rank} values")
    return values * rank if len(values) == 1 else values


def _floors_alike(n: Num, factor: Fraction) -> bool:
    """Whether torch's floor of the product in floating point is the exact one.

    Where it is not (90 times 0.7), or nothing but divisibility is known, the exact product is a whole number, and the
    size then stands for the same factor.
    """
    if factor.denominator & (factor.denominator - 1) == 0:
        return True
    if isinstance(n, int):
        return math.floor(n * float(factor)) == n * factor.numerator // factor.denominator
    return divides(factor.denominator, n) is not True


class PixelShuffle(Op, name="pixel_shuffle"):
    """Channels become pixels: [..., C·r², H, W] → [..., C, H·r, W·r]."""

    upscale_factor: Num = attr(SIZE, doc="factor r of both spatial axes", draw=[1, 2])
    operands = (operand("x", "... C H W", dtype="any"),)
    free = True
    keeps_density = True

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        if x.rank < 3:
            fail("`pixel_shuffle` takes maps", "[..., C, H, W]", x)
        r = self.upscale_factor
        *batch, c, h, w = x.shape
        cond = divides(r * r, c)
        if cond is not True:
            cx.require(cond, f"the square of upscale_factor {r} must divide the {c} channels of {x}")
        return x.with_shape(*batch, c // (r * r), h * r, w * r)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        return b.call("torch.nn.functional.pixel_shuffle", x, self.upscale_factor)


class PixelUnshuffle(Op, name="pixel_unshuffle"):
    """Pixels become channels: [..., C, H·r, W·r] → [..., C·r², H, W]."""

    downscale_factor: Num = attr(
        SIZE,
        doc="divisor r of both spatial axes",
        draw=lambda draw, ins, attrs: pick(draw, divisors(*ins[0].shape[-2:])),
    )
    operands = (operand("x", "... C H W", dtype="any"),)
    free = True
    keeps_density = True

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        if x.rank < 3:
            fail("`pixel_unshuffle` takes maps", "[..., C, H, W]", x)
        r = self.downscale_factor
        *batch, c, h, w = x.shape
        for n in (h, w):
            cond = divides(r, n)
            if cond is not True:
                cx.require(cond, f"downscale_factor {r} must divide the spatial axes of {x}")
        return x.with_shape(*batch, c * r * r, h // r, w // r)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        return b.call("torch.nn.functional.pixel_unshuffle", x, self.downscale_factor)


class GridSample(Op, name="grid_sample"):
    """Values at given points: [B, C, H, W] at [B, N, M, 2] → [B, C, N, M], volumes at [B, L, N, M, 3] alike.

    Points are (x, y) or (x, y, z), -1 to 1 across the map. Operations: 4 per coordinate, and per output element the
    products and sums of its neighbours (bilinear 7, in volumes 15, bicubic 35, nearest 0).
    """

    mode: str = attr(
        WordKind("bilinear", "nearest", "bicubic"), "bilinear", doc="how values between elements are found"
    )
    padding_mode: str = attr(
        WordKind("zeros", "border", "reflection"), "zeros", doc="what lies outside of the map", inert=True
    )
    align_corners: bool = attr(BOOL, False, doc="-1 and 1 are the centres of the corner elements", inert=True)
    operands = (operand("input", "B C ..."), operand("grid", "B ..."))
    looks_up = True

    def infer(self, cx: Context, input: TensorType, grid: TensorType) -> TensorType:
        spatial = input.rank - 2
        if spatial not in (2, 3) or grid.rank != input.rank:
            fail(
                "`grid_sample` takes a map or volume and as many axes of points",
                "[B, C, H, W] and [B, N, M, 2], or [B, C, D, H, W] and [B, L, N, M, 3]",
                f"{input} and {grid}",
            )
        if self.mode == "bicubic" and spatial == 3:
            fail("mode bicubic is not for volumes", "bilinear or nearest", input)
        if grid.dtype != input.dtype:
            fail("the operands have different dtypes", input.dtype, grid)
        for m, n, why in (
            (input.shape[0], grid.shape[0], f"input {input} and grid {grid} need one batch size"),
            (grid.shape[-1], spatial, f"points of grid {grid} must have {spatial} coordinates"),
        ):
            cond = eq(m, n)
            if cond is not True:
                cx.require(cond, why)
        return TensorType(input.dtype, (*input.shape[:2], *grid.shape[1:-1]))

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        work = {"nearest": 0, "bilinear": 7 if ins[0].rank == 4 else 15, "bicubic": 35}[self.mode]
        return Cost(elementwise=4 * prod(ins[1].shape) + work * outs[0].numel)

    def lower(self, b: Emitter, input: Handle, grid: Handle) -> Handle:
        options = {name: value for name, value in self.attrs().items() if name != "align_corners"}
        # torch warns if nothing is said about the corners
        return b.call("torch.nn.functional.grid_sample", input, grid, **options, align_corners=self.align_corners)
