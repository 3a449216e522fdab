"""Optuna's own conformance suite for samplers, over the wrapper: without a filter, and with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

from archgraph.search.draws import Columns
from archgraph.search.sampler import FeasibleSampler

Make = Callable[[], FeasibleSampler]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def half(columns: Columns, want: int | None = None) -> np.ndarray:
    """About half of every space: by the parity of a hash of the first column."""
    first = np.asarray(next(iter(columns.values())), dtype=float)
    mask: np.ndarray = np.floor(np.abs(np.sin(first * 12.9898 + 0.5)) * 43758.5) % 2 == 0
    return mask


def quick_gp() -> GPSampler:
    """The suite asks for proposals by the hundred; how hard their acquisition is optimised is not its matter."""
    sampler = GPSampler(n_startup_trials=0, warn_independent_sampling=False)
    sampler._n_preliminary_samples, sampler._n_local_search = 64, 2
    return sampler


def wrapped(base: Callable[[], Any], feasible: Any) -> Make:
    return lambda: FeasibleSampler(base(), None, feasible)


BASES: dict[str, Callable[[], Any]] = {
    "random": RandomSampler,
    "tpe": lambda: TPESampler(n_startup_trials=0, multivariate=True),
    "nsga2": NSGAIISampler,
    "gp": quick_gp,
}
EVERY = [*((name, half) for name in BASES), ("tpe", None)]
RELATIVE = [("tpe", half), ("gp", half), ("tpe", None)]


def ids(case: Any) -> str:
    return case if isinstance(case, str) else "filtered" if case else "free"


class TestBasic(BasicSamplerTestCase):
    @pytest.fixture(params=EVERY, ids=lambda c: f"{c[0]}-{ids(c[1])}")
    def sampler(self, request: pytest.FixtureRequest) -> Make:
        name, feasible = request.param
        return wrapped(BASES[name], feasible)


class TestRelative(RelativeSamplerTestCase):
    @pytest.fixture(params=RELATIVE, ids=lambda c: f"{c[0]}-{ids(c[1])}")
    def sampler(self, request: pytest.FixtureRequest) -> Make:
        name, feasible = request.param
        return wrapped(BASES[name], feasible)


class TestMultiObjective(MultiObjectiveSamplerTestCase):
    @pytest.fixture(params=EVERY, ids=lambda c: f"{c[0]}-{ids(c[1])}")
    def sampler(self, request: pytest.FixtureRequest) -> Make:
        name, feasible = request.param
        return wrapped(BASES[name], feasible)
