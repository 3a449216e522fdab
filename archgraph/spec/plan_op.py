"""Nodes that are an op, or the call of a block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from archgraph.ir.diagnostics import Span
from archgraph.ir.graph import Node, ValueRef
from archgraph.ir.real import Real, late_names
from archgraph.ir.reserved import RESERVED
from archgraph.ir.types import TensorType
from archgraph.ops.base import AttributeValueError, Op, OpError, check_operands, get_op
from archgraph.spec.explain import choice_hint, origins
from archgraph.spec.expr import EvalError, Expr
from archgraph.spec.frame import FAULTS, Frame
from archgraph.spec.model import Block, OpRef
from archgraph.spec.plan import Eval
from archgraph.spec.plan_operands import OperandPlan, OverWeights
from archgraph.spec.plan_refs import RefPlan
from archgraph.spec.values import (
    UNKNOWN,
    Record,
    Ref,
    tidy,
)

_NO_NAMES: Final[frozenset[str]] = frozenset()


class OpPlan(OperandPlan):
    """An op or block call."""

    __slots__ = (
        "attrs",
        "dynamic",
        "given",
        "late_target",
        "overlay",
        "preset",
        "static",
        "target",
    )

    straight = True

    def __init__(self, at: Callable[[], Span | None]) -> None:
        super().__init__(at)
        #: Op class or Block; None if a param decides.
        self.target: Any = None
        self.late_target: Eval | None = None
        #: name → (constant?, value or evaluator, span)
        self.attrs: dict[str, tuple[bool, Any, Callable[[], Span | None]]] = {}
        self.static: Op | None = None
        #: Converted values of the attributes, and those to fill in: (index, attribute, evaluator).
        self.preset: list[Any] | None = None
        self.dynamic: list[tuple[int, Any, Eval]] = []
        self.given: dict[str, RefPlan | None] | None = None
        #: Attributes as written, for targets known at run time only: (compiler, raw mapping).
        self.overlay: Any = None

    def is_straight(self) -> bool:
        target = self.target
        return super().is_straight() and self.given is None and not (type(target) is Block and target.root)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        target, preset = self.target, None
        if self.late_target is not None:
            target, preset = self.resolve(f)
        if type(target) is Block:
            return self.call(f, it, name, target, preset)
        return self.apply(f, it, name, target, preset)

    def resolve(self, f: Frame) -> tuple[Any, tuple[tuple[str, Any], ...] | None]:
        """What a target param stands for."""
        assert self.late_target is not None
        value = self.late_target(f.env)
        if f.tape is not None:
            f.tape.aimed(self.late_target, value)
        if isinstance(value, OpRef):
            return value.target, value.attrs
        if isinstance(value, str):
            block = f.block.file.find(value)
            if block is not None:
                return block, None
            cls = get_op(value)
            if cls is not None:
                return cls, None
            raise OpError(f"`{self.word}` is `{value}`, and there is no such op or block")
        raise OpError(f"`{self.word}` is {value!r}; a block or op is needed")

    def attributes(self, f: Frame, target: Any, preset: tuple[tuple[str, Any], ...] | None) -> dict[str, Any]:
        """Evaluated attributes, those of the param's own value first."""
        attrs = self.attrs
        if self.overlay is not None:
            attrs = self.overlay(target)
        found: dict[str, Any] = dict(preset) if preset else {}
        env = f.env
        for key, (const, value, at) in attrs.items():
            if const:
                found[key] = value
                continue
            try:
                v = value(env)
            except EvalError:
                try:
                    v = f.value(value)
                except FAULTS as error:
                    f.caught(error, at())
                    raise Failed from None
            except FAULTS as error:
                f.caught(error, at())
                raise Failed from None
            found[key] = v if type(v) is int else tidy(v)
        return found

    def apply(self, f: Frame, it: Any, name: str, cls: type[Op], preset: Any = None) -> Any:
        """Add a leaf op."""
        op = self.static
        if op is None:
            if preset is None and self.preset is not None:
                op = self._filled(f, cls)
            if op is None:
                try:
                    op = self.instance(f, cls, preset)
                except Failed:
                    self._operands(f, it, name, cls)
                    return UNKNOWN
        inputs: tuple[ValueRef | None, ...]
        types: tuple[TensorType | None, ...]
        refs: list[Ref | None] | None
        if type(it) is Ref and self.inputs is None and self.kwinputs is None and len(cls.operands) == 1:
            refs, inputs, types = [it], (it.ref,), (it.type,)
        else:
            try:
                refs = self._operands(f, it, name, cls)
            except OverWeights as over:
                return over.apply(f, name, op, self.flags)
            if refs is None:
                return UNKNOWN
            inputs = tuple([None if r is None else r.ref for r in refs])
            types = tuple([None if r is None else r.type for r in refs])
        try:
            check_operands(cls, types)
            outs = f.settled(op.infer(f, *types))
        except FAULTS as error:
            return f.caught(error, self.place(error) or f.span, origins(f, refs))
        own = name if name not in f.taken and name not in RESERVED else f.unique(name)
        weights = () if self.given is None else self._given(f, it, name, op, types)
        if not isinstance(outs, tuple):
            index = f.append(Node(own, op, inputs, (outs,), (), 1, None, (), weights, self.flags, f.span))
            if f.tape is not None:
                f.tape.op(self, f, index, types)
            return Ref((index, 0), outs)
        index = f.append(Node(own, op, inputs, outs, (), 1, None, (), weights, self.flags, f.span))
        if f.tape is not None:
            f.tape.op(self, f, index, types)
        return Record(zip(output_names(op, len(outs)), f.refs(index), strict=True))

    def _filled(self, f: Frame, cls: type[Op]) -> Op | None:
        """The op with its dynamic attributes evaluated; None where one needs the careful way."""
        assert self.preset is not None
        values = self.preset.copy()
        late = _NO_NAMES
        env = f.env
        try:
            for index, a, fn in self.dynamic:
                v = fn(env)
                if type(v) is not int or v < a.floor:
                    v = cls.convert(a, tidy(v))
                    if isinstance(v, (Real, tuple, Expr)):
                        late = late | late_names(v)
                values[index] = v
        except (*FAULTS, TypeError):
            return None
        return cls(tuple(values), late)

    def instance(self, f: Frame, cls: type[Op], preset: Any) -> Op:
        """The op from all its attributes; faults are recorded.

        Raises
        ------
        Failed
            If there were any.
        """
        values = self.attributes(f, cls, preset)
        try:
            return cls.from_mapping(values)
        except AttributeValueError:
            for key, value in values.items():
                a = cls.by_name.get(key)
                kind = a.kind if a is not None else cls.extra
                if kind is None or (a is not None and value is None and a.default is None and not a.required):
                    continue
                try:
                    kind.convert(value)
                except AttributeValueError as error:
                    at = self.attrs[key][2]() if key in self.attrs else f.span
                    message = f"`{cls.op_name}` can't take this `{key}`"
                    f.fault("attr/value", at, message, error.expected, error.found, choice_hint(error))
            raise Failed from None

    def _given(self, f: Frame, it: Any, name: str, op: Op, types: Any) -> tuple[tuple[str, Any], ...]:
        assert self.given is not None
        owned = {w.name: w for w in op.weights(*types)}
        found: list[tuple[str, Any]] = []
        for key, plan in self.given.items():
            if plan is None:
                found.append((key, None))
                continue
            v = plan.get(f, it, name)
            if not isinstance(v, Ref):
                raise OpError(f"the weight `{key}` must be one tensor", code="weights/form", key="weights")
            if key not in owned:
                raise OpError(
                    f"`{op.op_name}` has no weight `{key}`",
                    ", ".join(owned),
                    key,
                    code="weights/unknown",
                    key="weights",
                )
            if v.type.shape != owned[key].shape:
                want = TensorType(v.type.dtype, tuple(owned[key].shape))
                raise OpError(
                    f"the weight `{key}` has another shape", str(want), str(v.type), code="weights/shape", key="weights"
                )
            found.append((key, v.ref))
        missing = [w for w in owned if w not in self.given]
        if missing:
            raise OpError(
                f"`weights` must give every weight; `{missing[0]}` is missing",
                ", ".join(owned),
                ", ".join(self.given),
                "`null` stands for a weight that is left out" if "bias" in missing else None,
                code="weights/missing",
                key="weights",
            )
        return tuple(found)

    def call(self, f: Frame, it: Any, name: str, block: Block, preset: Any = None) -> Any:
        """Add a call of a block."""
        from archgraph.spec.block_call import call_block

        try:
            args = self.attributes(f, block, preset)
        except Failed:
            args = None
        values = self._block_inputs(f, it, name, block)
        if args is None or values is None:
            return UNKNOWN
        if self.given is not None:
            raise OpError(
                "`weights` can be given to ops; a block takes them as inputs", code="weights/block", key="weights"
            )
        share = one_instance(f, block) if block.root else None
        value = call_block(f, name, block, args, values, self.flags, share, self.argument)
        if f.tape is not None:
            f.tape.call(self, f, block, values, name, value)
        return value

    def argument(self, param: str) -> Span | None:
        """Where an argument is written."""
        return self.attrs[param][2]() if param in self.attrs else self._span


class Failed(Exception):
    """A fault was recorded already."""


def output_names(op: Op, n: int) -> list[str]:
    names = list(op.outputs)
    return names if len(names) == n else [str(k) for k in range(n)]


def one_instance(f: Frame, graph: Block) -> tuple[str, ...] | None:
    """The earlier call of a graph in the same body, whose weights a new call has too: a graph is one instance.

    Raises
    ------
    OpError
        If it is called in another body of this elaboration already.
    """
    for name, made in f.made.items():
        if made.block is graph:
            return (name,)
    place = (f.block, f.path)
    if f.session.graphs.setdefault(graph, place) != place:
        raise OpError(
            f"`{graph.name}` is a graph, one instance, and is called in another body already",
            hint=f"call it once and hand its value on, or make `{graph.name}` one of `blocks:`",
            code="graph/instance",
        )
    return None
