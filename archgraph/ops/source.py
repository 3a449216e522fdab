"""Values made from nothing: parameters, buffers, constants, ranges; and fills of another value's shape.

All are free: what is known when the model is built is computed then, as a buffer that is not in the state_dict.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from archgraph.ir.dim import Dim, Num, ceildiv, le
from archgraph.ir.expr import Const, Expr, Host, ListExpr, Name, Unary, replace, walk
from archgraph.ir.expr import Num as Number
from archgraph.ir.real import Late, NeedsValue, Real
from archgraph.ir.types import TensorType
from archgraph.ops.axes import DECIDED
from archgraph.ops.base import Context, Emitter, Handle, Op, Weight, attr, fail, operand
from archgraph.ops.drawing import pick
from archgraph.ops.evaluation import Evaluation, Value
from archgraph.ops.kinds import (
    BOOL,
    COUNT,
    DTYPE,
    FLOAT,
    INIT,
    SHAPE,
    SIZE,
    AttributeValueError,
    Init,
    Kind,
    MapKind,
    NestedKind,
    OptionalKind,
)


class Source(Op):
    """Base of the ops without operands."""

    free = True
    source = True


class Parameter(Source, name="parameter"):
    """A learned tensor; its state_dict key is the node's own path."""

    shape: tuple[Num, ...] = attr(SHAPE, doc="axis lengths", draw=lambda draw, ins, attrs: pick(draw, _SHAPES))
    init: Init = attr(
        INIT, "zeros", doc="law of its first values", inert=True, draw=["zeros", {"normal": {"std": 0.02}}]
    )
    dtype: str = attr(DTYPE, "float", doc="dtype", draw=["float"])

    def infer(self, cx: Context) -> TensorType:
        return TensorType(self.dtype, self.shape)

    def weights(self) -> tuple[Weight, ...]:
        return (Weight("", self.shape, self.init, self.dtype),)

    def lower(self, b: Emitter) -> Any:
        return b.weight("")

    def functional(self, b: Emitter) -> Any:
        return b.weight("")


_SHAPES: tuple[tuple[int, ...], ...] = ((3,), (1, 1, 4), (2, 3), ())


class LiteralKind(NestedKind):
    """Numbers in lists of lists, or an expression whose names are index ranges, kept as a tree."""

    slot = "formula"
    expected = "a number, nested lists of numbers, or an expression of index names"

    def convert(self, value: Any) -> Any:
        if not isinstance(value, Expr):
            return super().convert(value)
        known, found = _number(value)
        return super().convert(found) if known else value


def _number(e: Expr) -> tuple[bool, Any]:
    """Whether a tree is a literal, and its value."""
    if isinstance(e, (Number, Const, Host)):
        return e.value is not None, e.value
    if isinstance(e, Unary) and e.op == "-":
        known, value = _number(e.operand)
        return known, -value if known else None
    if isinstance(e, ListExpr):
        items = [_number(item) for item in e.items]
        return all(known for known, _ in items), tuple(value for _, value in items)
    return False, None


def literal_type(values: Any) -> tuple[str, tuple[int, ...]]:
    """dtype and shape of nested numbers: bool, int64, or the model's float if there is a fraction among them.

    Raises
    ------
    OpError
        If the lists are ragged or empty.
    """
    if not isinstance(values, tuple):
        return ("bool" if isinstance(values, bool) else "int64" if isinstance(values, (int, Dim)) else "float"), ()
    if not values:
        fail("a constant needs numbers", found="an empty list")
    parts = [literal_type(v) for v in values]
    dtypes = {dtype for dtype, _ in parts}
    shapes = {shape for _, shape in parts}
    if len(shapes) > 1:
        fail("the lists of a constant must be equally long", found=" and ".join(str(list(s)) for s in sorted(shapes)))
    (shape,) = shapes
    dtype = "float" if "float" in dtypes else "int64" if "int64" in dtypes else "bool"
    return dtype, (len(values), *shape)


