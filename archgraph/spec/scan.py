"""The plan of ``op: scan``: a loop along an axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from archgraph.ir.diagnostics import Span
from archgraph.ir.dim import Num
from archgraph.ir.types import TensorType, normalize_axis
from archgraph.ops.base import OpError
from archgraph.ops.higher import Scan
from archgraph.ops.transform.batching import batched
from archgraph.spec.explain import show_value
from archgraph.spec.frame import Frame
from archgraph.spec.mapped import Axes, Region, named_refs, sizes_of
from archgraph.spec.plan import GraphPlan, NodePlan
from archgraph.spec.plan_refs import RefPlan
from archgraph.spec.values import UNKNOWN, Record, Ref, Turns, flatten, holds_unknown, rebuild, template
from archgraph.spec.weights import late_as_is

if TYPE_CHECKING:
    from archgraph.spec.compile import Compiler
    from archgraph.spec.yaml import YMap

#: Keys of a scan besides those of every node.
SCAN_KEYS: Final = ("dim", "reverse", "xs", "init", "inputs", "graph", "carry", "ys")


class ScanPlan(NodePlan):
    """``op: scan``: ``xs`` walked, ``init`` carried, ``inputs`` held, ``ys`` collected; each a tensor or a record.

    With ``vmap`` all of these but ``ys`` have leading axes that the region does not see; `dim` counts without them.
    """

    __slots__ = ("axes", "body", "carry", "dim", "held", "init", "reverse", "xs", "ys")
    explicit = True

    def __init__(self, at: Callable[[], Span | None]) -> None:
        super().__init__(at)
        self.xs: dict[str, RefPlan] = {}
        self.init: dict[str, RefPlan] = {}
        self.held: dict[str, RefPlan] = {}
        self.carry: dict[str, RefPlan] = {}
        self.ys: dict[str, RefPlan] = {}
        self.dim: Any = None
        self.reverse: Any = None
        self.axes = Axes()
        self.body: GraphPlan = GraphPlan([], None)

    @staticmethod
    def compile(c: Compiler, raw: YMap, refs: set[str]) -> NodePlan | None:
        """Compile the YAML form: ``{op: scan, dim, reverse, xs: {…}, init: {…}, graph: {…}, carry: {…}, ys: {…}}``."""
        from archgraph.spec.node_words import META
        from archgraph.spec.yaml import span_of

        plan = ScanPlan(c.at(raw, "op"))
        for k in raw:
            if k not in SCAN_KEYS and k not in META:
                c.unknown_key(raw, k, SCAN_KEYS, "a scan")
        inside: set[str] = set()
        plan.xs = named_refs(c, raw, "xs", refs)
        plan.init = named_refs(c, raw, "init", refs)
        plan.held = named_refs(c, raw, "inputs", refs)
        plan.carry = named_refs(c, raw, "carry", inside)
        plan.ys = named_refs(c, raw, "ys", inside)
        if set(plan.init) != set(plan.carry):
            odd = sorted(set(plan.init) ^ set(plan.carry))
            c.fault(
                "scan/carry", span_of(raw), f"`init` and `carry` name the same values; `{odd[0]}` stands in one only"
            )
        if not plan.xs:
            c.fault("scan/xs", span_of(raw), "a scan walks something: `xs: {x: value}`")
            return None
        plan.dim = c.evaluator(raw.get("dim", 0), raw, "dim", refs)
        plan.reverse = c.evaluator(raw.get("reverse", False), raw, "reverse", refs)
        plan.axes = Axes.compile(c, raw, refs)
        plan.body = c.body(raw.get("graph"), raw, "graph" if "graph" in raw else "op")
        refs |= plan.body.refs | inside
        return plan

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return next(iter(self.xs.values())).get(f, it, name)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        const, dim = self.dim
        dim = dim if const else f.value(dim)
        const, reverse = self.reverse
        reverse = reverse if const else f.value(reverse)
        k = self.axes.number(f)
        walked, carried, held = (
            [(n, _value(p, f, it, name)) for n, p in table.items()] for table in (self.xs, self.init, self.held)
        )
        if any(holds_unknown(v) for _, v in (*walked, *carried, *held)):
            return UNKNOWN
        for n, v in (*walked, *carried, *held):
            if next(flatten(v), None) is None:
                raise OpError(f"`{n}` of a scan is a tensor, or a record of tensors")
        sizes = sizes_of(f, [*walked, *carried, *held], k) if k else ()
        first = next(flatten(walked[0][1]))[1].type
        axis = normalize_axis(dim, first.rank - k)
        if axis is None:
            raise OpError(f"`dim` {dim} is no axis of {first}", code="scan/dim", key="dim")
        length = first.shape[k + axis]
        wanted = self.body.refs
        for p in (*self.carry.values(), *self.ys.values()):
            wanted |= p.refs
        slices = [(n, _sliced(v, k + axis, length)) for n, v in walked]
        own = [*slices, *carried, *held]
        made = Region(f, frozenset(wanted - {n for n, _ in own}), own, k)
        if made.failed:
            return UNKNOWN
        inner = made.frame
        self.body.run(inner, made.first)
        next_values = [(n, self.next_value(inner, n, v, k)) for n, v in carried]
        collected = [(n, _value(p, inner, None, n)) for n, p in self.ys.items()]
        for n, v in (*next_values, *collected):
            if holds_unknown(v):
                return UNKNOWN
            if next(flatten(v), None) is None:
                raise OpError(f"`{n}` of a scan is a tensor, or a record of tensors")
        outs = [r for _, v in (*next_values, *collected) for _, r in flatten(v)]
        types = [r.type for _, v in carried for _, r in flatten(v)]
        types += [_stacked(n, r.type, axis, length, sizes) for n, v in collected for _, r in flatten(v)]
        names = [n + s for n, v in (*next_values, *collected) for s, _ in flatten(v)]
        graph = inner.finish(tuple(zip(names, (r.ref for r in outs), strict=True)), (), f"{f.block.name}.{name}")
        if k:
            graph = batched(graph, sizes, made.mapped)
        operands = [r for _, v in (*walked, *carried, *held) for _, r in flatten(v)]
        captured = made.refs[len(operands) :]
        index = f.add(
            f.unique(name),
            Scan.make(
                dim=k + axis,
                reverse=reverse,
                xs=sum(1 for _, v in walked for _ in flatten(v)),
                carry=sum(1 for _, v in carried for _ in flatten(v)),
            ),
            tuple(r.ref for r in (*operands, *captured)),
            tuple(types),
            callees=(graph,),
            late=late_as_is(graph),
        )
        parts: Iterator[Ref] = iter(f.refs(index))
        return Record((n, rebuild(template(v), parts)) for n, v in (*next_values, *collected))

    def next_value(self, inner: Frame, n: str, before: Any, k: int) -> Any:
        """What the region carries on, which must have the type of what it was given."""
        found = _value(self.carry[n], inner, None, n)
        if holds_unknown(found):
            return found
        given = [(s, r.type.dtype, r.type.shape[k:]) for s, r in flatten(before)]
        got = [(s, r.type.dtype, r.type.shape) for s, r in flatten(found)]
        if given != got:
            was, now = (", ".join(str(r.type) for _, r in flatten(v)) for v in (before, found))
            raise OpError(
                f"the carried value `{n}` changes its type",
                was,
                now or show_value(found),
                code="scan/carry",
                key="carry",
            )
        return found


def _value(p: RefPlan, f: Frame, it: Any, name: str) -> Any:
    found = p.get(f, it, name)
    return found.last if isinstance(found, Turns) else found


def _sliced(value: Any, axis: int, length: Num) -> Any:
    """A walked value's tensors without the walked axis."""

    def one(r: Ref) -> Ref:
        t = r.type
        if axis >= t.rank or t.shape[axis] != length:
            raise OpError(
                f"walked values have one length, {length}, along their axis {axis}",
                found=str(t),
                code="scan/length",
                key="xs",
            )
        layout = tuple((a - (a > axis), lay) for a, lay in t.layout if a != axis)
        return Ref(r.ref, TensorType(t.dtype, (*t.shape[:axis], *t.shape[axis + 1 :]), layout))

    return rebuild(template(value), iter([one(r) for _, r in flatten(value)]))


def _stacked(name: str, t: TensorType, axis: int, length: Num, sizes: tuple[Num, ...]) -> TensorType:
    """The type of a collected value, all turns together."""
    if axis > t.rank:
        raise OpError(f"the collected value `{name}` has too few axes for axis {axis}", found=str(t))
    return TensorType(t.dtype, (*sizes, *t.shape[:axis], length, *t.shape[axis:]))
