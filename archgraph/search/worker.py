"""The loop that runs trials: in this process, as ``python -m archgraph.search.worker FOLDER``, or in a Ray actor."""

from __future__ import annotations

import platform
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.study._tell import _tell_with_warning
from optuna.trial import FrozenTrial, Trial, TrialState

from archgraph.ir.diagnostics import SpecError
from archgraph.search.candidate import Candidate, Candidates
from archgraph.search.claims import Claims
from archgraph.search.draws import Infeasible
from archgraph.search.evaluate import Outcome, evaluate
from archgraph.search.feasible import Feasibility
from archgraph.search.objectives.failures import Diverged, Pruned, is_out_of_memory
from archgraph.search.parts import OneMetric, make_pruner, make_sampler, open_study, pruned_metric, trials_of
from archgraph.search.sampler import trial_seed
from archgraph.search.storage import HEARTBEAT, open_storage, together
from archgraph.search.study_file import Study

__all__ = ["RECORD", "Worker", "is_lost", "record_of", "versions"]

RECORD: Final = "record"
_TAKEN: Final = "archgraph:taken_over"
_TIMES: Final = 3

Progress = Callable[[optuna.Study, FrozenTrial], None]


def versions() -> dict[str, str]:
    """What a number may depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("archgraph", "optuna", "numpy", "torch", "lightning-fabric"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def record_of(trial: FrozenTrial) -> dict[str, Any]:
    """What a finished trial recorded; empty for one that did not get so far."""
    found = trial.user_attrs.get(RECORD)
    return found if isinstance(found, dict) else {}


class Worker:
    """Runs trials of a study until there are enough, time is up, or it is told to stop.

    Parameters
    ----------
    study : Study
    folder : Path
        The study's own folder.
    shared : bool
        Whether workers on other machines take part: trials are then owned by the database's heartbeat, not by files.
    """

    def __init__(self, study: Study, folder: Path, *, shared: bool = False, storage: Any = None) -> None:
        self.study = study
        self.folder = folder
        self.candidates = Candidates(study)
        self.feasibility = Feasibility(study, self.candidates)
        self.sampler = make_sampler(study, self.feasibility)
        self.trials = trials_of(study, self.sampler)
        self.storage = (
            storage if storage is not None else open_storage(study.storage, folder, HEARTBEAT if shared else None)
        )
        self.optuna = open_study(study, self.storage, self.sampler, create=False)
        self.pruner = make_pruner(study)
        self.claims = None if shared else Claims(folder)
        self.stop = False
        self._answers: dict[str, int] = {}
        self._read = 0
        self._settled = self._counted = 0
        self._versions = versions()

    def run(self, *, deadline: float | None = None, limit: int | None = None, progress: Progress | None = None) -> int:
        """Run trials; returns how many.

        Parameters
        ----------
        deadline : float, optional
            `time.time` after which no trial begins.
        limit : int, optional
            Trials at most, of this worker.
        progress : function, optional
            Called after each trial.
        """
        done = 0
        if self.claims is not None:
            self.claims.enter()
        try:
            while not self.stop and (deadline is None or time.time() < deadline) and (limit is None or done < limit):
                trial = self._next()
                if trial is None:
                    break
                finished = self._one(trial)
                done += 1
                if progress is not None:
                    progress(self.optuna, finished)
        finally:
            if self.claims is not None:
                self.claims.leave()
        return done

    # -- taking a trial ----------------------------------------------------------------------------------------------

    def _next(self) -> Trial | None:
        if self.claims is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # heartbeat and retries are marked experimental
                optuna.storages.fail_stale_trials(self.optuna)
                return self._fresh()
        with self.claims.gate():
            trial = self._orphan() or self._fresh()
            self.claims.claim(None if trial is None else trial.number)
        return trial

    def _unsettled(self) -> list[FrozenTrial]:
        """The trials from the first that is not finished on; those before are counted once and for all."""
        trials = self.optuna.get_trials(deepcopy=False)
        while self._settled < len(trials) and trials[self._settled].state.is_finished():
            self._counted += not is_lost(trials[self._settled])
            self._settled += 1
        return trials[self._settled :]

    def _orphan(self) -> Trial | None:
        """A running trial whose worker is gone."""
        assert self.claims is not None
        running = [t for t in self._unsettled() if t.state == TrialState.RUNNING]
        if not running:
            return None
        taken = self.claims.taken()
        for frozen in running:
            if frozen.number in taken:
                continue
            trial, times = Trial(self.optuna, frozen._trial_id), frozen.system_attrs.get(_TAKEN, 0) + 1
            if times <= _TIMES:
                self.storage.set_trial_system_attr(frozen._trial_id, _TAKEN, times)
                return trial
            self._give_up(trial, times)
        return None

    def _give_up(self, trial: Trial, times: int) -> None:
        """End a trial whose workers die, so that it does not end the study: a crash, or more memory than there is."""
        message = f"{times} workers died while they ran it: it may need more memory than there is, or crash"
        record = {
            "seed": trial_seed(self.study.seed, _first_number(trial), "candidate"),
            "error": {"kind": "died", "message": message},
            "versions": self._versions,
        }
        with together(self.storage):
            trial.set_user_attr(RECORD, record)
            _tell_with_warning(self.optuna, trial, None, TrialState.FAIL)

    def _fresh(self) -> Trial | None:
        """The next trial, if the study is not full."""
        rest = self._unsettled()
        waiting = sum(t.state == TrialState.WAITING for t in rest)
        counted = self._counted + sum(t.state != TrialState.WAITING and not is_lost(t) for t in rest)
        if self.trials is not None and counted >= self.trials and not waiting:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # asking outside of `optimize` with a heartbeat: it is kept below
            return self.optuna.ask()

    # -- running one -------------------------------------------------------------------------------------------------

    def _one(self, trial: Trial) -> FrozenTrial:
        start = time.perf_counter()
        seed = trial_seed(self.study.seed, _first_number(trial), "candidate")
        record: dict[str, Any] = {"seed": seed}
        outcome = Outcome()
        state, values = TrialState.FAIL, None
        with self._alive(trial):
            try:
                vector = self._vector(trial)
                record["draw"] = [self.sampler.last.how, self.sampler.last.looked, self.sampler.last.passed]
                candidate = self.candidates.candidate(vector, seed)
                described(candidate, record)
                known = self._answer(candidate.key, trial.number)
                if known is not None:
                    state, values = _repeated(known, record, self.study)
                else:
                    evaluate(candidate, outcome, self._epoch(trial), self._check(trial))
                    values = [outcome.metrics[o.metric] for o in self.study.objectives]
                    _refuse_nan(self.study, values)
                    state = TrialState.COMPLETE
            except Pruned as why:
                state, values = TrialState.PRUNED, None
                record["pruned"] = str(why)
            except Diverged as error:
                record["error"] = {"kind": "nan", "message": str(error)}
            except (SpecError, Infeasible) as error:
                record["error"] = {"kind": "spec", "message": str(error)}
            except Exception as error:  # whatever a model, a driver or a user's function raises ends this trial only
                kind = "memory" if _memory(error) else "exception"
                last = traceback.format_exception_only(error)[-1].strip()
                record["error"] = {"kind": kind, "message": last, "trace": traceback.format_exc(limit=-8)[-4000:]}
            if outcome.metrics:
                record["metrics"] = outcome.metrics
            record.update(outcome.more)
            outcome.timed("total", start)
            record["seconds"] = outcome.seconds
            record["versions"] = self._versions
            with together(self.storage):
                trial.set_user_attr(RECORD, _finite(record))
                _tell_with_warning(self.optuna, trial, values if state == TrialState.COMPLETE else None, state)
            return self.storage.get_trial(trial._trial_id)

    def _vector(self, trial: Trial) -> dict[str, Any]:
        """A value for each parameter, in the storage too."""
        trial.relative_params  # noqa: B018  reads the storage, so it comes before what is written in one piece
        with together(self.storage):
            return {name: trial._suggest(name, d) for name, d in self.study.space.distributions.items()}

    @contextmanager
    def _alive(self, trial: Trial) -> Iterator[None]:
        """Signs of life of a trial, where the storage keeps them."""
        from optuna.storages._heartbeat import get_heartbeat_thread

        with get_heartbeat_thread(trial._trial_id, self.storage) if self.claims is None else nullcontext():
            yield

    def _answer(self, key: str, number: int) -> FrozenTrial | None:
        """The finished trial of an isomorphic candidate."""
        trials = self.optuna.get_trials(deepcopy=False)
        while self._read < len(trials) and trials[self._read].state.is_finished():
            self._remember(trials[self._read])
            self._read += 1
        for t in trials[self._read :]:
            if t.state.is_finished():
                self._remember(t)
        known = self._answers.get(key)
        return trials[known] if known is not None and known != number else None

    def _remember(self, trial: FrozenTrial) -> None:
        record = record_of(trial)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and "key" in record and "same_as" not in record:
            self._answers.setdefault(record["key"], trial.number)

    def _epoch(self, trial: Trial) -> Callable[[int, Mapping[str, float]], None]:
        if self.pruner is None:
            return lambda epoch, found: None
        pruner = self.pruner
        name, direction = pruned_metric(self.study)
        view: Any = OneMetric(self.optuna, direction)

        def epoch(step: int, found: Mapping[str, float]) -> None:
            self.storage.set_trial_intermediate_value(trial._trial_id, step, found[name])
            if pruner.prune(view, self.storage.get_trial(trial._trial_id)):
                raise Pruned(f"{name} is {found[name]:.6g} after {step} epochs", dict(found))

        return epoch

    def _check(self, trial: Trial) -> Callable[[str, float], None]:
        limits = {c.metric: c for c in self.study.soft}

        def check(name: str, value: float) -> None:
            limit = limits.get(name)
            if limit is None:
                return
            violation = limit.violation(value)
            if name not in trial.constraints:
                trial.set_constraint(name, violation)
            if violation > 0:
                raise Pruned(f"{name} is {value:.6g}, and the limit is {limit}")

        return check


def _memory(error: Exception) -> bool:
    import sys

    return isinstance(error, MemoryError) or ("torch" in sys.modules and is_out_of_memory(error))


def _refuse_nan(study: Study, values: list[float]) -> None:
    for o, value in zip(study.objectives, values, strict=True):
        if value != value:
            raise Diverged(f"{o.metric} is no number")


def _first_number(trial: Trial) -> int:
    """The number of a trial, or of the one that it repeats after a lost worker."""
    number = trial._cached_frozen_trial.system_attrs.get("failed_trial", trial.number)
    return int(number)


def is_lost(trial: FrozenTrial) -> bool:
    """Whether a trial ended with its worker, and another repeats it."""
    return trial.state == TrialState.FAIL and RECORD not in trial.user_attrs


def described(candidate: Candidate, record: dict[str, Any]) -> None:
    """Put into a record what is needed to make the candidate again."""
    from archgraph.search.candidate import _plain

    a = candidate.assignment
    record["spec"] = candidate.spec.name
    record["variant"] = candidate.spec.variant
    record["params"] = {name: _plain(value) for name, value in candidate.spec.params().items()}
    if a.rewrites:
        record["rewrites"] = [dict(r) for r in a.rewrites]
    record.update({name: values for name, values in (("train", a.train), ("data", a.data)) if values})
    if a.inactive:
        record["inactive"] = sorted(a.inactive)
    record["hash"], record["key"], record["costs"] = candidate.hash, candidate.key, candidate.costs


def _repeated(known: FrozenTrial, record: dict[str, Any], study: Study) -> tuple[TrialState, list[float] | None]:
    """The result of a trial that an isomorphic candidate had."""
    before = record_of(known)
    record["same_as"], record["seed"] = known.number, before["seed"]
    if "metrics" in before:
        record["metrics"] = before["metrics"]
    if "pruned" in before:
        record["pruned"] = before["pruned"]
    return known.state, list(known.values) if known.state == TrialState.COMPLETE and known.values else None


def _finite(value: Any) -> Any:
    """Floats that JSON has no words for as text."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, (list, tuple)) else value


def main() -> None:
    """A worker process of one machine; SIGTERM lets it finish its trial."""
    import argparse
    import os
    import signal

    parser = argparse.ArgumentParser(prog="python -m archgraph.search.worker")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--deadline", type=float)
    parser.add_argument("--plugin", action="append", default=[])
    given = parser.parse_args()
    from archgraph.ops.plugins import use
    from archgraph.search.folder import study_of

    for plugin in given.plugin:
        use(plugin)
    worker = Worker(study_of(given.folder), given.folder)
    parent = os.getppid()

    def stop(*_: Any) -> None:
        worker.stop = True

    def progress(*_: Any) -> None:
        if os.getppid() != parent:  # who watches over the study is gone
            worker.stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.run(deadline=given.deadline, progress=progress)


if __name__ == "__main__":
    main()
