"""Plans of nodes with regions: ``switch: training`` and ``scan``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from archgraph.ir.diagnostics import Span
from archgraph.ir.graph import Graph, ValueRef
from archgraph.ir.types import TensorType, normalize_axis
from archgraph.ops.base import OpError
from archgraph.ops.higher import Scan, SwitchTraining
from archgraph.spec.frame import Frame
from archgraph.spec.plan import GraphPlan, NodePlan, RefPlan
from archgraph.spec.values import UNKNOWN, Record, Ref, Turns, flatten, holds_unknown, is_value, rebuild, template

if TYPE_CHECKING:
    from archgraph.spec.compile import Compiler
    from archgraph.spec.yaml import YMap


SCAN_KEYS: Final = ("dim", "reverse", "xs", "init", "graph", "carry", "ys")


class Captured:
    """What regions of one node read of their surroundings: the same inputs, in the same order, for each."""

    def __init__(self, f: Frame, names: frozenset[str], it: Any) -> None:
        self.f = f
        self.it = it.last if isinstance(it, Turns) else it
        self.values = [(n, f.env[n]) for n in sorted(names) if n in f.env and is_value(f.env[n])]
        self.failed = holds_unknown(self.it) or any(holds_unknown(v) for _, v in self.values)
        self.refs: list[Ref] = [r for _, r in flatten(self.it)] if self.it is not None else []
        for _, v in self.values:
            self.refs += [r for _, r in flatten(v)]

    def frame(self, leading: list[tuple[str, TensorType]]) -> tuple[Frame, Any, list[Ref]]:
        """A frame for a region: leading inputs of its own, then the captured values."""
        f = self.f
        env = {n: v for n, v in f.env.items() if not is_value(v)}
        inner = Frame(f.session, f.block, env, f.trace)
        inner.span = f.span
        inner.outer = f
        own = [inner.add_input(n, t) for n, t in leading]
        for (n, _), r in zip(leading, own, strict=True):
            env[n] = r
        first: Any = None
        if self.it is not None:
            first = _take(inner, "it", self.it)
        for n, v in self.values:
            inside = _take(inner, n, v)
            if n not in env:
                env[n] = inside
        return inner, first, own


def _take(inner: Frame, name: str, value: Any) -> Any:
    refs = [inner.add_input(name + suffix, r.type) for suffix, r in flatten(value)]
    inner.taken.add(name)
    return rebuild(template(value), iter(refs))


class TrainingPlan(NodePlan):
    """``switch: training``: two regions, one chosen by the module's mode at run time."""

    __slots__ = ("evaluate_case", "given", "train_case")

    def __init__(
        self, at: Callable[[], Span | None], train: NodePlan, evaluation: NodePlan, given: RefPlan | None
    ) -> None:
        super().__init__(at)
        self.train_case = train
        self.evaluate_case = evaluation
        self.given = given

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return it if self.given is None else self.given.get(f, it, name)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        captured = Captured(f, self.train_case.refs | self.evaluate_case.refs, self.first_input(f, it, name))
        if captured.failed:
            return UNKNOWN
        graphs: list[Graph] = []
        shapes: list[Any] = []
        for word, plan in (("train", self.train_case), ("eval", self.evaluate_case)):
            inner, first, _ = captured.frame([])
            value = plan.evaluate(inner, first, name)
            if isinstance(value, Turns):
                value = value.last
            if holds_unknown(value):
                return UNKNOWN
            outputs = tuple((s.lstrip(".") or "out", r.ref) for s, r in flatten(value))
            graphs.append(inner.finish(outputs, (), f"{f.block.name}.{name}.{word}"))
            shapes.append(template(value))
        if graphs[0].output_types != graphs[1].output_types or shapes[0] != shapes[1]:
            raise OpError(
                "both cases of `switch: training` must have one type",
                ", ".join(map(str, graphs[1].output_types)),
                ", ".join(map(str, graphs[0].output_types)),
            )
        from archgraph.ir.real import Late

        index = f.add(
            f.unique(name),
            SwitchTraining.make(),
            tuple(r.ref for r in captured.refs),
            graphs[1].output_types,
            callees=tuple(graphs),
            late=tuple((n, Late(n)) for n in dict.fromkeys(n for g in graphs for n in g.late)),
        )
        return rebuild(shapes[1], iter(f.refs(index)))


