"""A sampler that proposes feasible candidates only, around any of Optuna's.

A trial can't be redrawn through ``suggest``: what was suggested stays. So candidates are filtered here, where Optuna
asks for the values of all parameters at once, by the closed forms of costs and shapes, thousands in a call:

- before the base sampler has a model, and for random search, uniform draws are rejected until one passes;
- TPE's acquisition chooses among feasible draws from its own density (its Parzen estimator is replaced by one that
  filters);
- NSGA-II breeds children until one passes; a mutated parameter is drawn among what keeps the child feasible;
- both prefer candidates that no trial had yet: the result of another is on record, and teaches nothing;
- GP's acquisition is searched as ever; if its optimum is infeasible, the best of feasible candidates around it wins;
- for any other sampler an infeasible proposal is replaced by its nearest feasible neighbour.

`FeasibleSampler.last` says which of these happened. Draws depend on the study's seed, the trial's number and the
history alone, so a study that is resumed goes on as if it had not been interrupted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers.nsgaii._child_generation_strategy import NSGAIIChildGenerationStrategy
from optuna.trial import TrialState

from archgraph.search.draws import Columns, Filter, Infeasible, cardinality, draw, first_feasible, nearest, row, stack

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study, StudyDirection
    from optuna.trial import FrozenTrial

__all__ = ["Drawn", "FeasibleSampler", "trial_seed"]

Space = dict[str, "BaseDistribution"]

_USED: Final = (TrialState.COMPLETE, TrialState.PRUNED)
_CHILDREN: Final = 64
_ROUNDS: Final = 32
_TRIES: Final = 4
_MANY: Final = 1e9  # in larger spaces no candidate comes twice by chance


def trial_seed(seed: int, number: int, purpose: str = "") -> int:
    """A seed below 2**32 for one trial, whatever process runs it."""
    text = f"archgraph {seed} {number} {purpose}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big")


@dataclass
class Drawn:
    """How the last proposal came about: ``random``, ``filtered``, ``repaired``, ``base``; candidates looked at and
    feasible ones among them."""

    how: str = "base"
    looked: int = 0
    passed: int = 0


class FeasibleSampler(BaseSampler):
    """Wraps one of Optuna's samplers.

    Parameters
    ----------
    base : BaseSampler
    space : mapping, optional
        Distributions of all parameters of the study. Without one, the base sampler infers its own.
    feasible : function, optional
        From columns of all parameters to a mask. None: everything is feasible.
    seed : int, optional
        With it, every trial draws from a generator of its own; without it, from one that runs on.
    eager : bool
        False where nearly everything is feasible and a look is dear: only the final proposal is looked at.
    pruned : StudyDirection, optional
        The direction of the metric that trials are pruned on, for studies of several objectives: Optuna's TPE ranks
        pruned trials by it.
    """

    def __init__(
        self,
        base: BaseSampler,
        space: Mapping[str, BaseDistribution] | None = None,
        feasible: Filter | None = None,
        seed: int | None = None,
        *,
        eager: bool = True,
        pruned: StudyDirection | None = None,
    ) -> None:
        self.base = base
        self.space: Space = {n: d for n, d in (space or {}).items() if not d.single()}
        self._static = space is not None
        self._constant: Space = {n: d for n, d in (space or {}).items() if d.single()}
        self.seed = seed
        self.last = Drawn()
        self._rng = LazyRandomState(seed)
        self._feasible = feasible
        self._joint = False  # while the base sampler proposes all parameters at once
        self._states = {id(state): state for state in _random_states(base)}
        self._pruned = pruned
        self._first = 64 if eager else 1  # rows of the first block of uniform draws
        self._seen = _Seen(self.space) if eager and cardinality(self.space) < _MANY else None
        if feasible is not None and eager:
            self._install()

    def __str__(self) -> str:
        return f"FeasibleSampler({self.base})"

    # -- Optuna's interface ------------------------------------------------------------------------------------------

    def reseed_rng(self) -> None:
        self._rng.rng.seed()
        self.base.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.last = Drawn()
        if self.seed is not None:
            self._rng.rng.seed(trial_seed(self.seed, trial.number, "draw"))
            for k, state in enumerate(self._states.values()):
                state.rng.seed(trial_seed(self.seed, trial.number, f"base {k}"))
            if isinstance(self.base, GPSampler):  # the last fit starts the next one: a resumed study has none
                self.base._gprs_cache_list = None
                self.base._constraints_gprs_cache_list = None
        self.base.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Space:
        if self._static:
            return dict(self.space)
        return self.base.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        if not self._static:
            self.space = dict(search_space)
        if not self.space or any(name not in self.space for name in search_space):
            return self.base.sample_relative(study, trial, search_space)
        fixed = trial.system_attrs.get("fixed_params", {})
        fixed = {name: value for name, value in fixed.items() if name in self.space}
        if fixed:
            return self._complete(fixed) if len(fixed) < len(self.space) else {}
        proposal = self._propose(study, trial, search_space)
        # a trial that was interrupted while it was asking has some values already: as a rule these very ones
        stored = {name: value for name, value in trial.params.items() if name in self.space}
        if any(proposal[name] != value for name, value in stored.items()):
            return self._complete(stored)
        return proposal

    def _propose(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        if self._seen is not None and self._static:
            self._seen.read(study, trial.number)
        self._joint = True
        try:
            given = self._base_space(study, trial) or search_space
            proposal = dict(self.base.sample_relative(self._view(study), trial, given))
        finally:
            self._joint = False
        if not proposal and self._starting(study):
            return self._complete({})
        if isinstance(self.base, NSGAIISampler):  # parameters that it leaves out are to be mutated
            return self._complete(proposal) if len(proposal) < len(self.space) else proposal
        for name, distribution in self.space.items():
            if name not in proposal:
                proposal[name] = self.base.sample_independent(self._view(study), trial, name, distribution)
        if not self._passes(proposal):
            found = nearest(self._rng.rng, self.space, self._filter, proposal)
            self._note("repaired", found.looked, found.passed)
            return found.values
        return {name: proposal[name] for name in self.space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.base.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self.base.after_trial(study, trial, state, values)

    # -- feasible draws ----------------------------------------------------------------------------------------------

    def _view(self, study: Study) -> Study:
        if self._pruned is None or not study._is_multi_objective():
            return study
        return cast("Study", _PrunedView(study, self._pruned))

    def _starting(self, study: Study) -> bool:
        """Whether the base sampler would draw at random itself."""
        base = self.base
        if isinstance(base, TPESampler) and not base._is_multivariate(study):
            done = study._get_trials(deepcopy=False, states=_USED, use_cache=True)
            return len(done) < base._n_startup_trials
        return isinstance(base, (TPESampler, GPSampler, NSGAIISampler, RandomSampler))

    def _base_space(self, study: Study, trial: FrozenTrial) -> Space:
        inferred = self.base.infer_relative_search_space(study, trial)
        if isinstance(self.base, NSGAIISampler):
            return inferred
        return {name: d for name, d in self.space.items() if name in inferred} if inferred else {}

    def _note(self, how: str, looked: int = 0, passed: int = 0) -> None:
        self.last.how = how
        self.last.looked += looked
        self.last.passed += passed

    def _filter(self, columns: Columns, want: int | None = None) -> np.ndarray:
        assert self._feasible is not None
        size = len(next(iter(columns.values())))
        more = {n: np.full(size, d.to_internal_repr(_single(d))) for n, d in self._constant.items()}
        return self._feasible({**columns, **more}, want)

    def _fresh(self, columns: Columns, mask: np.ndarray) -> np.ndarray:
        """Of the rows in a mask, those that no trial had."""
        if self._seen is None or not self._static:
            return mask
        found = mask.copy()
        for k in np.flatnonzero(mask).tolist():
            found[k] = tuple([float(columns[name][k]) for name in self.space]) not in self._seen
        return found

    def _passes(self, values: Mapping[str, Any]) -> bool:
        if self._feasible is None:
            return True
        return bool(self._filter(stack([values], self.space))[0])

    def _complete(self, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """Feasible values of all parameters, with some given; these give way where nothing is feasible with them."""
        feasible = None if self._feasible is None else self._filter
        if fixed:
            try:
                found = first_feasible(self._rng.rng, self.space, feasible, fixed, 100_000, first=self._first)
            except Infeasible:
                assert feasible is not None
                start = first_feasible(self._rng.rng, self.space, None, fixed)
                found = nearest(self._rng.rng, self.space, feasible, start.values)
                self._note("repaired", found.looked, found.passed)
                return found.values
        else:
            found = first_feasible(self._rng.rng, self.space, feasible, first=self._first)
        self._note("random", found.looked, found.passed)
        return found.values

    def _install(self) -> None:
        base = self.base
        if isinstance(base, TPESampler):
            base._parzen_estimator_cls = _filtering_estimator(self)
        elif isinstance(base, NSGAIISampler):
            base._child_generation_strategy = _FeasibleChildren(self, base._child_generation_strategy)
        elif isinstance(base, GPSampler):
            plain = base._optimize_acqf

            def optimise(acqf: Any, best_params: np.ndarray | None) -> np.ndarray:
                return _feasible_optimum(self, acqf, plain(acqf, best_params))

            # Optuna names this method as the place to change how the acquisition is optimised
            base._optimize_acqf = optimise  # type: ignore[method-assign]


class _Seen:
    """What the trials of a study had: values of all parameters, as Optuna keeps them."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._settled: set[tuple[float, ...]] = set()
        self._read = 0
        self._open: set[tuple[float, ...]] = set()

    def __contains__(self, key: tuple[float, ...]) -> bool:
        return key in self._settled or key in self._open

    def read(self, study: Study, own: int) -> None:
        """Take note of all trials but one."""
        trials = study._get_trials(deepcopy=False, use_cache=True)
        while self._read < len(trials) and trials[self._read].state.is_finished():
            self._settled |= self._keys(trials[self._read])
            self._read += 1
        self._open = set()
        for t in trials[self._read :]:
            if t.number != own:
                self._open |= self._keys(t)

    def _keys(self, t: FrozenTrial) -> set[tuple[float, ...]]:
        if any(name not in t.params for name in self.space):
            return set()
        return {tuple([float(d.to_internal_repr(t.params[name])) for name, d in self.space.items()])}


