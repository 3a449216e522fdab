"""Which share of a tensor's elements is expected to be other than zero (or true): an exact fraction of sizes."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from archgraph.ir.dim import Dim, Num
from archgraph.ir.real import Real

if TYPE_CHECKING:
    from collections.abc import Iterable


class Density(NamedTuple):
    """``part`` of every ``of`` elements; both may be symbolic, ``of`` is positive."""

    part: Num = 1
    of: Num = 1

    def share(self, x: Num) -> Num:
        """The share of ``x``, a count of which the density is the expected part; rounded down."""
        return x * self.part // self.of

    def both(self, other: Density) -> Density:
        """The share that two independent ones have in common."""
        return _reduced(self.part * other.part, self.of * other.of)

    def either(self, other: Density) -> Density:
        """The share that at least one of two independent ones has."""
        if DENSE in (self, other):
            return DENSE
        count = self.part * other.of + other.part * self.of - self.part * other.part
        return _reduced(count, self.of * other.of)

    def rest(self) -> Density:
        """The share of the others."""
        return _reduced(self.of - self.part, self.of)

    def __str__(self) -> str:
        return "1" if self == DENSE else f"({self.part})/({self.of})"


DENSE = Density()
EMPTY = Density(0, 1)


def _reduced(count: Num, of: Num) -> Density:
    if isinstance(count, int) and isinstance(of, int):
        fraction = Fraction(count, of)
        return Density(fraction.numerator, fraction.denominator)
    return Density(count, of) if count != of else DENSE


def density_of(value: Any) -> Density | None:
    """The density that a number between 0 and 1, a ratio of sizes, or a share of 100 states; None for anything else.

    Numbers are read by their decimal digits: 0.7 is seven tenths.
    """
    if isinstance(value, (int, float, Fraction)):
        fraction = Fraction(str(value))
        return Density(fraction.numerator, fraction.denominator) if 0 <= fraction <= 1 else None
    if isinstance(value, Real) and value.op in ("/", "*"):
        a, b = value.args
        left, right = (density_part(a), density_part(b))
        if left is None or right is None:
            return None
        return left.both(right) if value.op == "*" else _reduced(left.part * right.of, left.of * right.part)
    return None


def density_part(value: Any) -> Density | None:
    """An operand of a product or quotient that states a density."""
    return Density(value, 1) if isinstance(value, (int, Dim)) else density_of(value)


def joined(parts: Iterable[tuple[Density, Num]]) -> Density:
    """The density of tensors laid side by side, each with its number of elements."""
    listed = list(parts)
    if all(d == DENSE for d, _ in listed):
        return DENSE
    count: Num = 0
    whole: Num = 0
    of: Num = 1
    for d, _ in listed:
        of = of * d.of
    for d, n in listed:
        count = count + d.part * n * (of // d.of)
        whole = whole + n
    return _reduced(count, whole * of)
