"""Helpers for ``draw=`` hints: what a property test may choose for an attribute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import gcd
from typing import Any, TypeVar

from archgraph.ir.dim import Num
from archgraph.ir.types import TensorType

T = TypeVar("T")
Draw = Callable[[Any], Any]


def pick(draw: Draw, candidates: Sequence[T]) -> T:
    """One of the candidates; shrinks towards the first."""
    from hypothesis import strategies

    chosen: T = draw(strategies.sampled_from(candidates))
    return chosen


def divisors(*numbers: Num) -> list[int]:
    """Common divisors, ascending; a symbol is only known to have 1."""
    known = [n for n in numbers if isinstance(n, int)]
    if len(known) < len(numbers):
        return [1]
    common = gcd(*known)
    return [d for d in range(1, common + 1) if common % d == 0]


def at_most(candidates: Iterable[int], *limits: Num) -> list[int]:
    """The candidates that no limit is below; a symbol counts as 1."""
    limit = min((n if isinstance(n, int) else 1 for n in limits), default=1)
    return [c for c in candidates if c <= limit]


def any_axis(draw: Draw, in_types: tuple[TensorType, ...], attrs: Mapping[str, Any]) -> int:
    """A hint for `dim`: any axis of the first operand, from either end."""
    rank = in_types[0].rank
    axes: list[int] = [*range(rank), *range(-rank, 0)]
    return pick(draw, axes)
