"""Regions that become other graphs: ``vmap``, calls with a record of weights, and ``vjp``.

A region is elaborated on types without the mapped axes; what it makes is then transformed
(`archgraph.ops.transform`) and called like any graph. So a graph knows of none of these words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from archgraph.ir.diagnostics import Span
from archgraph.ir.dim import Num, eq
from archgraph.ir.graph import Graph, Node
from archgraph.ir.types import TensorType
from archgraph.ops.base import OpError
from archgraph.ops.transform.batching import batched, longer, shorter
from archgraph.ops.transform.gradient import gradient
from archgraph.ops.transform.weights import weights_as_inputs
from archgraph.spec.explain import show_value
from archgraph.spec.frame import Frame
from archgraph.spec.plan import GraphPlan, NodePlan
from archgraph.spec.plan_op import OpPlan
from archgraph.spec.plan_refs import RefPlan
from archgraph.spec.plan_region import read_inputs
from archgraph.spec.regions import Captured
from archgraph.spec.values import UNKNOWN, Record, Ref, Turns, Weights, flatten, holds_unknown, rebuild, template
from archgraph.spec.weights import late_as_is

if TYPE_CHECKING:
    from archgraph.spec.compile import Compiler
    from archgraph.spec.yaml import YMap


class Axes:
    """The ``vmap:`` of a node: how many leading axes its region does not see."""

    __slots__ = ("slot",)

    def __init__(self, slot: tuple[bool, Any] = (True, 0)) -> None:
        self.slot = slot

    @staticmethod
    def compile(c: Compiler, raw: YMap, refs: set[str]) -> Axes:
        """Read the key, if it is there."""
        return Axes(c.evaluator(raw["vmap"], raw, "vmap", refs)) if "vmap" in raw else Axes()

    def number(self, f: Frame) -> int:
        """How many there are."""
        const, value = self.slot
        k = value if const else f.value(value)
        if not isinstance(k, int) or isinstance(k, bool) or k < 0:
            raise OpError("`vmap` is a number of leading axes", "0, 1, 2 …", str(k))
        return k


def sizes_of(f: Frame, values: Sequence[tuple[str, Any]], k: int) -> tuple[Num, ...]:
    """The leading axes that mapped values share.

    Raises
    ------
    OpError
        If one has fewer, or others.
    """
    found: tuple[Num, ...] | None = None
    for name, value in values:
        for suffix, r in flatten(value):
            shape = r.type.shape
            if len(shape) < k:
                raise OpError(f"`{name}{suffix}` has no {k} leading axes for `vmap`", found=str(r.type))
            if found is None:
                found = tuple(shape[:k])
            for n, m in zip(found, shape, strict=False):
                if n is not m:
                    cond = eq(n, m)
                    if cond is False:
                        raise OpError("mapped values share their leading axes", str(list(found)), str(r.type))
                    f.require(cond, f"mapped values share their leading axes: {n} and {m}")
    if found is None:
        raise OpError("`vmap` maps values, and none is given")
    return found


def add_graph(f: Frame, name: str, graph: Graph, refs: Sequence[Ref]) -> tuple[Ref, ...]:
    """A call of a graph made from a region; inputs that it does not read are left out."""
    graph, kept = read_inputs(graph)
    used = refs if kept is None else [refs[k] for k in kept]
    index = f.add(
        f.unique(name),
        None,
        tuple(r.ref for r in used),
        graph.output_types,
        callees=(graph,),
        late=late_as_is(graph),
    )
    return f.refs(index)


def splice(f: Frame, graph: Graph, refs: Sequence[Ref]) -> tuple[Ref, ...]:
    """A graph's nodes in the frame itself; those whose names are taken are renamed."""
    number: dict[int, int] = {}
    names: dict[str, str] = {}

    def move(r: Any) -> Any:
        return r if r is None else refs[r[1]].ref if r[0] < 0 else (number[r[0]], r[1])

    for k, node in enumerate(graph.nodes):
        own = names[node.name] = f.unique(node.name)
        share = node.share if node.share is None else (names.get(node.share[0], node.share[0]), *node.share[1:])
        moved = node.replace(
            name=own,
            inputs=tuple(map(move, node.inputs)),
            weights=tuple((w, move(r)) for w, r in node.weights),
            share=share,
            origin=node.origin or f.span,
        )
        number[k] = f.append(moved)
    for guard in graph.guards:
        f.require(guard.cond, guard.why)
    found = [(move(ref), t) for (_, ref), t in zip(graph.outputs, graph.output_types, strict=True)]
    return tuple(Ref(ref, t) for ref, t in found)


