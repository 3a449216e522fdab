"""The tree of an expression: small immutable nodes with stored hash, free names and canonical text.

Equality is structural and ignores where in the text a node stood (`offset`). Attributes are set once, on construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final, TypeAlias

__all__ = [
    "MAX_TREE_DEPTH",
    "Attr",
    "Binary",
    "BoolOp",
    "Call",
    "Clause",
    "Compare",
    "Comprehension",
    "Const",
    "Expr",
    "ExprError",
    "Function",
    "Host",
    "IfElse",
    "Index",
    "ListExpr",
    "Name",
    "Num",
    "Slice",
    "Splice",
    "Str",
    "Unary",
    "literal",
    "replace",
    "walk",
]

MAX_TREE_DEPTH: Final = 200

Function: TypeAlias = Callable[[Mapping[str, Any]], Any]
"""A compiled expression: from an environment of names to a value."""

_NO_NAMES: Final[frozenset[str]] = frozenset()

# Precedences of the printed text, as in Python.
_TERNARY, _OR, _AND, _NOT, _COMPARE, _BIT_OR, _BIT_AND, _SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(12)
_BINARY: Final = {
    "|": _BIT_OR, "&": _BIT_AND, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "//": _PRODUCT, "%": _PRODUCT,
    "**": _POWER,
}  # fmt: skip


class ExprError(Exception):
    """A text is not an expression. `offset` and `length` (code points, from 0) mark the culprit in the text."""

    def __init__(self, message: str, offset: int = 0, length: int = 1, hint: str | None = None) -> None:
        super().__init__(message, offset, length, hint)
        self.message = message
        self.offset = offset
        self.length = length
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} (at character {self.offset + 1})"


class Expr:
    """Base of all nodes.

    `names`: free names (comprehension targets excluded, function names are no names). `attrs`: words after a dot;
    `widths.l` reads the loop name `l` if `widths` turns out to be a list, so a cache key needs both. `late`: names of
    late values put in. `depth`: height.
    """

    __slots__ = ("_hash", "_key", "attrs", "compiled", "depth", "late", "names", "offset")
    precedence: ClassVar[int] = _ATOM

    names: frozenset[str]
    attrs: frozenset[str]
    late: frozenset[str]
    depth: int
    offset: int
    compiled: Function | None  # kept by archgraph.spec.expr_eval.compile

    def _set(self, key: tuple[Any, ...], children: tuple[Expr, ...], offset: int) -> None:
        self._key = key
        self._hash = hash((type(self), key))
        self.offset = offset
        self.compiled = None
        names = attrs = late = _NO_NAMES
        depth = 0
        for child in children:
            if child.names:
                names = names | child.names if names else child.names
            if child.attrs:
                attrs = attrs | child.attrs
            if child.late:
                late = late | child.late
            depth = max(depth, child.depth)
        self.names = names
        self.attrs = attrs
        self.late = late
        self.depth = depth + 1
        if depth >= MAX_TREE_DEPTH:
            raise ExprError("the expression is too long or nested too deeply", offset, hint="split it up in `let:`")

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return type(self) is type(other) and self._hash == other._hash and self._key == other._key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._key, self.offset)

    def children(self) -> Iterator[Expr]:
        """The direct parts, in the order of the text."""
        yield from _expressions(self._key)

    def _at(self, precedence: int) -> str:
        """The text as an operand of something that binds as strongly as `precedence`."""
        return str(self) if self.precedence >= precedence else f"({self})"


def _rebuild(cls: type[Any], key: tuple[Any, ...], offset: int) -> Any:
    return cls(*key, offset=offset)


def _expressions(part: Any) -> Iterator[Expr]:
    if isinstance(part, Expr):
        yield part
    elif isinstance(part, tuple):
        for item in part:
            yield from _expressions(item)


def walk(expr: Expr) -> Iterator[Expr]:
    """`expr` and everything below it, parents first."""
    pending = [expr]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(reversed(tuple(node.children())))


def replace(expr: Expr, swap: Callable[[Expr], Expr | None]) -> Expr:
    """`expr` with every part for which `swap` gives another one replaced by it; parents are asked first."""
    found = swap(expr)
    if found is not None:
        return found
    key = _replaced(expr._key, swap)
    return expr if key is expr._key else _rebuild(type(expr), key, expr.offset)


def _replaced(part: Any, swap: Callable[[Expr], Expr | None]) -> Any:
    if isinstance(part, Expr):
        return replace(part, swap)
    if isinstance(part, tuple):
        items = tuple([_replaced(item, swap) for item in part])
        return part if all(a is b for a, b in zip(items, part, strict=True)) else items
    return part


class Num(Expr):
    """A number as written, without sign: an int below 2**63 or a finite float."""

    __slots__ = ("value",)

    def __init__(self, value: int | float, *, offset: int = 0) -> None:
        fits = math.isfinite(value) and not str(value).startswith("-") if type(value) is float else 0 <= value < 2**63
        if isinstance(value, bool) or not fits:
            raise ValueError(f"{value!r} is not an unsigned finite number; `literal` makes trees of other values")
        self.value = value
        self._set((value,), (), offset)

    def __eq__(self, other: object) -> bool:
        return type(other) is Num and type(self.value) is type(other.value) and self.value == other.value

    __hash__ = Expr.__hash__

    def __str__(self) -> str:
        return repr(self.value)


class Const(Expr):
    """`true`, `false` or `null`."""

    __slots__ = ("value",)

    def __init__(self, value: bool | None, *, offset: int = 0) -> None:
        self.value = value
        self._set((value,), (), offset)

    def __str__(self) -> str:
        return "null" if self.value is None else "true" if self.value else "false"


class Host(Expr):
    """A host value put in place of its name when a formula is closed: a symbolic dim, a late scalar, an infinity."""

    __slots__ = ("value",)
    precedence = _TERNARY

    def __init__(self, value: Any, *, offset: int = 0) -> None:
        self.value = value
        self._set((value,), (), offset)
        self.late = getattr(value, "late", _NO_NAMES)

    def __str__(self) -> str:
        return str(self.value)


class Str(Expr):
    """A quoted text."""

    __slots__ = ("value",)

    def __init__(self, value: str, *, offset: int = 0) -> None:
        self.value = value
        self._set((value,), (), offset)

    def __str__(self) -> str:
        text = self.value.replace("\\", "\\\\")
        return f'"{text}"' if "'" in text and '"' not in text else "'" + text.replace("'", "\\'") + "'"


class Name(Expr):
    """A name that the environment gives a value."""

    __slots__ = ("name",)

    def __init__(self, name: str, *, offset: int = 0) -> None:
        self.name = name
        self._set((name,), (), offset)
        self.names = frozenset((name,))

    def __str__(self) -> str:
        return self.name


class Attr(Expr):
    """`dims.0`, `row.k`: an item by constant index, by key, or (of a list) by the value of a loop name."""

    __slots__ = ("name", "obj")

    def __init__(self, obj: Expr, name: str | int, *, offset: int = 0) -> None:
        self.obj = obj
        self.name = name
        self._set((obj, name), (obj,), offset)
        if isinstance(name, str):
            self.attrs = self.attrs | {name}

    def __str__(self) -> str:
        return f"{_target(self.obj)}.{self.name}"


class Index(Expr):
    """`obj[index]`; the index is an expression or a `Slice`."""

    __slots__ = ("index", "obj")

    def __init__(self, obj: Expr, index: Expr, *, offset: int = 0) -> None:
        self.obj = obj
        self.index = index
        self._set((obj, index), (obj, index), offset)

    def __str__(self) -> str:
        return f"{_target(self.obj)}[{self.index}]"


class Slice(Expr):
    """`start:stop:step` inside an `Index`; each part may be missing."""

    __slots__ = ("start", "step", "stop")

    def __init__(self, start: Expr | None, stop: Expr | None, step: Expr | None, *, offset: int = 0) -> None:
        self.start = start
        self.stop = stop
        self.step = step
        self._set((start, stop, step), tuple(part for part in (start, stop, step) if part is not None), offset)

    def __str__(self) -> str:
        head = f"{self.start or ''}:{self.stop or ''}"
        return head if self.step is None else f"{head}:{self.step}"


class Unary(Expr):
    """`-x`, `+x`, `~x`, `not x`."""

    __slots__ = ("op", "operand")

    def __init__(self, op: str, operand: Expr, *, offset: int = 0) -> None:
        self.op = op
        self.operand = operand
        self._set((op, operand), (operand,), offset)

    @property
    def precedence(self) -> int:  # type: ignore[override]
        return _NOT if self.op == "not" else _SIGN

    def __str__(self) -> str:
        return "not " + self.operand._at(_NOT) if self.op == "not" else self.op + self.operand._at(_SIGN)


class Binary(Expr):
    """`left op right` for `+ - * / // % ** & |`."""

    __slots__ = ("left", "op", "right")

    def __init__(self, op: str, left: Expr, right: Expr, *, offset: int = 0) -> None:
        self.op = op
        self.left = left
        self.right = right
        self._set((op, left, right), (left, right), offset)

    @property
    def precedence(self) -> int:  # type: ignore[override]
        return _BINARY[self.op]

    def __str__(self) -> str:
        own = _BINARY[self.op]
        if own == _POWER:
            return f"{self.left._at(_ATOM)} ** {self.right._at(_SIGN)}"
        return f"{self.left._at(own)} {self.op} {self.right._at(own + 1)}"


class Compare(Expr):
    """`first op value op value …`, chained as in Python; ops are `== != < <= > >=`, `in` and `not in`."""

    __slots__ = ("first", "rest")
    precedence = _COMPARE

    def __init__(self, first: Expr, rest: tuple[tuple[str, Expr], ...], *, offset: int = 0) -> None:
        self.first = first
        self.rest = rest
        self._set((first, rest), (first, *(value for _, value in rest)), offset)

    def __str__(self) -> str:
        return self.first._at(_BIT_OR) + "".join(f" {op} {value._at(_BIT_OR)}" for op, value in self.rest)


class BoolOp(Expr):
    """`a and b and …` or `a or b or …`; the value is the operand that decided, as in Python."""

    __slots__ = ("op", "values")

    def __init__(self, op: str, values: tuple[Expr, ...], *, offset: int = 0) -> None:
        self.op = op
        self.values = values
        self._set((op, values), values, offset)

    @property
    def precedence(self) -> int:  # type: ignore[override]
        return _OR if self.op == "or" else _AND

    def __str__(self) -> str:
        return f" {self.op} ".join(value._at(self.precedence + 1) for value in self.values)


class IfElse(Expr):
    """`then if test else other`."""

    __slots__ = ("other", "test", "then")
    precedence = _TERNARY

    def __init__(self, then: Expr, test: Expr, other: Expr, *, offset: int = 0) -> None:
        self.then = then
        self.test = test
        self.other = other
        self._set((then, test, other), (then, test, other), offset)

    def __str__(self) -> str:
        return f"{self.then._at(_OR)} if {self.test._at(_OR)} else {self.other}"


class Call(Expr):
    """`function(args, key=value)`; functions are a fixed list, so their names are no free names."""

    __slots__ = ("args", "function", "kwargs")

    def __init__(
        self, function: str, args: tuple[Expr, ...] = (), kwargs: tuple[tuple[str, Expr], ...] = (), *, offset: int = 0
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self._set((function, args, kwargs), (*args, *(value for _, value in kwargs)), offset)

    def __str__(self) -> str:
        parts = [*map(str, self.args), *(f"{key}={value}" for key, value in self.kwargs)]
        return f"{self.function}({', '.join(parts)})"


class ListExpr(Expr):
    """`[a, b, …]`."""

    __slots__ = ("items",)

    def __init__(self, items: tuple[Expr, ...], *, offset: int = 0) -> None:
        self.items = items
        self._set((items,), items, offset)

    def __str__(self) -> str:
        return "[" + ", ".join(map(str, self.items)) + "]"


class Splice(Expr):
    """`name...` or `name.*`: the items of a list in place, as an argument, as an item or as the whole expression."""

    __slots__ = ("obj",)

    def __init__(self, obj: Expr, *, offset: int = 0) -> None:
        self.obj = obj
        self._set((obj,), (obj,), offset)

    def __str__(self) -> str:
        return f"{_target(self.obj)}..."


Clause = tuple[tuple[str, ...], Expr, tuple[Expr, ...]]
"""`for targets in iterable if condition if …`."""


class Comprehension(Expr):
    """`[element for targets in iterable if condition for …]`."""

    __slots__ = ("clauses", "element")

    def __init__(self, element: Expr, clauses: tuple[Clause, ...], *, offset: int = 0) -> None:
        self.element = element
        self.clauses = clauses
        parts = [element]
        names, attrs = element.names, element.attrs
        for targets, iterable, conditions in reversed(clauses):
            for condition in conditions:
                names, attrs = names | condition.names, attrs | condition.attrs
            names, attrs = (names - set(targets)) | iterable.names, (attrs - set(targets)) | iterable.attrs
            parts += (iterable, *conditions)
        self._set((element, clauses), tuple(parts), offset)
        self.names, self.attrs = names, attrs

    def __str__(self) -> str:
        text = str(self.element)
        for targets, iterable, conditions in self.clauses:
            text += f" for {', '.join(targets)} in {iterable._at(_OR)}"
            text += "".join(f" if {condition._at(_OR)}" for condition in conditions)
        return f"[{text}]"


def _target(obj: Expr) -> str:
    """The text of what a dot, bracket or splice follows: `2.x` would be read as a number."""
    return f"({obj})" if isinstance(obj, Num) else obj._at(_ATOM)


def literal(value: Any) -> Expr:
    """The tree whose value is `value`: None, bool, int, float, str, or lists and tuples of those.

    Raises `ValueError` for other types, nan and infinities.
    """
    if value is None or isinstance(value, bool):
        return Const(value)
    if isinstance(value, (int, float)):
        return Unary("-", Num(-value)) if str(value).startswith("-") else Num(value)
    if isinstance(value, str):
        return Str(value)
    if isinstance(value, (list, tuple)):
        return ListExpr(tuple(literal(item) for item in value))
    raise ValueError(f"{type(value).__name__} has no literal")