class Buffer(Source, name="buffer"):
    """A tensor that is saved with the model and not learned; its state_dict key is the node's own path.

    It has a `shape` and a law, or a `value` in nested lists.
    """

    undrawable = "takes either a shape or a value"

    shape: tuple[Num, ...] | None = attr(
        OptionalKind(SHAPE), None, doc="axis lengths; left out beside `value`", draw=lambda draw, ins, attrs: (2, 3)
    )
    dtype: str | None = attr(
        OptionalKind(DTYPE), None, doc="dtype; `float`, or that of `value`, if left out", draw=[None]
    )
    init: Init = attr(INIT, "zeros", doc="law of its first values", inert=True, draw=["zeros"])
    value: Any = attr(OptionalKind(NestedKind()), None, doc="its first values", draw=[None])
    persistent: bool = attr(BOOL, True, doc="in the state_dict")

    def infer(self, cx: Context) -> TensorType:
        if (self.shape is None) == (self.value is None):
            fail("`buffer` takes either `shape` or `value`")
        weight = self.weights()[0]
        return TensorType(weight.dtype, weight.shape)

    def weights(self) -> tuple[Weight, ...]:
        if self.value is None:
            assert self.shape is not None
            return (Weight("", self.shape, self.init, self.dtype or "float", True, self.persistent),)
        dtype, shape = literal_type(self.value)
        init: Init = ("literal", (("value", self.value),))
        return (Weight("", shape, init, self.dtype or dtype, True, self.persistent),)

    def lower(self, b: Emitter) -> Any:
        return b.weight("")

    def functional(self, b: Emitter) -> Any:
        return b.weight("")


class Constant(Source, name="constant"):
    """Numbers known when the model is built: nested lists, or an expression over index ranges.

    `{over: {i: H, u: kernel}, value: "clamp(i - kernel // 2, 0, H - kernel) + u"}` has the shape [H, kernel] and at
    (i, u) the value of the expression, which is computed as a `formula` over the integers i and u.
    """

    value: Any = attr(LiteralKind(), doc="numbers, or an expression of the names in `over`", draw=[3, (1.5, 2.0)])
    over: tuple[tuple[str, Num], ...] = attr(
        MapKind(COUNT), {}, doc="index names and the lengths of the axes that they run over", draw=[()]
    )
    dtype: str | None = attr(OptionalKind(DTYPE), None, doc="dtype; that of the numbers if left out", draw=[None])

    def identity(self) -> tuple[Any, ...]:
        numbered: dict[str, Expr] = {n: Name(f"x{k}") for k, (n, _) in enumerate(self.over)}
        value = self.value
        if isinstance(value, Expr):
            value = replace(value, lambda e: numbered.get(e.name) if isinstance(e, Name) else None)
        return (value, self.sizes, self.dtype)

    @property
    def sizes(self) -> tuple[Num, ...]:
        return tuple(n for _, n in self.over)

    def infer(self, cx: Context) -> TensorType:
        if not self.over:
            if isinstance(self.value, Expr):
                names = ", ".join(f"`{name}`" for name in sorted(self.value.names))
                fail(f"{names or self.value} is no number here", hint="index names and their ranges stand in `over`")
            dtype, shape = literal_type(self.value)
            return TensorType(self.dtype or dtype, shape)
        return TensorType(self.dtype or self._evaluate(cx)[1], self.sizes)

    def _evaluate(self, cx: Context, b: Any = None, ranges: Any = None) -> tuple[Handle, str]:
        """The expression's value before it is stretched over all axes, and its dtype; a number has no axes."""
        if not isinstance(self.value, Expr):
            dtype, shape = literal_type(self.value)
            if shape:
                fail("beside `over` stands an expression of its names", found=list(self.value))
            return self.value, dtype
        rank = len(self.over)
        names: dict[str, Value] = {}
        for axis, (name, n) in enumerate(self.over):
            lengths: list[Num] = [1] * rank
            lengths[axis] = n
            names[name] = Value(TensorType("int64", lengths), None if ranges is None else ranges[axis])
        found = Evaluation(cx, names, b).value(self.value)
        if found.type is None:
            return found.handle, literal_type(found.handle)[0]
        return found.handle, found.type.dtype

    def lower(self, b: Emitter) -> Any:
        dtype = _torch_dtype(b.out_types[0].dtype)
        if not self.over:
            return b.constant("source.literal", self.value, dtype)
        if any(map(_is_symbolic, (*self.sizes, *self._hosts()))):
            return self._at_run_time(b)
        program = _Program(b)
        value, _ = self._evaluate(DECIDED, program, [_Result(axis) for axis in range(len(self.over))])
        return b.constant("source.table", self.sizes, tuple(program.steps), _plain(program, value), dtype)

    def _hosts(self) -> list[Any]:
        """Sizes and late numbers in the expression."""
        return [e.value for e in walk(self.value) if isinstance(e, Host)] if isinstance(self.value, Expr) else []

    def _at_run_time(self, b: Emitter) -> Any:
        model = b.constant("source.full", 0, _torch_dtype(b.out_types[0].dtype))
        device = b.call("builtins.getattr", model, "device")
        ranges = []
        for axis, n in enumerate(self.sizes):
            found = b.call("torch.arange", b.size(n), device=device)
            ranges.append(b.method("view", found, *(-1 if a == axis else 1 for a in range(len(self.over)))))
        value, dtype = self._evaluate(DECIDED, b, ranges)
        if isinstance(value, (bool, int, float, Dim, Real)):
            value = b.call("operator.add", model, b.scalar(value))
        if dtype != b.out_types[0].dtype or dtype == "float":
            value = b.method("type_as", value, model)
        return b.method("expand", value, *(b.size(n) for n in self.sizes))


