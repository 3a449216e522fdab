"""Replacing symbols of a symbolic integer by integers or other symbolic integers."""

from __future__ import annotations

from collections.abc import Mapping

from archgraph.ir._algebra import Num, make, sym
from archgraph.ir._division import ceil_log2, extremum
from archgraph.ir._monomial import Atom, Monomial


def evaluate(x: Num, env: Mapping[str, int]) -> int:
    """The value of ``x`` for given symbols.  Raises KeyError for a missing one, ZeroDivisionError as Python does."""
    if isinstance(x, int):
        return x
    total = 0
    for mono, c in x.terms.items():
        for atom, power in mono.factors:
            value = env[atom.name] if atom.kind == "symbol" else _evaluate_atom(atom, env)
            c *= value if power == 1 else value**power
        total += c
    return total


def _evaluate_atom(atom: Atom, env: Mapping[str, int]) -> int:
    args = [evaluate(arg, env) for arg in atom.args]
    if atom.kind == "floordiv":
        return args[0] // args[1]
    if atom.kind == "log2":
        return max(args[0] - 1, 0).bit_length()
    return min(args) if atom.kind == "min" else max(args)


def substitute(x: Num, env: Mapping[str, Num]) -> Num:
    """``x`` with the symbols named in ``env`` replaced, all at once; canonical, so an ``int`` if nothing is left."""
    if isinstance(x, int) or x.free.isdisjoint(env):
        return x
    kept: dict[Monomial, int] = {}
    total: Num = 0
    for mono, c in x.terms.items():
        if mono.free.isdisjoint(env):
            kept[mono] = c
            continue
        term: Num = c
        for atom, power in mono.factors:
            term = term * _substitute_atom(atom, env) ** power
        total = total + term
    return total + make(kept)


def _substitute_atom(atom: Atom, env: Mapping[str, Num]) -> Num:
    if atom.kind == "symbol":
        return env[atom.name] if atom.name in env else sym(atom.name)
    args = [substitute(arg, env) for arg in atom.args]
    if atom.kind == "floordiv":
        return args[0] // args[1]
    if atom.kind == "log2":
        return ceil_log2(args[0])
    return extremum(atom.kind, args)
