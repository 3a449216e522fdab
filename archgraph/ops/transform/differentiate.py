"""Derivatives of formulas, as formulas."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Final

from archgraph.ir.expr import Binary, Call, Compare, Const, Expr, Host, Name, Num, Unary, literal
from archgraph.ops.base import fail

ZERO: Final = Num(0)
ONE: Final = Num(1)

Partial = Callable[..., Expr]


def partial(e: Expr, name: str) -> Expr | None:
    """The partial derivative of a formula by one of its names; None where it is zero everywhere.

    At kinks it is what torch takes: 0 for ``relu`` and ``abs``, a half each for equal operands of ``maximum``.

    Raises
    ------
    OpError
        For an operator or function without a derivative here.
    """
    if name not in e.names:
        return None
    if isinstance(e, Name):
        return ONE
    if isinstance(e, Unary):
        inner = partial(e.operand, name) if e.op in "+-" else None
        return inner if inner is None or e.op == "+" else _neg(inner)
    if isinstance(e, Binary):
        return _chain(_BINARY, e.op, (e.left, e.right), name)
    if isinstance(e, Compare):
        return None
    if isinstance(e, Call):
        return _call(e, name)
    fail(f"`{e}` has no derivative")


def _call(e: Call, name: str) -> Expr | None:
    f, args = e.function, e.args
    if f in ("sum", "mean"):
        found = _sum([partial(a, name) for a in args])
        return found if found is None or f == "sum" else _mul(found, literal(1 / len(args)))
    if f in ("max", "min"):
        pair = {"max": "maximum", "min": "minimum"}[f]
        return partial(reduce(lambda x, y: Call(pair, (x, y)), args), name)
    if f == "where":
        mask, x, y = args
        dx, dy = partial(x, name), partial(y, name)
        return None if dx is None and dy is None else Call("where", (mask, dx or ZERO, dy or ZERO))
    if f == "clamp":
        return _clamp(e, name)
    if f in _FLAT:
        return None
    table: Mapping[str, tuple[Partial, ...]] = _FUNCTIONS
    if f not in table:
        fail(f"`{f}` has no derivative here", found=e)
    return _chain(table, f, args, name)


def _chain(table: Mapping[str, tuple[Partial, ...]], word: str, parts: tuple[Expr, ...], name: str) -> Expr | None:
    """The chain rule: the outer derivatives by each part, times those of the parts."""
    if word in _FLAT:
        return None
    if word not in table:
        fail(f"`{word}` has no derivative here")
    found: list[Expr | None] = []
    for outer, part in zip(table[word], parts, strict=True):
        inner = partial(part, name)
        found.append(None if inner is None else _mul(outer(*parts), inner))
    return _sum(found)


def _clamp(e: Call, name: str) -> Expr | None:
    given = {**dict(zip(("x", "min", "max"), e.args, strict=False)), **dict(e.kwargs)}
    x = given["x"]
    for word, pair in (("min", "maximum"), ("max", "minimum")):
        bound = given.get(word)
        if bound is None or bound == Const(None):
            continue
        if name in bound.names:
            x = Call(pair, (x, bound))
            continue
        inside = Compare(x, ((">=" if word == "min" else "<=", bound),))
        inner = partial(x, name)
        rest = {k: v for k, v in given.items() if k not in ("x", word)}
        outer = rest.get("max") if word == "min" else None
        if inner is None:
            return None
        if outer is None or outer == Const(None):
            return _mul(inside, inner)
        return _mul(_mul(inside, Compare(x, (("<=", outer),))), inner)
    return partial(x, name)


# -- arithmetic on trees, with what is plainly neutral left out ---------------------------------------------------


def _mul(a: Expr, b: Expr) -> Expr:
    if a == ONE:
        return b
    return a if b == ONE else Binary("*", a, b)


def _neg(a: Expr) -> Expr:
    return a.operand if isinstance(a, Unary) and a.op == "-" else Unary("-", a)


def _sum(terms: list[Expr | None]) -> Expr | None:
    found = [t for t in terms if t is not None]
    return reduce(lambda x, y: Binary("+", x, y), found) if found else None


def _f(function: str) -> Partial:
    return lambda *args: Call(function, args)


def _times(factor: float, e: Expr) -> Expr:
    return Binary("*", literal(factor), e)


def _minus(a: Expr, b: Expr) -> Expr:
    return Binary("-", a, b)


def _larger(word: str) -> tuple[Partial, Partial]:
    def half(x: Expr, y: Expr) -> Expr:
        return Binary("+", Compare(x, ((word, y),)), _times(0.5, Compare(x, (("==", y),))))

    return half, lambda x, y: half(y, x)


def _power(x: Expr, y: Expr) -> Expr:
    """Derivative of ``x ** y`` by ``x``."""
    if isinstance(y, Num):
        if y.value == 2:
            return Binary("*", Num(2), x)
        return _mul(y, x if y.value - 1 == 1 else Binary("**", x, literal(y.value - 1)))
    if isinstance(y, (Unary, Host)) or y.names:
        return Binary("*", y, Binary("**", x, Binary("-", y, ONE)))
    return Binary("*", y, Binary("**", x, Binary("-", y, ONE)))


#: Operators and functions that are constant between their jumps, or not of numbers.
_FLAT: Final = frozenset(
    {"//", "&", "|", "ceil", "floor", "round", "sign", "isfinite", "isinf", "isnan"},
)
_BINARY: Final[dict[str, tuple[Partial, ...]]] = {
    "+": (lambda x, y: ONE, lambda x, y: ONE),
    "-": (lambda x, y: ONE, lambda x, y: Unary("-", ONE)),
    "*": (lambda x, y: y, lambda x, y: x),
    "/": (
        lambda x, y: Binary("/", ONE, y),
        lambda x, y: Unary("-", Binary("/", x, Call("square", (y,)))),
    ),
    "%": (lambda x, y: ONE, lambda x, y: Unary("-", Binary("//", x, y))),
    "**": (_power, lambda x, y: Binary("*", Binary("**", x, y), Call("log", (x,)))),
}
_NORMAL: Final = 1 / math.sqrt(2 * math.pi)
_FUNCTIONS: Final[dict[str, tuple[Partial, ...]]] = {
    "abs": (_f("sign"),),
    "cos": (lambda x: Unary("-", Call("sin", (x,))),),
    "erf": (lambda x: _times(2 / math.sqrt(math.pi), Call("exp", (Unary("-", Call("square", (x,))),))),),
    "exp": (_f("exp"),),
    "expm1": (_f("exp"),),
    "gelu": (
        lambda x: Binary(
            "+",
            _times(0.5, Binary("+", ONE, Call("erf", (_times(math.sqrt(0.5), x),)))),
            Binary("*", x, _times(_NORMAL, Call("exp", (_times(-0.5, Call("square", (x,))),)))),
        ),
    ),
    "log": (_f("reciprocal"),),
    "log1p": (lambda x: Call("reciprocal", (Binary("+", ONE, x),)),),
    "log2": (lambda x: _times(1 / math.log(2), Call("reciprocal", (x,))),),
    "log_sigmoid": (lambda x: Call("sigmoid", (Unary("-", x),)),),
    "maximum": _larger(">"),
    "minimum": _larger("<"),
    "pow": _BINARY["**"],
    "reciprocal": (lambda x: Unary("-", Call("reciprocal", (Call("square", (x,)),))),),
    "relu": (lambda x: Compare(x, ((">", ZERO),)),),
    "rsqrt": (lambda x: _times(-0.5, Binary("/", Call("rsqrt", (x,)), x)),),
    "sigmoid": (lambda x: Binary("*", Call("sigmoid", (x,)), Call("sigmoid", (Unary("-", x),))),),
    "silu": (
        lambda x: Binary(
            "*",
            Call("sigmoid", (x,)),
            Binary("+", ONE, Binary("*", x, Call("sigmoid", (Unary("-", x),)))),
        ),
    ),
    "sin": (_f("cos"),),
    "softplus": (_f("sigmoid"),),
    "sqrt": (lambda x: _times(0.5, Call("rsqrt", (x,))),),
    "square": (lambda x: Binary("*", Num(2), x),),
    "tan": (lambda x: Binary("+", ONE, Call("square", (Call("tan", (x,)),))),),
    "tanh": (lambda x: Binary("-", ONE, Call("square", (Call("tanh", (x,)),))),),
}
