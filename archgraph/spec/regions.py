"""Regions that read values outside, and the plan of ``switch: training``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from archgraph.ir.diagnostics import Span
from archgraph.ir.graph import Graph
from archgraph.ir.types import TensorType
from archgraph.ops.base import OpError
from archgraph.ops.higher import SwitchTraining
from archgraph.spec.explain import show_value
from archgraph.spec.frame import Frame
from archgraph.spec.plan import NodePlan
from archgraph.spec.plan_refs import RefPlan
from archgraph.spec.values import UNKNOWN, Ref, Turns, flatten, holds_unknown, is_value, rebuild, template

if TYPE_CHECKING:
    pass


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
        inner.path = f.path
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

    __slots__ = ("evaluate_case", "given", "train_case", "updates")
    wraps = True

    def __init__(
        self, at: Callable[[], Span | None], train: NodePlan, evaluation: NodePlan, given: RefPlan | None
    ) -> None:
        super().__init__(at)
        self.train_case = train
        self.evaluate_case = evaluation
        self.given = given
        #: Buffers around it, by name, and what the case for training gives them.
        self.updates: dict[str, RefPlan] = {}

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return it if self.given is None else self.given.get(f, it, name)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        buffers = self._buffers(f)
        names = self.train_case.refs | self.evaluate_case.refs | self.updates.keys()
        captured = Captured(f, names, self.first_input(f, it, name))
        if captured.failed:
            return UNKNOWN
        graphs: list[Graph] = []
        shapes: list[Any] = []
        counts: list[int] = []
        for word, plan in (("train", self.train_case), ("eval", self.evaluate_case)):
            inner, first, _ = captured.frame([])
            updated = self.updates if word == "train" else {}
            value = self._inline(inner, first, name) if updated else plan.evaluate(inner, first, name)
            if isinstance(value, Turns):
                value = value.last
            if holds_unknown(value):
                return UNKNOWN
            outputs = tuple((s.lstrip(".") or "out", r.ref) for s, r in flatten(value))
            counts.append(len(outputs))
            for k, (n, p) in enumerate(updated.items()):
                new = p.get(inner, None, n)
                if new is UNKNOWN:
                    return UNKNOWN
                if not isinstance(new, Ref) or new.type.shape != buffers[n].type.shape:
                    raise OpError(
                        f"the buffer `{n}` keeps its shape",
                        str(buffers[n].type),
                        show_value(new),
                        code="updates/shape",
                        key="cases",
                    )
                outputs += ((f"update_{k}", new.ref),)
            graphs.append(inner.finish(outputs, (), f"{f.block.name}.{name}.{word}"))
            shapes.append(template(value))
        if graphs[0].output_types[: counts[0]] != graphs[1].output_types or shapes[0] != shapes[1]:
            raise OpError(
                "both cases of `switch: training` must have one type",
                ", ".join(map(str, graphs[1].output_types)),
                ", ".join(map(str, graphs[0].output_types[: counts[0]])),
                "`training` chooses at run time, so what follows must fit both",
                code="switch/types",
            )
        from archgraph.ir.real import Late

        places = [r.ref for r in captured.refs]
        numbers = tuple(places.index(buffers[n].ref) for n in self.updates)
        index = f.add(
            f.unique(name),
            SwitchTraining.make(updates=numbers),
            tuple(r.ref for r in captured.refs),
            graphs[1].output_types,
            callees=tuple(graphs),
            late=tuple((n, Late(n)) for n in dict.fromkeys(n for g in graphs for n in g.late)),
        )
        return rebuild(shapes[1], iter(f.refs(index)))

    def _buffers(self, f: Frame) -> dict[str, Ref]:
        """The buffers that ``updates`` names."""
        found: dict[str, Ref] = {}
        for n in self.updates:
            value = f.env.get(n)
            node = f.nodes[value.ref[0]] if isinstance(value, Ref) and value.ref[0] >= 0 else None
            if not isinstance(value, Ref) or node is None or node.op is None or node.op.op_name != "buffer":
                raise OpError(
                    f"`updates` names buffers of the same body; `{n}` is none",
                    found=show_value(value),
                    code="updates/buffer",
                    key="cases",
                )
            found[n] = value
        return found

    def _inline(self, inner: Frame, first: Any, name: str) -> Any:
        """The value of a region that is run in this frame, so that its names can be read."""
        from archgraph.spec.plan_region import RegionPlan

        if not isinstance(self.train_case, RegionPlan):  # a group's names are those of the frame already
            return self.train_case.evaluate(inner, first, name)
        body = self.train_case.body
        last = body.run(inner, first)
        if body.outputs is None:
            return last
        value = body.output_value(inner)
        return next(iter(value.values())) if len(value) == 1 else value
