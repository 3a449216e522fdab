"""The cost of a spec in some symbols, compiled case by case as points need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from archgraph.analysis.cases import Case, Cases
from archgraph.analysis.compiled import Compiled
from archgraph.analysis.conditions import conditions, guards
from archgraph.analysis.cost import totals
from archgraph.analysis.memory import peaks
from archgraph.analysis.program import INT64, Program
from archgraph.analysis.roofline import Target, roofline
from archgraph.analysis.sizes import default_sizes, with_sizes
from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.ir.dim import Num
from archgraph.ir.graph import Graph, Guard

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What a cost function tells of a candidate, and ``valid``.
RESULTS: Final = ("params", "macs", "flops", "activation_bytes")
#: What it tells besides where a device is named; `archgraph.analysis.roofline.times_of` makes times of it.
TICKS: Final = ("elementwise", "bound_ticks", "op_by_op_ticks", "kept_bytes", "moved_bytes")
_CHUNK: Final = 1 << 16


class Entry:
    """A case: ``holds`` tells where it is one (None: everywhere), ``costs`` what it costs (None: nothing is valid)."""

    __slots__ = ("case", "costs", "guards", "holds")

    def __init__(self, case: Case, columns: Sequence[str], on: Target | None = None) -> None:
        self.case = case
        self.holds: Compiled | None = None
        if case.assumed:
            self.holds = Compiled(Program(columns, {}, {}, conditions(case.assumed)))
        self.guards: tuple[Guard, ...] = ()
        self.costs: Compiled | None = None
        if case.graph is not None:
            self.guards = tuple(guards(case.graph))
            self.costs = Compiled(_program(case.graph, columns, self.guards, on))


def _program(graph: Graph, columns: Sequence[str], held: Sequence[Guard], on: Target | None) -> Program:
    t = totals(graph)
    results: dict[str, Num | tuple[Num, ...]] = {
        "params": t.params, "macs": t.macs, "elementwise": t.elementwise, "activation_bytes": peaks(graph)
    }  # fmt: skip
    if on is not None:
        found = roofline(graph, on)
        results |= {
            "bound_ticks": found.bound_ticks, "op_by_op_ticks": found.load.ticks, "kept_bytes": found.kept_bytes,
            "moved_bytes": found.load.moved,
        }  # fmt: skip
    program = Program(columns, results, {"flops": ("macs", "elementwise")}, conditions(g.cond for g in held))
    names = (*RESULTS, "valid") if on is None else (*RESULTS, *TICKS, "valid")
    program.results = {name: program.results[name] for name in names}
    return program


class Law:
    """Costs over columns of positive integers, for one choice of everything else.

    Parameters
    ----------
    cases : Cases
    columns : sequence of str
        The symbols, and names that are none in this law.
    on : Target, optional
        A device, for `TICKS`.
    """

    def __init__(self, cases: Cases, columns: Sequence[str], on: Target | None = None) -> None:
        self.cases = cases
        self.on = on
        self.names = RESULTS if on is None else (*RESULTS, *TICKS)
        self.columns = tuple(columns)
        self.entries: list[Entry] = []

    def find(self, values: Sequence[int]) -> Entry:
        """The case at a point.

        Raises
        ------
        SpecError
            Where elaboration needs the value of a symbol other than for a condition.
        """
        for entry in self.entries:
            if entry.holds is None or entry.holds.scalar(values)["valid"]:
                return entry
        point = dict(zip(self.columns, values, strict=True))
        case = self.cases.at(point)
        if case.graph is None:
            self._check(case, point)
        entry = Entry(case, self.columns, self.on)
        self.entries.append(entry)
        return entry

    def _check(self, case: Case, point: Mapping[str, int]) -> None:
        """Raise where the integer analysis knows better: not the values, but that they were symbols was in the way."""
        spec, sizes = self.cases.opened_at(point)
        try:
            spec = with_sizes(spec, self.cases.graph, sizes)
            spec.graph(self.cases.graph, default_sizes(spec, self.cases.graph, sizes))
        except SpecError:
            return
        assert case.error is not None
        first = case.error.diagnostics[0]
        raise SpecError(
            Diagnostic(
                "expr/undecided",
                first.at,
                f"{first.message}: a symbol stands where a number is needed",
                hint="list its values, or leave it out",
            )
        )

    def run(self, columns: Sequence[NDArray[Any]], rows: int) -> dict[str, NDArray[Any]]:
        """Costs of all rows."""
        import numpy as np

        if rows == 0:
            return _empty(0, self.names)
        entry = self.find([int(c[0]) for c in columns])
        if entry.holds is None:
            return _evaluate(entry, columns, rows, self.names)
        out = _empty(rows, self.names)
        waiting = np.arange(rows)
        number = 0
        while len(waiting):
            if number == len(self.entries):
                self.find([int(c[waiting[0]]) for c in columns])
            entry = self.entries[number]
            number += 1
            own = [c[waiting] for c in columns]
            here = _holds(entry, own, len(waiting))
            if here.any():
                place(out, waiting[here], _evaluate(entry, [c[here] for c in own], int(here.sum()), self.names))
                waiting = waiting[~here]
        return out


def _empty(rows: int, names: Sequence[str]) -> dict[str, Any]:
    import numpy as np

    return {**{name: np.zeros(rows, np.int64) for name in names}, "valid": np.zeros(rows, bool)}


def place(out: dict[str, Any], where: NDArray[Any], found: Mapping[str, NDArray[Any]]) -> None:
    """Put results into some rows; arrays take Python integers where a result holds some."""
    for name, array in found.items():
        if array.dtype == object and out[name].dtype != object:
            out[name] = out[name].astype(object)
        out[name][where] = array


def _holds(entry: Entry, columns: Sequence[NDArray[Any]], rows: int) -> NDArray[Any]:
    import numpy as np

    if entry.holds is None:
        return np.ones(rows, bool)
    out = {"valid": np.empty(rows, bool)}
    if not entry.holds.run(columns, out, 0, rows):
        entry.holds.run(columns, out, 0, rows, exact=True)
    return out["valid"]


def _evaluate(
    entry: Entry, columns: Sequence[NDArray[Any]], rows: int, names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    import numpy as np

    out = _empty(rows, names)
    if entry.costs is None or entry.costs.run(columns, out, 0, rows):
        return out
    # Something may be too large for 64 bits: take smaller pieces, and Python's integers where it still is.
    for low in range(0, rows, _CHUNK):
        high = min(low + _CHUNK, rows)
        if entry.costs.run(columns, out, low, high):
            continue
        large: dict[str, Any] = {name: np.empty(high - low, object) for name in names}
        large["valid"] = np.empty(high - low, bool)
        entry.costs.run([c[low:high] for c in columns], large, 0, high - low, exact=True)
        for name, array in large.items():
            if name != "valid" and out[name].dtype != object and max(map(abs, array)) > INT64:
                out[name] = out[name].astype(object)
            out[name][low:high] = array
    return out
