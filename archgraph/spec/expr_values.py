"""What operators do to values. Exact ints of 64 bits, float64, text, tuples; anything else keeps its own operators.

Symbolic sizes and lazy scalars (`Dim`, `Real`, in general whatever is none of these) meet plain Python operators. What
those raise passes through, except a plain `TypeError` or an arithmetic error, which become `EvalError`. Lists and
ranges come out as tuples, so that values can be keys.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from archgraph.ir.diagnostics import Span
from archgraph.ir.dim import Dim, eq, ne
from archgraph.ir.real import Real, equal

__all__ = [
    "MAX_EXPONENT",
    "MAX_ITEMS",
    "EvalError",
    "UnknownName",
    "binary_value",
    "compare_values",
    "contains",
    "count",
    "describe",
    "guarded",
    "is_foreign",
    "item_at",
    "part_of",
    "sequence_of",
    "sized",
    "slice_of",
    "unary_value",
    "whole",
]

MAX_EXPONENT: Final = 64
MAX_ITEMS: Final = 65536
_INT_LIMIT: Final = 2**63

_HOST: Final = (int, float, str, list, tuple, Mapping, type(None))  # bool is an int


class EvalError(Exception):
    """An expression has no value. `offset` (code points) is where in its text, None where that is not known; `at` is
    the place in the file, where it is known."""

    at: Span | None = None

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message, offset)
        self.message = message
        self.offset = offset

    def __str__(self) -> str:
        return self.message


class UnknownName(Exception):
    """The environment has no such name. `offset` and `at` as in `EvalError`."""

    at: Span | None = None

    def __init__(self, name: str, offset: int | None = None) -> None:
        super().__init__(name, offset)
        self.name = name
        self.offset = offset

    def __str__(self) -> str:
        return f"unknown name `{self.name}`"


def describe(value: Any) -> str:
    """A value in words, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return "a mapping"
    return f"`{str(value)[:60]}`"


def is_foreign(value: Any) -> bool:
    """Whether a value is none of ours, so that its own operators apply."""
    return not isinstance(value, _HOST)


def guarded(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """The result of `function`, called `name` in messages; its arithmetic errors and plain `TypeError` as `EvalError`.

    Subclasses of `TypeError` pass: an undecided symbolic condition is one, and callers wait for it.
    """
    try:
        return function(*args)
    except ZeroDivisionError:
        raise EvalError("division by zero") from None
    except OverflowError:
        raise EvalError("the result is too large") from None
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise EvalError(f"`{name}` is not defined for {', '.join(map(describe, args))}") from None
    except TypeError as error:
        if type(error) is not TypeError:
            raise
        raise EvalError(f"`{name}` is not defined for {' and '.join(map(describe, args))}") from None


_BINARY: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "&": operator.and_,
    "|": operator.or_,
}


def binary_value(op: str, a: Any, b: Any) -> Any:
    """`a op b`, bounded."""
    if op == "**" and isinstance(b, (int, float)) and abs(b) > MAX_EXPONENT:
        raise EvalError(f"the exponent {b} is beyond {MAX_EXPONENT}")
    if _is_number_like(a) and _is_number_like(b):
        return _bounded(guarded(op, _BINARY[op], a, b))
    if op == "+" and isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return sized((*a, *b))
    if op == "*" and isinstance(a, (list, tuple)) and _is_number_like(b):
        return _repeated(a, whole(b, "a number of repetitions"))
    if op == "*" and isinstance(b, (list, tuple)) and _is_number_like(a):
        return _repeated(b, whole(a, "a number of repetitions"))
    raise EvalError(f"`{op}` is not defined for {describe(a)} and {describe(b)}")


def unary_value(op: str, a: Any) -> Any:
    """`-a`, `+a` or `~a`."""
    if op == "~" and not (isinstance(a, int) and not isinstance(a, bool)):
        raise EvalError(f"`~` needs a whole number, found {describe(a)}; a condition is negated by `not`")
    if isinstance(a, (int, float, Dim, Real)):
        if isinstance(a, float) and math.isinf(a):  # written `inf`; no arithmetic makes one
            return -a if op == "-" else a
        functions: dict[str, Callable[[Any], Any]] = {"-": operator.neg, "+": operator.pos, "~": operator.invert}
        return _bounded(guarded(op, functions[op], a))
    raise EvalError(f"`{op}` is not defined for {describe(a)}")


def _is_number_like(value: Any) -> bool:
    return isinstance(value, (int, float)) or is_foreign(value)


def _bounded(value: Any) -> Any:
    if isinstance(value, int):
        if not -_INT_LIMIT < value < _INT_LIMIT:
            raise EvalError("the result does not fit in 64 bits")
    elif isinstance(value, complex):
        raise EvalError("the root of a negative number")
    elif isinstance(value, float) and not math.isfinite(value):
        raise EvalError("the result is not a finite number")
    return value


def _repeated(items: Sequence[Any], times: int) -> tuple[Any, ...]:
    if len(items) * max(times, 0) > MAX_ITEMS:
        raise EvalError(f"a list of more than {MAX_ITEMS} items")
    return sized(tuple(items) * times)


