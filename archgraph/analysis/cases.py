"""Closed forms by cases: where structure hangs on symbols, a graph for each way in which it comes out.

Cases are found by points: at a point every condition has a truth value, and elaborating with those answers gives the
graph that holds wherever the same conditions come out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from archgraph.analysis.symbolic import close, open_graph
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.dim import Cond, Num, SymbolicTruth, decider, evaluate
from archgraph.ir.graph import Graph
from archgraph.spec.frame import Session
from archgraph.spec.load import Spec

Point = Mapping[str, int]


class Case(NamedTuple):
    """``graph`` where all ``assumed`` hold; without a graph ``error`` tells why nothing is valid there."""

    assumed: tuple[Cond, ...]
    graph: Graph | None
    error: SpecError | None = None

    def holds(self, point: Point) -> bool:
        """Whether this is the case at a point."""
        try:
            return all(cond.evaluate(point) for cond in self.assumed)
        except ZeroDivisionError:
            return False

    def __str__(self) -> str:
        return " and ".join(map(str, self.assumed)) or "always"


class _AtPoint:
    """Answers conditions by their truth at a point, and remembers what it said."""

    def __init__(self, point: Point) -> None:
        self.point = point
        self.said: dict[Cond, bool] = {}

    def __call__(self, cond: Cond) -> bool:
        if not cond.free <= self.point.keys():  # about a loop's own symbol, say
            raise SymbolicTruth(cond)
        found = self.said.get(cond)
        if found is None:
            try:
                found = cond.evaluate(self.point)
            except ZeroDivisionError:
                raise SymbolicTruth(f"{cond} divides by zero") from None
            self.said[cond] = found
        return found

    @property
    def assumed(self) -> tuple[Cond, ...]:
        return tuple([cond if said else cond.negated() for cond, said in self.said.items()])


class Cases:
    """The cases of a spec over open names, as far as points have been asked for.

    Parameters
    ----------
    spec : Spec
    names : iterable of str, or mapping from them to expressions
        What stands open, as for `archgraph.analysis.symbolic.open_graph`; points give the symbols of expressions.
    graph : str, optional
    at : mapping, optional
    change : callable, optional
        Applied to every graph, such as a rewrite; what it asks of sizes splits cases as well.
    """

    def __init__(
        self,
        spec: Spec,
        names: Iterable[str] | Mapping[str, Num],
        graph: str | None = None,
        at: Mapping[str, Any] | None = None,
        change: Callable[[Graph], Graph] | None = None,
    ) -> None:
        self.spec = spec
        self.names = tuple(names)
        self.terms: Mapping[str, Num] = names if isinstance(names, Mapping) else {}
        self.graph = graph
        self.sizes = at
        self.change = change
        self.known: list[Case] = []
        #: The spec with its open settings, once a case has been found.
        self.opened = spec

    def opened_at(self, point: Point) -> tuple[Spec, dict[str, Any]]:
        """The spec and the shapes with numbers in place of symbols."""
        values = {name: evaluate(x, point) for name, x in self.terms.items()} or point
        return close(self.spec, self.names, self.graph, self.sizes, values)

    def at(self, point: Point) -> Case:
        """The case at a point, which gives every symbol its value.

        Raises
        ------
        SpecError
            Where elaboration needs the value of a symbol other than for a condition.
        """
        for case in self.known:
            if case.holds(point):
                return case
        decide = _AtPoint(point)
        token = decider.set(decide)
        try:
            # what is memoised under other assumptions must not be met
            own = Spec(self.spec.file, self.spec.variant, self.spec.settings, Session())
            graph, self.opened = open_graph(own, self.terms or self.names, self.graph, self.sizes)
            if self.change is not None:
                graph = self.change(graph)
            case = Case(decide.assumed, graph)
        except SpecError as error:
            if any(d.code == "expr/undecided" for d in error.diagnostics):
                raise
            case = Case(decide.assumed, None, error)
        finally:
            decider.reset(token)
        self.known.append(case)
        return case
