"""Whether candidates keep the study's hard limits, before anything is built.

A block of candidates is split by what changes the spec itself (its variant, rewrites); for each of these the costs are
compiled once, as a function of all other parameters, and decide all rows in one call. What no closed form tells (a
parameter with real values, a limit on a cost that is not compiled) is decided by elaborating the rows that are left.
Both refuse what the spec itself refuses: sizes that don't divide, conditions of ``requires``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from archgraph.analysis.function import CostFunction, cost_function
from archgraph.analysis.law import RESULTS
from archgraph.analysis.roofline import TIMES
from archgraph.ir.diagnostics import SpecError
from archgraph.search.candidate import Candidates
from archgraph.search.draws import Columns, Filter
from archgraph.search.space import Parameter, environment
from archgraph.spec.expr import compile

if TYPE_CHECKING:
    from archgraph.search.study_file import Study

__all__ = ["Feasibility"]

_MAX_STRUCTURES: Final = 1024
_MAX_KNOWN: Final = 200_000
_MAX_LISTED: Final = 1024
_FEW: Final = 128


class Feasibility:
    """Decides blocks of candidates of a study.

    ``looked`` and ``passed`` count the rows that it has decided, ``elaborated`` those that took an elaboration.
    """

    def __init__(self, study: Study, candidates: Candidates | None = None) -> None:
        self.study = study
        self.candidates = candidates if candidates is not None else Candidates(study)
        self.looked = 0
        self.passed = 0
        self.elaborated = 0
        self._known: OrderedDict[tuple[Any, ...], bool] = OrderedDict()
        self._functions: OrderedDict[tuple[int, ...], CostFunction | None] = OrderedDict()
        parameters = [p for p in study.space.parameters if p.target not in ("train", "data")]
        self._names = [p.name for p in parameters]
        self._split = [p for p in parameters if p.target in ("variant", "rewrite")]
        self._free = [p for p in parameters if p.target in ("param", "element")]
        self._over = {_column(p): _listed(p) for p in self._free}
        self._external = {p.name: _external(p) for p in study.space.parameters}
        timed = study.machine is not None and any(c.metric in TIMES for c in study.hard)
        self._machine = study.machine if timed else None
        told = (*RESULTS, *TIMES) if timed else RESULTS
        self._quick = [c for c in study.hard if c.metric in told]
        self._slow = [c for c in study.hard if c.metric not in told]
        real = any(p.values is None and not p.whole for p in self._free)
        self.compiled = not real and (not self._names or self._function(self._first_split()) is not None)

    @property
    def filter(self) -> Filter | None:
        """For the sampler; None where every candidate is feasible, as nothing of the architecture varies."""
        return self if self._names else None

    @property
    def eager(self) -> bool:
        """Whether proposals are filtered by the block, rather than looked at one by one: where there are limits."""
        return bool(self.study.hard)

    def __call__(self, columns: Columns, want: int | None = None) -> np.ndarray:
        size = len(next(iter(columns.values())))
        mask = np.zeros(size, dtype=bool)
        if self.compiled:
            canonical = self.canonical(columns)
            for key, rows in self._groups(canonical, size):
                if want is not None and not self._slow and mask[: rows[0]].sum() >= want:
                    break  # what was drawn before this structure is enough, and compiling costs more than looking
                function = self._function(key)
                if function is not None:
                    mask[rows] = self._decide(function, canonical, rows, None if self._slow else want)
                else:
                    mask[rows] = self._one_by_one(columns, rows, None)
            if self._slow:
                rows = np.flatnonzero(mask)
                mask[rows] = self._one_by_one(columns, rows, want)
        else:
            mask = self._one_by_one(columns, np.arange(size), want)
        self.looked += size
        self.passed += int(mask.sum())
        return mask

    def check(self, values: Mapping[str, Any]) -> bool:
        """Whether one candidate is feasible; elaborated, and remembered."""
        canonical, _ = self.study.space.canonical(values)
        key = tuple([canonical[name] for name in self._names])
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._elaborate(canonical)
            if len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        return known

    # -- closed forms ------------------------------------------------------------------------------------------------

    def _function(self, key: tuple[int, ...]) -> CostFunction | None:
        """Compiled costs of a variant and rewrites; None where there are none, or nothing is left to vary."""
        if key not in self._functions:
            found: CostFunction | None = None
            values = {p.name: p.first for p in self.study.space.parameters}
            values.update({p.name: list(p.values or ())[k] for p, k in zip(self._split, key, strict=True)})
            try:
                if self._over:
                    spec = self.candidates.structure(self.study.space.assignment(values, {}))
                    on = self._machine
                    found = cost_function(
                        spec,
                        over=self._over,
                        graph=self.study.graph,
                        at=self.study.at,
                        device=None if on is None else on.device,
                        dtype=None if on is None else on.dtype,
                    )
            except (SpecError, ValueError):  # no closed form: its rows are elaborated
                found = None
            self._functions[key] = found
            while len(self._functions) > _MAX_STRUCTURES:
                self._functions.popitem(last=False)
        self._functions.move_to_end(key)
        return self._functions[key]

    def _first_split(self) -> tuple[int, ...]:
        return tuple(0 for _ in self._split)

    def _decide(self, function: CostFunction, columns: Columns, rows: np.ndarray, want: int | None) -> np.ndarray:
        if len(rows) <= _FEW:
            few = np.zeros(len(rows), dtype=bool)
            for k, row in enumerate(rows.tolist()):
                few[k] = self._decide_one(function, columns, row)
                if want is not None and few[: k + 1].sum() >= want:
                    break  # the rest may take structures that nobody compiled yet
            return few
        given = {}
        for p in self._free:
            column, name = columns[p.name][rows], _column(p)
            if name in function.choices:
                step = int(p.step or 1)
                given[name] = column if p.values is not None else (column - int(p.low)) // step
            elif p.values is not None:
                given[name] = np.array(list(p.values.values()))[column.astype(np.int64)]
            else:
                given[name] = column
            given[name] = given[name].astype(np.int64)
        found = function.by_code(**given)
        mask: np.ndarray = found["valid"].copy()
        for c in self._quick:
            if c.high is not None:
                mask &= found[c.metric] <= c.high
            if c.low is not None:
                mask &= found[c.metric] >= c.low
        return mask

    def _decide_one(self, function: CostFunction, columns: Columns, row: int) -> bool:
        """One row by plain Python, in some twenty microseconds; a block takes milliseconds, however few its rows."""
        given = {_column(p): p.meaning(self._external[p.name](columns[p.name][row].item())) for p in self._free}
        found = function.scalar(**given)
        return bool(found["valid"]) and all(c.violation(found[c.metric]) <= 0 for c in self._quick)

    def canonical(self, columns: Columns) -> Columns:
        """Columns with the values of inactive parameters replaced by their first."""
        conditional = [p for p in self.study.space.parameters if p.when is not None]
        if not conditional:
            return columns
        found = dict(columns)
        for p in conditional:
            assert p.when is not None
            holds = compile(p.when)
            heads = p.when.names
            read = [n for n in found if n.partition(".")[0] in heads]
            stacked = np.stack([np.asarray(found[n], dtype=float) for n in read])
            unique, where = np.unique(stacked, axis=1, return_inverse=True)
            truth = np.array(
                [
                    bool(holds(environment({n: self._external[n](v) for n, v in zip(read, row, strict=True)})))
                    for row in unique.T.tolist()
                ]
            )
            first = 0 if p.values is not None else p.first
            found[p.name] = np.where(truth[where.reshape(-1)], found[p.name], first)
        return found

    def _groups(self, columns: Columns, size: int) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        """Rows of equal variant and rewrites, in the order of their first row: what is drawn first decides."""
        if not self._split:
            yield (), np.arange(size)
            return
        keys = np.stack([np.asarray(columns[p.name]).astype(np.int64) for p in self._split], axis=1)
        unique, first, where = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        where = where.reshape(-1)
        for k in np.argsort(first).tolist():
            yield tuple(unique[k].tolist()), np.flatnonzero(where == k)

    # -- elaboration -------------------------------------------------------------------------------------------------

    def _one_by_one(self, columns: Columns, rows: np.ndarray, want: int | None) -> np.ndarray:
        mask = np.zeros(len(rows), dtype=bool)
        hits = 0
        for k, row in enumerate(rows.tolist()):
            mask[k] = self.check({name: self._external[name](column[row].item()) for name, column in columns.items()})
            hits += int(mask[k])
            if want is not None and hits >= want:
                break
        return mask

    def _elaborate(self, values: Mapping[str, Any]) -> bool:
        self.elaborated += 1
        try:
            costs = self.candidates.candidate(values).costs
        except SpecError:
            return False
        return all(c.violation(costs[c.metric]) <= 0 for c in self.study.hard)


def _column(p: Parameter) -> str:
    """A parameter as the cost function calls it: ``depths.2`` for an element."""
    return p.key if p.index is None else f"{p.key}.{p.index}"


def _listed(p: Parameter) -> list[Any] | None:
    """The values of a parameter, where they are few enough to be listed."""
    if p.values is not None:
        return list(p.values.values())
    values = range(int(p.low), int(p.high) + 1, int(p.step or 1))
    return list(values) if len(values) <= _MAX_LISTED else None


def _external(p: Parameter) -> Callable[[Any], Any]:
    if p.values is not None:
        labels = list(p.values)
        return lambda v: labels[int(v)]
    return int if p.whole else float
