"""Optuna's parts as a study asks for them: sampler, pruner, study."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner, PercentilePruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection

from archgraph.search.feasible import Feasibility
from archgraph.search.grid import Grid
from archgraph.search.metrics import DIRECTIONS
from archgraph.search.sampler import FeasibleSampler

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from archgraph.search.study_file import Study

__all__ = ["OneMetric", "grid_trials", "make_pruner", "make_sampler", "open_study", "pruned_metric", "trials_of"]


def make_sampler(study: Study, feasibility: Feasibility) -> FeasibleSampler:
    """The study's sampler, feasible candidates only."""
    values = dict(study.sampler.values)
    base: BaseSampler
    if study.sampler.kind == "tpe":
        base = TPESampler(**values)
    elif study.sampler.kind == "nsga2":
        base = NSGAIISampler(**values)
    elif study.sampler.kind == "gp":
        base = GPSampler(warn_independent_sampling=False, **values)
    elif study.sampler.kind == "grid":
        base = Grid(study.space.distributions, feasibility, study.seed)
    else:
        base = RandomSampler()
    direction = pruned_metric(study)[1] if study.pruner.kind != "none" else None
    space, feasible = study.space.distributions, None if isinstance(base, Grid) else feasibility.filter
    return FeasibleSampler(base, space, feasible, study.seed, eager=feasibility.eager, pruned=direction)


def trials_of(study: Study, sampler: FeasibleSampler) -> int | None:
    """How many trials a study has: what it says, and no more than its grid has candidates."""
    if not isinstance(sampler.base, Grid):
        return study.trials
    return len(sampler.base) if study.trials is None else min(study.trials, len(sampler.base))


def grid_trials(study: Study) -> int | None:
    """`trials_of`, for a study whose sampler is a grid; 1 at least, whose failure tells why nothing is feasible."""
    return max(1, trials_of(study, make_sampler(study, Feasibility(study))) or 0)


def make_pruner(study: Study) -> BasePruner | None:
    """The study's pruner."""
    values: dict[str, Any] = {name: value for name, value in study.pruner.values.items() if name != "on"}
    if "n_warmup_steps" in values:
        values["n_warmup_steps"] += 1  # epochs count from 1, and these are to pass
    if study.pruner.kind == "median":
        return MedianPruner(**values)
    if study.pruner.kind == "percentile":
        return PercentilePruner(**values)
    if study.pruner.kind == "asha":
        return SuccessiveHalvingPruner(**values)
    return None


def pruned_metric(study: Study) -> tuple[str, StudyDirection]:
    """The metric that trials are pruned on, and its direction."""
    on = study.pruner.values.get("on") or next(m for m in study.metrics if m in DIRECTIONS)
    return on, StudyDirection.MAXIMIZE if DIRECTIONS[on] == "maximize" else StudyDirection.MINIMIZE


class OneMetric:
    """A study of several objectives as pruners see it: one metric with one direction."""

    def __init__(self, study: optuna.Study, direction: StudyDirection) -> None:
        self._study = study
        self.direction = direction
        self.directions = [direction]

    def _is_multi_objective(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


def open_study(study: Study, storage: BaseStorage, sampler: BaseSampler | None, *, create: bool) -> optuna.Study:
    """The Optuna study of a study file."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if create:
        made = optuna.create_study(
            study_name=study.name,
            storage=storage,
            sampler=sampler,
            directions=[StudyDirection[o.direction.upper()] for o in study.objectives],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            made.set_metric_names([o.name for o in study.objectives])
        return made
    return optuna.load_study(study_name=study.name, storage=storage, sampler=sampler)
