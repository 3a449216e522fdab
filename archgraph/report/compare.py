"""Cost curves of several architectures over one size, their degrees, and where they cross."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from archgraph.analysis.cases import Case, Cases
from archgraph.analysis.conditions import guards
from archgraph.analysis.cost import totals
from archgraph.analysis.crossing import Crossing, Unsolvable, crossings
from archgraph.analysis.expected import expected
from archgraph.analysis.growth import growth
from archgraph.analysis.memory import peaks
from archgraph.analysis.roofline import Target, roofline
from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.ir.dim import Num, TooLarge, UnknownDegree, degree, dmax, dmin, evaluate, pretty
from archgraph.ir.graph import Graph, Guard
from archgraph.report.numbers import human, human_bytes, human_si, plain
from archgraph.spec.load import Spec

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

COSTS: Final = ("macs", "flops", "params", "buffers", "expected_macs", "activation_bytes", "saved_bytes")
#: Costs on a device; their forms are ticks.
TIMED: Final = ("roofline", "roofline_op_by_op")
_SHOWN: Final = 12  # crossings of two curves that are printed each
_SCANNED: Final = 1 << 17  # integers that are looked at one by one where a difference is not solved


def cost_forms(graph: Graph, cost: str, on: Target | None = None) -> tuple[Num, ...]:
    """A cost of a graph, one of `COSTS`, or with a device one of `TIMED` in its ticks: one closed form, or several of
    which the greatest counts."""
    if on is not None and cost in TIMED:
        times = roofline(graph, on)
        least = on.launch * dmin(times.load.kernels, 1)
        return tuple(x + least for x in times.bound_ticks) if cost == "roofline" else (times.load.ticks,)
    if cost == "activation_bytes":
        return peaks(graph) or (0,)
    return (expected(graph).macs if cost == "expected_macs" else getattr(totals(graph), cost),)


@dataclass(frozen=True, slots=True)
class Range:
    """A name and its values from ``low`` to ``high``."""

    name: str
    low: int
    high: int


class Curve:
    """The cost of one architecture over one open size.

    Parameters
    ----------
    label : str
    cases : Cases
        Over one name.
    cost : str
        One of `COSTS`, or of `TIMED`.
    on : Target, optional
        The device of `TIMED`.
    """

    def __init__(self, label: str, cases: Cases, cost: str, on: Target | None = None) -> None:
        self.label = label
        self.on = on
        self.name = cases.names[0]
        self.cost = cost
        self._cases = cases
        self._known: dict[int, tuple[tuple[Num, ...], tuple[Guard, ...]]] = {}

    def by(self, cost: str) -> Curve:
        """The same architecture by another cost."""
        return Curve(self.label, self._cases, cost)

    def _at(self, n: int) -> tuple[Case, tuple[Num, ...], tuple[Guard, ...]]:
        case = self._cases.at({self.name: n})
        found = self._known.get(id(case))
        if found is None:
            try:
                forms = () if case.graph is None else cost_forms(case.graph, self.cost, self.on)
            except TooLarge:
                what = f"{self.label} has no closed form of {self.cost} over {self.name} that is short enough"
                raise SpecError(Diagnostic("compare/large", None, what, hint="compare by another cost")) from None
            found = (forms, () if case.graph is None else tuple(guards(case.graph)))
            self._known[id(case)] = found
        return case, *found

    def at(self, n: int) -> int | None:
        """The cost at a size; None where the size is not valid."""
        _, forms, held = self._at(n)
        if not forms:
            return None
        try:
            ok = all(guard.cond.evaluate({self.name: n}) for guard in held)
        except ZeroDivisionError:
            return None
        return max(evaluate(x, {self.name: n}) for x in forms) if ok else None

    def form(self, high: int) -> Num | None:
        """The closed form at a size, and wherever its structure holds; None where there is none, or it is too long."""
        forms = self._at(high)[1]
        try:
            return dmax(*forms) if forms else None
        except TooLarge:
            return None

    def start(self, low: int, high: int) -> int:
        """The least size from which on up to ``high`` the structure is that of ``high``."""
        case = self._at(high)[0]
        if not case.assumed:
            return low
        n = high
        while n > max(low, high - _SCANNED) and case.holds({self.name: n - 1}):
            n -= 1
        return n

    def law(self, n: int) -> str:
        """The closed form around a size, as people read it."""
        _, forms, _ = self._at(n)
        return "max(" + ", ".join(map(pretty, forms)) + ")" if len(forms) > 1 else pretty(forms[0]) if forms else "none"

    def order(self, n: int) -> str:
        """The order of growth around a size."""
        return str(growth(self._at(n)[1], [self.name]))

    def degree(self, n: int) -> int | None:
        """The degree in the size, where it is known for sure."""
        try:
            return max(degree(x, self.name) for x in self._at(n)[1])
        except (UnknownDegree, ValueError):
            return None

    def why(self, n: int) -> tuple[str, ...]:
        """Conditions under which a size is valid."""
        return tuple(dict.fromkeys(str(guard.cond) for guard in self._at(n)[2]))


@dataclass(frozen=True, slots=True)
class Crossover:
    """Where two curves cross: from ``at`` on the first is above (1), below (-1) or equal to (0) the second.

    ``modulus``: the difference is a polynomial for every remainder by it; 0 where all integers were compared instead.
    """

    first: str
    second: str
    at: int
    before: int
    after: int
    modulus: int

    def __str__(self) -> str:
        word = {1: "costs more than", -1: "costs less than", 0: "costs as much as"}
        how = f"solved for remainders by {self.modulus}" if self.modulus else "every valid size compared"
        before = word[self.before]
        return f"from {self.at} on {self.first} {word[self.after]} {self.second}; before, it {before} it ({how})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Curves over ``name`` from ``low`` to ``high``, and every crossing of two of them."""

    curves: tuple[Curve, ...]
    name: str
    low: int
    high: int
    cost: str
    crossovers: tuple[Crossover, ...]
    notes: tuple[str, ...] = ()

    def points(self, n: int = 9) -> list[int]:
        """Sizes spread evenly in ratio, each moved up to the next that all curves take, if one is near."""
        found: list[int] = []
        for k in range(n):
            size = round(self.low * (self.high / self.low) ** (k / (n - 1)))
            for step in range(129):
                if size + step <= self.high and all(c.at(size + step) is not None for c in self.curves):
                    size += step
                    break
                if size - step >= self.low and all(c.at(size - step) is not None for c in self.curves):
                    size -= step
                    break
            if not found or size > found[-1]:
                found.append(size)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        points = self.points()
        ticks = {} if self.on is None else {"device": self.on.device.name, "dtype": self.on.dtype, "unit": self.on.tick}
        return {
            "over": self.name,
            "range": [self.low, self.high],
            "cost": self.cost,
            **ticks,
            "curves": [
                {
                    "label": c.label,
                    "law": plain(form) if (form := c.form(self.high)) is not None else None,
                    "order": c.order(self.high),
                    "degree": c.degree(self.high),
                    "points": {str(n): c.at(n) for n in points},
                    "conditions": list(c.why(self.high)),
                }
                for c in self.curves
            ],
            "crossovers": [
                {
                    "first": x.first,
                    "second": x.second,
                    "at": x.at,
                    "before": x.before,
                    "after": x.after,
                    "modulus": x.modulus,
                }
                for x in self.crossovers
            ],
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Orders, crossings and conditions, a sentence each."""
        found = [f"{c.label}: {c.order(self.high)}, {c.law(self.high)}" for c in self.curves]
        pairs: dict[tuple[str, str], list[Crossover]] = {}
        for x in self.crossovers:
            pairs.setdefault((x.first, x.second), []).append(x)
        for (first, second), crossed in pairs.items():
            found += map(str, crossed[: _SHOWN // 2] if len(crossed) > _SHOWN else crossed)
            if len(crossed) > _SHOWN:
                more = len(crossed) - _SHOWN
                found.append(f"… {first} and {second} cross {more} more times, as floors step; the last are:")
                found += map(str, crossed[-(_SHOWN // 2) :])
        if not pairs:
            found.append(f"no crossing from {self.low} to {self.high}")
        for c in self.curves:
            conds = c.why(self.high)
            if conds:
                found.append(f"{c.label}, provided that {'; '.join(conds[:6])}")
        if self.on is not None:
            device = self.on.device
            found.append(f"times on {device.name}, {self.on.dtype}; closed forms are in units of {self.on.tick:.4g} s")
        return [*found, *self.notes]

    @property
    def on(self) -> Target | None:
        """The device, where the cost is a time."""
        return self.curves[0].on

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from archgraph.report.curves import terminal

        yield from terminal(self, options.max_width)

    def cell(self, value: int | None) -> str:
        """A cost as people read it."""
        if value is None:
            return "not valid"
        if self.on is not None:
            return human_si(self.on.seconds(value), "s")
        return human_bytes(value) if self.cost == "activation_bytes" else human(value)


def compare(curves: Sequence[Curve], low: int, high: int, scanned: int = _SCANNED) -> Comparison:
    """Compare curves over the same name.

    Parameters
    ----------
    curves : sequence of Curve
    low, high : int
        The range.
    scanned : int
        How many sizes are compared one by one where a difference is not solved; a longer range is left with a note.

    Raises
    ------
    SpecError
        If one has no such name, or does not take ``high``.
    """
    found: list[Crossover] = []
    notes: list[str] = []
    for curve in curves:
        case, forms, _ = curve._at(high)
        if case.error is not None and any(d.code == "symbol/unknown" for d in case.error.diagnostics):
            raise case.error
        if not forms:
            raise SpecError(Diagnostic("compare/invalid", None, f"{curve.label} does not take {curve.name} = {high}"))
    for a, b in combinations(curves, 2):
        listed, modulus, note = _crossed(a, b, low, high, scanned)
        found += [Crossover(a.label, b.label, c.at, c.before, c.after, modulus) for c in listed]
        if note:
            notes.append(f"{a.label} and {b.label}: {note}")
    first = curves[0]
    return Comparison(tuple(curves), first.name, low, high, first.cost, tuple(found), tuple(notes))


def _crossed(a: Curve, b: Curve, low: int, high: int, scanned: int) -> tuple[list[Crossing], int, str]:
    x, y = a.form(high), b.form(high)
    start = max(a.start(low, high), b.start(low, high))
    start = min(start, high)
    note = "" if start == low else f"one has another structure below {start}, where every valid size is compared"
    why = "a closed form is too long"
    if x is not None and y is not None:
        try:
            difference = x - y
            if isinstance(difference, int):
                return [], 1, "they cost the same throughout" if difference == 0 and not note else note
            solved, modulus = crossings(difference, a.name, start, high)
            found = _at_valid_sizes(a, b, solved, start, high)
            if start - low > scanned:
                return found, modulus, f"one has another structure below {start}, where nothing is compared"
            return [*_scan(a, b, low, start), *found], modulus, note
        except (Unsolvable, TooLarge) as reason:
            why = str(reason)
    if high - low > scanned:
        return [], 0, f"not solved, as {why}; over a range of at most {scanned:,} sizes all would be compared"
    return _scan(a, b, low, high), 0, f"all valid sizes compared, as {why}"


def _at_valid_sizes(a: Curve, b: Curve, solved: Sequence[Crossing], low: int, high: int) -> list[Crossing]:
    """Crossings of closed forms, as they are between one size that both curves take and the next."""
    if not solved:
        return []
    starts = [low, *(c.at for c in solved)]
    signs = [solved[0].before, *(c.after for c in solved)]
    found: list[Crossing] = []
    before: int | None = None
    for first, end, sign in zip(starts, [*starts[1:], high + 1], signs, strict=True):
        valid = range(first, min(end, first + _SCANNED))
        n = next((n for n in valid if a.at(n) is not None and b.at(n) is not None), None)
        if n is None:
            continue
        if before is not None and sign != before:
            found.append(Crossing(n, before, sign))
        before = sign
    return found


def _scan(a: Curve, b: Curve, low: int, high: int) -> list[Crossing]:
    """Changes of sign between one valid size and the next."""
    found: list[Crossing] = []
    before: int | None = None
    for n in range(low, high + 1):
        left, right = a.at(n), b.at(n)
        if left is None or right is None:
            continue
        sign = (left > right) - (left < right)
        if before is not None and sign != before:
            found.append(Crossing(n, before, sign))
        before = sign
    return found


def curve(
    spec: Spec,
    name: str,
    cost: str = "macs",
    graph: str | None = None,
    at: Mapping[str, Any] | None = None,
    rules: Sequence[str] = (),
    on: Target | None = None,
) -> Curve:
    """The curve of a spec, under rewrite rules where some are named; ``on`` a device for one of `TIMED`."""

    from archgraph.report.law import rewriting

    return Curve("+".join((spec.label, *rules)), Cases(spec, [name], graph, at, rewriting(rules)), cost, on)
