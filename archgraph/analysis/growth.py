"""How a closed form grows: its dominant terms, as in ``O(depth·N²·dim)``, and degrees in single symbols."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from archgraph.ir.dim import Atom, Num, degree, terms

Exponents = tuple[tuple[str, int], ...]


class Growth(NamedTuple):
    """Products of powers of symbols of which none is dominated by another; a power below 0 stands in a divisor."""

    terms: tuple[Exponents, ...]

    def degree(self, name: str) -> int:
        """The greatest power of a symbol."""
        return max((dict(term).get(name, 0) for term in self.terms), default=0)

    def __str__(self) -> str:
        return f"O({' + '.join(map(_product, self.terms)) or '1'})"


def growth(x: Num | tuple[Num, ...], names: Iterable[str] | None = None) -> Growth:
    """The order of growth of a positive closed form, or of the greatest of several, in all symbols or the named ones.

    Floors count as quotients, a maximum as the sum of its arguments, a minimum as its slowest argument; constant
    factors fall away. Where leading terms cancel but for roundings the order is an upper bound.
    """
    found: set[Exponents] = set()
    for part in x if isinstance(x, tuple) else (x,):
        found |= _orders(part)
    if names is not None:
        kept = frozenset(names)
        found = {tuple((n, p) for n, p in term if n in kept) for term in found}
    best = [t for t in found if not any(t != other and _dominates(other, t) for other in found)]
    return Growth(tuple(sorted(best, key=lambda t: (-sum(p for _, p in t), _product(t)))))


def leading_degree(x: Num | tuple[Num, ...], name: str) -> int:
    """The degree in one symbol: 2 for softmax attention in the number of tokens, 1 for linear attention.

    Exact where `archgraph.ir.dim.degree` can tell, which refuses to guess.
    """
    return max(degree(part, name) for part in x) if isinstance(x, tuple) else degree(x, name)


def _orders(x: Num) -> set[Exponents]:
    found: set[Exponents] = set()
    for mono in terms(x):
        products: set[Exponents] = {()}
        for atom, power in mono.factors:
            own = _atom(atom)
            for _ in range(power):
                products = {_times(a, b) for a in products for b in own}
        found |= products
    return {t for t in found if not any(t != other and _dominates(other, t) for other in found)}


def _atom(atom: Atom) -> set[Exponents]:
    if atom.kind == "symbol":
        return {((atom.name, 1),)}
    if atom.kind == "log2":
        return {((f"log {atom.args[0]}", 1),)}
    if atom.kind == "floordiv":
        below = _orders(atom.args[1])
        if len(below) != 1:
            return _orders(atom.args[0])
        divisor = tuple((n, -p) for n, p in next(iter(below)))
        return {_times(term, divisor) for term in _orders(atom.args[0])}
    parts = [_orders(arg) for arg in atom.args]
    if atom.kind == "max":
        return set().union(*parts)
    return min(parts, key=lambda part: max((sum(p for _, p in term) for term in part), default=0))


def _times(a: Exponents, b: Exponents) -> Exponents:
    powers = dict(a)
    for name, p in b:
        powers[name] = powers.get(name, 0) + p
    return tuple(sorted((n, p) for n, p in powers.items() if p))


def _dominates(a: Exponents, b: Exponents) -> bool:
    """Whether ``a`` is at least ``b`` for all symbols of 1 and more."""
    powers = dict(a)
    for name, p in b:
        powers[name] = powers.get(name, 0) - p
    return all(p >= 0 for p in powers.values())


_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def _product(term: Exponents) -> str:
    above = [_power(n, p) for n, p in sorted(term, key=lambda item: (-item[1], item[0])) if p > 0]
    below = [_power(n, -p) for n, p in term if p < 0]
    return "·".join(above or ["1"]) + ("/" + "/".join(below) if below else "")


def _power(name: str, p: int) -> str:
    return name if p == 1 else name + str(p).translate(_SUPERSCRIPTS)