def _is_symbolic(value: Any) -> bool:
    """Whether a number depends on sizes that are known only when the model runs."""
    return isinstance(value, Dim) or (isinstance(value, Real) and any(map(_is_symbolic, value.args)))


def _torch_dtype(dtype: str) -> str:
    return "complex64" if dtype == "complex" else dtype


class _Result:
    """In a program, the value of an earlier step."""

    __slots__ = ("step",)

    def __init__(self, step: int) -> None:
        self.step = step


class _Program:
    """Takes an emitter's place and records the calls as plain data, for `archgraph.lower.makers.source.table`."""

    def __init__(self, b: Emitter) -> None:
        self.b = b
        self.first = len(b.out_types[0].shape)
        self.steps: list[tuple[Any, ...]] = []

    def call(self, function: str, *args: Any, **kwargs: Any) -> _Result:
        """Record a call."""
        given = tuple(_plain(self, a) for a in args)
        self.steps.append((function, given, tuple((k, _plain(self, v)) for k, v in kwargs.items())))
        return _Result(self.first + len(self.steps) - 1)

    def size(self, dim: Num) -> Num:
        """A dim; no symbolic one comes here."""
        return dim

    def scalar(self, value: Any) -> Any:
        """A host number."""
        return self.b.scalar(value)


def _plain(program: _Program, value: Any) -> Any:
    """An argument as plain data: the number of a step in a tuple, or a number."""
    if isinstance(value, _Result):
        return (value.step,)
    return program.scalar(value) if isinstance(value, Real) else value


# -- fills and ranges ----------------------------------------------------------------------------------------------


class Fill(Source):
    """Base of the ops that fill a shape with one number: a scalar, expanded without being copied."""

    shape: tuple[Num, ...] = attr(SHAPE, doc="axis lengths", draw=lambda draw, ins, attrs: pick(draw, _SHAPES))
    dtype: str = attr(DTYPE, "float", doc="dtype", draw=["float", "int64", "bool"])

    def infer(self, cx: Context) -> TensorType:
        return TensorType(self.dtype, self.shape)

    @property
    def number(self) -> Any:
        """What the shape is filled with."""
        raise AssertionError(f"{self.op_name}.number")

    def lower(self, b: Emitter) -> Any:
        number, dtype = self.number, _torch_dtype(self.dtype)
        if _is_symbolic(number):
            x = b.method(
                "type_as", b.call("torch.scalar_tensor", b.scalar(number)), b.constant("source.full", 0, dtype)
            )
        else:
            x = b.constant("source.full", b.scalar(number), dtype)
        return b.method("expand", x, *(b.size(n) for n in self.shape)) if self.shape else x


class Zeros(Fill, name="zeros"):
    """Zeros of a shape."""

    number = 0


class Ones(Fill, name="ones"):
    """Ones of a shape."""

    number = 1


class Full(Fill, name="full"):
    """One number in a shape."""

    fill_value: Any = attr(FLOAT, doc="the number", inert=True, draw=[1.0, 0.0])

    @property
    def number(self) -> Any:
        return self.fill_value


class RealKind(Kind):
    """A number that keeps its type: whole, symbolic or a fraction."""

    expected = "a number"

    def convert(self, value: Any) -> Any:
        if isinstance(value, (Late, Real)):
            raise NeedsValue(value)
        if isinstance(value, bool) or not isinstance(value, (int, float, Dim)):
            raise AttributeValueError(self.expected, value)
        return value

    def schema(self) -> dict[str, Any]:
        return FLOAT.schema()


