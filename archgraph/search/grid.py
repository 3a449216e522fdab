"""Every feasible candidate of a finite space once, in an order that follows from the study's seed.

A trial's place in the order follows from the trials before it alone: workers need not agree on anything, and a study
that is resumed goes on where it ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler

from archgraph.search.draws import BLOCK, Columns, Infeasible, cardinality, row
from archgraph.spec.yaml import span_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from archgraph.ir.diagnostics import Collector
    from archgraph.search import study_file
    from archgraph.search.feasible import Feasibility
    from archgraph.spec.yaml import YMap

__all__ = ["LARGEST", "Grid", "unlisted"]

#: Candidates of a space that may be listed.
LARGEST: Final = 20_000


class Grid(BaseSampler):
    """Lists a space. Candidates that differ only in parameters without meaning are listed once.

    Parameters
    ----------
    space : mapping
        Distributions of all parameters.
    feasibility : Feasibility
    seed : int
    """

    def __init__(self, space: Mapping[str, BaseDistribution], feasibility: Feasibility, seed: int) -> None:
        self.space = dict(space)
        self.points = _points(self.space, feasibility, np.random.RandomState(seed))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self.space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The candidate whose turn it is; from the beginning again after the last.

        Raises
        ------
        Infeasible
            If there is none.
        """
        size = len(next(iter(self.points.values())))
        if not size:
            raise Infeasible("no candidate of the grid is feasible")
        given = "fixed_params"  # somebody else's choice takes no turn
        before = study._get_trials(deepcopy=False, use_cache=True)[: trial.number]
        turn = sum(given not in t.system_attrs for t in before)
        return row(self.points, turn % size, self.space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise ValueError(f"the grid has no parameter `{param_name}`")

    def __len__(self) -> int:
        return len(next(iter(self.points.values())))


def _points(space: Mapping[str, BaseDistribution], feasibility: Feasibility, rng: np.random.RandomState) -> Columns:
    axes = {name: _axis(d) for name, d in space.items()}
    sizes = [len(axis) for axis in axes.values()]
    order = rng.permutation(int(np.prod(sizes)))
    places = np.unravel_index(order, sizes)
    columns = {name: axis[place] for (name, axis), place in zip(axes.items(), places, strict=True)}
    kept = np.ones(len(order), dtype=bool)
    canonical = feasibility.canonical(columns)
    for name, column in columns.items():
        kept &= canonical[name] == column
    columns = {name: column[kept] for name, column in columns.items()}
    if feasibility.filter is not None:
        size = int(kept.sum())
        parts = [
            feasibility({name: column[low : low + BLOCK] for name, column in columns.items()})
            for low in range(0, size, BLOCK)
        ]
        mask = np.concatenate(parts)
        columns = {name: column[mask] for name, column in columns.items()}
    return columns


def _axis(d: BaseDistribution) -> np.ndarray:
    """All values of a parameter, as Optuna keeps them."""
    if isinstance(d, CategoricalDistribution):
        return np.arange(len(d.choices))
    if isinstance(d, IntDistribution):
        return np.arange(d.low, d.high + 1, d.step)
    assert isinstance(d, FloatDistribution)
    assert d.step is not None or d.low == d.high
    return np.round(np.arange(d.low, d.high + (d.step or 1) / 2, d.step or 1), 12)


def unlisted(study: study_file.Study, tree: YMap, faults: Collector) -> None:
    """Say why the space of a study can't be listed."""
    distributions = study.space.distributions
    for p in study.space.parameters:
        if cardinality({p.name: distributions[p.name]}) == float("inf"):
            message = f"`{p.name}` takes any number of its range, and a grid lists all values"
            faults.error("study/grid", p.span, message, hint="give it a `step`, or choices")
    size = cardinality(distributions)
    if LARGEST < size < float("inf"):
        message = f"a grid lists {size:,.0f} candidates, and {LARGEST:,} is the most"
        faults.error("study/grid", span_of(tree, "sampler"), message, hint="take another sampler")
