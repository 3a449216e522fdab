"""Operators and functions of formulas: what each lowers to, its dtype and its work.

Work is per element of the operator's own (broadcast) result: one for each ``+ - * /``, comparison, minimum, maximum,
selection and elementary function (exp, log, sqrt, tanh, erf …); functions that torch composes of these (sigmoid, silu)
count their parts, as the ops of those names do. On complex values real operations are counted: a sum is 2, a product 6,
a quotient 11; with one real operand 1, 2 and 2. Parts and conjugates are views and count nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from archgraph.ir.types import is_float, is_int
from archgraph.ops import activation

#: From the operands' common dtype to that of the result; None where there is none.
DtypeRule = Callable[[str], str | None]


def _any(dtype: str) -> str | None:
    return dtype


def _number(dtype: str) -> str | None:
    return None if dtype == "bool" else dtype


def _floating(dtype: str) -> str | None:
    """Integers and bools become the model's float."""
    return "float" if is_int(dtype) or dtype == "bool" else dtype


def _float_only(dtype: str) -> str | None:
    return dtype if is_float(dtype) else None


def _bits(dtype: str) -> str | None:
    return dtype if is_int(dtype) or dtype == "bool" else None


def _truth(dtype: str) -> str | None:
    return "bool"


def _magnitude(dtype: str) -> str | None:
    return "float" if dtype == "complex" else _number(dtype)


def _phase(dtype: str) -> str | None:
    return "float" if dtype == "complex" else _floating(dtype)


def _imaginary(dtype: str) -> str | None:
    return "float" if dtype == "complex" else None


def _part(dtype: str) -> str | None:
    return "float" if dtype == "complex" else dtype


def make_complex(dtype: str) -> str | None:
    """Complex numbers have single precision parts."""
    return "complex" if dtype in ("float", "float32") else None


class Function(NamedTuple):
    """One operator or function.

    ``complex`` is the work with one, two, … complex operands; it takes no complex ones where that is not stated.
    """

    torch: str
    dtype: DtypeRule = _any
    arity: int = 1
    work: int = 1
    complex: tuple[int, ...] = ()


OPERATORS: Final[dict[str, Function]] = {
    "+": Function("operator.add", _any, 2, 1, (1, 2)),
    "-": Function("operator.sub", _number, 2, 1, (1, 2)),
    "*": Function("operator.mul", _any, 2, 1, (2, 6)),
    "/": Function("operator.truediv", _floating, 2, 1, (2, 11)),
    "//": Function("operator.floordiv", _number, 2),
    "%": Function("operator.mod", _number, 2),
    "**": Function("operator.pow", _number, 2),
    "&": Function("operator.and_", _bits, 2),
    "|": Function("operator.or_", _bits, 2),
    "<": Function("operator.lt", _truth, 2),
    "<=": Function("operator.le", _truth, 2),
    ">": Function("operator.gt", _truth, 2),
    ">=": Function("operator.ge", _truth, 2),
    "==": Function("operator.eq", _truth, 2, 1, (3, 3)),
    "!=": Function("operator.ne", _truth, 2, 1, (3, 3)),
}
SIGNS: Final[dict[str, Function]] = {
    "-": Function("operator.neg", _number, complex=(2,)),
    "~": Function("operator.invert", _bits),
}

FUNCTIONS: Final[dict[str, Function]] = {
    # of one operand
    "abs": Function("torch.abs", _magnitude, complex=(4,)),
    "angle": Function("torch.angle", _phase, complex=(1,)),
    "ceil": Function("torch.ceil", _number),
    "conj": Function("torch.conj", _any, work=0, complex=(0,)),
    "cos": Function("torch.cos", _floating),
    "erf": Function("torch.erf", _floating),
    "exp": Function("torch.exp", _floating, complex=(5,)),
    "expm1": Function("torch.expm1", _floating),
    "floor": Function("torch.floor", _number),
    "imag": Function("torch.imag", _imaginary, work=0, complex=(0,)),
    "isfinite": Function("torch.isfinite", _truth, complex=(2,)),
    "isinf": Function("torch.isinf", _truth, complex=(2,)),
    "isnan": Function("torch.isnan", _truth, complex=(2,)),
    "log": Function("torch.log", _floating),
    "log1p": Function("torch.log1p", _floating),
    "log2": Function("torch.log2", _floating),
    "real": Function("torch.real", _part, work=0, complex=(0,)),
    "reciprocal": Function("torch.reciprocal", _floating, complex=(6,)),
    "round": Function("torch.round", _number),
    "rsqrt": Function("torch.rsqrt", _floating),
    "sign": Function("torch.sign", _any),
    "sin": Function("torch.sin", _floating),
    "sqrt": Function("torch.sqrt", _floating),
    "square": Function("torch.square", _number, complex=(5,)),
    "tan": Function("torch.tan", _floating),
    # of two
    "atan2": Function("torch.atan2", _float_only, 2),
    "complex": Function("torch.complex", make_complex, 2, 0),
    "fmod": Function("torch.fmod", _float_only, 2),
    "maximum": Function("torch.maximum", _number, 2),
    "minimum": Function("torch.minimum", _number, 2),
    "polar": Function("torch.polar", make_complex, 2, 4),
    "pow": OPERATORS["**"],
    **{
        op.op_name: Function(op.function, rule, work=op.work)
        for op, rule in (
            (activation.Gelu, _float_only),
            (activation.LogSigmoid, _float_only),
            (activation.Relu, _number),
            (activation.Sigmoid, _floating),
            (activation.Silu, _float_only),
            (activation.Softplus, _float_only),
            (activation.Tanh, _floating),
        )
    },
}
#: Functions of any number of operands, by the operator between them.
FOLDS: Final[dict[str, str]] = {"sum": "+", "mean": "+", "max": "maximum", "min": "minimum"}
#: Of a mask and two values; the dtype is that of the values.
WHERE: Final = Function("torch.where", _any, 3, 1, (1, 1))
NAMES: Final = (*FUNCTIONS, *FOLDS, "where", "clamp")
