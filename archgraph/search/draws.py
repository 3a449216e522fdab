"""Blocks of candidates as columns of numbers: drawn, put in order, turned into values.

A column holds what Optuna calls the internal representation: the number itself, or the index of a choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

__all__ = [
    "BLOCK",
    "Columns",
    "Filter",
    "Infeasible",
    "cardinality",
    "draw",
    "first_feasible",
    "nearest",
    "row",
    "stack",
]

Columns = dict[str, np.ndarray]
Filter = Callable[[Columns, int | None], np.ndarray]
"""From a block of candidates to which of them are feasible. Given a number, it may stop when it has found so many, and
say no to the rest."""

BLOCK: Final = 8192
_FIRST: Final = 64


class Infeasible(Exception):
    """No feasible candidate was found among many."""


def draw(rng: np.random.RandomState, distribution: BaseDistribution, size: int) -> np.ndarray:
    """Uniform draws from a distribution; uniform in the logarithm where it says so."""
    if isinstance(distribution, CategoricalDistribution):
        return np.asarray(rng.randint(len(distribution.choices), size=size))
    if isinstance(distribution, IntDistribution):
        low, high, step = distribution.low, distribution.high, distribution.step
        if distribution.log:
            drawn = np.exp(rng.uniform(math.log(low - 0.5), math.log(high + 0.5), size))
            return np.asarray(np.clip(np.rint(drawn), low, high), dtype=np.int64)
        steps_up = np.asarray(rng.randint(0, (high - low) // step + 1, size=size), dtype=np.int64)
        return low + step * steps_up
    assert isinstance(distribution, FloatDistribution)
    low_f, high_f = distribution.low, distribution.high
    if distribution.log:
        return np.asarray(np.clip(np.exp(rng.uniform(math.log(low_f), math.log(high_f), size)), low_f, high_f))
    if distribution.step is not None:
        steps = round((high_f - low_f) / distribution.step)
        return np.asarray(np.clip(low_f + distribution.step * rng.randint(0, steps + 1, size=size), low_f, high_f))
    return rng.uniform(low_f, high_f, size) if high_f > low_f else np.full(size, low_f)


def cardinality(space: Mapping[str, BaseDistribution]) -> float:
    """How many different candidates there are; infinite where a parameter is continuous."""
    count = 1.0
    for d in space.values():
        if isinstance(d, CategoricalDistribution):
            count *= len(d.choices)
        elif isinstance(d, IntDistribution):
            count *= (d.high - d.low) // d.step + 1
        elif isinstance(d, FloatDistribution):
            count *= math.inf if d.step is None and d.high > d.low else round((d.high - d.low) / (d.step or 1)) + 1
    return count


def stack(rows: Sequence[Mapping[str, Any]], space: Mapping[str, BaseDistribution]) -> Columns:
    """Rows of values as columns."""
    return {name: np.array([d.to_internal_repr(r[name]) for r in rows]) for name, d in space.items()}


def row(columns: Columns, index: int, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """One row of columns as values."""
    return {name: d.to_external_repr(columns[name][index].item()) for name, d in space.items()}


@dataclass
class Draw:
    """A feasible row, and how many were looked at."""

    values: dict[str, Any]
    looked: int
    passed: int


def first_feasible(
    rng: np.random.RandomState,
    space: Mapping[str, BaseDistribution],
    feasible: Filter | None,
    fixed: Mapping[str, Any] | None = None,
    limit: int = 50_000_000,
    budget: Callable[[], bool] | None = None,
    first: int = _FIRST,
) -> Draw:
    """The first feasible of a stream of uniform draws: rejection sampling, block by block.

    Parameters
    ----------
    fixed : mapping, optional
        Values that are not drawn.
    limit : int
        Draws before `Infeasible` is raised.
    budget : function, optional
        Ends the search likewise when it returns False.
    first : int
        Size of the first block; each is four times the last, up to `BLOCK`.
    """
    size, looked = (1 if feasible is None else first), 0
    held = {name: space[name].to_internal_repr(value) for name, value in (fixed or {}).items() if name in space}
    while looked < limit and (looked == 0 or budget is None or budget()):
        block = {
            name: np.full(size, held[name]) if name in held else draw(rng, distribution, size)
            for name, distribution in space.items()
        }
        if feasible is None:
            return Draw(row(block, 0, space), 1, 1)
        mask = feasible(block, 1)
        hits = np.flatnonzero(mask)
        if hits.size:
            return Draw(row(block, int(hits[0]), space), looked + int(hits[0]) + 1, 1)
        looked += size
        size = min(size * 4, BLOCK)
    raise Infeasible(f"none of {looked:,} candidates is feasible")


def nearest(
    rng: np.random.RandomState,
    space: Mapping[str, BaseDistribution],
    feasible: Filter,
    target: Mapping[str, Any],
    wanted: int = 256,
    rounds: int = 16,
) -> Draw:
    """The feasible candidate nearest to a target among perturbations of it and uniform draws.

    Distance is the root of the summed squares of differences, each as a fraction of its range (in the logarithm where
    the distribution is); a different choice counts as 1.
    """
    goal = {name: d.to_internal_repr(target[name]) for name, d in space.items()}
    best: tuple[float, dict[str, Any]] | None = None
    looked = passed = 0
    for turn in range(rounds):
        size = 1024
        keep = rng.random_sample((len(space), size)) < max(0.0, 0.85 - 0.1 * turn)
        block: Columns = {}
        for k, (name, distribution) in enumerate(space.items()):
            drawn = draw(rng, distribution, size)
            block[name] = np.where(keep[k], goal[name], drawn).astype(drawn.dtype)
        mask = feasible(block, 64)
        looked += size
        hits = np.flatnonzero(mask)
        passed += int(hits.size)
        if hits.size:
            far = _distance(block, goal, space)[hits]
            k = int(hits[int(np.argmin(far))])
            if best is None or far.min() < best[0]:
                best = float(far.min()), row(block, k, space)
            if passed >= wanted or turn >= 2:
                break
    if best is None:
        found = first_feasible(rng, space, feasible)
        return Draw(found.values, looked + found.looked, found.passed)
    return Draw(best[1], looked, passed)


def _distance(block: Columns, goal: Mapping[str, float], space: Mapping[str, BaseDistribution]) -> np.ndarray:
    total: Any = 0.0
    for name, distribution in space.items():
        column, target = block[name], goal[name]
        if isinstance(distribution, CategoricalDistribution):
            total = total + (column != target)
            continue
        assert isinstance(distribution, (IntDistribution, FloatDistribution))
        low, high = float(distribution.low), float(distribution.high)
        if distribution.log:
            low, high = math.log(low), math.log(high)
            column, target = np.log(column), math.log(target)
        if high > low:
            total = total + ((column - target) / (high - low)) ** 2
    return np.asarray(np.sqrt(total))
