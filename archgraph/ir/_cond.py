"""Conditions between symbolic integers: decided at once where bounds allow, else recorded as a :class:`Cond`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from math import gcd
from typing import Literal, TypeAlias

from archgraph.ir._algebra import Dim, Num
from archgraph.ir._bounds import lower_bound, upper_bound
from archgraph.ir._monomial import ONE
from archgraph.ir._substitute import evaluate, substitute
from archgraph.ir._text import PRODUCT, SUM, UNARY, operand, text
from archgraph.ir.diagnostics import Span

Relation: TypeAlias = Literal["eq", "ne", "lt", "le", "divides", "and", "or"]


class SymbolicTruth(TypeError):
    """A plain value or a truth value was asked of a symbolic integer that does not decide it.

    ``cond`` is the undecided condition, or None where a number was wanted; ``at`` the place in a file, where known.
    """

    cond: Cond | None
    at: Span | None = None

    def __init__(self, what: Cond | str) -> None:
        self.cond = what if isinstance(what, Cond) else None
        super().__init__(f"cannot decide {what}" if isinstance(what, Cond) else what)

    def __reduce__(self) -> tuple[Callable[..., SymbolicTruth], tuple[Cond | str]]:
        return SymbolicTruth, (self.cond if self.cond is not None else str(self),)


class Cond:
    """An undecided condition on symbolic integers: ``kind`` with ``args``, printed as ``C % heads == 0``.

    Made by :func:`eq`, :func:`ne`, :func:`lt`, :func:`le` and :func:`divides`, never directly.  Immutable and hashable;
    has no truth value outside a study of cases (`decider`), so that ``if divides(p, H):`` cannot be written by mistake.
    Several conditions that hang together are a :class:`Group`, which has no ``args``.
    """

    __slots__ = ("_hash", "args", "kind")
    kind: Relation
    args: tuple[Num, ...]
    _hash: int

    def __init__(self, kind: Relation, args: tuple[Num, ...]) -> None:
        self.kind, self.args, self._hash = kind, args, hash((kind, args))

    @property
    def free(self) -> frozenset[str]:
        """Names of the symbols in it."""
        return frozenset().union(*(arg.free for arg in self.args if isinstance(arg, Dim)))

    def evaluate(self, env: Mapping[str, int]) -> bool:
        """Its truth for given symbols.  Raises KeyError for a missing one."""
        a, b = (evaluate(arg, env) for arg in self.args)
        match self.kind:
            case "eq":
                return a == b
            case "ne":
                return a != b
            case "lt":
                return a < b
            case "le":
                return a <= b
            case "divides":
                return b % a == 0
        raise AssertionError(self.kind)

    def substitute(self, env: Mapping[str, Num]) -> bool | Cond:
        """The condition with some symbols replaced, decided if possible."""
        a, b = (substitute(arg, env) for arg in self.args)
        return _MAKERS[self.kind](a, b)

    def renamed(self, env: Mapping[str, Num]) -> Cond:
        """The condition with symbols replaced by others, neither decided nor put in another order."""
        return Cond(self.kind, tuple(substitute(arg, env) for arg in self.args)) if env else self

    def negated(self) -> Cond:
        """The condition that holds where this one does not."""
        a, b = self.args
        match self.kind:
            case "eq":
                return Cond("ne", (a, b))
            case "ne":
                return Cond("eq", (a, b))
            case "le":
                return Cond("lt", (b, a))
            case "lt":
                return Cond("le", (b, a))
            case "divides":
                return Cond("ne", (b % a, 0))
        raise AssertionError(self.kind)

    @property
    def sizes(self) -> tuple[Num, ...]:
        """The symbolic integers that it is about."""
        return self.args

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cond) and self.kind == other.kind and self.args == other.args

    def __hash__(self) -> int:
        return self._hash

    def __bool__(self) -> bool:
        decide = decider.get()
        if decide is not None:
            return decide(self)
        raise SymbolicTruth(self)

    def __str__(self) -> str:
        a, b = self.args
        if self.kind == "divides":
            return f"{operand(b, PRODUCT)} % {operand(a, UNARY)} == 0"
        return f"{operand(a, SUM)} {_SIGNS[self.kind]} {operand(b, SUM)}"

    def __repr__(self) -> str:
        return f"Cond({self})"

    def __reduce__(self) -> tuple[Callable[..., Cond], tuple[object, ...]]:
        return Cond, (self.kind, self.args)


class Group(Cond):
    """Several conditions of which all must hold (``and``) or at least one (``or``); made by `all_of` and `any_of`."""

    __slots__ = ("parts",)
    parts: tuple[Cond, ...]

    def __init__(self, kind: Literal["and", "or"], parts: tuple[Cond, ...]) -> None:
        super().__init__(kind, ())
        self.parts = parts
        self._hash = hash((kind, parts))

    @property
    def free(self) -> frozenset[str]:
        return frozenset().union(*(part.free for part in self.parts))

    def evaluate(self, env: Mapping[str, int]) -> bool:
        return (any if self.kind == "or" else all)(part.evaluate(env) for part in self.parts)

    def substitute(self, env: Mapping[str, Num]) -> bool | Cond:
        return (any_of if self.kind == "or" else all_of)(part.substitute(env) for part in self.parts)

    def renamed(self, env: Mapping[str, Num]) -> Cond:
        # mypy loses that a renamed part is of the kind that it was
        return Group(self.kind, tuple(part.renamed(env) for part in self.parts))  # type: ignore[arg-type]

    def negated(self) -> Cond:
        return Group("and" if self.kind == "or" else "or", tuple(part.negated() for part in self.parts))

    def __bool__(self) -> bool:
        return (any if self.kind == "or" else all)(map(bool, self.parts))

    @property
    def sizes(self) -> tuple[Num, ...]:
        return tuple(size for part in self.parts for size in part.sizes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group) and self.kind == other.kind and self.parts == other.parts

    __hash__ = Cond.__hash__

    def __str__(self) -> str:
        texts = [f"({part})" if isinstance(part, Group) else str(part) for part in self.parts]
        return f" {self.kind} ".join(texts)

    def __reduce__(self) -> tuple[Callable[..., Cond], tuple[object, ...]]:
        return Group, (self.kind, self.parts)


def any_of(parts: Iterable[bool | Cond]) -> bool | Cond:
    """That at least one condition holds: decided by one that does, else what is left of them."""
    return _grouped("or", parts)


def all_of(parts: Iterable[bool | Cond]) -> bool | Cond:
    """That all conditions hold: decided by one that doesn't, else what is left of them."""
    return _grouped("and", parts)