class _PrunedView:
    """A study of several objectives, with a direction for its pruned trials."""

    def __init__(self, study: Study, direction: StudyDirection) -> None:
        self._study = study
        self.direction = direction

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


def _single(distribution: BaseDistribution) -> Any:
    choices = getattr(distribution, "choices", None)
    return choices[0] if choices is not None else distribution.low  # type: ignore[attr-defined]


def _random_states(sampler: Any, depth: int = 0) -> Sequence[LazyRandomState]:
    """The generators of a sampler and of those inside it."""
    found: list[LazyRandomState] = []
    for value in vars(sampler).values():
        if isinstance(value, LazyRandomState):
            found.append(value)
        elif isinstance(value, BaseSampler) and depth < 3:
            found += _random_states(value, depth + 1)
    return found


def _filtering_estimator(owner: FeasibleSampler) -> type[_ParzenEstimator]:
    """A Parzen estimator whose samples are feasible; where few are, the density is sampled again, up to a limit."""

    class Filtering(_ParzenEstimator):
        def sample(self, rng: np.random.RandomState, size: int) -> dict[str, np.ndarray]:
            if not owner._joint or len(self._search_space) < len(owner.space):
                return super().sample(rng, size)
            kept: list[dict[str, np.ndarray]] = []
            known: list[dict[str, np.ndarray]] = []  # feasible, and another trial had them
            count = looked = 0
            rows = max(size, 64)
            for turn in range(_ROUNDS):
                block = super().sample(rng, rows)
                mask = owner._filter(block, size)
                looked += len(mask)
                fresh = owner._fresh(block, mask)
                if fresh.any():
                    kept.append({name: column[fresh] for name, column in block.items()})
                    count += int(fresh.sum())
                elif mask.any():
                    known.append({name: column[mask] for name, column in block.items()})
                    if len(known) >= _TRIES:
                        break
                if count >= size or (count and turn >= 4):
                    break
                # sampling a density is what takes time: as many rows as the rate so far asks for, and some
                rows = min(1024, max(64, 3 * (size - count) * looked // (2 * max(count, 1))))
            if not count and known:
                kept, count = known, sum(len(next(iter(part.values()))) for part in known)
            if not count:
                goal = {n: owner.space[n].to_external_repr(block[n][0].item()) for n in owner.space}
                found = nearest(rng, owner.space, owner._filter, goal)
                owner._note("repaired", looked + found.looked, found.passed)
                return {n: c.astype(float) for n, c in stack([found.values], owner.space).items()}
            owner._note("filtered", looked, count)
            return {name: np.concatenate([part[name] for part in kept])[:size] for name in kept[0]}

    return Filtering


class _FeasibleChildren:
    """NSGA-II's children, bred until one is feasible."""

    def __init__(self, owner: FeasibleSampler, inner: Callable[..., dict[str, Any]]) -> None:
        self.owner = owner
        self.inner = inner
        if isinstance(inner, NSGAIIChildGenerationStrategy):
            owner._states[id(inner._rng)] = inner._rng

    def __call__(self, study: Study, space: Space, parents: list[FrozenTrial]) -> dict[str, Any]:
        owner = self.owner
        child: dict[str, Any] = {}
        known: dict[str, Any] | None = None  # a feasible one that another trial had
        for attempt in range(_CHILDREN):
            child = self.inner(study, space, parents)
            bred = {name: value for name, value in child.items() if name in owner.space}
            missing = [name for name in owner.space if name not in bred]
            size = 64 if missing else 1
            block = {
                name: np.full(size, d.to_internal_repr(bred[name])) if name in bred else draw(owner._rng.rng, d, size)
                for name, d in owner.space.items()
            }
            mask = owner._filter(block, _TRIES if missing else 1)
            owner._note("filtered" if attempt or missing else "base", size, int(mask.sum()))
            fresh = owner._fresh(block, mask)
            if fresh.any():
                return row(block, int(fresh.argmax()), owner.space)
            if mask.any() and known is None:
                known = row(block, int(mask.argmax()), owner.space)
        if known is not None:
            return known
        start = first_feasible(owner._rng.rng, owner.space, None, child)
        found = nearest(owner._rng.rng, owner.space, owner._filter, start.values)
        owner._note("repaired", found.looked, found.passed)
        return found.values


def _feasible_optimum(owner: FeasibleSampler, acqf: Any, optimum: np.ndarray) -> np.ndarray:
    """The optimum if it is feasible, else the best of feasible candidates around it and from everywhere."""
    inner = acqf.search_space
    space = {name: owner.space[name] for name in inner._optuna_search_space}
    values = inner.get_unnormalized_param(optimum)
    if len(space) < len(owner.space) or owner._passes(values):
        return optimum
    rng = owner._rng.rng
    pool: list[dict[str, Any]] = []
    looked = 0
    for turn in range(8):
        size = 512
        keep = rng.random_sample((len(space), size)) < 0.8 - 0.1 * turn
        block: Columns = {}
        for k, (name, d) in enumerate(space.items()):
            drawn = draw(rng, d, size)
            block[name] = np.where(keep[k], d.to_internal_repr(values[name]), drawn).astype(drawn.dtype)
        hits = np.flatnonzero(owner._filter(block, 128))
        looked += size
        pool += [row(block, int(k), space) for k in hits[:128]]
        if len(pool) >= 256:
            break
    if not pool:
        pool = [first_feasible(rng, space, owner._filter).values]
    points = inner.get_normalized_params(pool, pool)
    best = int(np.argmax(acqf.eval_acqf_no_grad(points)))
    owner._note("filtered", looked, len(pool))
    return cast("np.ndarray", points[best])
