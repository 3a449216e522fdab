"""The fixed list of functions that expressions may call.

With a symbolic size or a lazy scalar among its arguments a numeric function stays symbolic as far as
`archgraph.ir.real.apply` goes; otherwise it asks for the value, and the argument raises what it raises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Final, NamedTuple

from archgraph.ir.dim import Dim, lower_bound
from archgraph.ir.expr import ExprError
from archgraph.ir.real import FUNCTIONS as SYMBOLIC_FUNCTIONS
from archgraph.ir.real import Real, apply
from archgraph.spec.expr_values import (
    EvalError,
    binary_value,
    compare_values,
    describe,
    guarded,
    is_foreign,
    sequence_of,
    sized,
    whole,
)

__all__ = ["FUNCTIONS", "MAX_RANGE", "HostFunction", "call_function"]

MAX_RANGE: Final = 4096


class HostFunction(NamedTuple):
    """A function: its body, how many arguments it takes (None: any number), whether they all are numbers."""

    body: Callable[..., Any]
    least: int
    most: int | None
    numeric: bool
    doc: str


def call_function(name: str, function: HostFunction, args: tuple[Any, ...]) -> Any:
    """`name(*args)`, checked and bounded."""
    if len(args) < function.least or (function.most is not None and len(args) > function.most):
        raise EvalError(f"`{name}` takes {_arity(function)}, found {len(args)}")
    if function.numeric:
        if function.most is None and len(args) == 1 and isinstance(args[0], (list, tuple)):
            args = tuple(args[0])
        for arg in args:
            if isinstance(arg, (Dim, Real)):
                return _symbolic(name, function, args)
            if not isinstance(arg, (int, float)) and not is_foreign(arg) and name not in ("int", "float"):
                raise EvalError(f"`{name}` needs numbers, found {describe(arg)}")
    result = guarded(name, function.body, *args)
    if isinstance(result, float) and not math.isfinite(result):
        raise EvalError(f"`{name}` has no finite result")
    if isinstance(result, int) and not -(2**63) < result < 2**63:
        raise EvalError(f"the result of `{name}` does not fit in 64 bits")
    return result


def _symbolic(name: str, function: HostFunction, args: tuple[Any, ...]) -> Any:
    if name == "clamp":
        x, low, high = args
        return guarded(name, apply, "min", guarded(name, apply, "max", x, low), high)
    if name == "int" and isinstance(args[0], Dim):
        return args[0]
    if name == "int" and isinstance(args[0], Real) and len(args) == 1:
        whole = guarded(name, apply, "floor", args[0])
        low = lower_bound(whole) if isinstance(whole, (int, Dim)) else None
        if low is not None and low >= 0:  # towards zero is down
            return whole
    if name in SYMBOLIC_FUNCTIONS:
        return guarded(name, apply, name, *args)
    return guarded(name, function.body, *args)


def _arity(function: HostFunction) -> str:
    least, most = function.least, function.most
    if most is None:
        return f"at least {least} argument{'s' * (least != 1)}"
    return f"{least} argument{'s' * (least != 1)}" if least == most else f"{least} to {most} arguments"


def _smallest(*args: Any) -> Any:
    if not args:
        raise EvalError("`min` of an empty list")
    return min(args)


def _largest(*args: Any) -> Any:
    if not args:
        raise EvalError("`max` of an empty list")
    return max(args)


def _clamp(x: Any, low: Any, high: Any) -> Any:
    return min(max(x, low), high)


def _log(x: float, base: float | None = None) -> float:
    return math.log(x) if base is None else math.log(x, base)


def _int(x: Any) -> int:
    if isinstance(x, str):
        text = x.strip()
        if not text.lstrip("+-").isdecimal() or len(text) > 20:
            raise EvalError(f"{describe(x)} is not a whole number")
        return int(text)
    if not isinstance(x, (int, float)) and not is_foreign(x):
        raise EvalError(f"`int` needs a number, found {describe(x)}")
    return int(x)


def _float(x: Any) -> float:
    if not isinstance(x, str):
        return float(x)
    from archgraph.spec.expr_eval import compile
    from archgraph.spec.expr_parse import parse

    try:
        return float(compile(parse(x))({}))
    except (ExprError, EvalError, TypeError, ValueError) as error:
        raise EvalError(f"{describe(x)} is no arithmetic of numbers") from error


def _length(x: Any) -> int:
    return len(x) if isinstance(x, str) else len(sequence_of(x))


def _spread(args: tuple[Any, ...]) -> Sequence[Any]:
    """The items of the only argument, or the arguments themselves: `sum(xs)` and `sum(xs...)` agree."""
    return sequence_of(args[0]) if len(args) == 1 and not isinstance(args[0], (int, float)) else args


def _sum(*args: Any) -> Any:
    items = _spread(args)
    if all(type(item) is int for item in items):
        return sum(items)
    return reduce(lambda a, b: binary_value("+", a, b), items)


def _product(*args: Any) -> Any:
    items = _spread(args)
    return reduce(lambda a, b: binary_value("*", a, b), items, 1)


def _any(items: Any) -> bool:
    return any(sequence_of(items))


def _all(items: Any) -> bool:
    return all(sequence_of(items))


def _range(*bounds: Any) -> tuple[int, ...]:
    numbers = [whole(bound, "a bound of `range`") for bound in bounds]
    if len(numbers) == 3 and numbers[2] == 0:
        raise EvalError("the step of `range` is zero")
    turns = range(*numbers)
    if turns and (turns[-1] - turns[0]) // turns.step >= MAX_RANGE:
        raise EvalError(f"`range` of more than {MAX_RANGE} numbers")
    return tuple(turns)


def _reversed(items: Any) -> tuple[Any, ...]:
    return tuple(reversed(sequence_of(items)))


def _sorted(items: Any) -> tuple[Any, ...]:
    values = sequence_of(items)
    if not all(isinstance(value, str) for value in values):
        for value in values:
            compare_values("<", value, value)
    return tuple(sorted(values))


def _zip(*lists: Any) -> tuple[Any, ...]:
    sequences = [sequence_of(items) for items in lists]
    if len({len(items) for items in sequences}) > 1:
        raise EvalError("`zip` of lists of different lengths: " + ", ".join(str(len(items)) for items in sequences))
    return sized(tuple(zip(*sequences, strict=True)))


def _enumerate(items: Any, start: Any = 0) -> tuple[Any, ...]:
    return sized(tuple(enumerate(sequence_of(items), whole(start, "the start of `enumerate`"))))


def _list(items: Any = ()) -> tuple[Any, ...]:
    return tuple(sequence_of(items))


FUNCTIONS: Final[dict[str, HostFunction]] = {
    # Numbers.
    "min": HostFunction(_smallest, 1, None, True, "smallest of the arguments, or of one list"),
    "max": HostFunction(_largest, 1, None, True, "largest of the arguments, or of one list"),
    "abs": HostFunction(abs, 1, 1, True, "absolute value"),
    "round": HostFunction(round, 1, 2, True, "nearest whole number, halves to even; or to so many decimals"),
    "floor": HostFunction(math.floor, 1, 1, True, "largest whole number not above"),
    "ceil": HostFunction(math.ceil, 1, 1, True, "smallest whole number not below"),
    "clamp": HostFunction(_clamp, 3, 3, True, "`clamp(x, low, high)`: x cut to a range"),
    "sqrt": HostFunction(math.sqrt, 1, 1, True, "square root, a float"),
    "isqrt": HostFunction(math.isqrt, 1, 1, True, "whole part of the square root of a whole number"),
    "exp": HostFunction(math.exp, 1, 1, True, "e to the power"),
    "log": HostFunction(_log, 1, 2, True, "natural logarithm, or to a base"),
    "log2": HostFunction(math.log2, 1, 1, True, "logarithm to base 2, exact for powers of two"),
    "sin": HostFunction(math.sin, 1, 1, True, "sine of radians"),
    "cos": HostFunction(math.cos, 1, 1, True, "cosine of radians"),
    "tan": HostFunction(math.tan, 1, 1, True, "tangent of radians"),
    "int": HostFunction(_int, 1, 1, True, "whole part, toward zero; or the number that a text spells"),
    "float": HostFunction(_float, 1, 1, True, "as a float; or what the arithmetic in a text gives"),
    "bool": HostFunction(bool, 1, 1, False, "true unless zero, null or empty"),
    "given": HostFunction(lambda x: x is not None, 1, 1, False, "whether an optional input or param is there"),
    # Lists.
    "len": HostFunction(_length, 1, 1, False, "number of items of a list or mapping, or characters of a text"),
    "sum": HostFunction(_sum, 0, None, False, "sum of a list, or of the arguments"),
    "prod": HostFunction(_product, 0, None, False, "product of a list, or of the arguments"),
    "any": HostFunction(_any, 1, 1, False, "whether one item is true"),
    "all": HostFunction(_all, 1, 1, False, "whether all items are true"),
    "range": HostFunction(_range, 1, 3, False, f"whole numbers as in Python, at most {MAX_RANGE}"),
    "reversed": HostFunction(_reversed, 1, 1, False, "the items from last to first"),
    "sorted": HostFunction(_sorted, 1, 1, False, "the items in ascending order"),
    "zip": HostFunction(_zip, 1, None, False, "lists of equal length in lock-step"),
    "enumerate": HostFunction(_enumerate, 1, 2, False, "pairs of position and item"),
    "list": HostFunction(_list, 0, 1, False, "the items, or the keys of a mapping, as a list"),
}
"""Every function by name; the language reference prints this table."""
