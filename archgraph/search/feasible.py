"""Whether candidates keep the study's hard constraints, before anything is built.

Columns of a block are split by what changes the structure (rewrites, variants, and choices that no closed form can
vary); for each structure the spec's costs are compiled once, over the parameters that are numbers, and evaluated for
all its rows at once. Where a structure has no compiled form, its rows are elaborated one by one. Both refuse what the
spec itself refuses: sizes that don't divide, conditions of ``requires``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from archgraph.ir.diagnostics import SpecError
from archgraph.search.candidate import Candidates
from archgraph.search.draws import Columns, Filter
from archgraph.search.space import Parameter

if TYPE_CHECKING:
    from archgraph.search.study_file import Study

__all__ = ["Feasibility"]

Compiled = Callable[..., Mapping[str, Any]]

_MAX_STRUCTURES: Final = 4096
_MAX_KNOWN: Final = 200_000


class Feasibility:
    """Decides blocks of candidates of a study. Counts what it has seen: ``looked`` and ``passed``."""

    def __init__(self, study: Study, candidates: Candidates | None = None) -> None:
        self.study = study
        self.candidates = candidates if candidates is not None else Candidates(study)
        self.looked = 0
        self.passed = 0
        self.elaborated = 0
        self._known: OrderedDict[tuple[Any, ...], bool] = OrderedDict()
        space = study.space
        self._irrelevant = {p.name for p in space.parameters if p.target in ("train", "data")}
        self._names = [p.name for p in space.parameters if p.name not in self._irrelevant]
        self._external = {p.name: _external(p) for p in space.parameters}

    @property
    def filter(self) -> Filter | None:
        """For the sampler; None where every candidate is feasible, as nothing of the architecture varies."""
        return self if self._names else None

    @property
    def compiled(self) -> bool:
        """Whether blocks are decided by compiled closed forms."""
        return False

    @property
    def eager(self) -> bool:
        """Whether proposals are filtered by the block: where there are limits to keep."""
        return bool(self.study.hard)

    def __call__(self, columns: Columns, want: int | None = None) -> np.ndarray:
        size = len(next(iter(columns.values())))
        mask = np.zeros(size, dtype=bool)
        hits = 0
        for k in range(size):
            self.looked += 1
            values = {name: self._external[name](column[k].item()) for name, column in columns.items()}
            if self.check(values):
                mask[k] = True
                hits += 1
                if want is not None and hits >= want:
                    break
        self.passed += hits
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

    def _elaborate(self, values: Mapping[str, Any]) -> bool:
        self.elaborated += 1
        try:
            costs = self.candidates.candidate(values).costs
        except SpecError:
            return False
        return all(c.violation(costs[c.metric]) <= 0 for c in self.study.hard)


def _external(p: Parameter) -> Callable[[Any], Any]:
    if p.values is not None:
        labels = list(p.values)
        return lambda v: labels[int(v)]
    return int if p.whole else float