class MappedPlan(NodePlan):
    """A node with ``vmap``, or with a record as its ``weights``.

    ``own`` are the mapped values by the names under which the body reads them. The body of a ``graph:`` is a region: it
    has a path segment and sees outward, what it reads there is not mapped.
    """

    __slots__ = ("axes", "body", "own", "region", "weights")
    explicit = True

    def __init__(self, at: Callable[[], Span | None], body: NodePlan | GraphPlan, axes: Axes) -> None:
        super().__init__(at)
        self.body = body
        self.axes = axes
        self.own: list[tuple[str, RefPlan]] = []
        self.weights: RefPlan | None = None
        self.region = isinstance(body, GraphPlan)
        self.refs = body.refs

    @staticmethod
    def of_op(c: Compiler, plan: OpPlan, raw: YMap, refs: set[str]) -> MappedPlan:
        """Wrap an op or call: its operands are mapped."""
        mapped = MappedPlan(plan.at, plan, Axes.compile(c, raw, refs))

        def taken(p: RefPlan) -> RefPlan:
            own = f"operand_{len(mapped.own)}"
            mapped.own.append((own, RefPlan(p.name, p.segments, p.splice, p.inline, p.span)))
            return RefPlan(own, splice=p.splice)

        def each(p: RefPlan | list[RefPlan]) -> RefPlan | list[RefPlan]:
            return [taken(q) for q in p] if isinstance(p, list) else taken(p)

        refs |= plan.refs
        if plan.kwinputs is not None:
            plan.kwinputs = {k: each(p) for k, p in plan.kwinputs.items()}
        elif plan.inputs is not None:
            plan.inputs = [each(p) for p in plan.inputs]
        else:
            plan.inputs = [taken(RefPlan("it"))]
            refs.add("it")
        mapped.refs = frozenset(refs)
        return mapped

    @staticmethod
    def of_graph(c: Compiler, raw: YMap, refs: set[str]) -> NodePlan:
        """Compile ``{graph: {…}, vmap: k, inputs: {name: value}}``."""
        body = c.body(raw["graph"], raw, "graph", raw.get("outputs"), raw)
        mapped = MappedPlan(c.at(raw, "graph"), body, Axes.compile(c, raw, refs))
        own = named_refs(c, raw, "inputs", refs)
        mapped.own = list(own.items())
        refs |= body.refs - set(own)
        mapped.refs = frozenset(refs)
        return mapped

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return self.own[0][1].get(f, it, name) if self.own else it

    def run(self, f: Frame, it: Any, name: str) -> Any:
        k = self.axes.number(f)
        own = [(n, p.get(f, it, name)) for n, p in self.own]
        given = None if self.weights is None else self.weights.get(f, it, name)
        if given is UNKNOWN or any(holds_unknown(v) for _, v in own):
            return UNKNOWN
        if given is not None and not isinstance(given, Weights):
            raise OpError(
                "`weights` is a record of weights, or a mapping from their names",
                found=show_value(given),
                hint="`{op: weights, of: block}` makes a record",
                code="weights/form",
                key="weights",
            )
        made = Region(f, self.body.refs - {n for n, _ in own}, own, k)
        if made.failed:
            return UNKNOWN
        own_name = f.unique(name)
        if isinstance(self.body, GraphPlan):
            last = self.body.run(made.frame, made.first)
            value = self.body.output_value(made.frame) if self.body.outputs is not None else last
        else:
            value = self.body.run(made.frame, made.first, own_name)
        graph, shape = made.finish(value, own_name)
        if graph is None:
            return UNKNOWN
        sizes = sizes_of(f, [*own, *([] if given is None else [("weights", given)])], k) if k else ()
        refs = list(made.refs)
        mapped = list(made.mapped)
        if given is not None:
            opened = weights_as_inputs(graph)
            graph = opened.graph
            tensors = {suffix.lstrip("."): r for suffix, r in flatten(given)}
            for path, weight in opened.weights:
                own_path = path.removeprefix(f"{own_name}.")
                r = tensors.pop(own_path, None)
                want = (*sizes, *weight.shape)
                if r is None or tuple(r.type.shape) != want:
                    found = "no such tensor" if r is None else str(r.type)
                    raise OpError(f"the record lacks the weight `{own_path}`", str(list(want)), found)
                refs.append(r)
                mapped.append(True)
            if tensors:
                raise OpError(f"`{next(iter(tensors))}` is no weight of what is called")
        if k:
            graph = batched(graph, sizes, mapped)
        outs = add_graph(f, name, graph, refs) if self.region else splice(f, graph, refs)
        value = rebuild(shape, iter(outs))
        return next(iter(value.values())) if type(value) is Record and len(value) == 1 else value


