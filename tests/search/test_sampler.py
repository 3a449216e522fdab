"""Feasible draws: uniform over what is feasible, near what a sampler wanted, and found by the sampler's own model."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from archgraph.search.draws import Columns, Infeasible, cardinality, draw, first_feasible, nearest
from archgraph.search.sampler import FeasibleSampler, trial_seed

SPACE: dict[str, BaseDistribution] = {
    "x": IntDistribution(0, 9),
    "y": IntDistribution(2, 20, step=3),
    "c": CategoricalDistribution(("a", "b", "c")),
    "f": FloatDistribution(0.5, 8.0, log=True),
}


def few(columns: Columns, want: int | None = None) -> np.ndarray:
    """One in twelve or so."""
    mask: np.ndarray = (columns["x"] + columns["y"] > 22) & (columns["c"] != 1)
    return mask


def feasible(params: dict[str, object]) -> bool:
    return bool(params["x"] + params["y"] > 22 and params["c"] != "b")  # type: ignore[operator]


def test_draws_keep_to_their_distributions() -> None:
    rng = np.random.RandomState(0)
    for d in [*SPACE.values(), IntDistribution(1, 100, log=True), FloatDistribution(-1, 1, step=0.5)]:
        column = draw(rng, d, 2000)
        assert all(d._contains(v) for v in column.tolist())
    counts = np.bincount(draw(rng, SPACE["x"], 20_000), minlength=10)
    assert counts.min() > 1800
    assert cardinality({n: SPACE[n] for n in ("x", "y", "c")}) == 10 * 7 * 3
    assert cardinality(SPACE) == float("inf")


def test_rejection_is_uniform_over_what_is_feasible() -> None:
    rng = np.random.RandomState(0)
    small = {n: SPACE[n] for n in ("x", "y", "c")}
    seen: dict[tuple[object, ...], int] = {}
    for _ in range(4000):
        found = first_feasible(rng, small, few, first=4)
        key = tuple(found.values.values())
        seen[key] = seen.get(key, 0) + 1
    every = [(x, y, c) for x in range(10) for y in range(2, 21, 3) for c in "ac" if x + y > 22]
    assert set(seen) == set(every)
    expected = 4000 / len(every)
    chi = sum((seen[k] - expected) ** 2 / expected for k in every)
    assert chi < len(every) + 6 * np.sqrt(2 * len(every))


def test_nothing_feasible_ends() -> None:
    with pytest.raises(Infeasible, match="none of"):
        first_feasible(np.random.RandomState(0), SPACE, lambda c, w=None: np.zeros(len(c["x"]), bool), limit=10_000)


def test_the_nearest_is_near() -> None:
    target = {"x": 9, "y": 11, "c": "a", "f": 2.0}
    found = nearest(np.random.RandomState(0), SPACE, few, target).values
    assert feasible(found)
    assert (found["x"], found["c"]) == (9, "a")
    assert found["y"] == 14


BASES: dict[str, tuple[BaseSampler, int]] = {
    "random": (RandomSampler(), 40),
    "tpe": (TPESampler(n_startup_trials=5, multivariate=True), 40),
    "tpe one by one": (TPESampler(n_startup_trials=5, multivariate=False), 20),
    "nsga2": (NSGAIISampler(population_size=6), 40),
    "gp": (GPSampler(n_startup_trials=5, warn_independent_sampling=False), 9),
}


@pytest.mark.parametrize("name", BASES)
def test_every_proposal_is_feasible(name: str) -> None:
    base, trials = BASES[name]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = FeasibleSampler(base, SPACE, few, seed=1)
    study = optuna.create_study(sampler=sampler)
    ways = set()
    for _ in range(trials):
        trial = study.ask(dict(SPACE))
        assert feasible(trial.params)
        ways.add(sampler.last.how)
        study.tell(trial, trial.params["f"] - trial.params["x"])
    assert ways <= {"random", "filtered", "repaired", "base"}
    if name in ("tpe", "nsga2"):
        assert "filtered" in ways


def test_enqueued_values_stay() -> None:
    study = optuna.create_study(sampler=FeasibleSampler(RandomSampler(), SPACE, few, seed=1))
    study.enqueue_trial({"x": 9})
    trial = study.ask(dict(SPACE))
    assert trial.params["x"] == 9
    assert feasible(trial.params)


def test_seeds_of_trials() -> None:
    seeds = {trial_seed(0, n) for n in range(1000)} | {trial_seed(1, n) for n in range(1000)}
    assert len(seeds) == 2000
    assert trial_seed(0, 3) == trial_seed(0, 3)
    assert trial_seed(0, 3, "draw") != trial_seed(0, 3)
