"""The law of a cost: its closed form in one size, its degree and its order of growth, ready for assertions.

>>> archgraph.law("vit", "macs", "N", graph="block").degree
2
>>> archgraph.law("l2vit", "macs", {"H": "32 * t", "W": "32 * t"}).degree  # in the side of a square image
2
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from archgraph.analysis.cases import Case, Cases
from archgraph.analysis.conditions import guards
from archgraph.analysis.crossing import Unsolvable
from archgraph.analysis.eventual import exact_degree
from archgraph.analysis.growth import Growth, growth
from archgraph.analysis.symbolic import base_point, open_names
from archgraph.ir.diagnostics import Diagnostic, SpecError, did_you_mean
from archgraph.ir.dim import Num, dmax, evaluate, pretty, sym, symbols
from archgraph.ir.graph import Graph
from archgraph.report.compare import COSTS, cost_forms
from archgraph.spec.expr import EvalError, ExprError, UnknownName, compile, parse
from archgraph.spec.load import Spec, load

__all__ = ["CostLaw", "law", "rewriting"]

#: Where the structure is taken from if nothing else is said and a symbol is none of the spec's own.
_AROUND: Final = (64, 128, 256, 32, 16, 512, 1024, 8, 4, 2, 1, 60, 56, 49, 12)


@dataclass(frozen=True)
class CostLaw:
    """A cost as a function of one symbol.

    Attributes
    ----------
    label, cost, name : str
        Of what, which of `archgraph.report.compare.COSTS`, and the symbol.
    forms : tuple of int or Dim
        The closed form, or several of which the greatest counts.
    case : Case
        Where the structure is this one.
    around : int
        The size whose structure it is.
    """

    label: str
    cost: str
    name: str
    forms: tuple[Num, ...]
    case: Case = field(repr=False)
    around: int

    @property
    def form(self) -> Num:
        """One closed form."""
        return dmax(*self.forms)

    @property
    def degree(self) -> int:
        """The degree in the symbol: 2 for softmax attention in the number of tokens, 1 for linear attention.

        Exact where floors repeat within bounds; else an upper bound, and `exact` is False.
        """
        return self._degree[0]

    @property
    def exact(self) -> bool:
        """Whether `degree` is proven to be no less."""
        return self._degree[1]

    @property
    def _degree(self) -> tuple[int, bool]:
        try:
            return max(exact_degree(x, self.name) for x in self.forms), True
        except (Unsolvable, ValueError):
            return self.growth.degree(self.name), False

    @property
    def growth(self) -> Growth:
        """The order of growth."""
        return growth(self.forms, [self.name])

    @property
    def order(self) -> str:
        """The order of growth, as ``O(N²)``."""
        return str(self.growth)

    def __call__(self, n: int) -> int | None:
        """The cost at a size; None where it is not valid, or another structure holds."""
        at = {self.name: n}
        if not self.case.holds(at) or self.case.graph is None:
            return None
        try:
            if not all(guard.cond.evaluate(at) for guard in guards(self.case.graph)):
                return None
        except ZeroDivisionError:
            return None
        return max(evaluate(x, at) for x in self.forms)

    def __str__(self) -> str:
        forms = ", ".join(map(pretty, self.forms))
        return f"{self.label}: {self.cost} = {forms if len(self.forms) == 1 else f'max({forms})'}, {self.order}"


def rewriting(rules: Sequence[Any]) -> Any:
    """A change of graphs by rewrite rules in order: names, or mappings with ``rule``, ``set`` and ``where``."""
    if not rules:
        return None

    def change(graph: Graph) -> Graph:
        from archgraph.rewrite.api import rewrite

        for each in rules:
            entry: Mapping[str, Any] = {"rule": each} if isinstance(each, (str, os.PathLike)) else each
            graph = rewrite(graph, entry["rule"], settings=entry.get("set"), where=entry.get("where")).after
        return graph

    return change


def law(
    spec: Spec | str | os.PathLike[str],
    cost: str,
    over: str | Mapping[str, Any],
    *,
    variant: str | None = None,
    graph: str | None = None,
    at: Mapping[str, Any] | None = None,
    rewrite: Sequence[Any] = (),
    around: int | None = None,
    **settings: Any,
) -> CostLaw:
    """The law of a cost in one symbol.

    Parameters
    ----------
    spec : Spec, path or shipped name
    cost : str
        One of `archgraph.report.compare.COSTS`: macs, flops, params, expected_macs, activation_bytes …
    over : str or mapping
        What grows: a size or a whole-number parameter; or several that grow together, each an expression in one symbol,
        such as ``{"H": "t", "W": "t"}`` for the side of a square image.
    variant : str, optional
    graph : str, optional
        Which graph, or which block.
    at : mapping, optional
        Input name → shape.
    rewrite : sequence, optional
        Rules that are applied first: names, or mappings with ``rule``, ``set`` and ``where``.
    around : int, optional
        The value of the symbol whose structure counts where structure hangs on it; the spec's own if left out.
    **settings
        Hyperparameters to set.

    Raises
    ------
    SpecError
        With every fault found, for unknown names, and where nothing is valid at ``around``.
    """
    if cost not in COSTS:
        near = did_you_mean(cost, COSTS)
        raise SpecError(
            Diagnostic(
                "law/cost",
                None,
                f"there is no cost `{cost}`",
                expected=", ".join(COSTS),
                hint=f"did you mean `{near}`?" if near else None,
            )
        )
    if not isinstance(spec, Spec):
        spec = load(spec, variant, **settings)
    elif settings:
        spec = spec.with_settings(**settings)
    names, symbol = _opened(spec, graph, over)
    rules = [str(each) if isinstance(each, (str, os.PathLike)) else str(each["rule"]) for each in rewrite]
    label = "+".join((spec.label, *rules))
    cases = Cases(spec, names, graph, at, rewriting(rewrite))
    if around is not None:
        tried: tuple[int, ...] = (around,)
    elif isinstance(names, Mapping):
        tried = _AROUND
    else:
        tried = tuple(base_point(spec, names, graph, at).values())
    case = None
    for n in tried:
        case = cases.at({symbol: n})
        if case.graph is not None and _valid(case.graph, {symbol: n}):
            return CostLaw(label, cost, symbol, cost_forms(case.graph, cost), case, n)
    assert case is not None
    if case.error is not None:
        raise case.error
    shown = ", ".join(map(str, tried))
    raise SpecError(
        Diagnostic("law/around", None, f"{label} does not take {symbol} = {shown}", hint="`around` says where to look")
    )


def _valid(graph: Graph, point: Mapping[str, int]) -> bool:
    try:
        return all(guard.cond.evaluate(point) for guard in guards(graph))
    except ZeroDivisionError:
        return False


def _opened(
    spec: Spec, graph: str | None, over: str | Mapping[str, Any]
) -> tuple[tuple[str, ...] | dict[str, Num], str]:
    """The names that stand open, with their expressions where they are not symbols of their own; and the symbol."""
    if isinstance(over, str):
        kind = open_names(spec, graph).get(over)
        if kind in ("list", "shares"):
            raise SpecError(
                Diagnostic("law/over", None, f"`{over}` is a list", hint=f"one entry (`{over}.0`), or {{{over}: n}}")
            )
        return (over,), over
    known = open_names(spec, graph)
    found: dict[str, Num] = {}
    for name, value in over.items():
        x = _expression(name, value)
        for each in (
            [f"{name}.{k}" for k in range(len(spec.params()[name]))]
            if known.get(name) in ("list", "shares")
            else [name]
        ):
            found[each] = x
    free = sorted({s for x in found.values() for s in symbols(x)})
    if len(free) != 1:
        told = ", ".join(free) or "none"
        raise SpecError(Diagnostic("law/over", None, "what grows hangs on one symbol", found=told))
    return found, free[0]


def _expression(name: str, value: Any) -> Num:
    if not isinstance(value, str):
        return value  # type: ignore[no-any-return]  # a number or dim already

    class Symbols(dict[str, Any]):
        def __missing__(self, key: str) -> Num:
            return sym(key)

    try:
        found = compile(parse(value))(Symbols())
    except (ExprError, EvalError, UnknownName) as error:
        raise SpecError(Diagnostic("law/over", None, f"`{name}: {value}`: {error}")) from None
    if isinstance(found, bool) or not isinstance(found, (int, type(sym("t")))):
        raise SpecError(Diagnostic("law/over", None, f"`{name}: {value}` is no whole number"))
    return found