class Region:
    """A frame for a region some of whose inputs lose their first ``k`` axes; the rest it reads outside.

    Attributes
    ----------
    frame : Frame
    first : value
        The first of its own inputs.
    refs : list of Ref
        What its inputs are in the frame around it, in order.
    mapped : list of bool
        Which of them lose axes.
    """

    def __init__(self, f: Frame, outside: frozenset[str], own: Sequence[tuple[str, Any]], k: int) -> None:
        captured = Captured(f, outside - {n for n, _ in own}, None)
        self.failed = captured.failed
        self.first: Any = None
        self.refs: list[Ref] = []
        self.mapped: list[bool] = []
        if self.failed:
            return
        leading: list[tuple[str, TensorType]] = []
        for n, v in own:
            for suffix, r in flatten(v):
                if r.type.rank < k:
                    raise OpError(f"`{n}{suffix}` has no {k} leading axes for `vmap`", found=str(r.type))
                leading.append((n + suffix, shorter(r.type, k)))
                self.refs.append(r)
        self.mapped = [True] * len(leading)
        self.frame, _, inside = captured.frame(leading)
        parts = iter(inside)
        for n, v in own:
            self.frame.env[n] = rebuild(template(v), parts)
            self.frame.taken.add(n)
        for n, _ in leading:
            if "." in n:
                self.frame.env.pop(n, None)
        self.first = self.frame.env[own[0][0]] if own else None
        self.refs += captured.refs
        self.mapped += [False] * len(captured.refs)

    def finish(self, value: Any, name: str) -> tuple[Graph | None, Any]:
        """The region's graph and how its value is grouped; None where it failed."""
        if isinstance(value, Turns):
            value = value.last
        if value is None or holds_unknown(value):
            return None, None
        outputs = tuple((s.lstrip(".") or "out", r.ref) for s, r in flatten(value))
        return self.frame.finish(outputs, (), f"{self.frame.block.name}.{name}"), template(value)


