"""What a loop runs over, and the graph that its turns stand in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from archgraph.ir.diagnostics import Span
from archgraph.ir.dim import Dim, Num, SymbolicTruth
from archgraph.ir.real import Late, NeedsValue
from archgraph.ops.base import OpError
from archgraph.spec.explain import show_value
from archgraph.spec.frame import MAX_TURNS, Frame
from archgraph.spec.plan import Eval, NodePlan
from archgraph.spec.plan_op import OpPlan
from archgraph.spec.plan_refs import RefPlan
from archgraph.spec.plan_region import graph_inputs
from archgraph.spec.values import (
    UNKNOWN,
    VALUES,
    Record,
    Ref,
    Turns,
    Values,
    Weights,
    flatten,
    holds_unknown,
)

#: A loop name and its value in every turn.
Column = tuple[str, Sequence[Any]]


class LoopFrame(NodePlan):
    """What a loop runs over, and the graph that its turns stand in."""

    __slots__ = ("_wanted", "body", "count", "given", "indexed", "kind", "label", "loop_names", "shared")

    def __init__(
        self,
        at: Callable[[], Span | None],
        kind: str,
        loop_names: list[tuple[str, Any, Callable[[], Span | None]]],
        count: Eval | None,
        body: NodePlan,
        label: Callable[[Mapping[str, Any]], str] | None,
        given: RefPlan | None,
    ) -> None:
        super().__init__(at)
        self.kind = kind
        self.loop_names = loop_names
        self.count = count
        self.body = body
        self.label = label
        self.given = given
        #: Whether turns are read one by one (``name.0``, ``name...``), set by the compiler.
        self.indexed = False
        #: Nodes of the body shared over turns (``share: turns``): name → plan.
        #: Whether all turns have the weights of the first (``share: turns``).
        self.shared = False
        self._wanted: frozenset[str] | None = None

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        if self.given is not None:
            return self.given.get(f, it, name)
        return self.body.first_input(f, it, name) if isinstance(self.body, OpPlan) else it

    def turns(self, f: Frame, it: Any, name: str) -> tuple[Num, list[Column]]:
        """How many turns, and each loop name's values (none for a symbolic count)."""
        if self.count is not None:
            n = f.value(self.count)
            if isinstance(n, Dim):
                return n, []
            if isinstance(n, Late):
                raise NeedsValue(n)
            if isinstance(n, float) and n.is_integer():
                n = int(n)
            if not isinstance(n, int) or isinstance(n, bool):
                raise OpError(
                    "`repeat` takes a whole number", "a whole number", show_value(n), code="loop/turns", key="repeat"
                )
            self._bound(n)
            return n, []
        columns: list[Column] = []
        for key, source, _ in self.loop_names:
            v = source.get(f, it, name) if isinstance(source, RefPlan) else f.value(source)
            if isinstance(v, Turns):
                v = v.turns
            if isinstance(v, Dim):
                if len(self.loop_names) == 1:
                    return v, []
                raise SymbolicTruth(f"`{key}` runs in lock-step over a symbolic number; it must be known")
            if isinstance(v, Late):
                raise NeedsValue(v)
            if isinstance(v, float) and v.is_integer():
                v = int(v)
            if isinstance(v, int) and not isinstance(v, bool):
                self._bound(v)
                v = range(v)
            if v is UNKNOWN:
                raise Silent
            if isinstance(v, Weights):
                v = Values(r for _, r in flatten(v))
            elif isinstance(v, Record):
                v = Values(v.values())
            if not isinstance(v, (list, tuple, range)):
                raise OpError(
                    f"`{key}` must run over a number of turns or a list",
                    "a number or list",
                    show_value(v),
                    code="loop/turns",
                )
            columns.append((key, v))
        lengths = {len(c) for _, c in columns}
        if len(lengths) > 1:
            text = ", ".join(f"{k}: {len(c)}" for k, c in columns)
            raise OpError(f"loop names run in lock-step, and their lengths differ: {text}", code="loop/lengths")
        n = lengths.pop() if lengths else 0
        self._bound(n)
        return n, columns

    def _bound(self, n: int) -> None:
        if n < 0:
            raise OpError(f"a loop can't have {n} turns", code="loop/turns", key="repeat")
        if n > MAX_TURNS:
            raise OpError(
                f"{n:,} turns are too many; at most {MAX_TURNS:,} are unrolled", code="limit/turns", key="repeat"
            )

    def _surroundings(self, f: Frame, start: Any, name: str) -> tuple[Frame, list[Ref], Any] | None:
        """A frame for the loop's own graph: the chained value first, then all that the body reads outside."""
        env: dict[str, Any] = {}
        inner = Frame(f.session, f.block, env, f.trace)
        inner.span = f.span
        inner.outer = f
        inner.path = f"{f.path}{name}."
        refs: list[Ref] = []
        first: Any = None
        if start is not None:
            if holds_unknown(start):
                return None
            first = graph_inputs(inner, "x", start)
            refs += [start] if type(start) is Ref else [r for _, r in flatten(start)]
        wanted = self.wanted
        env.update([(n, v) for n, v in f.env.items() if type(v) not in VALUES])
        for n, v in f.env.items():
            if n in wanted and type(v) in VALUES:
                if holds_unknown(v):
                    return None
                kept = v.last if isinstance(v, Turns) else v
                inside = graph_inputs(inner, n, kept)
                refs += [r for _, r in flatten(kept)]
                env[n] = inside
                if isinstance(v, Turns):
                    turns = Values(graph_inputs(inner, f"{n}_{k}", t) for k, t in enumerate(v.turns))
                    refs += [r for t in v.turns for _, r in flatten(t)]
                    env[n] = Turns(inside, turns)
        return inner, refs, first

    @property
    def wanted(self) -> frozenset[str]:
        """Names outside that the body and the loop's own lists may read."""
        if self._wanted is None:
            found = set(self.body.refs)
            for _, source, _ in self.loop_names:
                if isinstance(source, RefPlan):
                    found |= source.refs
            self._wanted = frozenset(found - {k for k, _, _ in self.loop_names})
        return self._wanted

    def _carries(self, node: Any, inner: Frame, outs: list[tuple[str, Ref]]) -> bool:
        """Whether the node's outputs can feed its first inputs on the next turn, types being equal."""
        callee = node.callees[0]
        if len(outs) != len(node.types) or len(node.inputs) < len(outs):
            return False
        names = [i for i, _ in callee.inputs]
        for k, (out_name, _) in enumerate(callee.outputs):
            if callee.inputs[k][1].key != node.types[k].key:
                return False
            if len(callee.outputs) > 1 and names[k] != out_name:
                return False
        return True


class Silent(Exception):
    """A loop runs over a value that failed already."""
