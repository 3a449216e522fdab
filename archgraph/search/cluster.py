"""Workers on a Ray cluster, a database between them.

Ray starts the workers as actors and starts them anew elsewhere when a node is lost; Optuna's database keeps the trials.
A running trial gives signs of life there; one without them fails, and Optuna puts it in line again with the same
parameters. Nothing else passes between the machines.
"""

from __future__ import annotations

import dataclasses
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from optuna.trial import TrialState

from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.search.parts import open_study
from archgraph.search.run import Stop, Tick
from archgraph.search.storage import HEARTBEAT, Watch, close_storage, open_storage
from archgraph.search.study_file import Study, read_study
from archgraph.search.worker import Worker, is_lost

if TYPE_CHECKING:
    import optuna

__all__ = ["Remote", "run_ray"]

_CHUNK: Final = 1
_RESTARTS: Final = 20


class Remote:
    """What an actor holds: a worker, made on its machine from the study's text."""

    def __init__(self, text: str, file: str, changes: Mapping[str, Any], plugins: Sequence[str]) -> None:
        from archgraph.ops.plugins import use

        for plugin in plugins:
            use(plugin)
        study = dataclasses.replace(read_study(text, file), **changes)
        self.worker = Worker(study, Path(), shared=True)

    def step(self, deadline: float | None) -> bool:
        """Run one trial; whether there was one to run."""
        return self.worker.run(deadline=deadline, limit=_CHUNK) > 0


def run_ray(
    study: Study,
    folder: Path,
    address: str,
    workers: int,
    plugins: Sequence[str],
    cpus: float,
    gpus: float,
    stop: Stop,
    tick: Tick,
) -> None:
    """Run a study's trials in actors.

    Parameters
    ----------
    address : str
        Of a running cluster; empty for the one that Ray finds, or starts on this machine.

    Raises
    ------
    SpecError
        If the cluster can't be reached, or actors die again and again.
    """
    import ray

    _reach(address)
    if not ray.is_initialized():
        try:
            ray.init(
                address=address or None, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            message = f"no Ray cluster at {address or 'this machine'}: {error}"
            raise SpecError(Diagnostic("search/ray", None, message)) from error
    deadline = None if study.timeout is None else time.time() + study.timeout
    changes = {name: getattr(study, name) for name in ("trials", "timeout", "seed", "storage")}
    actor = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=_RESTARTS, max_task_retries=0)(Remote)
    watched = open_study(study, open_storage(study.storage, folder, HEARTBEAT), None, create=False)
    arguments = (study.text, str(Path(study.path).resolve()), changes, list(plugins))
    handles: dict[Any, Any] = {}

    def start() -> None:
        handle: Any = actor.remote(*arguments)
        handles[handle.step.remote(deadline)] = handle

    def room() -> bool:
        """Whether another trial may begin: what runs will be finished as a rule."""
        return study.trials is None or _counted(watched) + len(handles) < study.trials

    for _ in range(workers):
        if room() or not handles:
            start()
    deaths, seen, watch = 0, _finished(watched), Watch()
    try:
        with stop.listening():
            while handles:
                ready, _ = ray.wait(list(handles), num_returns=1, timeout=0.3)
                tick(watched)
                for reference in ready:
                    handle = handles.pop(reference)
                    try:
                        more = ray.get(reference)
                    except ray.exceptions.RayActorError as error:
                        now = _finished(watched)
                        deaths, seen = (deaths + 1 if now == seen else 1), now
                        if deaths > 3 * workers:
                            message = f"workers die before they finish a trial: {str(error).splitlines()[0]}"
                            raise SpecError(Diagnostic("search/worker", None, message)) from error
                        if not stop.asked:
                            start()
                        continue
                    if more and not stop.asked and room():
                        handles[handle.step.remote(deadline)] = handle
                    else:
                        ray.kill(handle)
                if not handles and not stop.asked and _waits(watched, watch, deadline):
                    start()  # a lost trial is noticed only when its signs of life stay away
    finally:
        for handle in handles.values():
            ray.kill(handle)
        close_storage(watched._storage)


def _reach(address: str) -> None:
    """Refuse an address where nobody listens: Ray itself would try for minutes.

    Raises
    ------
    SpecError
        If no connection is made in five seconds.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # `auto`, `local`, or nothing: Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        message = f"no Ray cluster at {address}: {error}"
        hint = "`ray start --head --port=6379` starts one; the address is that of its head"
        raise SpecError(Diagnostic("search/ray", None, message, hint=hint)) from error


def _finished(watched: optuna.Study) -> int:
    return sum(t.state.is_finished() for t in watched.get_trials(deepcopy=False))


def _counted(watched: optuna.Study) -> int:
    """Finished trials, without those that ended with their worker."""
    return sum(t.state.is_finished() and not is_lost(t) for t in watched.get_trials(deepcopy=False))


def _waits(watched: optuna.Study, watch: Watch, deadline: float | None) -> bool:
    """Whether trials are left: in line, or running without anybody who runs them."""
    if deadline is not None and time.time() >= deadline:
        return False
    watch.fail_lost(watched)
    states = [t.state for t in watched.get_trials(deepcopy=False)]
    if TrialState.RUNNING in states and TrialState.WAITING not in states:
        time.sleep(1.0)
    return TrialState.WAITING in states or TrialState.RUNNING in states
