"""Compiled nodes of a graph body: each knows how to add itself to a `Frame`.

A body is compiled once per file; elaboration runs the plans, once per (block, arguments, input types).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, ClassVar, Final

from archgraph.ir.diagnostics import Span, did_you_mean
from archgraph.ir.dim import Dim, decider, eq, rounded
from archgraph.ir.graph import Node, ValueRef
from archgraph.ir.real import Late, Real, free, late_names
from archgraph.ir.reserved import RESERVED
from archgraph.ir.types import TensorType
from archgraph.ops.base import AttributeValueError, Op, OpError, check_operands, get_op
from archgraph.spec.explain import choice_hint, origins, show_value
from archgraph.spec.expr import Expr, compile
from archgraph.spec.frame import FAULTS, Frame
from archgraph.spec.model import Block, OpRef
from archgraph.spec.patterns import ShapePattern
from archgraph.spec.values import (
    UNKNOWN,
    Record,
    Ref,
    Turns,
    Values,
    Weights,
    flatten,
    holds_unknown,
    host_lists,
    is_value,
    tidy,
)
from archgraph.spec.yaml import YMap, span_of

Eval = Callable[[Mapping[str, Any]], Any]
_NO_NAMES: Final[frozenset[str]] = frozenset()


class RefPlan:
    """A reference in ``in``: ``node``, ``node.output``, ``list.0``, ``list...``; or a node written in place."""

    __slots__ = ("inline", "name", "segments", "span", "splice")

    def __init__(
        self,
        name: str,
        segments: tuple[int | str, ...] = (),
        splice: bool = False,
        inline: NodePlan | None = None,
        span: Span | None = None,
    ) -> None:
        self.name = name
        self.segments = segments
        self.splice = splice
        self.inline = inline
        self.span = span

    @property
    def refs(self) -> frozenset[str]:
        if self.inline is not None:
            return self.inline.refs
        return frozenset((self.name, *(s for s in self.segments if isinstance(s, str))))

    def get(self, f: Frame, it: Any, owner: str) -> Any:
        """The value referred to.

        Raises
        ------
        OpError
            If there is none.
        """
        value = f.env.get(self.name)
        if type(value) is Ref and not self.segments and not self.splice:
            return value
        if self.inline is not None:
            return self.inline.evaluate(f, it, f.unique(owner + "_in"))
        if self.name == "it":
            value = it
            if value is None:
                raise OpError("`it` is the value above, and nothing stands above")
        elif value is None and self.name not in f.env:
            f.unknown_name(self.name, self.span)
            return UNKNOWN
        for s in self.segments:
            value = step(f, value, s, self.name)
        if self.splice:
            if isinstance(value, Turns):
                return value.turns
            if isinstance(value, Weights):
                return Values(r for _, r in flatten(value))
            if isinstance(value, Record):
                return Values(value.values())
            if not isinstance(value, (Values, type(UNKNOWN))):
                raise OpError(
                    f"`{self.name}...` splices a list; `{self.name}` is one value", code="name/splice", key="in"
                )
            return value
        if isinstance(value, Turns):
            return value.last
        return value


def absent(name: str) -> OpError:
    """The fault of reading what is not there in this configuration."""
    return OpError(
        f"`{name}` is absent here: its `when` leaves it out, or nobody gives it",
        hint="give the reader a `when` of its own, or the absent node an `else`",
        code="value/absent",
        key="in",
    )


def step(f: Frame, value: Any, segment: int | str, name: str) -> Any:
    """One segment of a reference: an element, an output, or a weight of a node."""
    if value is UNKNOWN:
        return value
    if isinstance(segment, str) and isinstance(value, (Values, Turns)):
        index = f.env.get(segment)
        if isinstance(index, int):
            segment = index
        elif isinstance(index, (Late, Real)):
            from archgraph.ir.real import NeedsValue

            raise NeedsValue(index)
    if isinstance(value, Turns):
        if isinstance(segment, int):
            value = value.turns
        else:
            value = value.last
    if isinstance(segment, int):
        if isinstance(value, Record):
            value = Values(value.values())
        if not isinstance(value, Values):
            if segment == 0:
                return value
            raise OpError(f"`{name}` is one value; it has no part {segment}", code="name/part", key="in")
        if not -len(value) <= segment < len(value):
            raise OpError(
                f"`{name}` has {len(value)} parts; there is no {segment}",
                f"between {-len(value)} and {len(value) - 1}" if value else "no parts",
                str(segment),
                code="name/part",
                key="in",
            )
        return value[segment]
    if isinstance(value, Record):
        if segment in value:
            return value[segment]
        raise OpError(
            f"`{name}` has no output `{segment}`",
            ", ".join(value),
            segment,
            _near(segment, value),
            code="name/output",
            key="in",
        )
    if isinstance(value, Values) and value and all(isinstance(v, Record) and segment in v for v in value):
        return Values(v[segment] for v in value)
    if isinstance(value, Ref):
        found = _named_part(f, value, segment)
        if found is not None:
            return found
    raise OpError(f"`{name}` has no output or weight `{segment}`", code="name/output", key="in")


def _near(word: str, known: Iterable[str]) -> str | None:
    near = did_you_mean(word, known)
    return f"did you mean `{near}`?" if near else None


def _named_part(f: Frame, value: Ref, segment: str) -> Ref | None:
    """The only output under its own name, or the weight of a node as a value."""
    index = value.ref[0]
    if index < 0:
        return None
    node = f.nodes[index]
    outputs = [n for n, _ in node.callee.outputs] if node.op is None else list(getattr(node.op, "outputs", ()))
    if segment in outputs and len(outputs) == 1:
        return value
    if node.op is None:
        return None
    types = tuple(None if r is None else _type_of(f, r) for r in node.inputs)
    assert isinstance(node.op, Op)
    for w in node.op.weights(*types):
        if w.name == segment:
            cls = get_op("get_weight")
            assert cls is not None
            path = f"{node.name}.{w.name}"
            op = cls.make(path=path, shape=w.shape, dtype=w.dtype)
            out = op.infer(f)
            k = f.add(f.unique(path.replace(".", "_")), op, (), (out,) if not isinstance(out, tuple) else out)
            return f.refs(k)[0]
    return None


def single(value: Any, name: str) -> Any:
    """One tensor, where a chain stands for its last value and a record for its first.

    Raises
    ------
    OpError
        For lists and numbers.
    """
    if isinstance(value, Turns):
        value = value.last
    if isinstance(value, Record) and value:
        value = next(iter(value.values()))
    if value is not UNKNOWN and not isinstance(value, Ref):
        raise OpError(f"`{name}` must be one tensor")
    return value


def _type_of(f: Frame, ref: tuple[int, int]) -> Any:
    return f.inputs[ref[1]][1] if ref[0] < 0 else f.nodes[ref[0]].types[ref[1]]


class NodePlan:
    """A compiled node. Subclasses implement `run`; `evaluate` adds what every node may say."""

    __slots__ = ("_span", "at", "condition", "flags", "is_source", "names", "otherwise", "raw", "refs", "shape")

    #: Takes nothing but what it names, never the value above.
    explicit: ClassVar[bool] = False
    #: Passes its `given`, or the value above, on to plans inside.
    wraps: ClassVar[bool] = False
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
        before = f.span
        span = self._span
        if span is None:
            span = self._span = self.at()
        f.span = span
        try:
            if self.condition is not None and not f.truth(self.condition):
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


class OpPlan(NodePlan):
    """An op or block call."""

    __slots__ = (
        "attrs",
        "dynamic",
        "given",
        "inputs",
        "kwinputs",
        "late_target",
        "overlay",
        "preset",
        "static",
        "target",
        "word",
    )

    def __init__(self, at: Callable[[], Span | None]) -> None:
        super().__init__(at)
        self.word = ""
        #: Op class or Block; None if a param decides.
        self.target: Any = None
        self.late_target: Eval | None = None
        self.inputs: list[RefPlan | list[RefPlan]] | None = None
        self.kwinputs: dict[str, RefPlan | list[RefPlan]] | None = None
        #: name → (constant?, value or evaluator, span)
        self.attrs: dict[str, tuple[bool, Any, Callable[[], Span | None]]] = {}
        self.static: Op | None = None
        #: Converted values of the attributes, and those to fill in: (index, attribute, evaluator).
        self.preset: list[Any] | None = None
        self.dynamic: list[tuple[int, Any, Eval]] = []
        self.given: dict[str, RefPlan | None] | None = None
        #: Attributes as written, for targets known at run time only: (compiler, raw mapping).
        self.overlay: Any = None

    # -- inputs --------------------------------------------------------------------------------------------------

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        for first in (self.inputs or (), list((self.kwinputs or {}).values())):
            if first:
                got = self._one(f, first[0], it, name)
                if isinstance(got, Values) and (len(self.inputs or ()) == 1):
                    return got[0] if got else None
                return got
        return it

    def _one(self, f: Frame, plan: RefPlan | list[RefPlan], it: Any, name: str) -> Any:
        if isinstance(plan, list):
            items = Values()
            for p in plan:
                v = p.get(f, it, name)
                if p.splice and isinstance(v, Values):
                    items.extend(v)
                else:
                    items.append(v)
            return items
        return plan.get(f, it, name)

    def _positional(self, f: Frame, it: Any, name: str) -> list[Any]:
        if self.inputs is None:
            return [] if it is None else [it]
        found: list[Any] = []
        for p in self.inputs:
            v = p.get(f, it, name) if type(p) is RefPlan else self._one(f, p, it, name)
            if type(v) is Values and type(p) is RefPlan and p.splice:
                found.extend(v)
            else:
                found.append(v)
        return found

    # -- running -------------------------------------------------------------------------------------------------

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
        for key, (const, value, at) in attrs.items():
            if const:
                found[key] = value
                continue
            try:
                v = f.value(value)
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
                    op = self._instance(f, cls, preset)
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
            outs = op.infer(f, *types)
        except FAULTS as error:
            return f.caught(error, self.place(error) or f.span, origins(f, refs))
        own = name if name not in f.taken and name not in RESERVED else f.unique(name)
        weights = () if self.given is None else self._given(f, it, name, op, types)
        if not isinstance(outs, tuple):
            index = f.append(Node(own, op, inputs, (outs,), (), 1, None, (), weights, self.flags, f.span))
            return Ref((index, 0), outs)
        index = f.append(Node(own, op, inputs, outs, (), 1, None, (), weights, self.flags, f.span))
        return Record(zip(_output_names(op, len(outs)), f.refs(index), strict=True))

    def _filled(self, f: Frame, cls: type[Op]) -> Op | None:
        """The op with its dynamic attributes evaluated; None where one needs the careful way."""
        assert self.preset is not None
        values = self.preset.copy()
        late = _NO_NAMES
        env = f.env
        try:
            for index, a, fn in self.dynamic:
                v = fn(env)
                if type(v) is not int or not a.plain_int:
                    v = cls.convert(a, tidy(v))
                    if isinstance(v, (Real, tuple, Expr)):
                        late = late | late_names(v)
                values[index] = v
        except (*FAULTS, TypeError):
            return None
        return cls(tuple(values), late)

    def _instance(self, f: Frame, cls: type[Op], preset: Any) -> Op:
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

    def _operands(self, f: Frame, it: Any, name: str, cls: type[Op]) -> list[Ref | None] | None:
        """References for the operands; None where one of them failed."""
        operands = cls.operands
        if not operands and self.inputs is None and self.kwinputs is None:
            return []
        found: list[Any]
        if self.kwinputs is not None:
            by_name = {o.name: k for k, o in enumerate(operands)}
            found = [None] * len(operands)
            for key, p in self.kwinputs.items():
                if key not in by_name:
                    raise OpError(
                        f"`{cls.op_name}` has no operand `{key}`",
                        ", ".join(by_name),
                        key,
                        _near(key, by_name),
                        key="in",
                    )
                found[by_name[key]] = self._one(f, p, it, name)
            if operands and operands[-1].variadic and isinstance(found[-1], Values):
                found[-1:] = list(found[-1])
        else:
            found = self._positional(f, it, name)
        if operands and operands[-1].variadic:
            flat: list[Any] = []
            for v in found:
                if isinstance(v, (Values, Turns)):
                    flat.extend([UNKNOWN] if holds_unknown(v) else [r for _, r in flatten(v)])
                else:
                    flat.append(v)
            found = flat
        refs: list[Ref | None] = []
        variadic = bool(operands) and operands[-1].variadic
        for k, v in enumerate(found):
            if v is None and (variadic or (k < len(operands) and not operands[k].optional)):
                self._absent(k)
            if type(v) is Ref:
                refs.append(v)
                continue
            if isinstance(v, Turns):
                v = v.last
            if type(v) is Weights:
                raise OverWeights(found)
            if isinstance(v, Record) and len(v) >= 1 and self.inputs is None:
                v = next(iter(v.values()))
            if v is UNKNOWN:
                return None
            if v is not None and not isinstance(v, Ref):
                what = operands[k].name if k < len(operands) else f"{operands[-1].name}[{k}]"
                if is_value(v):
                    raise OpError(f"operand `{what}` is a list; name one of its values, or splice it with `...`")
                raise OpError(f"operand `{what}` is a number, not a tensor", hint="use `formula`, or `constant`")
            refs.append(v)
        n = len(operands)
        if len(refs) > n and not variadic:
            raise OpError(f"`{cls.op_name}` takes {n} operand{'s' * (n != 1)}; {len(refs)} are given", key="in")
        for k, o in enumerate(operands):
            if not o.optional and (k >= len(refs) or refs[k] is None):
                hint = "nothing stands above: say `in:`" if not refs else None
                raise OpError(f"`{cls.op_name}` needs the operand `{o.name}`", hint=hint)
        if not variadic:
            refs += [None] * (n - len(refs))
        return refs

    def _absent(self, number: int) -> None:
        """Refuse an operand that is given and absent: an optional input, or a node that is left out.

        Raises
        ------
        OpError
            Naming it, unless the operand is not given at all.
        """
        written = self.inputs[number : number + 1] if self.inputs is not None else []
        if self.kwinputs is not None:
            written = list(self.kwinputs.values())[number : number + 1]
        for p in written:
            if isinstance(p, RefPlan) and p.inline is None:
                raise absent(p.name)

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
        from archgraph.spec.elaborate import call_block

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
        return call_block(f, name, block, args, values, self.flags, share, self._argument)

    def _argument(self, param: str) -> Span | None:
        """Where an argument is written."""
        return self.attrs[param][2]() if param in self.attrs else self._span

    def _block_inputs(self, f: Frame, it: Any, name: str, block: Block) -> dict[str, Any] | None:
        declared = list(block.inputs)
        found: dict[str, Any] = {}
        if self.kwinputs is not None:
            for key, p in self.kwinputs.items():
                if key not in block.inputs:
                    raise OpError(
                        f"`{block.name}` has no input `{key}`",
                        ", ".join(declared) or "no inputs",
                        key,
                        _near(key, declared),
                        key="in",
                    )
                found[key] = self._one(f, p, it, name)
            first = declared[0] if declared else None
            if first is not None and first not in found and it is not None and not block.inputs[first].optional:
                found[first] = it
        else:
            given = self._positional(f, it, name)
            if self.inputs is None and len(given) == 1 and isinstance(given[0], Record):
                named = given[0]
                if all(k in block.inputs for k in named):
                    return dict(named)
                given = [next(iter(named.values()))]
            if self.inputs is None and not declared:
                given = []
            if len(given) > len(declared):
                n = len(declared)
                raise OpError(f"`{block.name}` takes {n} input{'s' * (n != 1)}; {len(given)} are given", key="in")
            found = dict(zip(declared, given, strict=False))
        if any(holds_unknown(v) for v in found.values()):
            return None
        return found


class Failed(Exception):
    """A fault was recorded already."""


class OverWeights(Exception):
    """An operand is a record of weights: the op acts on each of its tensors."""

    def __init__(self, operands: list[Any]) -> None:
        super().__init__()
        self.operands = operands

    def apply(self, f: Frame, name: str, op: Op, flags: frozenset[str]) -> Any:
        """`archgraph.spec.weights.apply_to_each`."""
        from archgraph.spec.weights import apply_to_each

        if any(v is UNKNOWN for v in self.operands):
            return UNKNOWN
        return apply_to_each(f, name, op, self.operands, flags)


def _output_names(op: Op, n: int) -> list[str]:
    names = list(op.outputs)
    return names if len(names) == n else [str(k) for k in range(n)]


class FormulaPlan(NodePlan):
    """``formula:`` element-wise arithmetic on named values."""

    __slots__ = ("given", "named", "roots", "tree")

    def __init__(self, at: Callable[[], Span | None], tree: Expr, given: RefPlan | None) -> None:
        super().__init__(at)
        self.tree = tree
        self.given = given
        #: Operands given by name, in this order.
        self.named: dict[str, RefPlan] = {}
        self.roots: tuple[str, ...] = tuple(sorted(tree.names))

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return it if self.given is None else self.given.get(f, it, name)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        from archgraph.spec.formula import close

        here = it if self.given is None else self.given.get(f, it, name)
        named = {n: single(p.get(f, it, name), n) for n, p in self.named.items()}
        try:
            tree, operands, values = close(f, self.tree, here, named=named)
        except OverWeights as over:
            from archgraph.spec.weights import formula_of_each

            return formula_of_each(f, name, self.tree, here, over.operands[0], self.flags)
        if any(v is UNKNOWN for v in values):
            return UNKNOWN
        cls = get_op("formula")
        assert cls is not None
        op = cls((tree, operands))
        types = tuple(v.type for v in values)
        try:
            out = op.infer(f, *types)
        except FAULTS as error:
            return f.caught(error, f.span, origins(f, values))
        assert isinstance(out, TensorType)
        index = f.add(f.unique(name), op, tuple(v.ref for v in values), (out,), flags=self.flags)
        return f.refs(index)[0]


class ChainPlan(NodePlan):
    """A list: each item takes the value above."""

    __slots__ = ("items", "start")

    def __init__(self, at: Callable[[], Span | None], items: list[tuple[str | None, NodePlan]]) -> None:
        super().__init__(at)
        self.items = items
        self.start: RefPlan | None = None

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return it if self.start is None else self.start.get(f, it, name)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        value = self.first_input(f, it, name)
        last = len(self.items) - 1
        for k, (label, plan) in enumerate(self.items):
            own = label or (name if k == last else f.unique(f"{name}_{k}"))
            value = plan.evaluate(f, value, own)
            if label is not None:
                f.env[label] = value
        return value


class ResidualPlan(NodePlan):
    """``residual:`` the input plus what the branch makes of it."""

    __slots__ = ("branch", "given", "shortcut")
    wraps = True

    def __init__(
        self, at: Callable[[], Span | None], branch: NodePlan, shortcut: NodePlan | None, given: RefPlan | None
    ) -> None:
        super().__init__(at)
        self.branch = branch
        self.shortcut = shortcut
        self.given = given

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return it if self.given is None else self.given.get(f, it, name)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        x = self.first_input(f, it, name)
        if isinstance(x, Record):
            x = next(iter(x.values()))
        y = self.branch.evaluate(f, x, f.unique(name + "_branch"))
        if self.shortcut is not None:
            x = self.shortcut.evaluate(f, x, "shortcut" if "shortcut" not in f.taken else f.unique(name + "_shortcut"))
        if holds_unknown(x) or holds_unknown(y):
            return UNKNOWN
        if not isinstance(x, Ref) or not isinstance(y, Ref):
            raise OpError("a residual adds one value to one value")
        if x.type.shape != y.type.shape and not _may_be_one(x, y):
            return f.fault(
                "shape/residual",
                f.span,
                "the branch does not have the shape of what it is added to",
                expected=str(x.type),
                found=str(y.type),
                hint="a `shortcut:` can bring the input to the branch's shape" if self.shortcut is None else None,
                notes=origins(f, (y, x)),
            )
        if x.type.shape != y.type.shape:  # one shape in two spellings, provided that its guards hold
            same = _same_shape()
            found = same.infer(f, y.type, x.type)
            assert not isinstance(found, tuple)
            index = f.append(Node(f.unique(name + "_same"), same, (y.ref, x.ref), (found,), origin=f.span))
            y = Ref((index, 0), found)
        op = _add()
        out = op.infer(f, x.type, y.type)
        assert not isinstance(out, tuple)
        index = f.append(Node(f.unique(name), op, (x.ref, y.ref), (out,), origin=f.span))
        return Ref((index, 0), out)


def _may_be_one(x: Ref, y: Ref) -> bool:
    """Whether two shapes are one, or differ by roundings at most as windows that tile a map do:
    ``7*((H + 15)//112)`` and ``(H + 15)//16``. ``H`` and ``H//2`` are not, though both may be 1; but in a study of
    cases what is equal in the case is."""
    if len(x.type.shape) != len(y.type.shape):
        return False
    for n, m in zip(x.type.shape, y.type.shape, strict=True):
        cond = eq(n, m)
        if cond is False or not (cond is True or rounded(n - m) or (decider.get() is not None and bool(cond))):
            return False
    return True


@cache
def _same_shape() -> Op:
    cls = get_op("same_shape")
    assert cls is not None
    return cls.make()


@cache
def _add() -> Op:
    cls = get_op("add")
    assert cls is not None
    return cls.make()


class SwitchPlan(NodePlan):
    """``switch:`` a static choice; ``switch: training`` one at run time (see `archgraph.spec.regions`)."""

    __slots__ = ("cases", "given", "selector")
    wraps = True

    def __init__(
        self, at: Callable[[], Span | None], selector: Eval, cases: dict[Any, NodePlan], given: RefPlan | None
    ) -> None:
        super().__init__(at)
        self.selector = selector
        self.cases = cases
        self.given = given

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return it if self.given is None else self.given.get(f, it, name)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        value = f.value(self.selector)
        if isinstance(value, (Late, Real)) and free(value):
            from archgraph.ir.real import NeedsValue

            raise NeedsValue(value)
        if isinstance(value, Dim):
            raise OpError(
                "a switch needs a known value",
                "one of " + ", ".join(map(show_key, self.cases)),
                f"{value}, which is not known here",
                "give the size with --at, or as `at:` beside the shape of the input",
                code="switch/unknown",
            )
        for key, plan in self.cases.items():
            if key == value and isinstance(key, bool) == isinstance(value, bool):
                return plan.evaluate(f, self.first_input(f, it, name), name)
        raise OpError(
            "no case fits", "one of " + ", ".join(map(show_key, self.cases)), show_key(value), code="switch/case"
        )


def show_key(key: Any) -> str:
    """A case's key as written."""
    return str(key).lower() if isinstance(key, bool) else str(key)


class ValuePlan(NodePlan):
    """A name standing as a node: the value itself."""

    __slots__ = ("ref",)

    def __init__(self, at: Callable[[], Span | None], ref: RefPlan) -> None:
        super().__init__(at)
        self.ref = ref

    def run(self, f: Frame, it: Any, name: str) -> Any:
        return self.ref.get(f, it, name)


class ListPlan(NodePlan):
    """``list:`` several values as one list, named one by one or by an expression over lists of values."""

    __slots__ = ("items", "tree")

    def __init__(self, at: Callable[[], Span | None], tree: Expr | None, items: list[RefPlan]) -> None:
        super().__init__(at)
        self.tree = tree
        self.items = items

    def run(self, f: Frame, it: Any, name: str) -> Any:
        found = Values()
        if self.tree is None:
            for p in self.items:
                v = p.get(f, it, name)
                if p.splice and isinstance(v, Values):
                    found.extend(v)
                else:
                    found.append(v)
            return UNKNOWN if holds_unknown(found) else found
        if any(f.env.get(n) is UNKNOWN for n in self.tree.names):
            return UNKNOWN
        value = compile(self.tree)({**f.env, **host_lists(self.tree.names, f.env)})
        if not isinstance(value, (tuple, list)) or not all(map(is_value, value)):
            raise OpError("`list` makes a list of tensors", "a list of values", show_value(value), code="list/form")
        return Values(value)


class GroupPlan(NodePlan):
    """Named nodes in one mapping, without a path segment: the value is that of the last one."""

    __slots__ = ("body", "given")
    wraps = True

    def __init__(self, at: Callable[[], Span | None], body: GraphPlan, given: RefPlan | None = None) -> None:
        super().__init__(at)
        self.body = body
        self.given = given

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return it if self.given is None else self.given.get(f, it, name)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        value = self.body.run(f, self.first_input(f, it, name))
        if self.body.outputs is not None:
            return self.body.output_value(f)
        return value


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


def _shapes(weights: list[tuple[str, tuple[Any, ...]]]) -> str:
    return ", ".join(f"{name} [{', '.join(map(str, shape))}]" for name, shape in weights)


class SharePlan(OpPlan):
    """``share: node``: the same op, attributes and weights again."""

    __slots__ = ("owner",)

    def __init__(self, at: Callable[[], Span | None], owner: str) -> None:
        super().__init__(at)
        self.owner = owner

    def run(self, f: Frame, it: Any, name: str) -> Any:
        from archgraph.spec.elaborate import call_block

        owner = next((n for n in f.nodes if n.name == self.owner and n.share is None), None)
        if owner is None:
            value = f.env.get(self.owner)
            if value is UNKNOWN:
                return UNKNOWN
            if isinstance(value, Ref) and value.ref[0] >= 0:
                owner = f.nodes[value.ref[0]]
        if owner is None:
            raise OpError(
                f"there is no node `{self.owner}` above to share weights with",
                hint=_near(self.owner, [n.name for n in f.nodes]),
                code="share/unknown",
            )
        made = f.made.get(owner.name)
        if made is not None:
            values = self._block_inputs(f, it, name, made.block)
            if values is None:
                return UNKNOWN
            return call_block(f, name, made.block, made.args, values, self.flags, share=owner.share or (owner.name,))
        op = owner.op
        if not isinstance(op, Op) or owner.callees:
            raise OpError(
                f"`{self.owner}` can't be shared; only ops and blocks have weights to share", code="share/form"
            )
        refs = self._operands(f, it, name, type(op))
        if refs is None:
            return UNKNOWN
        types = tuple(None if r is None else r.type for r in refs)
        check_operands(type(op), types)
        outs = op.infer(f, *types)
        before = tuple(None if r is None else _type_of(f, r) for r in owner.inputs)
        mine = [(w.name, w.shape) for w in op.weights(*types)]
        theirs = [(w.name, w.shape) for w in op.weights(*before)]
        if mine != theirs:
            raise OpError(
                f"the weights of `{self.owner}` do not fit here",
                _shapes(theirs),
                _shapes(mine),
                "`share` takes the same weights: the input has other channels here",
                code="share/shape",
            )
        many = isinstance(outs, tuple)
        index = f.add(
            f.unique(name),
            op,
            tuple(None if r is None else r.ref for r in refs),
            outs if many else (outs,),  # type: ignore[arg-type]
            share=owner.share or (owner.name,) if mine else None,
            flags=self.flags,
        )
        out = f.refs(index)
        return out[0] if not many else Record(zip(_output_names(op, len(out)), out, strict=True))


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

    __slots__ = ("indexed", "items", "outputs", "refs")

    def __init__(self, items: list[tuple[str, NodePlan]], outputs: list[OutputPlan] | None) -> None:
        self.items = items
        self.outputs = outputs
        refs: frozenset[str] = frozenset()
        for _, plan in items:
            refs |= plan.refs
        for o in outputs or ():
            refs |= o.ref.refs
        self.refs = refs

    def run(self, f: Frame, it: Any) -> Any:
        """Run every node; returns the last value."""
        env = f.env
        for name, plan in self.items:
            it = plan.evaluate(f, it, name)
            if name != "_":
                env[name] = it
        return it

    def output_value(self, f: Frame) -> Any:
        """The value of ``outputs``: a single one by itself, several as a record."""
        assert self.outputs is not None
        found = Record()
        for o in self.outputs:
            try:
                if o.when is not None and not f.truth(o.when):
                    continue
                found[o.name] = o.ref.get(f, None, o.name)
            except FAULTS as error:
                found[o.name] = f.caught(error, o.at())
        return found


LOOP_WORDS: Final = ("repeat", "for", "each", "map")
