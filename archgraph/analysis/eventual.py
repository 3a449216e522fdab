"""How a closed form in one symbol behaves as that grows: its degree and which argument of a minimum counts, exactly.

A cost with floors is a polynomial for every remainder by the common multiple of its divisors (see
`archgraph.analysis.crossing`), so its degree is the greatest of theirs: no rounding is left out.
"""

from __future__ import annotations

from fractions import Fraction

from archgraph.analysis.crossing import MAX_MODULUS, Unsolvable, modulus_of, polynomial
from archgraph.ir.dim import Atom, Num, UnknownDegree, degree, monomial_dim, substitute, sym, symbols, terms

__all__ = ["eventual", "exact_degree"]


def exact_degree(x: Num, name: str) -> int:
    """The degree of a closed form in a symbol, where all others are fixed.

    Raises
    ------
    Unsolvable
        If the symbol stands in a divisor or a logarithm, floors repeat after too many steps, or other symbols decide.
    """
    x = eventual(x, name)
    try:
        return degree(x, name)  # nothing but floors is left, so this is exact where it does not refuse
    except UnknownDegree:
        return max(len(p) for p in _polynomials(x, name)) - 1


def eventual(x: Num, name: str) -> Num:
    """``x`` with the argument in place of each minimum and maximum that counts once ``name`` is large."""
    if isinstance(x, int) or name not in x.free:
        return x
    total: Num = 0
    for mono, c in terms(x).items():
        term: Num = c
        for atom, power in mono.factors:
            term = term * _atom(atom, name) ** power
        total = total + term
    return total


def _atom(atom: Atom, name: str) -> Num:
    if atom.kind == "symbol" or name not in atom.free:
        return monomial_dim(atom)
    if atom.kind == "log2":
        raise Unsolvable(f"{atom.name} is no polynomial")
    args = [eventual(arg, name) for arg in atom.args]
    if atom.kind == "floordiv":
        return args[0] // args[1]
    best = args[0]
    for other in args[1:]:
        sign = _sign(best - other, name)
        if (sign > 0) == (atom.kind == "min"):
            best = other
    return best


def _sign(x: Num, name: str) -> int:
    """The sign of ``x`` for all large ``name``; for a difference that is 0 or varies by remainder, whichever."""
    if isinstance(x, int):
        return (x > 0) - (x < 0)
    found = {(p[-1] > 0) - (p[-1] < 0) for p in _polynomials(x, name) if p} - {0}
    if len(found) > 1:
        raise Unsolvable(f"the sign of {x} varies with the remainder of {name}")
    return found.pop() if found else 0


def _polynomials(x: Num, name: str) -> list[list[Fraction]]:
    if symbols(x) - {name}:
        raise Unsolvable(f"it depends on {', '.join(sorted(symbols(x) - {name}))} as well")
    modulus = modulus_of(x, name)
    if modulus > MAX_MODULUS:
        raise Unsolvable(f"floors repeat after {modulus} steps, more than {MAX_MODULUS}")
    found = []
    for r in range(modulus):
        p = polynomial(substitute(x, {name: modulus * sym(name) + r}), name)
        while p and p[-1] == 0:
            p.pop()
        found.append(p)
    return found
