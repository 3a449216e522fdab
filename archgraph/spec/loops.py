"""The three loops: ``for`` (a chain), ``each`` (side by side), ``map`` (one module on every element)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from archgraph.ir.diagnostics import Span
from archgraph.ir.dim import Dim, Num, SymbolicTruth, sym
from archgraph.ir.graph import Graph, Node
from archgraph.ir.real import Late, NeedsValue
from archgraph.ops.base import Op, OpError
from archgraph.spec.block_call import add_call
from archgraph.spec.explain import show_value
from archgraph.spec.frame import FAULTS, MAX_TURNS, Frame
from archgraph.spec.memo import Result, recalled, remember, watched
from archgraph.spec.plan import GraphPlan, NodePlan
from archgraph.spec.plan_op import OpPlan
from archgraph.spec.plan_refs import RefPlan
from archgraph.spec.values import (
    UNKNOWN,
    Record,
    Ref,
    Turns,
    Values,
    Weights,
    flatten,
    freeze,
    holds_unknown,
    is_value,
    rebuild,
    template,
)

Eval = Callable[[Mapping[str, Any]], Any]
_TURN: Final = "turn"

#: A loop name and its value in every turn.
Column = tuple[str, Sequence[Any]]


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
                first = _inputs(inner, "it", it)
            for n, v in tensors:
                env[n] = _inputs(inner, n, v)
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


def _inputs(inner: Frame, name: str, value: Any) -> Any:
    """Graph inputs for a value of the surroundings, grouped alike."""
    refs = [inner.add_input(name + suffix, r.type) for suffix, r in flatten(value)]
    inner.taken.add(name)
    return rebuild(template(value), iter(refs))


def _owned(f: Frame, node: Node) -> Any:
    """The weights of a node, for comparing; nothing if it has none."""
    types = [None if r is None else f.inputs[r[1]][1] if r[0] < 0 else f.nodes[r[0]].types[r[1]] for r in node.inputs]
    return _tensors(node, types)


def _tensors(node: Node, types: list[Any]) -> list[Any]:
    if node.share is not None:
        return []
    found: list[Any] = []
    if node.op is not None:
        assert isinstance(node.op, Op)
        found += [(w.name, w.shape) for w in node.op.weights(*types)]
    for g in node.callees:
        for n in g.nodes:
            inside = [None if r is None else g.type_of(r) for r in n.inputs]
            found += [(n.name, n.count, *t) for t in _tensors(n, inside)]
    return found


class LoopPlan(NodePlan):
    """A node with ``repeat``, ``for``, ``each`` or ``map``."""

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

    # -- turns ---------------------------------------------------------------------------------------------------

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
                raise _Silent
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

    # -- running -------------------------------------------------------------------------------------------------

    def run(self, f: Frame, it: Any, name: str) -> Any:
        try:
            n, columns = self.turns(f, it, name)
        except _Silent:
            return UNKNOWN
        if isinstance(n, Dim) and self.kind != "for":
            raise SymbolicTruth("only a chain can have a symbolic number of turns")
        if self.kind == "map":
            return self._map(f, it, name, int(n), columns)
        start = self.given.get(f, it, name) if self.given is not None else it
        if isinstance(start, Turns):
            start = start.last
        if isinstance(n, Dim):
            rolled = self._rolled(f, start, name, n, columns)
            if rolled is None:
                rolled = self._periodic(f, start, name, n)
            if rolled is None:
                raise SymbolicTruth(f"turns of a chain of {n} must be alike: the same types in and out")
            return rolled
        if n == 0:
            if self.kind != "for":
                return Values()
            passed = self.first_input(f, start, name)
            return Turns(passed, Values()) if self.indexed else passed
        if self.kind == "for" and n > 1 and not self.indexed and not self.shared:
            rolled = self._rolled(f, start, name, n, columns)
            if rolled is not None:
                return rolled
        return self._unrolled(f, start, name, n, columns)

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
            first = _inputs(inner, "x", start)
            refs += [r for _, r in flatten(start)]
        wanted = self.wanted
        for n, v in f.env.items():
            if not is_value(v):
                env[n] = v
            elif n in wanted:
                if holds_unknown(v):
                    return None
                kept = v.last if isinstance(v, Turns) else v
                inside = _inputs(inner, n, kept)
                refs += [r for _, r in flatten(kept)]
                env[n] = inside
                if isinstance(v, Turns):
                    turns = Values(_inputs(inner, f"{n}_{k}", t) for k, t in enumerate(v.turns))
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

    def _rolled(self, f: Frame, start: Any, name: str, n: Num, columns: list[Column]) -> Any:
        """One node for all turns, if every turn is the same graph; None if not."""
        binding: dict[str, Any] = {key: Late(_TURN) for key, _, _ in self.loop_names}
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
        outs = list(flatten(value))
        if not self._carries(node, inner, outs):
            return None
        inputs = tuple([refs[r[1]].ref for r in node.inputs if r is not None])
        flags = node.flags | self.flags
        index = f.append(
            Node(f.unique(name), None, inputs, node.types, node.callees, n, None, node.late, (), flags, f.span)
        )
        return rebuild(template(value), iter(f.refs(index)))

    def _share(self, inner: Frame, start: int) -> None:
        """Give the nodes of a turn, those from ``start`` on, the weights of the first turn's.

        Raises
        ------
        OpError
            If they are not alike.
        """
        for k in range(start, len(inner.nodes)):
            node, first = inner.nodes[k], inner.nodes[k - start]
            if node.share is not None:
                continue
            if _owned(inner, node) != _owned(inner, first):
                raise OpError(
                    "turns that share their weights are alike, and these are not",
                    hint="`share: turns` needs one width throughout",
                    code="share/turns",
                    key="share",
                )
            if _owned(inner, node):
                inner.nodes[k] = node.replace(share=(first.name,))

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

    def _unrolled(self, f: Frame, start: Any, name: str, n: int, columns: list[Column]) -> Any:
        """A graph of its own with one node per turn."""
        made = self._surroundings(f, start, name)
        if made is None:
            return UNKNOWN
        inner, refs, first = made
        value = first
        found = Values()
        for t in range(n):
            for k, column in columns:
                v = column[t]
                inner.env[k] = _rebased(f, inner, refs, v, f"{k}_{t}") if isinstance(v, (Ref, Values, Record)) else v
            label = self.label(inner.env) if self.label is not None else str(t)
            if label in inner.taken:
                raise OpError(f"two turns are called `{label}`", code="label/twice", key="label")
            before = len(inner.nodes)
            got = self.body.evaluate(inner, value if self.kind == "for" else first, label)
            if self.shared and t > 0:
                self._share(inner, before)
            if isinstance(got, Turns):
                got = got.last
            if holds_unknown(got):
                return UNKNOWN
            found.append(got)
            if self.kind == "for":
                value = self._carry(inner, got, value)
        total = Turns(found[-1], found) if self.kind == "for" else found
        outputs: list[tuple[str, tuple[int, int]]] = []
        if self.kind == "for" and not self.indexed:
            outputs = [(s.lstrip(".") or "out", r.ref) for s, r in flatten(found[-1])]
        else:
            for t, v in enumerate(found):
                outputs += [(f"{t}{s}", r.ref) for s, r in flatten(v)]
        graph, kept = read_inputs(inner.finish(tuple(outputs), (), f"{f.block.name}.{name}"))
        index = f.add(
            f.unique(name),
            None,
            tuple(r.ref for r in (refs if kept is None else [refs[k] for k in kept])),
            graph.output_types,
            callees=(graph,),
            late=tuple((n, Late(n)) for n in graph.late),
            flags=self.flags,
        )
        outs = iter(f.refs(index))
        if self.kind == "for" and not self.indexed:
            return rebuild(template(found[-1]), outs)
        values = Values(rebuild(template(v), outs) for v in found)
        if isinstance(total, Turns):
            return Turns(values[-1], values)
        if values and all(type(v) is Record for v in values):
            return Record((k, Values(v[k] for v in values)) for k in values[0])
        return values

    def _carry(self, inner: Frame, got: Any, before: Any) -> Any:
        """Outputs rebind outer names that they bear; a single value is what the next turn takes."""
        if type(got) is Record:
            for n, v in got.items():
                if n in inner.env and is_value(inner.env[n]):
                    inner.env[n] = v
            return got
        return got

    def _map(self, f: Frame, it: Any, name: str, n: int, columns: list[Column]) -> Any:
        """Calls side by side with one set of weights: the first owns them."""
        from archgraph.spec.plan_share import SharePlan

        found = Values()
        saved = {k: f.env.get(k) for k, _, _ in self.loop_names}
        owner: str | None = None
        for t in range(n):
            f.env.update((k, column[t]) for k, column in columns)
            own = f.unique(name) if t == 0 else f"{owner}_{t}"
            before = len(f.nodes)
            value = self.body.evaluate(f, it, own)
            if holds_unknown(value):
                found = Values([UNKNOWN])
                break
            if t == 0:
                owner = own
            else:
                for number in range(before, len(f.nodes)):
                    node = f.nodes[number]
                    if node.name == own or node.name == f"{own}_2":
                        f.nodes[number] = node.replace(share=(str(owner),))
                f.made.pop(own, None)
            found.append(value)
        for k, v in saved.items():
            if v is None:
                f.env.pop(k, None)
            else:
                f.env[k] = v
        assert SharePlan is not None
        if UNKNOWN in found:
            return UNKNOWN
        if found and all(type(v) is Record for v in found):
            return Record((k, Values(v[k] for v in found)) for k in found[0])
        return found


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


def _rebased(f: Frame, inner: Frame, refs: list[Ref], value: Any, name: str) -> Any:
    """A loop element of the outer frame as inputs of the loop's graph."""
    known = {r.ref: k for k, r in enumerate(refs)}
    parts: list[Ref] = []
    for suffix, r in flatten(value):
        k = known.get(r.ref)
        if k is None:
            parts.append(inner.add_input(name + suffix, r.type))
            refs.append(r)
            known[r.ref] = len(refs) - 1
        else:
            parts.append(Ref((-1, k), r.type))
    return rebuild(template(value), iter(parts))


class _Silent(Exception):
    """A loop runs over a value that failed already."""
