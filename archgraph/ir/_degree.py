"""Growth of a symbolic integer in one of its symbols."""

from __future__ import annotations

from fractions import Fraction

from archgraph.ir._algebra import Num, terms_of
from archgraph.ir._monomial import ONE, Atom, Monomial, monomial, multiply

_Smooth = dict[Monomial, Fraction]


class UnknownDegree(ValueError):
    """The growth of an expression in a symbol does not follow from its form."""


def degree(x: Num, name: str) -> int:
    """The degree of ``x`` in the symbol ``name`` as that grows; 0 for what does not contain it.

    It is 1 for ``x//k``, and the greatest degree of the arguments for ``min`` and ``max``: for ``min`` an upper bound.
    Logarithms count as constants.
    Raises UnknownDegree where leading terms may cancel (``x - k*(x//k)``) or the symbol stands in a divisor.
    """
    if isinstance(x, int) or name not in x.free:
        return 0
    smooth, error = _smooth(x, name)
    leading: dict[int, _Smooth] = {}
    for mono, c in smooth.items():
        leading.setdefault(_monomial_degree(mono, name), {})[mono] = c
    top = max(leading, default=-1)
    if top <= error:
        raise UnknownDegree(f"the degree of {x} in {name} hangs on roundings")
    opaque = any(atom.kind != "symbol" and name in atom.free for mono in leading[top] for atom, _ in mono.factors)
    if opaque and len({c > 0 for c in leading[top].values()}) > 1:
        raise UnknownDegree(f"the leading terms of {x} in {name} may cancel")
    return top


def rounded(x: Num) -> bool:
    """Whether ``x`` is 0 but for roundings: ``k*(n//k) - n`` is, ``n//2 - n`` is not."""
    if isinstance(x, int):
        return x == 0
    for name in x.free:
        try:
            if degree(x, name) > 0:
                return False
        except UnknownDegree:
            continue
    return True


def _monomial_degree(mono: Monomial, name: str) -> int:
    return sum(power * _atom_degree(atom, name) for atom, power in mono.factors)


def _atom_degree(atom: Atom, name: str) -> int:
    if name not in atom.free:
        return 0
    if atom.kind == "symbol":
        return 1
    if atom.kind == "log2":
        return 0
    if atom.kind == "floordiv":
        a, b = atom.args
        if not isinstance(b, int) and name in b.free:
            raise UnknownDegree(f"{name} stands in the divisor of {atom.name}")
        return degree(a, name)
    return max(degree(arg, name) for arg in atom.args)


def _smooth(x: Num, name: str) -> tuple[_Smooth, int]:
    """``x`` with ``a//k`` read as the fraction ``a/k`` where ``name`` occurs; also the degree of the error (or -1)."""
    total: _Smooth = {}
    error = -1
    for mono, c in terms_of(x).items():
        term: _Smooth = {ONE: Fraction(c)}
        whole = _monomial_degree(mono, name)
        for atom, power in mono.factors:
            if atom.kind == "floordiv" and name in atom.free and isinstance(atom.args[1], int):
                inner, inner_error = _smooth(atom.args[0], name)
                factor = {m: f / atom.args[1] for m, f in inner.items()}
                error = max(error, whole - _atom_degree(atom, name) + max(inner_error, 0))
            else:
                factor = {monomial(((atom, 1),)): Fraction(1)}
            for _ in range(power):
                term = _times(term, factor)
        for m, f in term.items():
            total[m] = total.get(m, Fraction(0)) + f
    return {m: f for m, f in total.items() if f}, error


def _times(a: _Smooth, b: _Smooth) -> _Smooth:
    total: _Smooth = {}
    for m, f in a.items():
        for n, g in b.items():
            product = multiply(m, n)
            total[product] = total.get(product, Fraction(0)) + f * g
    return total