def _grouped(kind: Literal["and", "or"], parts: Iterable[bool | Cond]) -> bool | Cond:
    ends = kind == "or"
    found: dict[Cond, None] = {}
    for part in parts:
        if isinstance(part, bool):
            if part is ends:
                return ends
        elif isinstance(part, Group) and part.kind == kind:
            found.update(dict.fromkeys(part.parts))
        else:
            found[part] = None
    if len(found) < 2:
        return next(iter(found), not ends)
    return Group(kind, tuple(found))


#: Who answers for undecided conditions: None lets them raise; else each is decided as one of several cases.
decider: ContextVar[Callable[[Cond], bool] | None] = ContextVar("decider", default=None)


def holds(cond: bool | Cond) -> bool:
    """Whether a condition is true: for all sizes, or in the case that is being studied."""
    try:
        return bool(cond)
    except SymbolicTruth:  # undecided, or about a symbol that cases do not know
        return False


_SIGNS: dict[Relation, str] = {"eq": "==", "ne": "!=", "lt": "<", "le": "<="}


def eq(a: Num, b: Num) -> bool | Cond:
    """``a == b``: a truth value when it does not depend on the symbols, else a condition."""
    decided = _equal(a, b)
    return Cond("eq", _arranged(a, b)) if decided is None else decided


def ne(a: Num, b: Num) -> bool | Cond:
    """``a != b``, decided or as a condition."""
    decided = _equal(a, b)
    return Cond("ne", _arranged(a, b)) if decided is None else not decided


def le(a: Num, b: Num) -> bool | Cond:
    """``a <= b``, decided or as a condition."""
    difference = b - a
    low, high = lower_bound(difference), upper_bound(difference)
    if low is not None and low >= 0:
        return True
    return False if high is not None and high < 0 else Cond("le", (a, b))


def lt(a: Num, b: Num) -> bool | Cond:
    """``a < b``, decided or as a condition."""
    difference = b - a
    low, high = lower_bound(difference), upper_bound(difference)
    if low is not None and low > 0:
        return True
    return False if high is not None and high <= 0 else Cond("lt", (a, b))


def divides(d: Num, n: Num) -> bool | Cond:
    """``n % d == 0``, decided or as a condition.  Raises ZeroDivisionError if ``d`` is 0."""
    decided = _equal(n % d, 0)
    return Cond("divides", (d, n)) if decided is None else decided


_MAKERS: dict[Relation, Callable[[Num, Num], bool | Cond]] = {
    "eq": eq,
    "ne": ne,
    "lt": lt,
    "le": le,
    "divides": divides,
}


def _equal(a: Num, b: Num) -> bool | None:
    if a is b:
        return True
    difference = a - b
    if isinstance(difference, int):
        return difference == 0
    low, high = lower_bound(difference), upper_bound(difference)
    if (low is not None and low > 0) or (high is not None and high < 0):
        return False
    if low is not None and low == high:
        return True
    step = gcd(*(c for mono, c in difference.terms.items() if mono is not ONE))
    return False if difference.terms.get(ONE, 0) % step else None


def _arranged(a: Num, b: Num) -> tuple[Num, Num]:
    """One order for a symmetric relation: constants last, else by name."""
    first, second = sorted((a, b), key=lambda x: (isinstance(x, int), text(x)))
    return first, second