class Range(Source):
    """Base of the ops that compute a tensor from numbers, at build where these are known.

    ``whole``: of sizes, torch's function makes int64.
    """

    whole: ClassVar[bool] = False

    def arguments(self) -> tuple[Any, ...]:
        """Of the torch function of the op's name."""
        raise AssertionError(f"{self.op_name}.arguments")

    def lower(self, b: Emitter) -> Any:
        args, dtype = self.arguments(), b.out_types[0].dtype
        if not any(map(_is_symbolic, args)):
            return b.constant(f"source.{self.op_name}", *args, _torch_dtype(dtype))
        model = b.constant("source.full", 0, _torch_dtype(dtype))
        device = b.call("builtins.getattr", model, "device")
        numbers = [b.size(a) if isinstance(a, (int, Dim)) else b.scalar(a) for a in args]
        found = b.call(f"torch.{self.op_name}", *numbers, device=device)
        return found if self.whole and dtype == "int64" else b.method("type_as", found, model)


class Arange(Range, name="arange"):
    """`start`, `start + step` … below `end`: [⌈(end - start) / step⌉]; whole numbers give int64."""

    start: Any = attr(RealKind(), 0, doc="first value", draw=[0, 1])
    end: Any = attr(RealKind(), doc="where to end, itself left out", draw=[4, 7])
    step: Any = attr(RealKind(), 1, doc="distance of the values", draw=[1, 2])
    whole = True
    dtype: str | None = attr(
        OptionalKind(DTYPE), None, doc="dtype; that of the numbers if left out", draw=[None, "float"]
    )

    def infer(self, cx: Context) -> TensorType:
        if isinstance(self.step, Dim) or self.step == 0:
            fail("the step of a range is a known number and not 0", found=self.step)
        step: int | float = self.step
        if isinstance(step, int) and not any(isinstance(v, float) for v in (self.start, self.end)):
            span = self.end - self.start if step > 0 else self.start - self.end
            cx.require(le(0, span), f"{self} never reaches its end")
            return TensorType(self.dtype or "int64", (ceildiv(span, abs(step)),))
        if any(isinstance(v, Dim) for v in (self.start, self.end)):
            fail("the length of a range of fractions must be known", found=self)
        n = math.ceil((self.end - self.start) / step)
        if n < 0:
            fail(f"{self} never reaches its end")
        return TensorType(self.dtype or "float", (n,))

    def arguments(self) -> tuple[Any, ...]:
        return self.start, self.end, self.step


class Linspace(Range, name="linspace"):
    """`steps` evenly spaced numbers from `start` to `end`, both included: [steps]."""

    start: Any = attr(FLOAT, doc="first value", inert=True, draw=[-1.0])
    end: Any = attr(FLOAT, doc="last value", inert=True, draw=[1.0])
    steps: Num = attr(SIZE, doc="how many numbers", draw=[1, 5])
    dtype: str = attr(DTYPE, "float", doc="dtype", draw=["float"])

    def infer(self, cx: Context) -> TensorType:
        return TensorType(self.dtype, (self.steps,))

    def arguments(self) -> tuple[Any, ...]:
        return self.start, self.end, self.steps


class Eye(Range, name="eye"):
    """The identity matrix, or its first rows: [n, m]."""

    n: Num = attr(SIZE, doc="rows", draw=[1, 3])
    m: Num | None = attr(OptionalKind(SIZE), None, doc="columns; as many as rows if left out", draw=[None, 2])
    dtype: str = attr(DTYPE, "float", doc="dtype", draw=["float", "int64"])

    def infer(self, cx: Context) -> TensorType:
        return TensorType(self.dtype, self.arguments())

    def arguments(self) -> tuple[Any, ...]:
        return self.n, self.n if self.m is None else self.m


class Like(Op):
    """Base of the fills with the shape and dtype of another value."""

    operands = (operand("x", dtype="any"),)
    free = True

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        return x

    def lower(self, b: Emitter, x: Any) -> Any:
        return b.call(f"torch.{self.op_name}", x)


class ZerosLike(Like, name="zeros_like"):
    """Zeros of a value's shape and dtype."""


class OnesLike(Like, name="ones_like"):
    """Ones of a value's shape and dtype."""


class FullLike(Like, name="full_like"):
    """One number in a value's shape and dtype."""

    fill_value: Any = attr(FLOAT, doc="the number", inert=True, draw=[1.0, 0.0])

    def lower(self, b: Emitter, x: Any) -> Any:
        return b.call("torch.full_like", x, b.scalar(self.fill_value))
