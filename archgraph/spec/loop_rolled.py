"""Chains whose turns are alike are one node with a count."""

from __future__ import annotations

from typing import Any, Final

from archgraph.ir.dim import Dim, Num, SymbolicTruth, sym
from archgraph.ir.graph import Node
from archgraph.ir.real import Late, NeedsValue
from archgraph.ir.real import late as late_value
from archgraph.ops.base import OpError
from archgraph.spec.frame import Frame
from archgraph.spec.loop_frame import Column, LoopFrame
from archgraph.spec.plan_region import read_inputs
from archgraph.spec.values import (
    UNKNOWN,
    Ref,
    flatten,
    freeze,
    holds_unknown,
    is_value,
    rebuild,
    template,
)

_TURN: Final = "turn"


class RolledLoop(LoopFrame):
    """A chain whose turns are alike: one node for all of them, or for those of each kind."""

    __slots__ = ()

    def _rolled(self, f: Frame, start: Any, name: str, n: Num, columns: list[Column]) -> Any:
        """One node for all turns, if every turn is the same graph; None if not."""
        binding: dict[str, Any] = {key: late_value(_TURN) for key, _, _ in self.loop_names}
        for key, column in columns:
            if column == range(len(column)) or list(column) == list(range(len(column))):
                continue
            if all(freeze(v) == freeze(column[0]) for v in column) and not is_value(column[0]):
                binding[key] = column[0]
            else:
                return None
        made = self._surroundings(f, start, name)
        if made is None:
            return UNKNOWN
        inner, refs, first = made
        inner.env.update(binding)
        session = f.session
        session.trials += 1
        try:
            value = self.body.evaluate(inner, first, "0")
        except (NeedsValue, SymbolicTruth):
            return None
        finally:
            session.trials -= 1
        if isinstance(n, Dim) and value is not UNKNOWN and (len(inner.nodes) != 1 or inner.nodes[0].op is not None):
            return self._as_graph(f, inner, refs, value, name, n)
        if value is UNKNOWN or len(inner.nodes) != 1 or inner.nodes[0].op is not None or inner.nodes[0].share:
            return None
        node = inner.nodes[0]
        if not isinstance(node.count, int) or node.count != 1 or any(r is None or r[0] >= 0 for r in node.inputs):
            return None
        outs = [("", value)] if type(value) is Ref else list(flatten(value))
        if not self._carries(node, inner, outs):
            return None
        inputs = tuple([refs[r[1]].ref for r in node.inputs if r is not None])
        flags = node.flags | self.flags
        index = f.append(
            Node(f.unique(name), None, inputs, node.types, node.callees, n, None, node.late, (), flags, f.span)
        )
        if type(value) is Ref:
            return Ref((index, 0), node.types[0])
        return rebuild(template(value), iter(f.refs(index)))

    def _as_graph(self, f: Frame, inner: Frame, refs: list[Ref], value: Any, name: str, n: Num) -> Any:
        """A symbolic number of turns of ops: their graph, called so often; None if turns don't take what they leave."""
        outs = list(flatten(value))
        if [t.key for _, t in inner.inputs[: len(outs)]] != [r.type.key for _, r in outs]:
            return None
        outputs = tuple((s.lstrip(".") or "out", r.ref) for s, r in outs)
        graph = inner.finish(outputs, (), f"{f.block.name}.{name}")
        late = tuple((n, Late(n)) for n in graph.late)
        index = f.append(
            Node(
                f.unique(name), None, tuple(r.ref for r in refs), graph.output_types, (graph,), n, None, late, (),
                self.flags, f.span,
            )
        )  # fmt: skip
        return rebuild(template(value), iter(f.refs(index)))

    def _periodic(self, f: Frame, start: Any, name: str, n: Num) -> Any:
        """A symbolic number of turns that are alike but for the first, or by turns (shifted windows); None if not.

        A graph of its own, for analysis: the first turn where it differs, then the turns of each kind as one node,
        those of even number before the odd ones. ``n`` is at least 1, so that the later nodes may run no turn at all.
        """
        if self.indexed or self.shared or self.label is not None or self.kind != "for":
            return None
        f.session.trials += 1
        try:
            for head, period in ((1, 1), (0, 2), (1, 2)):
                made = self._surroundings(f, start, name)
                if made is None:
                    return UNKNOWN
                inner, refs, first = made
                try:
                    value = self._pieces(inner, first, n, head, period)
                except (NeedsValue, SymbolicTruth, OpError):
                    continue
                if value is None:
                    continue
                outputs = tuple((s.lstrip(".") or "out", r.ref) for s, r in flatten(value))
                graph, kept = read_inputs(inner.finish(outputs, (), f"{f.block.name}.{name}"))
                read = [r.ref for r in (refs if kept is None else [refs[k] for k in kept])]
                late = tuple((n, Late(n)) for n in graph.late)
                own = f.unique(name)
                index = f.add(own, None, tuple(read), graph.output_types, callees=(graph,), late=late, flags=self.flags)
                return rebuild(template(value), iter(f.refs(index)))
        finally:
            f.session.trials -= 1
        return None

    def _pieces(self, inner: Frame, value: Any, n: Num, head: int, period: int) -> Any:
        """The value behind all turns; None where turns of one kind don't take what they leave."""
        names = [key for key, _, _ in self.loop_names]
        turns: list[tuple[Any, Num]] = [(0, 1)] * head
        turns += [(head + k + period * (sym(_TURN) - 1), (n - head - k + period - 1) // period) for k in range(period)]
        for number, (turn, count) in enumerate(turns):
            inner.env.update((key, turn) for key in names)
            before, nodes = [r.type.key for _, r in flatten(value)], len(inner.nodes)
            value = self.body.evaluate(inner, value, str(number))
            if holds_unknown(value) or len(inner.nodes) != nodes + 1 or inner.nodes[-1].op is not None:
                return None
            if count == 1:
                continue
            node = inner.nodes[-1]
            graphs = list(node.callees[0].graphs())
            if [r.type.key for _, r in flatten(value)] != before:
                return None
            if any(_TURN in t.symbols() for g in graphs for m in g.nodes for t in m.types):
                return None
            if any(_TURN in guard.cond.free for g in graphs for guard in g.guards):
                return None
            inner.nodes[-1] = node.replace(count=count, flags=node.flags | {"piece"})
        return value
