"""Bounds of symbolic integers, from the single assumption that every symbol is at least :data:`SMALLEST`.

A lower bound of a polynomial is found by writing every atom as its own lower bound plus a non-negative rest: when no
coefficient of the expanded polynomial is negative, its constant is the bound.  Floor divisions and extrema are first
related to their arguments (``k*(a//k) = a - r`` with ``0 <= r < k``; ``min(a, b) <= a``), so that ``H - 2*(H//2)`` is
known to be 0 or 1.  The upper bound of ``x`` is minus the lower bound of ``-x``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import comb, prod
from typing import TYPE_CHECKING

from archgraph.ir._monomial import ONE, Atom, Monomial, divide, monomial, multiply

if TYPE_CHECKING:
    from archgraph.ir._algebra import Num

SMALLEST = 1  # sizes and counts are positive
_FUEL = 8  # what a chain of relaxations may cost: one per quotient, an extremum as many as it has arguments
_MAX_EXPANSION = 1 << 12  # terms; beyond it no bound is found

Terms = Mapping[Monomial, int]


def lower_bound(x: Num) -> int | None:
    """The greatest integer known to be at most ``x``, or None if none is known."""
    if isinstance(x, int):
        return x
    if x._lower is ...:
        x._lower = _lower(x.terms, 1, _FUEL)
    return x._lower


def upper_bound(x: Num) -> int | None:
    """The least integer known to be at least ``x``, or None if none is known."""
    if isinstance(x, int):
        return x
    if x._upper is ...:
        bound = _lower({m: -c for m, c in x.terms.items()}, 1, _FUEL)
        x._upper = None if bound is None else -bound
    return x._upper


def is_positive(x: Num) -> bool:
    """Whether ``x >= 1`` is known."""
    low = lower_bound(x)
    return low is not None and low >= 1


def _atom_bounds(atom: Atom) -> tuple[int | None, int | None]:
    match atom.kind:
        case "symbol":
            return SMALLEST, None
        case "floordiv":
            return _quotient_bounds(*atom.args)
        case "min":
            highs = [high for high in map(upper_bound, atom.args) if high is not None]
            return _all(min, [lower_bound(arg) for arg in atom.args]), min(highs, default=None)
        case "max":
            lows = [low for low in map(lower_bound, atom.args) if low is not None]
            return max(lows, default=None), _all(max, [upper_bound(arg) for arg in atom.args])
        case "log2":
            least, greatest = lower_bound(atom.args[0]), upper_bound(atom.args[0])
            return (
                0 if least is None else max(least - 1, 0).bit_length(),
                None if greatest is None else max(greatest - 1, 0).bit_length(),
            )


def _all(extremum: Callable[[list[int]], int], bounds: list[int | None]) -> int | None:
    known = [bound for bound in bounds if bound is not None]
    return extremum(known) if len(known) == len(bounds) else None


def _quotient_bounds(a: Num, b: Num) -> tuple[int | None, int | None]:
    if not is_positive(b):
        return None, None
    a_low, a_high, b_low, b_high = lower_bound(a), upper_bound(a), lower_bound(b), upper_bound(b)
    assert b_low is not None
    low: int | None = None
    high: int | None = None
    if a_low is not None:
        # A non-negative dividend is smallest over the largest divisor, a negative one over the smallest.
        low = a_low // b_low if a_low < 0 else 0 if b_high is None else a_low // b_high
    if a_high is not None:
        high = a_high // b_low if a_high >= 0 else -1 if b_high is None else a_high // b_high
    return low, high


def _lower(terms: Terms, denominator: int, fuel: int) -> int | None:
    """A lower bound of the integer whose value is ``terms / denominator`` or more."""
    best = _expanded_lower(terms, denominator)
    if fuel == 0:
        return best
    for atom in _compounds(terms):
        places = [(mono, c) for mono, c in terms.items() if any(a is atom for a, _ in mono.factors)]
        if any(power > 1 for mono, _ in places for a, power in mono.factors if a is atom):
            continue
        cofactors = [(_without(mono, atom), c) for mono, c in places]
        if not all(is_nonnegative(mono) for mono, _ in cofactors):
            continue
        rest = {mono: c for mono, c in terms.items() if mono not in dict(places)}
        if atom.kind == "floordiv":
            relaxed = _relax_quotient(rest, cofactors, atom)
            if relaxed is None:
                continue
            return _better(best, _lower(relaxed[0], relaxed[1] * denominator, fuel - 1))
        left = fuel - len(atom.args)
        if left < 0:
            continue
        cases = [_lower(_replace(rest, cofactors, arg), denominator, left) for arg in atom.args]
        sign = -1 if atom.kind == "min" else 1
        if all(c * sign > 0 for _, c in cofactors):  # every argument gives a bound, so take the best
            for case in cases:
                best = _better(best, case)
            return best
        return _better(best, _all(min, cases))
    return best


def _better(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else max(a, b)


def _compounds(terms: Terms) -> list[Atom]:
    """Compound atoms with relations to their arguments, those with the longest names (hence the outermost) first."""
    atoms = {atom for mono in terms for atom, _ in mono.factors if atom.kind not in ("symbol", "log2")}
    return sorted(atoms, key=lambda atom: (-len(atom.name), atom.name))


def _without(mono: Monomial, atom: Atom) -> Monomial:
    return monomial(tuple(factor for factor in mono.factors if factor[0] is not atom))


def is_nonnegative(mono: Monomial) -> bool:
    """Whether a product is known to be 0 or more."""
    lows = [_atom_bounds(atom)[0] for atom, _ in mono.factors]
    return all(low is not None and low >= 0 for low in lows)


def _replace(rest: Terms, cofactors: list[tuple[Monomial, int]], value: Num) -> Terms:
    """``rest + sum(c * cofactor * value)``."""
    total = dict(rest)
    for mono, c in cofactors:
        _accumulate(total, mono, c, value)
    return {m: c for m, c in total.items() if c}


def _accumulate(total: dict[Monomial, int], mono: Monomial, scale: int, value: Num) -> None:
    """``total += scale * mono * value``, zeros left in."""
    for m, c in [(ONE, value)] if isinstance(value, int) else value.terms.items():
        product = multiply(mono, m)
        total[product] = total.get(product, 0) + scale * c


def _relax_quotient(rest: Terms, cofactors: list[tuple[Monomial, int]], atom: Atom) -> tuple[Terms, int] | None:
    """Lower ``rest + sum(c * X * (a // b))`` using ``b*(a//b) = a - r``, ``0 <= r <= b - 1``; also the new denominator.

    Needs a divisor ``b = k*m`` of one term, positive, whose monomial ``m`` divides every cofactor ``X``.
    """
    a, b = atom.args
    if not is_positive(b):
        return None
    if isinstance(b, int):
        k, divisor = b, ONE
    elif len(b.terms) == 1:
        ((divisor, k),) = b.terms.items()
    else:
        return None
    total = {mono: c * k for mono, c in rest.items()}
    for mono, c in cofactors:
        left = divide(mono, divisor)
        if left is None:
            return None
        _accumulate(total, left, c, a)
        if c > 0:
            _accumulate(total, left, -c, b)
            _accumulate(total, left, c, 1)
    return {m: c for m, c in total.items() if c}, k


def _expanded_lower(terms: Terms, denominator: int) -> int | None:
    """The bound from writing each atom as its lower bound plus a rest of at least 0."""
    bounds: dict[Atom, tuple[int | None, int | None]] = {}
    for mono in terms:
        for atom, _ in mono.factors:
            if atom not in bounds:
                bounds[atom] = _atom_bounds(atom)
    lows = {atom: low for atom, (low, _) in bounds.items() if low is not None}
    grows = len(lows) == len(bounds) and all(low >= 0 for low in lows.values())
    if grows and all(c > 0 for mono, c in terms.items() if mono is not ONE):  # the common case, without expanding
        least: int = sum(c * prod(lows[atom] ** power for atom, power in mono.factors) for mono, c in terms.items())
        return -(-least // denominator)
    if sum(prod(power + 1 for _, power in mono.factors) for mono in terms) > _MAX_EXPANSION:
        return None
    total: dict[frozenset[tuple[Atom, int]], int] = {}
    constant = 0
    for mono, c in terms.items():
        if any(atom not in lows for atom, _ in mono.factors):
            atom, power = mono.factors[0]
            high = bounds[atom][1]
            if len(mono.factors) > 1 or power > 1 or c > 0 or high is None:
                return None
            constant += c * high
            continue
        partial: dict[frozenset[tuple[Atom, int]], int] = {frozenset(): c}
        for atom, power in mono.factors:
            choices = [(i, comb(power, i) * lows[atom] ** (power - i)) for i in range(power + 1)]
            partial = {
                (key | {(atom, i)} if i else key): value * weight
                for key, value in partial.items()
                for i, weight in choices
                if weight
            }
        for key, value in partial.items():
            total[key] = total.get(key, 0) + value
    constant += total.pop(frozenset(), 0)
    for key, c in total.items():
        if c < 0:
            for atom, power in key:
                high = bounds[atom][1]
                if high is None:
                    return None
                c *= (high - lows[atom]) ** power
            constant += c
    return -(-constant // denominator)
