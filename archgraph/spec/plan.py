"""Compiled nodes of a graph body: each knows how to add itself to a `Frame`.

A body is compiled once per file; elaboration runs the plans, once per (block, arguments, input types).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from archgraph.ir.diagnostics import Span
from archgraph.ops.base import OpError, get_op
from archgraph.spec.frame import FAULTS, Frame
from archgraph.spec.patterns import ShapePattern
from archgraph.spec.plan_refs import RefPlan
from archgraph.spec.values import (
    UNKNOWN,
    Record,
    Ref,
    Turns,
    Values,
)
from archgraph.spec.yaml import YMap, span_of

if TYPE_CHECKING:
    from archgraph.spec.tape import Tapes

Eval = Callable[[Mapping[str, Any]], Any]


class NodePlan:
    """A compiled node. Subclasses implement `run`; `evaluate` adds what every node may say."""

    __slots__ = ("_span", "at", "condition", "flags", "is_source", "names", "otherwise", "raw", "refs", "shape")

    #: Takes nothing but what it names, never the value above.
    explicit: ClassVar[bool] = False
    #: Passes its `given`, or the value above, on to plans inside.
    wraps: ClassVar[bool] = False
    #: Says itself, while a tape is recorded, what it does (see `archgraph.spec.tape`).
    straight: ClassVar[bool] = False
    #: `shape` is a key of its own, no pattern that the value must fit.
    has_shape: ClassVar[bool] = False

    def __init__(self, at: Callable[[], Span | None]) -> None:
        self.at = at
        #: As written, where it is a mapping: tells where each key stands.
        self.raw: YMap | None = None
        self._span: Span | None = None
        self.condition: Eval | None = None
        self.otherwise: RefPlan | float | None = None
        self.names: tuple[str, ...] | None = None
        self.shape: ShapePattern | None = None
        self.flags: frozenset[str] = frozenset()
        self.refs: frozenset[str] = frozenset()
        self.is_source = False

    def evaluate(self, f: Frame, it: Any, name: str) -> Any:
        """Add the node to the frame and return its value; faults are recorded and give `UNKNOWN`."""
        tape = f.tape
        if tape is not None and not self.is_straight():
            return tape.other(self, f, it, name)
        before = f.span
        span = self._span
        if span is None:
            span = self._span = self.at()
        f.span = span
        try:
            if self.condition is not None:
                holds = f.truth(self.condition)
                if tape is not None:
                    tape.decided(self.condition, holds)
                if not holds:
                    return self.skipped(f, it, name)
            value = self.run(f, it, name)
            if self.names is not None:
                value = self._spread(f, value, name)
            if self.shape is not None:
                value = self._shaped(f, value, name)
            return value
        except FAULTS as error:
            for n in self.names or ():
                f.env.setdefault(n, UNKNOWN)
            return f.caught(error, self.place(error) or f.span)
        finally:
            f.span = before

    def is_straight(self) -> bool:
        """Whether it tells a tape what it does."""
        return self.straight and self.shape is None

    def place(self, error: Exception) -> Span | None:
        """Where a fault stands that names a key of the node."""
        key = getattr(error, "key", None)
        return span_of(self.raw, key) if key is not None and self.raw is not None and key in self.raw else None

    def run(self, f: Frame, it: Any, name: str) -> Any:
        raise AssertionError

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        """What a skipped node passes on."""
        return it

    def skipped(self, f: Frame, it: Any, name: str) -> Any:
        if isinstance(self.otherwise, RefPlan):
            return self.otherwise.get(f, it, name)
        if self.otherwise is not None:
            cls = get_op("full")
            assert cls is not None
            op = cls.make(shape=(), fill_value=self.otherwise)
            out = op.infer(f)
            assert not isinstance(out, tuple)
            return f.refs(f.add(f.unique(name), op, (), (out,)))[0]
        # A source has nothing to pass on, and so has what follows it: absent, an error for whoever reads it.
        return None if self.is_source else self.first_input(f, it, name)

    def _spread(self, f: Frame, value: Any, name: str) -> Any:
        assert self.names is not None
        if value is UNKNOWN:
            for n in self.names:
                if n != "_":
                    f.env[n] = UNKNOWN
            return value
        parts = list(value.values()) if isinstance(value, Record) else value
        if isinstance(value, Turns):
            parts = value.turns
        if isinstance(value, Ref):
            parts = [value]
        if len(parts) != len(self.names):
            count = len(parts)
            there = f"there {'is' if count == 1 else 'are'} {count}"
            hint = "`_` stands for an output that is not needed" if count > len(self.names) else None
            raise OpError(f"`as` names {len(self.names)} outputs; {there}", hint=hint, code="as/count", key="as")
        for n, v in zip(self.names, parts, strict=True):
            if n != "_":
                f.env[n] = v
        return value

    def _shaped(self, f: Frame, value: Any, name: str) -> Any:
        assert self.shape is not None
        first = value
        while isinstance(first, (Values, Record)) and first:
            first = next(iter(first.values())) if isinstance(first, Record) else first[0]
        if isinstance(first, Turns):
            first = first.last
        if not isinstance(first, Ref):
            return value
        stated = self.shape.match(first.type, f.env, f.require, f"`{name}`")
        if stated is not first.type:
            index, out = first.ref
            if index >= 0:
                types = f.nodes[index].types
                f.nodes[index] = f.nodes[index].replace(types=(*types[:out], stated, *types[out + 1 :]))
            if first is value:
                return Ref(first.ref, stated)
            first.type = stated
        return value


class OutputPlan:
    """One entry of ``outputs``."""

    __slots__ = ("at", "name", "ref", "when")

    def __init__(self, name: str, ref: RefPlan, when: Eval | None, at: Callable[[], Span | None]) -> None:
        self.name = name
        self.ref = ref
        self.when = when
        self.at = at


class GraphPlan:
    """A compiled body: named nodes in order, and its outputs."""

    __slots__ = ("indexed", "items", "outputs", "refs", "tapes")

    def __init__(self, items: list[tuple[str, NodePlan]], outputs: list[OutputPlan] | None) -> None:
        self.items = items
        self.outputs = outputs
        refs: frozenset[str] = frozenset()
        for _, plan in items:
            refs |= plan.refs
        for o in outputs or ():
            refs |= o.ref.refs
        self.refs = refs
        self.tapes: Tapes | None = None

    def run(self, f: Frame, it: Any) -> Any:
        """Run every node; returns the last value."""
        env = f.env
        for name, plan in self.items:
            it = plan.evaluate(f, it, name)
            if name != "_":
                env[name] = it
            if f.tape is not None:
                f.tape.bound(it)
        return it

    def output_value(self, f: Frame) -> Any:
        """The value of ``outputs``: a single one by itself, several as a record."""
        assert self.outputs is not None
        found = Record()
        for o in self.outputs:
            try:
                if o.when is not None:
                    holds = f.truth(o.when)
                    if f.tape is not None:
                        f.tape.decided(o.when, holds)
                    if not holds:
                        continue
                found[o.name] = o.ref.get(f, None, o.name)
            except FAULTS as error:
                found[o.name] = f.caught(error, o.at())
        return found
