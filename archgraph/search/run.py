"""Starting a study, going on with it, and watching over its workers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from optuna.trial import TrialState

from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.search.draws import Infeasible
from archgraph.search.folder import create_folder
from archgraph.search.metrics import MEASURED
from archgraph.search.parts import open_study
from archgraph.search.storage import JOURNAL, check_workers, close_storage, mend_journal, open_storage
from archgraph.search.study_file import Study
from archgraph.search.worker import Worker, versions

if TYPE_CHECKING:
    import optuna

__all__ = ["Stop", "prepare", "run_here", "run_processes"]

_RESTARTS: Final = 3
_LOOKS: Final = 100_000
_PATIENCE: Final = 30.0

Tick = Callable[["optuna.Study"], None]


class Stop:
    """Whether the user wants an end: once after the running trials, twice at once."""

    def __init__(self) -> None:
        self.asked = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C and SIGTERM as the wish."""

        def handler(number: int, frame: Any) -> None:
            self.asked += 1
            if self.asked > 1:
                raise KeyboardInterrupt

        before = {}
        with contextlib.suppress(ValueError):  # not in the main thread: whoever runs us listens
            before = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for s, old in before.items():
                signal.signal(s, old)


def prepare(
    study: Study, folder: Path, workers: int, *, resume: bool, changes: dict[str, Any], here: bool = True
) -> list[str]:
    """Make or mend what workers need; returns what the user should know.

    Parameters
    ----------
    here : bool
        Whether the workers will run on this machine, whose devices they then use.

    Raises
    ------
    SpecError
        If the storage can't work so, the folder is taken, a device or the data is missing, or nothing is feasible.
    """
    check_workers(study.storage, workers)
    if here and (study.trained or "latency" in study.metrics):
        from archgraph.search.objectives.devices import check_devices

        check_devices(study)
    if here and study.data is not None and any(m in MEASURED[g] for g in ("trained", "proxy") for m in study.metrics):
        from archgraph.search.data import load_data

        load_data(
            {"kind": study.data.kind, **study.data.values}, study.folder
        )  # a fault in it ends the study, not trials
    notes: list[str] = []
    if resume:
        if study.storage == "journal":
            aside = mend_journal(folder / JOURNAL)
            if aside is not None:
                notes.append(f"the end of the journal was broken; it is kept in {aside.name}")
        storage = open_storage(study.storage, folder)
        with contextlib.suppress(KeyError):
            open_study(study, storage, None, create=False)
            close_storage(storage)
            return notes
    rate = acceptance(study)
    if not resume:
        storage = open_storage(study.storage, folder)
        create_folder(study, folder, changes)
    from optuna.exceptions import DuplicatedStudyError

    try:
        made = open_study(study, storage, None, create=True)
        made.set_user_attr("acceptance", rate)
        made.set_user_attr("versions", versions())
        close_storage(storage)
    except DuplicatedStudyError:
        message = f"the storage has a study `{study.name}` already"
        raise SpecError(
            Diagnostic("study/exists", None, message, hint="resume it, or give this one another name")
        ) from None
    return notes


def acceptance(study: Study) -> list[int]:
    """How many uniform draws were looked at, and how many of them are feasible; at least one is.

    Raises
    ------
    SpecError
        If none is, with how many broke which limit.
    """
    import numpy as np

    from archgraph.search.candidate import Candidates
    from archgraph.search.draws import BLOCK, cardinality, draw, first_feasible, row
    from archgraph.search.feasible import Feasibility

    feasibility = Feasibility(study)
    space = study.space.distributions
    rng = np.random.RandomState(study.seed)
    start = time.perf_counter()
    try:
        if feasibility.filter is None:
            return [1, 1]
        looked, passed, size = 0, 0, 16
        while looked < _LOOKS and (looked == 0 or time.perf_counter() - start < 1):
            size = min(4 * size, BLOCK) if feasibility.compiled else 64
            passed += int(feasibility({name: draw(rng, d, size) for name, d in space.items()}).sum())
            looked += size
        if not passed:
            limit = 20 * int(min(cardinality(space), 2_500_000))
            first_feasible(rng, space, feasibility.filter, None, limit, lambda: time.perf_counter() - start < _PATIENCE)
        return [looked, passed]
    except Infeasible as error:
        found = str(error)
    candidates = Candidates(study)
    block = {name: draw(rng, d, 200) for name, d in space.items()}
    broken: dict[str, int] = {}
    for k in range(200):
        try:
            costs = candidates.candidate(row(block, k, space)).costs
            why = next((str(c) for c in study.hard if c.violation(costs[c.metric]) > 0), "")
        except SpecError as error:
            first = error.diagnostics[0]
            why = f"{first.message} ({first.code})"
        broken[why] = broken.get(why, 0) + 1
    notes = tuple((None, f"{n} of 200: {why}") for why, n in sorted(broken.items(), key=lambda item: -item[1]) if why)
    hint = "widen the limits or the space"
    raise SpecError(Diagnostic("study/infeasible", None, f"{found}: nothing to search", notes[:8], hint=hint))