def sized(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """`items`, if they are at most `MAX_ITEMS`, those of nested lists counted as often as they occur."""
    if len(items) > MAX_ITEMS or count(items, MAX_ITEMS) > MAX_ITEMS:
        raise EvalError(f"a list of more than {MAX_ITEMS} items")
    return items


def count(items: Sequence[Any], budget: int) -> int:
    """The items of a list and of the lists in it, each as often as it occurs; stops above `budget`."""
    total = len(items)
    for item in items:
        if isinstance(item, (list, tuple)):
            total += count(item, budget - total)
            if total > budget:
                return total
    return total


_ORDER: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
#: Comparisons of plain numbers.
PLAIN_COMPARISONS: Final = {**_ORDER, "==": operator.eq, "!=": operator.ne}


def compare_values(op: str, a: Any, b: Any) -> Any:
    """`a op b` for a comparison. Symbolic sizes may answer with a condition (`Cond`) instead of a bool."""
    if op == "==":
        return _equal(a, b)
    if op == "!=":
        if isinstance(a, (int, Dim)) and isinstance(b, (int, Dim)):
            return ne(a, b)
        return not _equal(a, b)
    if op == "in":
        return contains(a, b)
    if op == "not in":
        return not contains(a, b)
    if _is_number_like(a) and _is_number_like(b):
        return guarded(op, _ORDER[op], a, b)
    raise EvalError(f"`{op}` is not defined for {describe(a)} and {describe(b)}")


def _equal(a: Any, b: Any) -> Any:
    """Equality of values: that of symbolic sizes may be open, lists and tuples are the same."""
    if isinstance(a, (Dim, Real)) or isinstance(b, (Dim, Real)):
        if isinstance(a, (int, Dim)) and isinstance(b, (int, Dim)):
            return eq(a, b)
        return _is_number_like(a) and _is_number_like(b) and equal(a, b)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    return a == b


def contains(item: Any, container: Any) -> bool:
    """`item in container` for lists, keys of mappings and parts of texts."""
    if isinstance(container, (list, tuple)):
        return any(_equal(item, other) for other in container)
    if isinstance(container, Mapping):
        return isinstance(item, (str, int)) and item in container
    if isinstance(container, str) and isinstance(item, str):
        return item in container
    raise EvalError(f"`in` needs a list on its right, found {describe(container)}")


def item_at(obj: Any, index: Any) -> Any:
    """`obj[index]`."""
    if isinstance(obj, Mapping):
        if not isinstance(index, (str, int)):
            raise EvalError(f"a key is a text or a whole number, found {describe(index)}")
        if index not in obj:
            raise EvalError(f"no key {_key(index)}; there are {_keys(obj)}")
        return obj[index]
    if not isinstance(obj, (list, tuple, str)):
        raise EvalError(f"{describe(obj)} has no items")
    at = whole(index)
    if not -len(obj) <= at < len(obj):
        raise EvalError(f"index {at} of {describe(obj)}")
    return obj[at]


def slice_of(obj: Any, start: Any, stop: Any, step: Any) -> Any:
    """`obj[start:stop:step]`."""
    if not isinstance(obj, (list, tuple, str)):
        raise EvalError(f"{describe(obj)} has no items")
    parts = [None if part is None else whole(part) for part in (start, stop, step)]
    if parts[2] == 0:
        raise EvalError("the step of a slice is zero")
    taken = obj[slice(*parts)]
    return tuple(taken) if type(taken) is list else taken


def part_of(obj: Any, name: str | int, env: Mapping[str, Any]) -> Any:
    """`obj.name`: an item by constant index or key; a word after a list is a name whose value is the index."""
    if isinstance(obj, Mapping):
        return item_at(obj, name)
    if isinstance(obj, (list, tuple)):
        if isinstance(name, int):
            return item_at(obj, name)
        try:
            index = env[name]
        except KeyError:
            raise UnknownName(name) from None
        return item_at(obj, index)
    raise EvalError(f"{describe(obj)} has no part `{name}`")


def whole(value: Any, what: str = "an index") -> int:
    """`value` as an int; a symbolic one may raise what it likes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not is_foreign(value):
        raise EvalError(f"{what} is a whole number, found {describe(value)}")
    at: int = guarded(what, operator.index, value)
    return at


def sequence_of(value: Any) -> Sequence[Any]:
    """What a loop or a list function runs over: items of a list, keys of a mapping."""
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, Mapping):
        return tuple(value)
    hint = "; write `range(n)`" if _is_number_like(value) else ""
    raise EvalError(f"a list is needed, found {describe(value)}{hint}")


def _key(key: Any) -> str:
    return f"`{describe(key) if isinstance(key, bool) else key}`"


def _keys(obj: Mapping[Any, Any]) -> str:
    shown = ", ".join(_key(key) for key in list(obj)[:8])
    return shown + (", …" if len(obj) > 8 else "") if shown else "none"
