"""Evaluation of formulas over tensors: one walk of the tree gives types, work and, with an emitter, code."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import reduce
from typing import Any, Final, NamedTuple

from archgraph.ir.diagnostics import did_you_mean
from archgraph.ir.dim import Dim, Num, SymbolicTruth
from archgraph.ir.expr import Binary, BoolOp, Call, Compare, Const, Expr, Host, IfElse, Name, Unary
from archgraph.ir.expr import Num as Number
from archgraph.ir.real import FUNCTIONS as NUMERIC
from archgraph.ir.real import NeedsValue, Real, apply
from archgraph.ir.types import Layout, TensorType, is_float, is_int
from archgraph.ops.base import Context, Emitter, Handle, OpError, fail
from archgraph.ops.broadcast import broadcast
from archgraph.ops.functions import FOLDS, FUNCTIONS, NAMES, OPERATORS, SIGNS, WHERE, Function, make_complex
from archgraph.ops.promotion import result_type


class Value(NamedTuple):
    """A tensor (its type and, in a lowering, its handle) or a host number (no type, the number)."""

    type: TensorType | None
    handle: Any = None

    def __str__(self) -> str:
        return str(self.handle if self.type is None else self.type)


Emit = Callable[[list[Handle]], Handle]
#: torch functions that take no numbers.
_TENSORS_ONLY: Final = {"torch.atan2", "torch.complex", "torch.fmod", "torch.polar"}


class Evaluation:
    """One walk.

    Parameters
    ----------
    cx : Context
        Takes the conditions under which shapes broadcast.
    operands : mapping
        What the names in the tree stand for.
    b : Emitter, optional
        Emits each operator.

    Attributes
    ----------
    work : int or Dim
        Operations of everything evaluated so far; see `archgraph.ops.functions`.
    """

    __slots__ = ("b", "cx", "operands", "work")

    def __init__(self, cx: Context, operands: Mapping[str, Value], b: Emitter | None = None) -> None:
        self.cx = cx
        self.operands = operands
        self.b = b
        self.work: Num = 0

    def value(self, e: Expr) -> Value:
        """The value of an expression.

        Raises
        ------
        OpError
            If shapes don't broadcast, or an operator doesn't take these dtypes or doesn't exist.
        """
        visit = _VISIT.get(type(e))
        if visit is None:
            fail(f"`{e}` can't stand in a formula")
        return visit(self, e)

    def apply(
        self, what: object, f: Function, values: Sequence[Value], dtype: str | None = None, emit: Emit | None = None
    ) -> Value:
        """An operator's result.

        Parameters
        ----------
        what : expression or str
            The operation in the user's words, for errors.
        f : Function
            What is applied.
        values : sequence of Value
            Its operands; numbers alone give a number.
        dtype : str, optional
            Common dtype of the operands, if it is not that of all.
        emit : callable, optional
            Emits it, given the operands' handles; by default a call of the function with all of them.
        """
        types = [v.type for v in values if v.type is not None]
        if not types:
            return _number(what, f, values)
        dtypes = [t.dtype for t in types]
        if dtype is None:
            one = len(types) == len(values) and dtypes.count(dtypes[0]) == len(dtypes)
            dtype = dtypes[0] if one else _common_dtype(values)
        n = dtypes.count("complex")
        if (n or f.dtype is make_complex) and any(is_float(t.dtype) and not make_complex(t.dtype) for t in types):
            fail(f"`{what}`: complex numbers have single precision", "float or float32", _listed(values))
        result = f.dtype(dtype) if not n or f.complex else None
        if result is None or (f.torch in _TENSORS_ONLY and any(f.dtype(t.dtype) is None for t in types)):
            fail(f"`{what}` does not take {dtype} values", found=_listed(values))
        t = self.spread(what, values, types, result)
        work = f.complex[n - 1] if n else f.work
        if work:
            self.work = self.work + work * t.numel
        if self.b is None:
            return Value(t)
        handles = [self.handle(v) for v in values]
        return Value(t, self.b.call(f.torch, *handles) if emit is None else emit(handles))

    def spread(self, what: object, values: Sequence[Value], types: Sequence[TensorType], dtype: str) -> TensorType:
        """The type that the operands broadcast to."""
        first = types[0]
        if _same(types):
            return first.with_dtype(dtype)
        if len(types) == 2 and first.shape == types[1].shape:
            return common(types).with_dtype(dtype)
        try:
            shape = broadcast(self.cx, *[t.shape for t in types])
        except OpError as unequal:
            hint = unequal.hint or "axes are added with `rearrange`"
            fail(f"the operands of `{what}` don't broadcast", unequal.expected, _listed(values), hint)
        return TensorType(dtype, shape, _layouts(types, shape))

    def handle(self, v: Value) -> Handle:
        """What stands for an operand in code."""
        assert self.b is not None
        if v.type is None:
            if isinstance(v.handle, Dim):
                return self.b.size(v.handle)
            if isinstance(v.handle, (Real, Fraction)):
                return self.b.scalar(v.handle)
        return v.handle

    def pairwise(self, what: object, name: str, values: Sequence[Value]) -> Value:
        """``a name b name c``, from the left."""
        return reduce(lambda x, y: self.binary(what, name, x, y), values)

    def binary(self, what: object, name: str, x: Value, y: Value) -> Value:
        """The result of an operator or function of two operands."""
        f = OPERATORS.get(name) or FUNCTIONS[name]
        if name in ("**", "pow"):
            return self.power(what, x, y)
        if name in ("maximum", "minimum") and (x.type is None) is not (y.type is None):
            return self.bound(what, f, x, y, "min" if name == "maximum" else "max")
        if name == "-" and (_is_truth(x) or _is_truth(y)):
            fail(f"`{what}` subtracts truth values", found=_listed([x, y]), hint="`~` inverts a mask")
        if f.torch in _TENSORS_ONLY and (x.type is None or y.type is None):
            return self.apply(what, f, (x, y), emit=lambda handles: self.filled(f, x, handles))
        return self.apply(what, f, (x, y))

    def bound(self, what: object, f: Function, x: Value, y: Value, side: str) -> Value:
        """The larger or smaller of a tensor and a number."""

        def emit(handles: list[Handle]) -> Handle:
            assert self.b is not None
            tensor, number = handles if y.type is None else reversed(handles)
            return self.b.call("torch.clamp", tensor, **{side: number})

        return self.apply(what, f, (x, y), emit=emit)

    def filled(self, f: Function, x: Value, handles: list[Handle]) -> Handle:
        """A function that takes no numbers, of a tensor and a number."""
        assert self.b is not None
        number, tensor = handles if x.type is None else reversed(handles)
        full = self.b.call("torch.full_like", tensor, number)
        return self.b.call(f.torch, *((full, tensor) if x.type is None else (tensor, full)))

    def power(self, what: object, x: Value, y: Value) -> Value:
        """A power; squares and square roots by their own functions."""
        exponent = y.handle
        if y.type is not None or x.type is None or not isinstance(exponent, (int, float)):
            return self.apply(what, OPERATORS["**"], (x, y))
        whole = _is_whole(x.type)
        if whole and isinstance(exponent, int) and exponent < 0:
            fail(f"`{what}` is a negative power of whole numbers", found=x, hint=f"write {float(exponent)}")
        name = {2: "square", 0.5: "sqrt"}.get(exponent)
        if name is None or (name == "square" and whole and isinstance(exponent, float)):
            return self.apply(what, OPERATORS["**"], (x, y))
        b, f = self.b, FUNCTIONS[name]
        return self.apply(what, f, (x, y), emit=None if b is None else lambda handles: b.call(f.torch, handles[0]))

    def call(self, e: Call) -> Value:
        """A function of values."""
        name, n = e.function, len(e.args)
        if name == "clamp":
            return self.clamp(e)
        if e.kwargs:
            fail(f"`{name}` takes no `{e.kwargs[0][0]}`")
        if name in FOLDS:
            if not n:
                fail(f"`{name}` takes at least one value")
            values = [self.value(a) for a in e.args]
            found = self.pairwise(e, FOLDS[name], values)
            if name != "mean" or (n == 1 and found.type is not None and not _is_whole(found.type)):
                return found
            return self.binary(e, "/", found, Value(None, n))
        f = WHERE if name == "where" else FUNCTIONS.get(name)
        if f is None:
            near = did_you_mean(name, NAMES)
            fail(f"formulas have no function `{name}`", found=e, hint=f"did you mean `{near}`?" if near else None)
        if n != f.arity:
            fail(f"`{name}` takes {f.arity} value{'s' * (f.arity != 1)}", found=f"{n} in `{e}`")
        values = [self.value(a) for a in e.args]
        if name == "where":
            return self.where(e, *values)
        return self.apply(e, f, values) if n == 1 else self.binary(e, name, *values)

    def where(self, what: object, mask: Value, x: Value, y: Value) -> Value:
        """``x`` where the mask holds, else ``y``."""
        if mask.type is None or mask.type.dtype != "bool":
            fail(f"`{what}` chooses by truth values", "a bool tensor", mask)
        dtype = _common_dtype((x, y))
        return self.apply(what, WHERE, (mask, x, y), dtype)

    def clamp(self, e: Call) -> Value:
        """``clamp(x, min, max)``, either bound left out or null."""
        given = {k: self.bound_of(v) for k, v in (*zip(("x", "min", "max"), e.args, strict=False), *e.kwargs)}
        if set(given) - {"x", "min", "max"} or len(e.args) + len(e.kwargs) != len(given) or not given.get("x"):
            fail("`clamp` takes a value, `min` and `max`", found=e)
        x, low, high = (given.get(k) for k in ("x", "min", "max"))
        assert x is not None
        if low is None and high is None:
            fail("`clamp` takes `min`, `max` or both", found=e)
        if x.type is None or low is None or high is None or low.type is not None or high.type is not None:
            for name, bound in (("maximum", low), ("minimum", high)):
                x = x if bound is None else self.binary(e, name, x, bound)
            return x

        def emit(handles: list[Handle]) -> Handle:
            assert self.b is not None
            return self.b.call("torch.clamp", *handles)

        return self.apply(e, FUNCTIONS["maximum"]._replace(work=2), (x, low, high), emit=emit)

    def bound_of(self, e: Expr) -> Value | None:
        return None if e == Const(None) else self.value(e)

    # -- by kind of node -----------------------------------------------------------------------------------------

    def name(self, e: Name) -> Value:
        found = self.operands.get(e.name)
        if found is None:
            fail(f"the formula has no operand `{e}`")
        return found

    def host(self, e: Number | Host) -> Value:
        return Value(None, e.value)

    def const(self, e: Const) -> Value:
        if e.value is None:
            fail("`null` is no value of a formula")
        return Value(None, e.value)

    def unary(self, e: Unary) -> Value:
        if e.op == "not":
            fail(f"`{e}` asks for one truth value", hint="`~` inverts a mask")
        x = self.value(e.operand)
        if e.op != "+":
            return self.apply(e, SIGNS[e.op], (x,))
        if x.type is None:
            return Value(None, +x.handle)
        if x.type.dtype == "bool":
            fail(f"`{e}` does not take bool values", found=x)
        return x

    def operator(self, e: Binary) -> Value:
        return self.binary(e, e.op, self.value(e.left), self.value(e.right))

    def compare(self, e: Compare) -> Value:
        """A chain `a < b < c` is `(a < b) & (b < c)`."""
        left, found = self.value(e.first), None
        for op, right_tree in e.rest:
            if op not in OPERATORS:
                fail(f"`{e}`: `{op}` can't stand in a formula")
            right = self.value(right_tree)
            link = self.apply(e, OPERATORS[op], (left, right))
            found = link if found is None else self.apply(e, OPERATORS["&"], (found, link))
            left = right
        assert found is not None
        return found

    def choice(self, e: IfElse | BoolOp) -> Value:
        fail(f"`{e}` asks for one truth value", hint="masks take `where`, `&`, `|` and `~`")


_VISIT: Final[dict[type[Expr], Callable[[Evaluation, Any], Value]]] = {
    Name: Evaluation.name,
    Number: Evaluation.host,
    Host: Evaluation.host,
    Const: Evaluation.const,
    Unary: Evaluation.unary,
    Binary: Evaluation.operator,
    Compare: Evaluation.compare,
    Call: Evaluation.call,
    IfElse: Evaluation.choice,
    BoolOp: Evaluation.choice,
}


def _number(what: object, f: Function, values: Sequence[Value]) -> Value:
    """An operation on numbers alone."""
    module, _, name = f.torch.rpartition(".")
    numbers = [v.handle for v in values]
    name = {"maximum": "max", "minimum": "min"}.get(name, name)
    try:
        if module == "operator":
            found = getattr(operator, name)(*numbers)
        elif name in NUMERIC:
            found = apply(name, *numbers)
        else:
            fail(f"`{what}` is computed of numbers alone", "a tensor", _listed(values))
    except (TypeError, ValueError, ArithmeticError) as wrong:
        if isinstance(wrong, (NeedsValue, SymbolicTruth)):
            raise
        fail(f"`{what}` has no value: {wrong}")
    if isinstance(found, complex):
        fail(f"`{what}` is no real number")
    return Value(None, found)


def _same(types: Sequence[TensorType]) -> bool:
    first = types[0]
    for t in types:  # noqa: SIM110  # a generator costs more than the few types
        if t is not first:
            return False
    return True


def _common_dtype(values: Sequence[Value]) -> str:
    return result_type(*[v.handle if v.type is None else v.type for v in values])


def _is_whole(t: TensorType) -> bool:
    return is_int(t.dtype) or t.dtype == "bool"


def _is_truth(v: Value) -> bool:
    return isinstance(v.handle, bool) if v.type is None else v.type.dtype == "bool"


def _listed(values: Sequence[Value]) -> str:
    return " and ".join(map(str, values))


def common(types: Sequence[TensorType]) -> TensorType:
    """The type of values of one shape: the first's dtype, and the layouts that one knows and none contradicts."""
    first = types[0]
    layout = _layouts(types, first.shape)
    return first if layout == first.layout else TensorType(first.dtype, first.shape, layout)


def _layouts(types: Sequence[TensorType], shape: tuple[Num, ...]) -> tuple[tuple[int, Layout], ...]:
    """Layouts of the axes that are not stretched, where no two operands contradict."""
    known = [t for t in types if t.layout]
    if not known:
        return ()
    if len(known) == 1 and known[0].shape == shape:
        return known[0].layout
    found: dict[int, Layout | None] = {}
    for t in types:
        shift = len(shape) - len(t.shape)
        for axis, layout in t.layout:
            if t.shape[axis] == shape[axis + shift] and found.setdefault(axis + shift, layout) != layout:
                found[axis + shift] = None
    return tuple(sorted((a, layout) for a, layout in found.items() if layout is not None))
