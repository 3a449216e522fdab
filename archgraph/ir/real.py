"""Lazy scalars: numbers that are not known yet, allowed where neither a type nor a cost depends on them.

A drop-path schedule ``0.2 * i / depth`` must not make every turn of a loop another block, so the loop index is bound
to a :class:`Late` value and the slot keeps the expression.  Whatever needs the number raises: :class:`NeedsValue` when
a late value is missing, so that the caller can elaborate per turn, ``SymbolicTruth`` when only symbolic sizes are.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, NoReturn, TypeAlias

from archgraph.ir._algebra import Dim, Num, plain, sym
from archgraph.ir._cond import SymbolicTruth, eq
from archgraph.ir._division import ceil_log2, extremum
from archgraph.ir._monomial import Monomial
from archgraph.ir._substitute import evaluate as evaluate_dim
from archgraph.ir._substitute import substitute as substitute_dim
from archgraph.ir._text import ATOM, POWER, PRODUCT, SUM, UNARY, by_text, precedence, text
from archgraph.ir.expr import Expr

__all__ = [
    "FUNCTIONS",
    "Late",
    "NeedsValue",
    "Real",
    "Scalar",
    "apply",
    "equal",
    "evaluate",
    "free",
    "late_names",
    "ratio",
    "substitute",
]

Number: TypeAlias = int | float | Fraction


class NeedsValue(TypeError):
    """A number was needed that depends on a late-bound ``value``, or on something else bound later (``value`` is None).

    Raised with the expression, which ``wanted`` says the use of, or with the whole reason as text.
    """

    value: Real | None

    def __init__(self, value: Real | str, wanted: str = "this") -> None:
        self.value = value if isinstance(value, Real) else None
        self._arguments = value, wanted
        super().__init__(
            f"{wanted} needs the value of {value}, which is bound later" if isinstance(value, Real) else value
        )

    def __reduce__(self) -> tuple[Callable[..., NeedsValue], tuple[Real | str, str]]:
        return NeedsValue, self._arguments


_NO_NAMES: frozenset[str] = frozenset()
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "cos": math.cos,
    "exp": math.exp,
    "floor": math.floor,
    "log": math.log,
    "log2": math.log2,
    "max": lambda *xs: max(xs),
    "min": lambda *xs: min(xs),
    "round": round,
    "sin": math.sin,
    "sqrt": math.sqrt,
}
_ARITY = {"log": (1, 2), "max": (1, math.inf), "min": (1, math.inf), "round": (1, 2)}
_COMPUTE: dict[str, Callable[..., Any]] = {**OPERATORS, **FUNCTIONS, "neg": operator.neg}
_LEVELS = {"+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "//": PRODUCT, "%": PRODUCT}


class Real:
    """An unevaluated operator or function ``op`` of ``args``, which are numbers, :class:`Dim` and :class:`Real`.

    Immutable.  ``==`` and ``hash`` are structural (``1`` and ``1.0`` differ); for equality of values use :func:`equal`.
    Order, truth and conversion need the value and raise, unless bounds of symbolic sizes decide.
    """

    __slots__ = ("_hash", "_key", "args", "free", "late", "op")
    op: str
    args: tuple[Any, ...]
    free: frozenset[str]  # names of the symbols and late values in it
    late: frozenset[str]  # names of the late values alone
    _key: tuple[object, ...]
    _hash: int

    def __init__(self, op: str, args: tuple[Any, ...]) -> None:
        self.op, self.args = op, args
        names = late = _NO_NAMES
        for arg in args:
            if isinstance(arg, Dim | Real):
                names = names | arg.free if names else arg.free
                if isinstance(arg, Real) and arg.late:
                    late = late | arg.late
        self.free, self.late = names, late
        self._key = (op, args, tuple(map(type, args)))
        self._hash = hash(self._key)

    def evaluate(self, env: Mapping[str, int | float]) -> int | float:
        """Its number for given symbols and late values.

        Raises KeyError for a missing name, ZeroDivisionError and ValueError as the ``math`` functions do.
        """
        value = self._value(env)
        return value if not isinstance(value, Fraction) else value.numerator if value.denominator == 1 else float(value)

    def _value(self, env: Mapping[str, int | float]) -> Number:
        """As ``evaluate``, fractions kept exact: rounding ``0.7 * N`` to an integer must not meet a float."""
        values = (arg._value(env) if isinstance(arg, Real) else evaluate(arg, env) for arg in self.args)
        return _COMPUTE[self.op](*values)  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Real) and self._hash == other._hash and self._key == other._key)

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Any) -> Any:
        return binary("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return binary("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return binary("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return binary("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return binary("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return binary("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return binary("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return binary("/", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return binary("//", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return binary("//", other, self)

    def __mod__(self, other: Any) -> Any:
        return binary("%", self, other)

    def __rmod__(self, other: Any) -> Any:
        return binary("%", other, self)

    def __pow__(self, other: Any) -> Any:
        return binary("**", self, other)

    def __rpow__(self, other: Any) -> Any:
        return binary("**", other, self)

    def __neg__(self) -> Real:
        return self.args[0] if self.op == "neg" else Real("neg", (self,))

    def __pos__(self) -> Real:
        return self

    def __abs__(self) -> Any:
        return apply("abs", self)

    def __lt__(self, other: Any) -> Any:
        return binary("<", self, other)

    def __le__(self, other: Any) -> Any:
        return binary("<=", self, other)

    def __gt__(self, other: Any) -> Any:
        return binary("<", other, self)

    def __ge__(self, other: Any) -> Any:
        return binary("<=", other, self)

    def _refusal(self, wanted: str) -> Exception:
        if self.late:
            return NeedsValue(self, wanted)
        return SymbolicTruth(f"{wanted} needs a number, but {self} is symbolic")

    def __bool__(self) -> bool:
        raise self._refusal("a truth value")

    def __int__(self) -> int:
        raise self._refusal("int()")

    def __index__(self) -> int:
        raise self._refusal("an index, range or repetition")

    def __float__(self) -> float:
        raise self._refusal("float()")

    def __str__(self) -> str:
        return _write(self)

    __repr__ = __str__

    def __copy__(self) -> Real:
        return self

    def __deepcopy__(self, memo: object) -> Real:
        return self

    def __reduce__(self) -> tuple[Callable[..., Real], tuple[Any, ...]]:
        return Real, (self.op, self.args)


class Late(Real):
    """A scalar bound after elaboration: a loop index or a late parameter."""

    __slots__ = ()

    def __init__(self, name: str) -> None:
        self.op, self.args = "late", (name,)
        self.free = frozenset((name,))
        self.late = self.free
        self._key = ("late", name)
        self._hash = hash(self._key)

    @property
    def name(self) -> str:
        """The name it is bound by."""
        return str(self.args[0])

    def _value(self, env: Mapping[str, int | float]) -> Number:
        return env[self.name]

    def __reduce__(self) -> tuple[Callable[..., Real], tuple[Any, ...]]:
        return Late, self.args


@lru_cache(maxsize=1024)
def late(name: str) -> Late:
    """The late value of that name."""
    return Late(name)


Scalar: TypeAlias = int | float | Fraction | Dim | Real
_ORDINARY = frozenset((int, float, Dim, Real, Late))  # other classes may hold whole numbers, which become int


def binary(op: str, a: Any, b: Any) -> Any:
    """``a op b``, computed as far as it is known; NotImplemented for operands that are no scalars."""
    if a.__class__ not in _ORDINARY or b.__class__ not in _ORDINARY:
        if not isinstance(a, (Dim, Real, numbers.Real)) or not isinstance(b, (Dim, Real, numbers.Real)):
            return NotImplemented
        a, b = plain(a), plain(b)
    if op == "<" or op == "<=":
        return _less(a, b, op)
    if not isinstance(a, Dim | Real) and not isinstance(b, Dim | Real):
        return OPERATORS[op](a, b)
    if isinstance(a, int | Dim) and isinstance(b, int | Dim) and _stays_integer(op, a, b):
        return OPERATORS[op](a, b)
    if op in ("/", "//", "%") and not isinstance(b, Dim | Real) and b == 0:
        raise ZeroDivisionError(f"{_write(a)} {op} 0")
    if (_is(b, 0) and op in "+-") or (_is(b, 1) and op in ("*", "**")):
        return a
    if (_is(a, 0) and op == "+") or (_is(a, 1) and op == "*"):
        return b
    return Real(op, (a, b))


def _is(x: Any, constant: int) -> bool:
    return x.__class__ is int and x == constant


def _stays_integer(op: str, a: Num, b: Num) -> bool:
    """Whether Dim arithmetic does this by itself."""
    if op == "**":
        return isinstance(b, int) and b >= 0
    if op == "/":
        return isinstance(a, Dim) and isinstance(b, int) and b != 0 and all(c % b == 0 for c in a.terms.values())
    return True


def apply(name: str, *args: Any) -> Any:
    """The function ``name`` of :data:`FUNCTIONS`, computed as far as it is known.

    ``floor`` and ``ceil`` of a symbolic size over a constant are sizes again (``floor(H / 2)`` is ``H//2``).
    Raises ValueError for an unknown function, a wrong number of arguments, and outside its domain.
    """
    if name not in FUNCTIONS:
        raise ValueError(f"unknown function {name!r}; known: {', '.join(FUNCTIONS)}")
    fewest, most = _ARITY.get(name, (1, 1))
    if not fewest <= len(args) <= most:
        raise ValueError(f"{name} does not take {len(args)} arguments")
    if not any(isinstance(arg, Dim | Real) for arg in args):
        return FUNCTIONS[name](*args)
    if name in ("min", "max") and all(isinstance(arg, int | Dim) for arg in args):
        return extremum("min" if name == "min" else "max", args)
    if isinstance(args[0], Dim) and len(args) == 1:
        if name in ("floor", "ceil", "round"):
            return args[0]
        if name == "abs":
            return abs(args[0])
    if name == "ceil" and isinstance(args[0], Real) and args[0].op == "log2" and isinstance(args[0].args[0], Dim):
        return ceil_log2(args[0].args[0])
    if name in ("floor", "ceil") and len(args) == 1 and (exact := ratio(args[0])) is not None:
        numerator, denominator = exact
        return (numerator if name == "floor" else numerator + denominator - 1) // denominator
    return Real(name, args)


def ratio(x: Any, decimal: bool = False) -> tuple[Num, int] | None:
    """``(n, d)`` with ``x == n / d`` exactly and ``d`` a positive integer, or None if ``x`` is not such a fraction.

    A float counts as exact only if its denominator is small, so that evaluating in floats gives the same:
    ``2.5`` does, ``0.7`` does not; write ``Fraction("0.7")``. With ``decimal`` a float of up to four decimals is what
    it is written as: good for comparing with integers, where ``0.9 * v`` in floats is rounded to the same side or, for
    a whole ``9v/10``, to it.
    """
    if isinstance(x, int | Dim):
        return x, 1
    if isinstance(x, Fraction):
        return x.numerator, x.denominator
    if isinstance(x, float):
        if not math.isfinite(x):
            return None
        numerator, denominator = x.as_integer_ratio()
        if denominator <= _SMALL:
            return numerator, denominator
        written = Fraction(repr(x))
        return (written.numerator, written.denominator) if decimal and 10_000 % written.denominator == 0 else None
    if not isinstance(x, Real) or x.late:
        return None
    parts = [ratio(arg, decimal) for arg in x.args]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    if x.op == "neg":
        return -known[0][0], known[0][1]
    if x.op not in ("+", "-", "*", "/"):
        return None
    (n, d), (m, e) = known
    if x.op == "*":
        return _reduced(n * m, d * e)
    if x.op == "/":
        return None if not isinstance(m, int) or m == 0 else _reduced(n * e * (1 if m > 0 else -1), d * abs(m))
    return _reduced(n * e + m * d if x.op == "+" else n * e - m * d, d * e)


_SMALL = 1 << 10


def _reduced(n: Num, d: int) -> tuple[Num, int]:
    """Lowest terms."""
    common = math.gcd(d, *((n,) if isinstance(n, int) else n.terms.values()))
    return n // common, d // common


def equal(a: Any, b: Any) -> bool:
    """Whether two scalars have the same value.  Raises NeedsValue or SymbolicTruth if that is open."""
    if not isinstance(a, Dim | Real) and not isinstance(b, Dim | Real):
        return bool(a == b)
    if a is b or (isinstance(a, Real) and a == b):
        return True
    p, q = ratio(a), ratio(b)
    if p is None or q is None:
        _refuse_comparison(a, b, "==")
    return bool(eq(p[0] * q[1], q[0] * p[1]))


def _less(a: Any, b: Any, op: str) -> bool:
    p, q = ratio(a, decimal=True), ratio(b, decimal=True)
    if p is None or q is None:
        _refuse_comparison(a, b, op)
    left, right = p[0] * q[1], q[0] * p[1]
    return left < right if op == "<" else left <= right


def _refuse_comparison(a: Any, b: Any, op: str) -> NoReturn:
    late = [x for x in (a, b) if isinstance(x, Real) and x.late]
    if late:
        raise NeedsValue(late[0], f"{_write(a)} {op} {_write(b)}")
    raise SymbolicTruth(f"cannot decide {_write(a)} {op} {_write(b)}")


def free(x: Any) -> frozenset[str]:
    """Names of the symbols and late values in any scalar."""
    return x.free if isinstance(x, Dim | Real) else frozenset()


def late_names(x: Any) -> frozenset[str]:
    """Names of the late values in any scalar or expression, and in those of a tuple."""
    if isinstance(x, (Real, Expr)):
        return x.late
    if isinstance(x, tuple):
        return _NO_NAMES.union(*map(late_names, x))
    return _NO_NAMES


def evaluate(x: Any, env: Mapping[str, int | float]) -> Any:
    """The number of any scalar for given symbols and late values.  Raises KeyError for a missing one."""
    if isinstance(x, Dim):
        return evaluate_dim(x, env)  # type: ignore[arg-type]
    return x.evaluate(env) if isinstance(x, Real) else x


def substitute(x: Any, env: Mapping[str, Any]) -> Any:
    """Any scalar with some symbols and late values replaced by scalars, computed as far as it is then known."""
    if not isinstance(x, Dim | Real) or x.free.isdisjoint(env):
        return x
    if isinstance(x, Dim):
        if all(isinstance(env[name], int | Dim) for name in x.free & env.keys()):
            return substitute_dim(x, env)
        return sum((_substitute_term(mono, c, env) for mono, c in sorted(x.terms.items(), key=by_text)), start=0)
    if isinstance(x, Late):
        return env[x.name]
    args = [substitute(arg, env) for arg in x.args]
    if x.op == "neg":
        return -args[0]
    return binary(x.op, *args) if x.op in OPERATORS else apply(x.op, *args)


def _substitute_term(mono: Monomial, coefficient: int, env: Mapping[str, Any]) -> Any:
    term: Any = coefficient
    for atom, power in mono.factors:
        if atom.kind == "symbol":
            value = env[atom.name] if atom.name in env else sym(atom.name)
        else:
            args = [substitute(arg, env) for arg in atom.args]
            if atom.kind == "log2":
                value = apply("ceil", apply("log2", *args))
            else:
                value = binary("//", *args) if atom.kind == "floordiv" else apply(atom.kind, *args)
        term = binary("*", term, binary("**", value, power))
    return term


def _write(x: Any, least: int = SUM) -> str:
    """Expression syntax of any scalar, in parentheses if it binds weaker than ``least``."""
    written, level = _expression(x)
    return written if level >= least else f"({written})"


def _expression(x: Any) -> tuple[str, int]:
    """Expression syntax and binding strength."""
    if isinstance(x, int | Dim):
        return text(x), precedence(x)
    if isinstance(x, Late):
        return x.name, ATOM
    if not isinstance(x, Real):
        written = _number(x)
        return written, PRODUCT if "/" in written else UNARY if x < 0 else ATOM
    if x.op == "neg":
        return f"-{_write(x.args[0], POWER)}", UNARY
    if x.op == "**":
        return f"{_write(x.args[0], ATOM)}**{_write(x.args[1], POWER)}", POWER
    if x.op in _LEVELS:
        level = _LEVELS[x.op]
        return f"{_write(x.args[0], level)} {x.op} {_write(x.args[1], level + 1)}", level
    return f"{x.op}({', '.join(map(_write, x.args))})", ATOM


def _number(x: float | Fraction) -> str:
    """A float as Python writes it, a fraction as a decimal where that is exact."""
    if isinstance(x, float):
        return repr(x)
    decimals = next((n for n in range(18) if 10**n % x.denominator == 0), None)
    if decimals is None:
        return f"{x.numerator}/{x.denominator}"
    digits = str(abs(x.numerator) * 10**decimals // x.denominator).rjust(decimals + 1, "0")
    return f"{'-' if x < 0 else ''}{digits[:-decimals]}.{digits[-decimals:]}"
