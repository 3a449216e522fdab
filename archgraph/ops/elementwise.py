"""Element-wise arithmetic: `formula`, and the single operations that rewrite patterns name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar, Final

from archgraph.ir.density import Density
from archgraph.ir.expr import Binary, Call, Compare, Expr, Name, Unary, replace
from archgraph.ir.types import TensorType
from archgraph.ops import activation
from archgraph.ops.axes import DECIDED
from archgraph.ops.base import Context, Cost, Emitter, Handle, Op, attr, fail, operand
from archgraph.ops.evaluation import Evaluation, Value, common
from archgraph.ops.formula_density import formula_density
from archgraph.ops.functions import OPERATORS, Function
from archgraph.ops.kinds import TEXT, FormulaKind, ListKind
from archgraph.ops.strides import Strides

#: Operators whose result has the dtype of two equal ones.
_PLAIN: Final = frozenset("+-*/")


class Formula(Op, name="formula"):
    """Element-wise arithmetic on named values, broadcast as in torch; sizes and numbers take part.

    Operators are ``+ - * / // % **``, comparisons, and on masks ``& | ~``. Functions carry torch's names: abs, angle,
    atan2, ceil, clamp, complex, conj, cos, erf, exp, expm1, floor, fmod, gelu, imag, isfinite, isinf, isnan, log,
    log1p, log2, log_sigmoid, maximum, minimum, polar, pow, real, reciprocal, relu, round, rsqrt, sigmoid, sign, silu,
    sin, softplus, sqrt, square, tan, tanh, where; and of any number of values sum, mean, max, min. dtypes are promoted
    as in torch: a number changes no more than the category, a quotient of integers is real, a comparison bool.

    Axes of length 1 stretch, different symbols never agree: axes are added with ``rearrange``.

    Work: one operation per operator and element of the operator's own result; ``sigmoid`` and its like count their
    parts, complex numbers their real operations (a sum 2, a product 6, a quotient 11).
    """

    expr: Expr = attr(FormulaKind(), doc="the expression, over the names of the operands and constants")
    names: tuple[str, ...] = attr(ListKind(TEXT), doc="names of the operands in the expression, in order")
    operands = (operand("x", dtype="any", variadic=True),)
    undrawable = "an expression is drawn together with its operands; tests/ops/test_elementwise.py does"

    def identity(self) -> tuple[Any, ...]:
        numbered: dict[str, Expr] = {n: Name(f"x{k}") for k, n in enumerate(self.names)}
        return (replace(self.expr, lambda e: numbered.get(e.name) if isinstance(e, Name) else None),)

    def canonical(self) -> tuple[Op, tuple[int, ...] | None]:
        return self.named() or (self, None)

    def evaluate(
        self, cx: Context, types: Sequence[TensorType], b: Emitter | None = None, args: Any = ()
    ) -> Evaluation:
        """An evaluation of the expression over operands of these types."""
        if len(types) != len(self.names):
            fail(f"the formula takes {len(self.names)} values", ", ".join(self.names), len(types))
        handles = args or (None,) * len(types)
        return Evaluation(cx, dict(zip(self.names, map(Value, types, handles), strict=True)), b)

    def plain(self, types: Sequence[TensorType]) -> Function | None:
        """The operator, where the formula is one of two float values."""
        e = self.expr
        if type(e) is not Binary or len(types) != 2 or types[0].dtype != "float" or types[1].dtype != "float":
            return None
        both = type(e.left) is Name and type(e.right) is Name and e.left.name != e.right.name
        return OPERATORS[e.op] if both and e.op in _PLAIN else None

    def infer(self, cx: Context, *types: TensorType) -> TensorType:
        if self.plain(types) is not None and types[0].shape == types[1].shape:
            return common(types)
        found = self.evaluate(cx, types).value(self.expr).type
        if found is None:
            fail("a formula without tensors is a number", found=self.expr, hint="`constant` makes a tensor of it")
        return found

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        plain = self.plain(ins)
        if plain is not None:
            return Cost(0, plain.work * outs[0].numel)
        evaluation = self.evaluate(DECIDED, ins)
        evaluation.value(self.expr)
        return Cost(elementwise=evaluation.work)

    def workspace(
        self, ins: tuple[Any, ...], outs: tuple[TensorType, ...], strides: tuple[Strides, ...]
    ) -> tuple[TensorType, ...]:
        """Results of inner operations, held to be as large as the last; operands stay until the end."""
        return (outs[0],) * max(0, _alive(self.expr) - 1)

    def densities(
        self, given: tuple[Density, ...], ins: tuple[Any, ...], outs: tuple[TensorType, ...]
    ) -> tuple[Density, ...]:
        return (formula_density(self.expr, dict(zip(self.names, given, strict=True))),)

    def lower(self, b: Emitter, *args: Handle) -> Handle:
        return self.evaluate(DECIDED, b.in_types, b, args).value(self.expr).handle

    def named(self) -> tuple[Op, tuple[int, ...]] | None:
        """The op of its own name that computes the same, if there is one, and its operands' numbers in this one's.

        ``x + y + z`` is an `add`, ``relu(x)`` a `relu`: so a formula and an op match the same rewrite patterns.
        """
        e = self.expr
        if isinstance(e, Binary):
            cls, parts = _BY_SYMBOL.get(e.op), [e.left, e.right]
            while cls is not None and cls.commutative and isinstance(parts[0], Binary) and parts[0].op == e.op:
                parts[:1] = [parts[0].left, parts[0].right]
        elif isinstance(e, Call) and not e.kwargs:
            cls, parts = _BY_FUNCTION.get(e.function), list(e.args)
        else:
            return None
        names = [p.name for p in parts if isinstance(p, Name)]
        if cls is None or len(names) < len(parts) or (cls.operands[0].variadic and len(names) < 2):
            return None
        return cls.make(), tuple(map(self.names.index, names))


def _alive(e: Expr) -> int:
    """Results of operations that are alive at once while an expression is evaluated, its own among them."""
    if isinstance(e, Binary):
        parts: Sequence[Expr] = (e.left, e.right)
    elif isinstance(e, Unary):
        parts = (e.operand,)
    elif isinstance(e, Call):
        parts = [*e.args, *(value for _, value in e.kwargs)]
    elif isinstance(e, Compare):
        parts = [e.first, *(value for _, value in e.rest)]
    else:
        return 0
    if not any(isinstance(part, Name) or _alive(part) for part in parts):
        return 0  # of numbers alone
    most = held = 0
    for part in parts:
        most = max(most, held + _alive(part))
        held += _alive(part) > 0
    return max(most, held + 1)


class Arithmetic(Op):
    """Base of operations by one operator; the first is applied to the first two operands, and so on."""

    symbol: ClassVar[str]

    def __init_subclass__(cls, name: str | None = None, symbol: str = "", **kwargs: Any) -> None:
        cls.symbol = symbol
        super().__init_subclass__(name=name, **kwargs)

    def result(self, evaluation: Evaluation, values: Sequence[Value]) -> Value:
        """The operation on values."""
        return evaluation.pairwise(self.op_name, self.symbol, values)

    def infer(self, cx: Context, *types: TensorType) -> TensorType:
        if len(types) < 2:
            fail(f"`{self.op_name}` takes at least two values", found=len(types))
        if len(types) == 2 and types[0] is types[1] and types[0].dtype == "float" and self.symbol:
            return types[0]
        found = self.result(Evaluation(cx, {}), [Value(t) for t in types]).type
        assert found is not None
        return found

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        if len(ins) == 2 and ins[0] is ins[1] and ins[0].dtype == "float" and self.symbol:
            return Cost(0, OPERATORS[self.symbol].work * outs[0].numel)
        evaluation = Evaluation(DECIDED, {})
        self.result(evaluation, [Value(t) for t in ins])
        return Cost(elementwise=evaluation.work)

    def densities(
        self, given: tuple[Density, ...], ins: tuple[Any, ...], outs: tuple[TensorType, ...]
    ) -> tuple[Density, ...]:
        names = [f"x{k}" for k in range(len(ins))]
        args: tuple[Expr, ...] = tuple(map(Name, names))
        e = reduce(lambda a, b: Binary(self.symbol, a, b), args) if self.symbol else Call("where", args)
        return (formula_density(e, dict(zip(names, given, strict=True))),)

    def lower(self, b: Emitter, *args: Handle) -> Handle:
        return self.result(
            Evaluation(DECIDED, {}, b), [Value(t, x) for t, x in zip(b.in_types, args, strict=True)]
        ).handle


class Add(Arithmetic, name="add", symbol="+"):
    """Sum of two or more values, broadcast as in torch: one operation per element of each partial sum."""

    operands = (operand("x", dtype="any", variadic=True),)
    commutative = True


class Mul(Arithmetic, name="mul", symbol="*"):
    """Product of two or more values, broadcast as in torch: one operation per element of each partial product."""

    operands = (operand("x", dtype="any", variadic=True),)
    commutative = True


class Sub(Arithmetic, name="sub", symbol="-"):
    """Difference ``x - y``, broadcast as in torch: one operation per element."""

    operands = (operand("x", dtype="any"), operand("y", dtype="any"))


class Div(Arithmetic, name="div", symbol="/"):
    """Quotient ``x / y``, broadcast as in torch; of integers it is real: one operation per element."""

    operands = (operand("x", dtype="any"), operand("y", dtype="any"))


class Where(Arithmetic, name="where"):
    """``x`` where the mask holds, else ``y``, broadcast as in torch: one operation per element."""

    operands = (operand("mask", dtype="bool"), operand("x", dtype="any"), operand("y", dtype="any"))

    def result(self, evaluation: Evaluation, values: Sequence[Value]) -> Value:
        return evaluation.where(self.op_name, *values)


_BY_SYMBOL: Final[Mapping[str, type[Op]]] = {cls.symbol: cls for cls in (Add, Mul, Sub, Div)}
_BY_FUNCTION: Final[Mapping[str, type[Op]]] = {
    "sum": Add,
    "where": Where,
    **{
        cls.op_name: cls
        for cls in (
            activation.Gelu,
            activation.LogSigmoid,
            activation.Relu,
            activation.Sigmoid,
            activation.Silu,
            activation.Softplus,
            activation.Tanh,
        )
    },
}
