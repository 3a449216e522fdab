"""Axis attributes (``dim``): checked against an operand's rank, and drawn for property tests."""

from __future__ import annotations

from typing import Any

from archgraph.ir.types import TensorType, normalize_axis
from archgraph.ops.base import fail
from archgraph.ops.drawing import Draw, pick


def axis_of(x: TensorType, dim: int) -> int:
    """``dim`` counted from the front; `OpError` if ``x`` has no such axis."""
    axis = normalize_axis(dim, x.rank)
    if axis is None:
        fail(f"there is no axis {dim}", f"an axis from {-x.rank} to {x.rank - 1}", x)
    return axis


def axes_of(x: TensorType, dims: tuple[int, ...]) -> tuple[int, ...]:
    """Several axes counted from the front, in the order given; `OpError` if one is missing or named twice."""
    axes = tuple(axis_of(x, d) for d in dims)
    if len(set(axes)) < len(axes):
        fail("an axis is named twice", "different axes", list(dims))
    return axes


def draw_axis(draw: Draw, in_types: tuple[TensorType, ...], attrs: dict[str, Any]) -> int:
    """A ``draw=`` hint for `dim`: any axis of the first operand, from either end."""
    rank = in_types[0].rank
    return pick(draw, [*range(rank), *range(-rank, 0)])
