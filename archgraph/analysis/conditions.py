"""Conditions of a graph as few as will do: one normal form for what says the same, only the strongest of bounds."""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd
from typing import NamedTuple

from archgraph.ir.dim import Cond, Group, Num, lower_bound, terms
from archgraph.ir.graph import Graph, Guard
from archgraph.spec.requirements import parts


class Conditions(NamedTuple):
    """What must hold: each of ``least`` is at least the number beside it, each of ``zero`` is 0, none of ``nonzero``
    is 0; and of each of ``either`` at least one part."""

    least: tuple[tuple[Num, int], ...]
    zero: tuple[Num, ...]
    nonzero: tuple[Num, ...]
    either: tuple[Group, ...] = ()


def guards(graph: Graph) -> list[Guard]:
    """Conditions on symbols of a graph and all below it, each once."""
    return list(dict.fromkeys(guard for g in graph.graphs() for guard in g.guards))


def conditions(conds: Iterable[Cond]) -> Conditions:
    """The conjunction of conditions, without repetitions and without what another one implies at sight."""
    least: dict[Num, int] = {}
    zero: dict[Num, None] = {}
    nonzero: dict[Num, None] = {}
    either: dict[Group, None] = {}
    for cond in (part for whole in conds for part in parts(whole)):
        if isinstance(cond, Group):
            either[cond] = None
            continue
        a, b = cond.args
        if cond.kind in ("le", "lt"):
            x, bound = _least(b - a, 0 if cond.kind == "le" else 1)
            known = lower_bound(x)
            if known is None or known < bound:
                least[x] = max(bound, least.get(x, bound))
        elif cond.kind == "ne":
            nonzero[_primitive(a - b)] = None
        elif cond.kind == "eq":
            zero[_primitive(a - b)] = None
        else:
            zero[_primitive(b % a)] = None
            if not _positive(a):
                nonzero[a] = None
    return Conditions(tuple(least.items()), tuple(zero), tuple(nonzero), tuple(either))


def _positive(x: Num) -> bool:
    low = lower_bound(x)
    return low is not None and low >= 1


def _least(x: Num, bound: int) -> tuple[Num, int]:
    """``x >= bound`` with the constant on the right; of a quotient by a number, the dividend."""
    while not isinstance(x, int):
        found = dict(terms(x))
        constant = next((c for mono, c in found.items() if not mono.factors), 0)
        x, bound = x - constant, bound - constant
        content = gcd(*terms(x).values())
        if content > 1:
            x, bound = x // content, -(-bound // content)
        ((mono, c), *more) = terms(x).items()
        atom, power = mono.factors[0]
        if more or c != 1 or power != 1 or len(mono.factors) > 1 or atom.kind != "floordiv":
            break
        dividend, divisor = atom.args
        if not isinstance(divisor, int):
            break
        x, bound = dividend, bound * divisor  # a//k >= n exactly if a >= n*k
    return x, bound


def _primitive(x: Num) -> Num:
    """``x`` over the common factor of its coefficients, with the sign that the first term by name has plus."""
    if isinstance(x, int):
        return x
    found = terms(x)
    content = gcd(*found.values())
    first = min(found, key=lambda mono: mono.order)
    return x // (content if found[first] > 0 else -content)
