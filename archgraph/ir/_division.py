"""Exact floor division and extrema of symbolic integers.

``floordiv`` brings ``a // b`` to a sum of multiples pulled out of it and at most one atom, by rules that hold for all
integer values and positive divisors:

1. ``(q*b + r) // b  ->  q + r // b``, by polynomial division whose coefficients leave remainders in ``[0, b)``;
2. ``r // b  ->  0`` when ``0 <= r < b`` is known, ``-1`` when ``-b <= r < 0`` is;
3. ``(g*r + c) // (g*b)  ->  (r + c//g) // b`` for the common factor ``g`` of everything but the constant ``c``;
4. ``(x//m + y) // b  ->  (x + m*y) // (m*b)`` when there is one such ``x//m``, so that ``H//4//2`` is ``H//8``.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from math import gcd
from typing import Literal

from archgraph.ir import _monomial as mono_
from archgraph.ir._algebra import Dim, Num, make, terms_of
from archgraph.ir._bounds import Terms, is_positive, lower_bound, upper_bound
from archgraph.ir._monomial import ONE, Monomial, compound_atom, monomial, multiply
from archgraph.ir._text import text


def floordiv(a: Num, b: Num) -> Num:
    """``a // b`` in canonical form.  Raises ZeroDivisionError if ``b`` is 0."""
    if isinstance(b, int):
        if isinstance(a, int):
            return a // b
        if b < 0:
            a, b = -a, -b
        if b == 0:
            raise ZeroDivisionError(f"({a}) // 0")
    quotient, rest = _divide(terms_of(a), terms_of(b))
    return quotient + _remainder_quotient(rest, b)


