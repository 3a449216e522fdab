"""Symbolic integers: sizes, counts and costs as exact canonical expressions.

``Num = int | Dim``.  Plain integers stay plain, and every operation whose result is constant returns ``int``.
A :class:`Dim` is interned on its normal form, so equal sizes are the same object.  This module is the public surface;
the parts are ``_monomial`` (atoms), ``_algebra`` (``Dim``), ``_division``, ``_bounds``, ``_cond``, ``_facts``,
``_text``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from archgraph.ir._algebra import Dim, Num, make, sym, terms_of
from archgraph.ir._bounds import is_nonnegative, is_positive, lower_bound, upper_bound
from archgraph.ir._cond import (
    Cond,
    Group,
    Relation,
    SymbolicTruth,
    all_of,
    any_of,
    decider,
    divides,
    eq,
    holds,
    le,
    lt,
    ne,
)
from archgraph.ir._degree import UnknownDegree, degree, rounded
from archgraph.ir._division import ceil_log2, extremum
from archgraph.ir._facts import Facts
from archgraph.ir._monomial import Atom, Monomial, TooLarge, divide, monomial
from archgraph.ir._substitute import evaluate, substitute
from archgraph.ir._text import pretty

__all__ = [
    "Atom",
    "Cond",
    "Dim",
    "Facts",
    "Group",
    "Monomial",
    "Num",
    "Relation",
    "SymbolicTruth",
    "TooLarge",
    "UnknownDegree",
    "all_of",
    "any_of",
    "ceil_log2",
    "ceildiv",
    "decider",
    "degree",
    "divide",
    "divides",
    "dmax",
    "dmin",
    "eq",
    "evaluate",
    "holds",
    "is_nonnegative",
    "le",
    "lower_bound",
    "lt",
    "monomial",
    "monomial_dim",
    "ne",
    "pretty",
    "prod",
    "rounded",
    "solve_linear",
    "substitute",
    "sym",
    "symbols",
    "terms",
    "upper_bound",
]


def ceildiv(a: Num, b: Num) -> Num:
    """``a / b`` rounded up, for a positive ``b``."""
    return (a + b - 1) // b


def dmin(*xs: Num) -> Num:
    """The least of ``xs``.  Raises ValueError without arguments."""
    return extremum("min", xs)


def dmax(*xs: Num) -> Num:
    """The greatest of ``xs``.  Raises ValueError without arguments."""
    return extremum("max", xs)


def prod(xs: Iterable[Num]) -> Num:
    """The product of ``xs``; 1 if there are none."""
    return math.prod(xs)  # multiplies as `*` does, dims too


def symbols(x: Num) -> frozenset[str]:
    """Names of the symbols that ``x`` depends on."""
    return frozenset() if isinstance(x, int) else x.free


def terms(x: Num) -> Mapping[Monomial, int]:
    """The normal form ``{monomial: coefficient}`` of ``x``, read-only."""
    return MappingProxyType(terms_of(x))


def monomial_dim(atom: Atom) -> Num:
    """An atom as a symbolic integer."""
    return make({monomial(((atom, 1),)): 1})


def solve_linear(expr: Num, name: str, value: Num) -> tuple[Num, Cond | bool] | None:
    """Solve ``expr == value`` for the symbol ``name``.

    Returns the solution and the condition under which it is one, or None if ``expr`` is not linear in the symbol or its
    coefficient may vanish.  ``3*L == size`` gives ``size//3`` if ``size % 3 == 0``.  That the solution is a positive
    integer is left to the caller.
    """
    slope: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    symbol = sym(name)
    ((own, _),) = symbol.terms.items()
    for mono, c in terms_of(expr).items():
        if name not in mono.free:
            rest[mono] = c
            continue
        cofactor = divide(mono, own)
        if cofactor is None or name in cofactor.free:
            return None
        slope[cofactor] = c
    a, b = make(slope), value - make(rest)
    if name in symbols(value):
        return None
    if is_positive(-a):
        a, b = -a, -b
    if not is_positive(a):
        return None
    return b // a, divides(a, b)