def run_here(study: Study, folder: Path, stop: Stop, tick: Tick) -> None:
    """Run trials in this process."""
    worker = Worker(study, folder)
    deadline = None if study.timeout is None else time.time() + study.timeout

    def progress(optuna_study: Any, trial: Any) -> None:
        tick(optuna_study)
        worker.stop = worker.stop or stop.asked > 0

    with stop.listening():
        worker.run(deadline=deadline, progress=progress)


def run_processes(study: Study, folder: Path, workers: int, plugins: Sequence[str], stop: Stop, tick: Tick) -> None:
    """Run trials in worker processes, and replace those that die while there is work.

    Raises
    ------
    SpecError
        If workers die again and again without finishing a trial.
    """
    deadline = None if study.timeout is None else time.time() + study.timeout
    command = [sys.executable, "-m", "archgraph.search.worker", os.fspath(folder)]
    command += [] if deadline is None else ["--deadline", str(deadline)]
    command += [part for plugin in plugins for part in ("--plugin", plugin)]
    log = open(folder / "workers.log", "ab")  # noqa: SIM115  closed below, after the workers
    watched = open_study(study, open_storage(study.storage, folder), None, create=False)

    gpus = _gpus(study, workers)
    slots: dict[subprocess.Popen[bytes], int] = {}

    def start() -> subprocess.Popen[bytes]:
        slot = min(set(range(workers)) - set(slots.values()))
        own = gpus[slot]
        environment = None if own is None else {**os.environ, "CUDA_VISIBLE_DEVICES": own}
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, env=environment
        )
        slots[process] = slot
        return process

    def finished() -> int:
        return sum(t.state.is_finished() for t in watched.get_trials(deepcopy=False))

    alive = [start() for _ in range(workers)]
    told, deaths, seen = False, 0, finished()
    try:
        with stop.listening():
            while alive:
                time.sleep(0.2)
                tick(watched)
                if stop.asked and not told:
                    told = True
                    for process in alive:
                        process.terminate()
                for process in list(alive):
                    code = process.poll()
                    if code is None:
                        continue
                    alive.remove(process)
                    del slots[process]
                    if code == 0 or stop.asked:
                        continue
                    now = finished()
                    deaths = deaths + 1 if now == seen else 1
                    seen = now
                    if deaths > _RESTARTS * workers:
                        raise SpecError(_dying(folder, code))
                    if _unfinished(study, watched):
                        alive.append(start())
    finally:
        for process in alive:
            process.kill()
        for process in alive:
            process.wait()
        log.close()


def _gpus(study: Study, workers: int) -> list[str | None]:
    """Which GPUs each worker sees; None for all of them."""
    if not study.trained or study.train["accelerator"] not in ("cuda", "auto"):
        return [None] * workers
    import torch

    from archgraph.search.objectives.devices import shares

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = given.split(",") if given else [str(k) for k in range(torch.cuda.device_count())]
    return shares(workers, study.train["devices"], visible)


def _unfinished(study: Study, watched: optuna.Study) -> bool:
    trials = watched.get_trials(deepcopy=False)
    open_ones = any(t.state in (TrialState.RUNNING, TrialState.WAITING) for t in trials)
    return open_ones or study.trials is None or len(trials) < study.trials


def _dying(folder: Path, code: int) -> Diagnostic:
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = (folder / "workers.log").read_text(errors="replace").strip().splitlines()
    notes: tuple[tuple[None, str], ...] = ((None, lines[-1]),) if lines else ()
    message = f"workers die before they finish a trial (exit code {code})"
    return Diagnostic("search/worker", None, message, notes, hint=f"{folder / 'workers.log'} has what they said")
