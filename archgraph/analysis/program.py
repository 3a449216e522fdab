"""Straight-line programs for symbolic integers: shared subexpressions, intervals, source for NumPy and plain Python.

The source holds numbers and names made here, never text of a spec.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd
from typing import Final, Literal, NamedTuple

from archgraph.analysis.conditions import Conditions
from archgraph.ir.dim import Atom, Monomial, Num, divide, lower_bound, monomial, terms

Kind = Literal["input", "const", "add", "sub", "mul", "div", "min", "max", "log2", "ge", "eq", "ne", "and"]
Interval = tuple[int, int]

INT64: Final = 2**63 - 1
_RING: Final = frozenset({"input", "const", "add", "sub", "mul"})
_TRUTH: Final = frozenset({"ge", "eq", "ne", "and"})


class Step(NamedTuple):
    """One operation on earlier steps; ``value`` is a constant's number or an input's column.

    ``sure`` says of a division that the divisor is known to be positive.
    """

    kind: Kind
    args: tuple[int, ...] = ()
    value: int = 0
    sure: bool = True


class Program:
    """Steps that compute named results from columns of positive integers.

    Parameters
    ----------
    columns : sequence of str
        The symbols, in the order in which their values are given.
    results : mapping of str to int or Dim, or several of which the greatest counts
    doubled : mapping of str to (str, str)
        Further results: twice the first named one plus the second.
    conditions : Conditions
        What the result ``valid`` tells.
    """

    def __init__(
        self,
        columns: Sequence[str],
        results: Mapping[str, Num | tuple[Num, ...]],
        doubled: Mapping[str, tuple[str, str]],
        conditions: Conditions,
    ) -> None:
        self.columns = tuple(columns)
        self.steps: list[Step] = []
        self._known: dict[Step, int] = {}
        self._nums: dict[Num, int] = {}
        self._monomials: dict[Monomial, int] = {}
        self._column = {name: k for k, name in enumerate(self.columns)}
        self._divisors: dict[int, None] = {}
        self.results: dict[str, int] = {name: self._greatest(x) for name, x in results.items()}
        for name, (a, b) in doubled.items():
            twice = self._step("mul", self.results[a], self._constant(2))
            self.results[name] = self._step("add", twice, self.results[b])
        self.results["valid"] = self._valid(conditions)

    # -- steps -------------------------------------------------------------------------------------------------------

    def _step(self, kind: Kind, *args: int, sure: bool = True) -> int:
        steps = self.steps
        if kind in ("add", "mul"):
            a, b = args
            if steps[a].kind == "const":
                a, b = b, a
            if steps[b].kind == "const":
                if steps[a].kind == "const":
                    x, y = steps[a].value, steps[b].value
                    return self._constant(x + y if kind == "add" else x * y)
                if steps[b].value == (0 if kind == "add" else 1):
                    return a
                args = (a, b)
            else:
                args = (a, b) if a < b else (b, a)
        return self._intern(Step(kind, args, 0, sure))

    def _intern(self, step: Step) -> int:
        found = self._known.get(step)
        if found is None:
            found = self._known[step] = len(self.steps)
            self.steps.append(step)
        return found

    def _constant(self, value: int) -> int:
        return self._intern(Step("const", (), value))

    def _greatest(self, x: Num | tuple[Num, ...]) -> int:
        if not isinstance(x, tuple):
            return self._num(x)
        first, *others = x or (0,)
        found = self._num(first)
        for other in others:  # one by one, so that few values wait at once
            found = self._step("max", found, self._num(other))
        return found

    def _num(self, x: Num) -> int:
        found = self._nums.get(x)
        if found is None:
            found = self._nums[x] = self._constant(x) if isinstance(x, int) else self._polynomial(dict(terms(x)))
        return found

    def _polynomial(self, found: dict[Monomial, int]) -> int:
        """A sum of terms: the common number out, then the atom that stands in most of them, and so on within."""
        content = gcd(*found.values())
        if all(c < 0 for c in found.values()):
            content = -content
        if content != 1:
            inner = self._polynomial({mono: c // content for mono, c in found.items()})
            return self._step("mul", inner, self._constant(content))
        if len(found) == 1:
            ((mono, _),) = found.items()
            return self._monomial(mono)
        often: dict[Atom, int] = {}
        for mono in found:
            for atom, _ in mono.factors:
                often[atom] = often.get(atom, 0) + 1
        # of two that stand equally often the symbol goes out first, so that quotients are left together inside
        atom = max(often, key=lambda a: (often[a], a.kind == "symbol", a.name))
        if often[atom] > 1:
            single = monomial(((atom, 1),))
            inside: dict[Monomial, int] = {}
            outside: dict[Monomial, int] = {}
            for mono, c in found.items():
                quotient = divide(mono, single)
                if quotient is None:
                    outside[mono] = c
                else:
                    inside[quotient] = c
            product = self._step("mul", self._atom(atom), self._polynomial(inside))
            return self._sum(product, outside) if outside else product
        first = next((m for m, c in sorted(found.items(), key=lambda item: item[0].order) if c > 0), None)
        if first is None:
            return self._sum(self._constant(0), found)
        c = found.pop(first)
        return self._sum(self._step("mul", self._monomial(first), self._constant(c)), found)

    def _sum(self, start: int, found: dict[Monomial, int]) -> int:
        """``start`` plus a polynomial; minus its opposite where that saves a sign."""
        if all(c < 0 for c in found.values()):
            return self._step("sub", start, self._polynomial({mono: -c for mono, c in found.items()}))
        return self._step("add", start, self._polynomial(found))

    def _monomial(self, mono: Monomial) -> int:
        found = self._monomials.get(mono)
        if found is None:
            found = self._constant(1)
            for atom, power in mono.factors:
                base = self._atom(atom)
                for _ in range(power):
                    found = self._step("mul", found, base)
            self._monomials[mono] = found
        return found

    def _atom(self, atom: Atom) -> int:
        if atom.kind == "symbol":
            return self._intern(Step("input", (), self._column[atom.name]))
        first = self._num(atom.args[0])
        if atom.kind == "floordiv":
            second = self._num(atom.args[1])
            low = lower_bound(atom.args[1])
            sure = low is not None and low >= 1
            if not sure:
                self._divisors[second] = None
            return self._step("div", first, second, sure=sure)
        if atom.kind == "log2":
            return self._step("log2", first)
        for x in atom.args[1:]:  # one by one, so that few values wait at once
            first = self._step("max" if atom.kind == "max" else "min", first, self._num(x))
        return first

    def _valid(self, conditions: Conditions) -> int:
        tests: dict[int, None] = {}
        zero = self._constant(0)
        for x, bound in conditions.least:
            tests[self._step("ge", self._num(x), self._constant(bound))] = None
        for x in conditions.zero:
            tests[self._step("eq", self._num(x), zero)] = None
        for x in conditions.nonzero:
            tests[self._step("ne", self._num(x), zero)] = None
        for divisor in self._divisors:
            tests[self._step("ne", divisor, zero)] = None
        found: int | None = None
        for test in tests:
            found = test if found is None else self._step("and", found, test)
        return self._step("eq", zero, zero) if found is None else found

    # -- what the steps need -----------------------------------------------------------------------------------------

    def needed(self) -> list[int]:
        """Steps that results need, in order."""
        seen = set(self.results.values())
        for k in range(len(self.steps) - 1, -1, -1):
            if k in seen:
                seen.update(self.steps[k].args)
        return sorted(seen)

    def fits(self, ranges: Sequence[Interval]) -> bool:
        """Whether 64-bit integers give exact results for columns within these ranges.

        Sums and products that only feed other sums and products may wrap around: the ring of integers modulo 2^64
        gives the same in the end. What is compared, divided or handed out may not.
        """
        intervals: dict[int, Interval] = {}
        exact = set(self.results.values())
        order = self.needed()
        for k in order:
            if self.steps[k].kind not in _RING:
                exact.update(self.steps[k].args)
        for k in order:
            low, high = intervals[k] = self._interval(self.steps[k], intervals, ranges)
            if (k in exact or self.steps[k].kind == "const") and (low < -INT64 or high > INT64):
                return False
        return True

    def _interval(self, step: Step, known: Mapping[int, Interval], ranges: Sequence[Interval]) -> Interval:
        if step.kind == "input":
            return ranges[step.value]
        if step.kind == "const":
            return step.value, step.value
        if step.kind in _TRUTH:
            return 0, 1
        a = known[step.args[0]]
        if step.kind == "log2":
            return max(a[0] - 1, 0).bit_length(), max(a[1] - 1, 0).bit_length()
        b = known[step.args[1]]
        match step.kind:
            case "add":
                return a[0] + b[0], a[1] + b[1]
            case "sub":
                return a[0] - b[1], a[1] - b[0]
            case "min":
                return min(a[0], b[0]), min(a[1], b[1])
            case "max":
                return max(a[0], b[0]), max(a[1], b[1])
            case "mul":
                corners = [x * y for x in a for y in b]
            case _:
                if step.sure:
                    b = max(b[0], 1), max(b[1], 1)
                if b[0] <= 0 <= b[1] or b[1] < 0:
                    most = max(abs(a[0]), abs(a[1])) + 1
                    return -most, most
                corners = [x // y for x in a for y in b]
        return min(corners), max(corners)
