"""What is known of symbolic integers besides their being positive: conditions that are taken to hold.

A condition that could not be decided is recorded and must hold; from then on it is a fact. ``H % 7 == 0`` makes
``7*(H//7)`` another spelling of ``H``, ``H >= 7`` decides ``max(H, 7)``, and ``H == W`` lets two maps be added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from archgraph.ir._algebra import Num, make, terms_of
from archgraph.ir._bounds import is_positive, lower_bound
from archgraph.ir._cond import Cond, Group, all_of, any_of, eq
from archgraph.ir._division import ceil_log2, extremum
from archgraph.ir._monomial import ONE, Atom, Monomial, TooLarge, divide, monomial, multiply

_MAX_STEPS = 32  # rewriting of one expression; every step takes a quotient away, so that few are needed


class _Exact(NamedTuple):
    """A division whose remainder is a number: ``factor * monomial * quotient`` is ``dividend``, less that number."""

    quotient: Atom
    factor: int
    monomial: Monomial
    dividend: Num

    @property
    def divisor(self) -> Num:
        return make({self.monomial: self.factor})


class Facts:
    """Conditions that hold, and what follows from them.

    Sound but not complete: what is decided is right wherever all conditions hold; some that could be decided is not.
    """

    __slots__ = ("_exact", "_known", "_least", "_nonzero", "_settled", "_zero", "conditions")

    def __init__(self, conditions: Iterable[Cond]) -> None:
        self.conditions = tuple(dict.fromkeys(_relations(conditions)))
        self._zero: list[Num] = []
        self._nonzero: list[Num] = []
        self._least: list[Num] = []  # of at least 0
        for cond in self.conditions:
            if cond.kind in ("and", "or"):
                continue
            a, b = cond.args
            match cond.kind:
                case "eq":
                    self._zero.append(a - b)
                case "divides":
                    self._zero.append(b % a)
                case "ne":
                    self._nonzero.append(a - b)
                case "le":
                    self._least.append(b - a)
                case "lt":
                    self._least.append(b - a - 1)
        self._exact = [rule for x in self._zero for rule in _exact(x)]
        self._settled: dict[Num, Num] = {}
        self._known: dict[Cond, bool | Cond] = {}

    def __bool__(self) -> bool:
        return bool(self.conditions)

    def settle(self, x: Num) -> Num:
        """``x`` without divisions that leave no remainder, where it has them times their divisor."""
        if isinstance(x, int) or not self._exact:
            return x
        found = self._settled.get(x)
        if found is None:
            try:
                found = self._settle(x)
            except TooLarge:
                found = x
            self._settled[x] = found
        return found

    def decide(self, cond: bool | Cond) -> bool | Cond:
        """Whether a condition holds or can't hold where all the facts do; itself if neither is known."""
        if isinstance(cond, bool) or not self.conditions:
            return cond
        if cond in self.conditions:
            return True
        if isinstance(cond, Group):
            parts = [self.decide(part) for part in cond.parts]
            return any_of(parts) if cond.kind == "or" else all_of(parts)
        known = self._known.get(cond)
        if known is None:
            try:
                found = self._decide(cond)
            except TooLarge:
                found = None
            known = self._known[cond] = cond if found is None else found
        return known

    def same(self, shape: tuple[Num, ...], other: tuple[Num, ...]) -> bool:
        """Whether two shapes are known to be equal."""
        return len(shape) == len(other) and all(
            self.decide(eq(n, m)) is True for n, m in zip(shape, other, strict=True)
        )

    def _decide(self, cond: Cond) -> bool | None:
        a, b = cond.args
        match cond.kind:
            case "eq" | "ne":
                same = self._is_zero(a - b)
                return same if same is None or cond.kind == "eq" else not same
            case "divides":
                return self._is_zero(b % a)
        gap = self._reduced(b - a)
        if cond.kind == "lt":
            # the reduced form may be a positive multiple: 1 is taken off what is surely whole
            gap = gap - 1
        if self._at_least_zero(gap):
            return True
        return False if self._at_least_zero(-gap - 1) else None

    def _is_zero(self, x: Num) -> bool | None:
        x = self._reduced(x)
        for y in (x, *self._without_zeros(x)):
            same = eq(y, 0)
            if isinstance(same, bool):
                return same
        if any(x in (n, -n) for n in map(self._reduced, self._nonzero)):
            return False
        return False if self._at_least_zero(x - 1) or self._at_least_zero(-x - 1) else None

    def _at_least_zero(self, x: Num) -> bool:
        return any(
            (low := lower_bound(z)) is not None and low >= 0
            for y in (x, *self._without_zeros(x))
            for z in self._without_rests(y)
        )

    def _without_zeros(self, x: Num) -> Iterator[Num]:
        """``x`` less multiples of what is 0, one after the other and each by itself."""
        total = x
        for zero in self._zero:
            found = _cancelled(x, zero)
            if found is not None:
                yield found
            more = _cancelled(total, zero)
            if more is not None:
                total = more
        yield total

    def _without_rests(self, x: Num) -> Iterator[Num]:
        """``x`` and what is at most ``x``: less multiples of what is at least 0, up to two of them."""
        yield x
        for k, least in enumerate(self._least):
            first = _cancelled(x, least, positive=True)
            if first is None:
                continue
            yield first
            for other in self._least[k + 1 :]:
                second = _cancelled(first, other, positive=True)
                if second is not None:
                    yield second

    # -- rewriting ------------------------------------------------------------------------------------------------

    def _settle(self, x: Num) -> Num:
        for _ in range(_MAX_STEPS):
            before = x
            x = _mapped(_mapped(x, self.settle), self.settle, self._rounded)
            for rule in self._exact:
                x = _replaced(x, rule)
            if x is before:
                return x
        return x

    def _reduced(self, x: Num) -> Num:
        """A positive multiple of ``x``, in fewer quotients and extrema."""
        x = self.settle(x)
        for _ in range(_MAX_STEPS):
            before = x
            x = self.settle(_mapped(x, lambda y: y, self._atom))
            for rule in self._exact:
                if any(atom is rule.quotient for mono in terms_of(x) for atom, _ in mono.factors):
                    x = self.settle(x * rule.divisor)
            if x is before:
                return x
        return x

    def _rounded(self, atom: Atom) -> Num:
        """``(n + c) // d`` as ``n//d + c//d`` where ``d`` divides ``n``; other atoms as they are."""
        own = make({monomial(((atom, 1),)): 1})
        if atom.kind == "floordiv":
            a, b = atom.args
            for rule in self._exact:
                rest = None
                if rule.divisor is b or rule.divisor == b:
                    rest = a - rule.dividend
                elif rule.quotient.args[1] == b and isinstance(b, int) and isinstance(rule.divisor, int):
                    rest, e = a - rule.quotient.args[0], b // rule.divisor  # of a quotient: (n//e + c) // d
                    rest = rest // e if isinstance(rest, int) and e and rest % e == 0 else None
                if isinstance(rest, int) and rest != 0:
                    return make({monomial(((rule.quotient, 1),)): 1}) + _quotient(rest, rule.divisor)
        return own

    def _atom(self, atom: Atom) -> Num:
        """The value of an atom, perhaps in other words."""
        own = make({monomial(((atom, 1),)): 1})
        if atom.kind in ("min", "max"):
            kept: list[Num] = list(atom.args)
            for a in atom.args:
                others = [b for b in kept if b is not a]
                if others and any(self._at_least_zero(b - a if atom.kind == "max" else a - b) for b in others):
                    kept = others
            return extremum(atom.kind, kept) if len(kept) < len(atom.args) else own
        if atom.kind != "floordiv":
            return own
        a, b = atom.args
        for rule in self._exact:
            if atom is rule.quotient or rule.divisor % b != 0:
                continue
            times = _times(a, rule.dividend)
            if times is None:
                continue
            rest = a - times * rule.dividend
            if len(terms_of(_whole(rest))) < len(terms_of(_whole(a))):
                exact = make({monomial(((rule.quotient, 1),)): 1})
                return times * (rule.divisor // b) * exact + _quotient(rest, b)
        return own


def _relations(conditions: Iterable[Cond]) -> Iterator[Cond]:
    for cond in conditions:
        if isinstance(cond, Group) and cond.kind == "and":
            yield from _relations(cond.parts)
        else:
            yield cond


def _exact(zero: Num) -> Iterator[_Exact]:
    """Divisions that leave no remainder since ``zero`` is 0."""
    for x in (zero, -zero):
        for mono, c in terms_of(x).items():
            if c >= 0:
                continue
            for atom, power in mono.factors:
                if atom.kind != "floordiv" or power != 1:
                    continue
                rest = divide(mono, monomial(((atom, 1),)))
                assert rest is not None
                divisor = make({rest: -c})
                dividend = x + make({mono: -c})
                low = lower_bound(divisor)  # 0 divides nothing
                if low is not None and low >= 0 and _whole(dividend) // divisor is make({monomial(((atom, 1),)): 1}):
                    yield _Exact(atom, -c, rest, dividend)


def _quotient(rest: Num, divisor: Num) -> Num:
    """``rest // divisor``; what divides is at least 1, though its bounds may not tell."""
    return -1 if rest == -1 else rest // divisor


def _whole(x: Num) -> Num:
    """``x`` without its constant, which the remainder of a division has become."""
    return x - terms_of(x).get(ONE, 0)


def _replaced(x: Num, rule: _Exact) -> Num:
    """``x`` with the dividend in place of quotient times divisor."""
    found = multiply(rule.monomial, monomial(((rule.quotient, 1),)))
    kept: dict[Monomial, int] = {}
    more: Num = 0
    for mono, c in terms_of(x).items():
        rest = divide(mono, found) if c % rule.factor == 0 else None
        if rest is None:
            kept[mono] = c
        else:
            more = more + make({rest: c // rule.factor}) * rule.dividend
    return make(kept) + more if len(kept) < len(terms_of(x)) else x


def _mapped(x: Num, arg: Callable[[Num], Num], atom: Callable[[Atom], Num] | None = None) -> Num:
    """``x`` with what ``arg`` makes of arguments of its atoms, or ``atom`` of the atoms."""
    if isinstance(x, int):
        return x
    values: dict[Atom, Num] = {}
    for mono in x.terms:
        for a, _ in mono.factors:
            if a.kind == "symbol" or a in values:
                continue
            if atom is not None:
                values[a] = atom(a)
                continue
            args = tuple(map(arg, a.args))
            if any(new is not old and new != old for new, old in zip(args, a.args, strict=True)):
                values[a] = _made(a, args)
    own = {a: make({monomial(((a, 1),)): 1}) for a in values}
    values = {a: v for a, v in values.items() if v is not own[a]}
    if not values:
        return x
    total: Num = 0
    for mono, c in x.terms.items():
        term: Num = c
        for a, power in mono.factors:
            term = term * values.get(a, make({monomial(((a, 1),)): 1})) ** power
        total = total + term
    return total


def _made(atom: Atom, args: tuple[Num, ...]) -> Num:
    if atom.kind == "floordiv":
        return args[0] // args[1]
    if atom.kind == "log2":
        return ceil_log2(args[0])
    assert atom.kind in ("min", "max")
    return extremum(atom.kind, args)


def _cancelled(x: Num, y: Num, positive: bool = False) -> Num | None:
    """``x - k*y``, without the highest term of ``y`` that ``x`` has; None if it has none. ``positive``: so is ``k``."""
    times = _times(x, y, positive)
    return None if times is None else x - times * y


def _times(x: Num, y: Num, positive: bool = False) -> Num | None:
    """How often ``x`` has the highest term of ``y`` that it has."""
    mine = terms_of(x)
    for mono in sorted((m for m in terms_of(y) if m is not ONE), key=lambda m: m.order):
        c = terms_of(y)[mono]
        for own, d in mine.items():
            rest = divide(own, mono)
            if rest is None or d % c or (positive and (d // c < 0 or not is_positive(make({rest: 1})))):
                continue
            return make({rest: d // c})
    return None
