"""Axes by number: the attribute kind, and types with an axis taken out, put in or resized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from archgraph.ir.dim import Cond, Dim, Num, eq, le, lower_bound, upper_bound
from archgraph.ir.types import Layout, TensorType, normalize_axis
from archgraph.ops.base import Context, fail
from archgraph.ops.kinds import AttributeValueError, IntKind, ListKind


class AxisKind(IntKind):
    """The number of an axis, negative from the end; never symbolic."""

    def __init__(self) -> None:
        super().__init__()
        self.expected = "the number of an axis"

    def convert(self, value: Any) -> Any:
        if isinstance(value, Dim):
            raise AttributeValueError(self.expected, value)
        return super().convert(value)


AXIS: Final = AxisKind()
AXES: Final = ListKind(AXIS, scalar=True)


class _Decided:
    """A context for rules that are run again, in a lowering, after all their conditions were demanded."""

    def require(self, cond: bool | Cond, why: str) -> None:
        """Accept."""


DECIDED: Final[Context] = _Decided()


def axis_of(x: TensorType, dim: int, more: int = 0) -> int:
    """``dim`` counted from the front, for ``x`` with ``more`` axes added.

    Raises
    ------
    OpError
        If there is no such axis.
    """
    rank = len(x.shape) + more
    axis = normalize_axis(dim, rank)
    if axis is None:
        fail(f"there is no axis {dim}", f"between {-rank} and {rank - 1}", x, key="dim")
    return axis


def axes_of(x: TensorType, dims: Sequence[int]) -> tuple[int, ...]:
    """Several axes, as by `axis_of`; each may stand once."""
    if len(dims) == 1:
        return (axis_of(x, dims[0]),)
    axes = tuple(axis_of(x, d) for d in dims)
    if len(set(axes)) < len(axes):
        fail("an axis stands twice", found=f"{list(dims)} of {x}", key="dim")
    return axes


def without_axis(x: TensorType, axis: int) -> TensorType:
    """``x`` with one axis taken out; layouts move along."""
    kept = tuple([(a - (a > axis), lay) for a, lay in x.layout if a != axis])
    return TensorType(x.dtype, x.shape[:axis] + x.shape[axis + 1 :], kept)


def with_axis(x: TensorType, axis: int, length: Num) -> TensorType:
    """``x`` with a new axis before ``axis``; layouts move along."""
    moved = tuple([(a + (a >= axis), lay) for a, lay in x.layout])
    return TensorType(x.dtype, (*x.shape[:axis], length, *x.shape[axis:]), moved)


def resized(x: TensorType, axis: int, length: Num, layout: Layout | None = None) -> TensorType:
    """``x`` with one axis of another length, and its layout set or forgotten."""
    shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
    rest = [item for item in x.layout if item[0] != axis]
    if layout is not None:
        rest.append((axis, layout))
        if len(rest) > 1:
            rest.sort(key=itemgetter(0))
    return TensorType(x.dtype, shape, tuple(rest))


def position(cx: Context, x: TensorType, axis: int, value: Num, what: str) -> Num:
    """A position on an axis (negative from the end) counted from the front; requires that it is 0 … length."""
    n = x.shape[axis]
    high = upper_bound(value)
    found = n + value if high is not None and high < 0 else value
    for cond in (le(0, found), le(found, n)):
        if cond is not True:
            cx.require(cond, f"{what} {value} must lie on axis {axis} of {x}")
    return found


def same_shape_but(cx: Context, types: Sequence[TensorType], axis: int | None, what: str) -> None:
    """Require that all types have one rank and agree on every axis but ``axis``."""
    first = types[0]
    for other in types[1:]:
        if other.rank != first.rank:
            fail(f"{what} takes values of one rank", str(first), other)
        for a, (n, m) in enumerate(zip(first.shape, other.shape, strict=True)):
            if a == axis or n is m:
                continue
            same = eq(n, m)
            if same is not True:
                cx.require(same, f"{what} needs equal axes: axis {a} of {first} and of {other}")


def common_layouts(types: Sequence[TensorType], axis: int | None) -> dict[int, Layout]:
    """Layouts of all axes but ``axis``, where one operand knows it and no other contradicts."""
    found: dict[int, Layout] = {}
    refused: set[int] = set()
    for t in types:
        for a, layout in t.layout:
            if a != axis and found.setdefault(a, layout) != layout:
                refused.add(a)
    return {a: layout for a, layout in found.items() if a not in refused}


def as_layouts(found: Mapping[int, Layout]) -> tuple[tuple[int, Layout], ...]:
    """Layouts by axis as `TensorType` takes them."""
    return tuple(sorted(found.items(), key=lambda item: item[0]))


def part_layout(layout: Layout | None, start: Num, stop: Num, n: Num) -> Layout | None:
    """The layout of the elements ``start`` … ``stop`` of an axis of length ``n``: known if only prefix tokens go."""
    if layout is None or stop != n:
        return None
    rest = layout.prefix - start
    low = lower_bound(rest)
    return Layout(rest, layout.grid) if low is not None and low >= 0 else None