class VjpPlan(NodePlan):
    """``op: vjp``: gradients of a region's value inside the forward pass.

    Written ``{op: vjp, inputs: {w: at}, wrt: w, cotangent: theta, graph: {…}}``. ``wrt`` names an input of the region,
    or a value outside that it reads, or several. The region's value is one tensor; ``cotangent`` weighs its elements,
    ones if left out. With ``vmap`` inputs and cotangent are mapped, and gradients are those of each place.
    """

    __slots__ = ("axes", "body", "cotangent", "own", "single", "wrt")
    explicit = True

    def __init__(self, at: Callable[[], Span | None], body: GraphPlan, axes: Axes) -> None:
        super().__init__(at)
        self.body = body
        self.axes = axes
        self.own: dict[str, RefPlan] = {}
        self.wrt: list[str] = []
        self.single = True
        self.cotangent: RefPlan | None = None

    @staticmethod
    def compile(c: Compiler, raw: YMap, refs: set[str]) -> NodePlan | None:
        """Compile the YAML form."""
        from archgraph.spec.node_words import META
        from archgraph.spec.yaml import span_of

        known = ("inputs", "wrt", "cotangent", "graph")
        for k in raw:
            if k not in known and k not in META:
                c.unknown_key(raw, k, known, "`vjp`")
        if "graph" not in raw or "wrt" not in raw:
            c.fault("vjp/form", span_of(raw), "`vjp` has a `graph`, and `wrt` names what it is differentiated by")
            return None
        body = c.body(raw["graph"], raw, "graph")
        plan = VjpPlan(c.at(raw, "op"), body, Axes.compile(c, raw, refs))
        plan.own = named_refs(c, raw, "inputs", refs)
        wrt = raw["wrt"]
        plan.single = isinstance(wrt, str)
        names = [wrt] if plan.single else wrt
        if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
            c.fault("vjp/wrt", span_of(raw, "wrt"), "`wrt` is a name, or a list of names")
            return None
        plan.wrt = list(names)
        if "cotangent" in raw:
            plan.cotangent = c.ref(raw["cotangent"], raw, "cotangent")
            if plan.cotangent is not None:
                refs |= plan.cotangent.refs
        refs |= (body.refs | set(plan.wrt)) - set(plan.own)
        return plan

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return next(iter(self.own.values())).get(f, it, name) if self.own else it

    def run(self, f: Frame, it: Any, name: str) -> Any:
        k = self.axes.number(f)
        own = [(n, p.get(f, it, name)) for n, p in self.own.items()]
        g = None if self.cotangent is None else self.cotangent.get(f, it, name)
        if g is UNKNOWN or any(holds_unknown(v) for _, v in own):
            return UNKNOWN
        made = Region(f, (self.body.refs | set(self.wrt)) - set(self.own), own, k)
        if made.failed:
            return UNKNOWN
        value = self.body.run(made.frame, made.first)
        graph, shape = made.finish(value, name)
        if graph is None:
            return UNKNOWN
        if shape is not None:
            raise OpError("`vjp` differentiates one tensor", found=f"{len(graph.outputs)} values", code="vjp/form")
        numbers: list[int] = []
        for n in self.wrt:
            held = made.frame.env.get(n)
            if held is None or not all(r.ref[0] < 0 for _, r in flatten(held)):
                raise OpError(
                    f"`wrt` names an input of the region, or a value that it reads outside; `{n}` is neither",
                    code="vjp/wrt",
                    key="wrt",
                )
            numbers += [r.ref[1] for _, r in flatten(held)]
        grads = gradient(graph, numbers, g is not None)
        refs, mapped = list(made.refs), list(made.mapped)
        sizes = sizes_of(f, own, k) if k else ()
        if g is not None:
            want = longer(graph.output_types[0], sizes)
            if not isinstance(g, Ref) or g.type != want:
                raise OpError(
                    "the cotangent has the type of the region's value",
                    str(want),
                    show_value(g),
                    code="vjp/cotangent",
                    key="cotangent",
                )
            refs.append(g)
            mapped.append(True)
        if k:
            grads = batched(grads, sizes, mapped)
        outs = iter(add_graph(f, name, grads, refs))
        found = Record((n, rebuild(template(made.frame.env[n]), outs)) for n in self.wrt)
        return found[self.wrt[0]] if self.single else found


def named_refs(c: Compiler, raw: YMap, word: str, refs: set[str]) -> dict[str, RefPlan]:
    """A mapping from names to values, as ``inputs:`` of a region."""
    from archgraph.spec.yaml import YMap as Map
    from archgraph.spec.yaml import span_of

    found: dict[str, RefPlan] = {}
    entries = raw.get(word)
    if entries is None:
        return found
    if not isinstance(entries, Map):
        c.fault("region/form", span_of(raw, word), f"`{word}` is a mapping from names to values")
        return found
    for k, v in entries.items():
        one = c.ref(v, entries, k)
        if one is not None:
            found[str(k)] = one
            refs |= one.refs
    return found


__all__ = ["Axes", "MappedPlan", "Node", "Region", "VjpPlan", "add_graph", "named_refs", "sizes_of", "splice"]
