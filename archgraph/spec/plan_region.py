"""A body that is a graph of its own, called where it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archgraph.ir.diagnostics import Span
from archgraph.ir.graph import Graph
from archgraph.ir.real import Late
from archgraph.spec.block_call import add_call
from archgraph.spec.frame import FAULTS, Frame
from archgraph.spec.memo import Result, recalled, remember, watched
from archgraph.spec.plan import GraphPlan, NodePlan
from archgraph.spec.plan_refs import RefPlan
from archgraph.spec.values import (
    UNKNOWN,
    Record,
    Ref,
    Turns,
    flatten,
    freeze,
    holds_unknown,
    is_value,
    rebuild,
    template,
)


class RegionPlan(NodePlan):
    """A body that is a graph of its own: it sees outward and has a path segment."""

    __slots__ = ("body", "carry")

    def __init__(self, at: Callable[[], Span | None], body: GraphPlan, carry: dict[str, RefPlan] | None = None) -> None:
        super().__init__(at)
        self.body = body
        self.carry = carry
        self.refs = body.refs

    def run(self, f: Frame, it: Any, name: str) -> Any:
        """Elaborate the region on what it reads of its surroundings, and call it."""
        host: list[tuple[str, Any]] = []
        tensors: list[tuple[str, Any]] = []
        for n in sorted(self.refs):
            if n not in f.env:
                continue
            v = f.env[n]
            (tensors if is_value(v) else host).append((n, v))
        if any(holds_unknown(v) for _, v in tensors) or (it is not None and holds_unknown(it)):
            return UNKNOWN
        late: list[tuple[str, Any]] = []
        key: list[Any] = [self]
        env: dict[str, Any] = {}
        for n, v in host:
            if isinstance(v, Late) or getattr(v, "__archgraph_late__", False) or _is_late(v):
                late.append((n, v))
                env[n] = Late(n)
                key.append((n, "late"))
            else:
                env[n] = v
                key.append((n, freeze(v)))
        refs: list[Ref] = []
        if isinstance(it, Turns):
            it = it.last
        if it is not None:
            key.append(("it", template(it), tuple(r.type.key for _, r in flatten(it))))
            refs += [r for _, r in flatten(it)]
        for n, v in tensors:
            key.append((n, template(v), tuple(r.type.key for _, r in flatten(v))))
            refs += [r for _, r in flatten(v)]
        memo_key = tuple(key)
        session = f.session
        result = recalled(session, memo_key)
        if result is None:
            faults = len(session.faults)
            inner = Frame(session, f.block, env, f.trace)
            inner.span = f.span
            inner.outer = f
            inner.path = f"{f.path}{name}."
            first: Any = None
            if it is not None:
                first = graph_inputs(inner, "it", it)
            for n, v in tensors:
                env[n] = graph_inputs(inner, n, v)
            with watched(session) as reads:
                last = self.body.run(inner, first)
                value = self._outputs(inner, last)
            if holds_unknown(value):
                result = Result(None, None)
            else:
                outputs: list[tuple[str, tuple[int, int]]] = []
                for suffix, ref in flatten(value):
                    outputs.append((suffix.lstrip(".") or "out", ref.ref))
                graph = inner.finish(tuple(outputs), (), f"{f.block.name}.{_plain(name)}")
                graph, kept = read_inputs(graph)
                result = Result(graph, template(value), kept)
            if len(session.faults) == faults:
                remember(session, memo_key, result, reads)
        if result.graph is None:
            return UNKNOWN
        if result.kept is not None:
            refs = [refs[k] for k in result.kept]
        return add_call(f, name, result, refs, tuple(late), self.flags)

    def _outputs(self, inner: Frame, last: Any) -> Any:
        if self.body.outputs is not None:
            value = self.body.output_value(inner)
            return next(iter(value.values())) if len(value) == 1 and self.carry is None else value
        if self.carry is not None:
            value = Record()
            for n, ref in self.carry.items():
                try:
                    value[n] = ref.get(inner, None, n)
                except FAULTS as error:
                    value[n] = inner.caught(error, ref.span)
            return value
        if isinstance(last, Turns):
            return last.last
        return last


def _plain(name: str) -> str:
    return "turn" if name.isdigit() else name


def _is_late(v: Any) -> bool:
    from archgraph.ir.real import Real, free

    return isinstance(v, Real) and bool(free(v))


def graph_inputs(inner: Frame, name: str, value: Any) -> Any:
    """Graph inputs for a value of the surroundings, grouped alike."""
    inner.taken.add(name)
    if type(value) is Ref:
        return inner.add_input(name, value.type)
    refs = [inner.add_input(name + suffix, r.type) for suffix, r in flatten(value)]
    return rebuild(template(value), iter(refs))


def read_inputs(graph: Graph) -> tuple[Graph, tuple[int, ...] | None]:
    """The graph without inputs that nothing reads, and the numbers of those kept (None: all)."""
    used = {r[1] for node in graph.nodes for r in node.inputs if r is not None and r[0] < 0}
    used |= {r[1] for node in graph.nodes for _, r in node.weights if r is not None and r[0] < 0}
    used |= {r[1] for _, r in graph.outputs if r[0] < 0}
    if len(used) == len(graph.inputs):
        return graph, None
    kept = tuple(k for k in range(len(graph.inputs)) if k in used)
    number = {k: n for n, k in enumerate(kept)}

    def move(r: Any) -> Any:
        return r if r is None or r[0] >= 0 else (-1, number[r[1]])

    nodes = tuple(
        n.replace(inputs=tuple(map(move, n.inputs)), weights=tuple((w, move(r)) for w, r in n.weights))
        if any(r is not None and r[0] < 0 for r in (*n.inputs, *(r for _, r in n.weights)))
        else n
        for n in graph.nodes
    )
    return (
        graph.replace(
            inputs=tuple(graph.inputs[k] for k in kept),
            nodes=nodes,
            outputs=tuple((o, move(r)) for o, r in graph.outputs),
        ),
        kept,
    )