def _divide(a: Terms, b: Terms) -> tuple[Num, Num]:
    """Polynomial division ``a = q*b + r`` by the leading term of ``b`` in the graded order of monomials.

    No term of ``r`` is a multiple of the leading monomial of ``b`` with a coefficient outside ``[0, |leading|)``, which
    makes ``r`` unique among all polynomials that differ from ``a`` by a multiple of ``b``.
    """
    if len(b) == 1 and ONE in b:
        k = b[ONE]
        return (
            make({mono: c // k for mono, c in a.items() if c // k}),
            make({mono: c % k for mono, c in a.items() if c % k}),
        )
    lead = min(b, key=_order)
    size = b[lead]
    quotient: dict[Monomial, int] = {}
    rest = dict(a)
    # Highest first: subtracting a multiple of b changes lower terms only, so that each is final when its turn is over.
    pending = [(mono.order, mono) for mono in rest]
    heapify(pending)
    while pending:
        _, mono = heappop(pending)
        factor = mono_.divide(mono, lead)
        if factor is None or mono not in rest:
            continue
        times = rest[mono] // size if size > 0 else -(rest[mono] // -size)
        if not times:
            continue
        quotient[factor] = times
        for other, c in b.items():
            target = multiply(factor, other)
            if target not in rest:
                heappush(pending, (target.order, target))
            left = rest.get(target, 0) - times * c
            if left:
                rest[target] = left
            else:
                rest.pop(target, None)
    return make(quotient), make(rest)


def _order(mono: Monomial) -> tuple[int, tuple[str, ...]]:
    return mono.order


def _remainder_quotient(rest: Num, b: Num) -> Num:
    """``rest // b`` for a remainder of polynomial division by ``b``."""
    if rest == 0:
        return 0
    positive = is_positive(b)
    if positive:
        known = _known_quotient(rest, b)
        if known is not None:
            return known
    elif isinstance(b, Dim) and _is_flipped(b):
        return floordiv(-rest, -b)
    smaller = _cancel(rest, b, positive)
    if smaller is not None:
        return floordiv(*smaller)
    if positive:
        nested = _unnest(rest, b)
        if nested is not None:
            return floordiv(*nested)
    return make({monomial(((compound_atom("floordiv", (rest, b)), 1),)): 1})


def _is_flipped(b: Dim) -> bool:
    """Whether a divisor of unknown sign should be written with the opposite one: ``a // b`` is ``(-a) // (-b)``."""
    if is_positive(-b):
        return True
    return b.terms[min(b.terms, key=_order)] < 0


def _known_quotient(rest: Num, b: Num) -> int | None:
    """The value of ``rest // b`` if bounds decide it."""
    if isinstance(b, int):
        if isinstance(rest, Dim) and all(a.kind == "symbol" for mono in rest.terms for a, _ in mono.factors):
            return None  # coefficients are positive by now and symbols have no upper bound
        low, high = lower_bound(rest), upper_bound(rest)
        return low // b if low is not None and high is not None and low // b == high // b else None
    low = lower_bound(rest)
    if low is not None and low >= 0:
        return 0 if is_positive(b - rest) else None
    high = upper_bound(rest)
    if high is not None and high < 0:
        least = lower_bound(rest + b)
        return -1 if least is not None and least >= 0 else None
    return None


def _cancel(rest: Num, b: Num, positive: bool) -> tuple[Num, Num] | None:
    """``rest`` and ``b`` without their common factors, or None if there are none."""
    above, below = terms_of(rest), terms_of(b)
    shared = mono_.common([*above, *below])
    if shared is not ONE:
        return _strip(above, shared), _strip(below, shared)
    # Only the constant may leave a remainder, and only for positive b: floor(floor(x)/n) = floor(x/n) needs n > 0.
    factor = gcd(*below.values(), *(c for mono, c in above.items() if mono is not ONE or not positive))
    if factor == 1:
        return None
    reduced = {mono: c // factor for mono, c in above.items() if c // factor}
    return make(reduced), make({mono: c // factor for mono, c in below.items()})


def _strip(terms: Terms, shared: Monomial) -> Num:
    stripped = {}
    for mono, c in terms.items():
        factor = mono_.divide(mono, shared)
        assert factor is not None
        stripped[factor] = c
    return make(stripped)


def _unnest(rest: Num, b: Num) -> tuple[Num, Num] | None:
    """Rule 4; None unless exactly one term is a bare floor division by something positive."""
    found: tuple[Monomial, tuple[Num, ...]] | None = None
    for mono, c in terms_of(rest).items():
        if c != 1 or len(mono.factors) != 1 or mono.factors[0][1] != 1:
            continue
        atom = mono.factors[0][0]
        if atom.kind == "floordiv" and is_positive(atom.args[1]):
            if found is not None:
                return None
            found = mono, atom.args
    if found is None:
        return None
    mono, (x, m) = found
    return x + m * (rest - make({mono: 1})), m * b


#: Arguments of an extremum beyond which they are not compared with one another.
_MANY = 48


def extremum(kind: Literal["min", "max"], xs: Iterable[Num]) -> Num:
    """The least or greatest of ``xs``: flattened, without what bounds prove redundant.  Raises ValueError if empty."""
    origin: dict[Num, int] = {}  # which of xs an argument came with: those of one extremum are irredundant already
    for i, x in enumerate(xs):
        for y in _operands(kind, x):
            origin.setdefault(y, i)
    if not origin:
        raise ValueError(f"{kind}() of no values")
    whole = [x for x in origin if isinstance(x, int)]
    if len(whole) > 1:
        best = max(whole) if kind == "max" else min(whole)
        origin = {x: i for x, i in origin.items() if x == best or not isinstance(x, int)}
    kept: list[Num] = list(origin) if len(origin) > _MANY else []
    for x, i in () if kept else origin.items():
        if any(origin[y] != i and _leaves(kind, y, x) for y in kept):
            continue
        kept = [y for y in kept if origin[y] == i or not _leaves(kind, x, y)]
        kept.append(x)
    if len(kept) == 1:
        return kept[0]
    kept.sort(key=lambda x: (isinstance(x, int), text(x)))
    return make({monomial(((compound_atom(kind, tuple(kept)), 1),)): 1})


def ceil_log2(x: Num) -> Num:
    """``log2(x)`` rounded up, 0 below 1; factors of two are taken out: ``2*H`` gives one more than ``H``."""
    if isinstance(x, int):
        return max(x - 1, 0).bit_length()
    twos = 0
    while is_positive(x) and all(c % 2 == 0 for c in x.terms.values()):
        twos += 1
        x = make({mono: c // 2 for mono, c in x.terms.items()})
        if isinstance(x, int):
            return twos + ceil_log2(x)
    return make({monomial(((compound_atom("log2", (x,)), 1),)): 1}) + twos


def _operands(kind: Literal["min", "max"], x: Num) -> tuple[Num, ...]:
    if isinstance(x, Dim) and len(x.terms) == 1:
        ((mono, c),) = x.terms.items()
        atom, power = mono.factors[0]
        if c == 1 and power == 1 and len(mono.factors) == 1 and atom.kind == kind:
            return atom.args
    return (x,)


def _leaves(kind: Literal["min", "max"], x: Num, y: Num) -> bool:
    """Whether ``y`` is redundant beside ``x``."""
    gap = lower_bound(y - x if kind == "min" else x - y)
    return gap is not None and gap >= 0
