"""Where one closed form overtakes another: solved exactly, not scanned.

With floors a cost in one symbol is a quasi-polynomial: for all numbers with one remainder by the common multiple of its
divisors it *is* a polynomial. Its real roots are isolated by Sturm's chain over fractions, and each is confirmed on the
integers on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from math import lcm
from typing import Final, NamedTuple

from archgraph.ir.dim import Atom, Num, evaluate, monomial_dim, substitute, sym, symbols, terms

#: Remainders that are solved for; beyond it nothing is said.
MAX_MODULUS: Final = 4096
#: Changes of sign that are listed where it goes to and fro with the remainder.
MAX_CHANGES: Final = 4096


class Unsolvable(ValueError):
    """The difference is no quasi-polynomial of a modulus within bounds; the text says why."""


class Crossing(NamedTuple):
    """At ``at`` (an integer) the difference has another sign than at the integer before it (0 is a sign of its own)."""

    at: int
    before: int
    after: int


def crossings(difference: Num, name: str, low: int, high: int) -> tuple[list[Crossing], int]:
    """Every change of sign of ``difference`` over the integers from ``low`` to ``high``, and the modulus solved for.

    Raises
    ------
    Unsolvable
        If other symbols occur, or the symbol stands in a divisor, or the modulus is above `MAX_MODULUS`.
    """
    if symbols(difference) - {name}:
        raise Unsolvable(f"it depends on {', '.join(sorted(symbols(difference) - {name}))} as well")
    modulus = modulus_of(difference, name)
    if modulus > MAX_MODULUS:
        raise Unsolvable(f"floors repeat after {modulus} steps, more than {MAX_MODULUS}")

    def value(n: int) -> int:
        return evaluate(difference, {name: n})

    marks: set[int] = {low}
    polynomials: dict[tuple[Fraction, ...], list[int]] = {}
    for pieces in _pieces(difference, name):
        for r in range(modulus):
            # n = modulus·t + r, t ≥ 1, so that a minimum or maximum is one of its arguments, each a polynomial in t
            coefficients = polynomial(substitute(pieces, {name: modulus * sym(name) + (r - modulus)}), name)
            polynomials.setdefault(tuple(coefficients), []).append(r - modulus)
    for each, offsets in polynomials.items():
        for left, right in isolate(each, Fraction(low - modulus, modulus), Fraction(high + 2 * modulus, modulus)):
            for offset in offsets:
                start = modulus * (left.numerator // left.denominator) + offset
                stop = modulus * (-(-right.numerator // right.denominator)) + offset
                marks.update(n for n in range(start - modulus, stop + modulus + 1, modulus) if low <= n <= high)
    # a sign can only change within a class of remainders at a mark; between classes, look at a whole period around it
    places: set[int] = set()
    for mark in marks:
        places.update(range(max(low, mark - modulus), min(high, mark + modulus) + 1))
    places.update(range(low, min(high, low + 2 * modulus) + 1))
    places.update(_alternating(value, sorted(places), modulus, high))
    found: list[Crossing] = []
    for n in sorted(places):
        if n == low:
            continue
        before, after = _sign(value(n - 1)), _sign(value(n))
        if before != after:
            found.append(Crossing(n, before, after))
    return found, modulus


def _alternating(value: Callable[[int], int], places: list[int], modulus: int, high: int) -> Iterator[int]:
    """Places between those looked at where the sign changes from class to class: there it does so in every period.

    Raises
    ------
    Unsolvable
        If these are too many to list.
    """
    count = 0
    for here, there in pairwise([*places, high + 1]):
        if there - here <= modulus:
            continue
        signs = [_sign(value(n)) for n in range(here, here + modulus + 1)]
        changes = [k for k in range(1, modulus + 1) if signs[k] != signs[k - 1]]
        for start in range(here, there, modulus) if changes else ():
            count += len(changes)
            if count > MAX_CHANGES:
                raise Unsolvable("the sign hangs on the remainder, and changes in every period")
            yield from (n for k in changes if (n := start + k) < there)


def _sign(x: int) -> int:
    return (x > 0) - (x < 0)


def modulus_of(x: Num, name: str) -> int:
    """The common multiple of all divisors, nested ones multiplied."""
    found = 1
    for mono in terms(x):
        for atom, _ in mono.factors:
            if name not in atom.free or atom.kind == "symbol":
                continue
            if atom.kind == "log2":
                raise Unsolvable(f"{atom.name} is no polynomial")
            inner = lcm(*(modulus_of(arg, name) for arg in atom.args))
            if atom.kind == "floordiv":
                divisor = atom.args[1]
                if not isinstance(divisor, int):
                    raise Unsolvable(f"{name} stands in the divisor of {atom.name}")
                inner *= divisor
            found = lcm(found, inner)
    return found


def _pieces(x: Num, name: str) -> list[Num]:
    """``x`` with one argument in place of each minimum and maximum, in all combinations; and the differences of these
    arguments, at whose roots another one counts."""
    atom = next((a for mono in terms(x) for a, _ in mono.factors if a.kind in ("min", "max") and name in a.free), None)
    if atom is None:
        return [x]
    found: list[Num] = []
    for k, arg in enumerate(atom.args):
        found += _pieces(_replaced(x, atom, arg), name)
        for other in atom.args[k + 1 :]:
            found += _pieces(arg - other, name)
        if len(found) > 256:
            raise Unsolvable("it has too many minima and maxima")
    return list(dict.fromkeys(found))


def _replaced(x: Num, atom: Atom, value: Num) -> Num:
    total: Num = 0
    for mono, c in terms(x).items():
        term: Num = c
        for a, power in mono.factors:
            term = term * (value if a is atom else monomial_dim(a)) ** power
        total = total + term
    return total


def polynomial(x: Num, name: str) -> list[Fraction]:
    """Coefficients by power; the floors of ``n = modulus·t + r`` have become polynomials in ``t``."""
    found: dict[int, int] = {}
    for mono, c in terms(x).items():
        if any(atom.kind != "symbol" for atom, _ in mono.factors):
            raise Unsolvable(f"{mono} is no polynomial")
        power = sum(p for _, p in mono.factors)
        found[power] = found.get(power, 0) + c
    return [Fraction(found.get(k, 0)) for k in range(max(found, default=0) + 1)]


# -- real roots ------------------------------------------------------------------------------------------------------


def isolate(polynomial: Sequence[Fraction], low: Fraction, high: Fraction) -> list[tuple[Fraction, Fraction]]:
    """Intervals shorter than 1 that hold the real roots in ``(low, high]``, each at least one."""
    chain = _sturm(list(polynomial))
    if not chain:
        return []
    waiting = [(low, high, _changes(chain, low) - _changes(chain, high))]
    found: list[tuple[Fraction, Fraction]] = []
    while waiting:
        a, b, n = waiting.pop()
        if n <= 0:
            continue
        if b - a < 1:
            found.append((a, b))
            continue
        middle = (a + b) / 2
        at = _changes(chain, middle)
        waiting.append((a, middle, _changes(chain, a) - at))
        waiting.append((middle, b, at - _changes(chain, b)))
    return sorted(found)


def _trimmed(p: list[Fraction]) -> list[Fraction]:
    while p and p[-1] == 0:
        p.pop()
    return p


def _sturm(p: list[Fraction]) -> list[list[Fraction]]:
    """The chain of a polynomial: it, its derivative, and remainders with the opposite sign."""
    p = _trimmed(list(p))
    if len(p) < 2:
        return []
    chain = [p, [k * c for k, c in enumerate(p)][1:]]
    while len(chain[-1]) > 1:
        rest = list(chain[-2])
        divisor = chain[-1]
        while len(rest) >= len(divisor):
            factor, shift = rest[-1] / divisor[-1], len(rest) - len(divisor)
            for k, c in enumerate(divisor):
                rest[k + shift] -= factor * c
            rest = _trimmed(rest[:-1]) if rest[-1] == 0 else _trimmed(rest)
        if not rest:
            break
        chain.append([-c for c in rest])
    return chain


def _changes(chain: list[list[Fraction]], x: Fraction) -> int:
    signs = []
    for p in chain:
        value = Fraction(0)
        for c in reversed(p):
            value = value * x + c
        if value:
            signs.append(value > 0)
    return sum(a != b for a, b in pairwise(signs))