class ScanPlan(NodePlan):
    """``op: scan``: ``xs`` walked, ``init`` carried, ``ys`` collected."""

    __slots__ = ("body", "carry", "dim", "init", "reverse", "xs", "ys")

    def __init__(self, at: Callable[[], Span | None]) -> None:
        super().__init__(at)
        self.xs: dict[str, RefPlan] = {}
        self.init: dict[str, RefPlan] = {}
        self.carry: dict[str, RefPlan] = {}
        self.ys: dict[str, RefPlan] = {}
        self.dim: Any = None
        self.reverse: Any = None
        self.body: GraphPlan = GraphPlan([], None)

    @staticmethod
    def compile(c: Compiler, raw: YMap, refs: set[str]) -> NodePlan | None:
        """Compile the YAML form: ``{op: scan, dim, reverse, xs: {…}, init: {…}, graph: {…}, carry: {…}, ys: {…}}``."""
        from archgraph.spec.compile import META
        from archgraph.spec.yaml import YMap as Map
        from archgraph.spec.yaml import span_of

        plan = ScanPlan(c.at(raw, "op"))
        for k in raw:
            if k not in SCAN_KEYS and k not in META:
                c.unknown_key(raw, k, SCAN_KEYS, "a scan")
        for word, table in (("xs", plan.xs), ("init", plan.init), ("carry", plan.carry), ("ys", plan.ys)):
            entries = raw.get(word)
            if entries is None:
                continue
            if not isinstance(entries, Map):
                c.fault("scan/form", span_of(raw, word), f"`{word}` is a mapping from names to values")
                continue
            for k, v in entries.items():
                one = c.ref(v, entries, k)
                if one is not None:
                    table[str(k)] = one
                    refs |= one.refs
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
        inside = c.body(raw.get("graph"), raw, "graph" if "graph" in raw else "op")
        plan.body = inside
        refs |= inside.refs
        return plan

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return next(iter(self.xs.values())).get(f, it, name)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        const, dim = self.dim
        dim = dim if const else f.value(dim)
        const, reverse = self.reverse
        reverse = reverse if const else f.value(reverse)
        walked = [(n, p.get(f, it, name)) for n, p in self.xs.items()]
        carried = [(n, p.get(f, it, name)) for n, p in self.init.items()]
        for n, v in (*walked, *carried):
            if v is UNKNOWN:
                return UNKNOWN
            if not isinstance(v, Ref):
                raise OpError(f"`{n}` of a scan is one tensor")
        rank = walked[0][1].type.rank
        axis = normalize_axis(dim, rank)
        if axis is None:
            raise OpError(f"`dim` {dim} is no axis of {walked[0][1].type}")
        length = walked[0][1].type.shape[axis]
        leading: list[tuple[str, TensorType]] = []
        for n, v in walked:
            shape = v.type.shape
            if axis >= len(shape) or shape[axis] != length:
                raise OpError(f"walked values have one length along axis {axis}", str(walked[0][1].type), str(v.type))
            leading.append((n, TensorType(v.type.dtype, (*shape[:axis], *shape[axis + 1 :]))))
        leading += [(n, v.type) for n, v in carried]
        inside = {n for n, _ in leading}
        wanted = self.body.refs
        for p in (*self.carry.values(), *self.ys.values()):
            wanted |= p.refs
        captured = Captured(f, frozenset(wanted - inside), None)
        if captured.failed:
            return UNKNOWN
        inner, _, own = captured.frame(leading)
        self.body.run(inner, own[0])
        outs: list[tuple[str, ValueRef]] = []
        types: list[TensorType] = []
        for n, v in carried:
            got = self.carry[n].get(inner, None, n)
            if got is UNKNOWN:
                return UNKNOWN
            if not isinstance(got, Ref) or got.type != v.type:
                raise OpError(f"the carried value `{n}` changes its type", str(v.type), str(getattr(got, "type", got)))
            outs.append((n, got.ref))
            types.append(v.type)
        for n, p in self.ys.items():
            got = p.get(inner, None, n)
            if got is UNKNOWN:
                return UNKNOWN
            if not isinstance(got, Ref):
                raise OpError(f"the collected value `{n}` is one tensor")
            outs.append((n, got.ref))
            shape = got.type.shape
            if axis > len(shape):
                raise OpError(f"the collected value `{n}` has too few axes for axis {axis}", found=str(got.type))
            types.append(TensorType(got.type.dtype, (*shape[:axis], length, *shape[axis:])))
        graph = inner.finish(tuple(outs), (), f"{f.block.name}.{name}")
        from archgraph.ir.real import Late

        index = f.add(
            f.unique(name),
            Scan.make(dim=axis, reverse=reverse, xs=len(walked), carry=len(carried)),
            tuple(r.ref for _, r in (*walked, *carried)) + tuple(r.ref for r in captured.refs),
            tuple(types),
            callees=(graph,),
            late=tuple((n, Late(n)) for n in graph.late),
        )
        names = [*(n for n, _ in carried), *self.ys]
        return Record(zip(names, f.refs(index), strict=True))
