"""Where a study's trials are kept: an Optuna journal in the study's folder, or any Optuna URL."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from archgraph.ir.diagnostics import Diagnostic, SpecError

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage, JournalStorage

__all__ = [
    "HEARTBEAT",
    "JOURNAL",
    "Watch",
    "check_workers",
    "close_storage",
    "mend_journal",
    "open_storage",
    "together",
]

JOURNAL: Final = "journal.log"
#: Operations after which a journal waits for the disk: a study or a trial's state changes.
_LASTING: Final = frozenset({0, 1, 6})
#: Seconds between two signs of life of a trial in a database; one that misses three fails, and is put in line again.
HEARTBEAT: Final = 5


class Watch:
    """Fails trials of a database whose workers give no sign of life any more.

    Optuna takes a trial for lost when its last sign is old. A worker that dies before its first leaves none, and its
    trial would run for ever: each running trial gets a sign here when it is first seen, from which it counts. One watch
    lasts as long as the workers that it is over, as a new one starts to count anew.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def fail_lost(self, study: optuna.Study) -> None:
        """Fail what is lost; the storage's callback puts it in line again."""
        import warnings

        from optuna.storages import fail_stale_trials
        from optuna.storages._heartbeat import BaseHeartbeat, is_heartbeat_enabled
        from optuna.trial import TrialState

        storage = study._storage
        if not is_heartbeat_enabled(storage):
            return
        assert isinstance(storage, BaseHeartbeat)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # heartbeats are marked experimental
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if trial._trial_id not in self._seen:
                    self._seen.add(trial._trial_id)
                    storage.record_heartbeat(trial._trial_id)
            fail_stale_trials(study)


def check_workers(storage: str, workers: int) -> None:
    """Refuse what can't work.

    Raises
    ------
    SpecError
        For SQLite with several workers.
    """
    if storage.startswith("sqlite") and workers > 1:
        raise SpecError(
            Diagnostic(
                "storage/sqlite",
                None,
                f"SQLite takes one writer at a time: {workers} workers end in `database is locked`",
                expected="one worker, or another storage",
                hint="leave `storage` out for a journal file, or give a PostgreSQL or MySQL URL",
            )
        )


def mend_journal(path: Path) -> Path | None:
    """Move what a killed writer left at the end of a journal aside, so that the rest is readable.

    Complete lines at the front stay; from the first broken one on, everything goes to a file beside the journal, whose
    path is returned. None: nothing was broken. Call it while nobody writes.
    """
    if not path.exists():
        return None
    good = 0
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                if not isinstance(json.loads(line), dict):
                    break
            except ValueError:
                break
            good += len(line)
    size = path.stat().st_size
    if good == size:
        return None
    aside = path.with_name(f"{path.stem}.broken-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log")
    with open(path, "r+b") as file:
        file.seek(good)
        aside.write_bytes(file.read())
        file.truncate(good)
        file.flush()
        os.fsync(file.fileno())
    return aside


def together(storage: BaseStorage) -> AbstractContextManager[None]:
    """Write what is told to a storage inside of this context in one piece, where the storage can do so.

    Nothing that is told so can be read back before the end.
    """
    found: AbstractContextManager[None] | None = getattr(storage, "together", nullcontext)()
    assert found is not None
    return found


def _journal(path: Path) -> JournalStorage:
    """A journal whose lock dies with the process that holds it, and that takes what belongs together in one piece.

    Optuna's own locks are files, which a killed process leaves behind for half a minute; the kernel drops an flock.
    A killed process loses nothing that it wrote; against a power failure the disk is waited for when a trial ends, not
    at every parameter: that is most of what Optuna's own journal costs.
    Under that lock a tail that a killed writer left is cut off before the next line is written after it.
    """
    import fcntl

    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.storages.journal._file import BaseJournalFileLock

    class KernelLock(BaseJournalFileLock):
        def __init__(self) -> None:
            self._held: list[int] = []

        def acquire(self) -> bool:
            handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(handle, fcntl.LOCK_EX)
            self._held.append(handle)
            return True

        def release(self) -> None:
            os.close(self._held.pop())

    class File(JournalFileBackend):
        def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:  # type: ignore[override]  # Optuna only iterates
            # as a rule nothing is new, and a look at the size is all that it takes to see so
            if self._log_number_offset.get(log_number_from) == os.stat(path).st_size:
                return ()
            return super().read_logs(log_number_from)

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
            self._lock.acquire()
            try:
                with open(path, "r+b") as file:
                    end = file.seek(0, os.SEEK_END)
                    if end:
                        file.seek(end - 1)
                        if file.read(1) != b"\n":
                            _cut_tail(file, end, path)
                    file.write(lines)
                    file.flush()
                    if any(log["op_code"] in _LASTING for log in logs):
                        os.fsync(file.fileno())
            finally:
                self._lock.release()

    class Journal(JournalStorage):
        _held: list[dict[str, Any]] | None = None

        @contextmanager
        def together(self) -> Iterator[None]:
            self._held = []
            try:
                yield
            finally:
                held, self._held = self._held, None
                if held:
                    with self._thread_lock:
                        self._backend.append_logs(held)
                        self._sync_with_backend()

        def _write_log(self, op_code: int, extra_fields: dict[str, Any]) -> None:
            if self._held is None:
                super()._write_log(op_code, extra_fields)
            else:
                worker = self._replay_result.worker_id
                self._held.append({"op_code": op_code, "worker_id": worker, **extra_fields})

        def _sync_with_backend(self) -> None:
            if self._held is None:
                super()._sync_with_backend()

    return Journal(File(os.fspath(path), lock_obj=KernelLock()))


def _cut_tail(file: Any, end: int, path: Path) -> None:
    """Cut the unfinished last line off, keeping it in a file beside; leaves the position at the new end."""
    start, tail = end, b""
    while start and b"\n" not in tail:
        step = min(start, 1 << 16)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
    keep = start + tail.rfind(b"\n") + 1
    with open(path.with_name(f"{path.stem}.broken-tail.log"), "ab") as aside:
        aside.write(tail[tail.rfind(b"\n") + 1 :] + b"\n")
    file.seek(keep)
    file.truncate()


def open_storage(storage: str, folder: Path, heartbeat: int | None = None) -> BaseStorage:
    """The storage that a study names: ``journal``, or a database URL.

    Parameters
    ----------
    heartbeat : int, optional
        Seconds between two signs of life of a running trial, for a database: a trial without them fails, and is put
        in line again.

    Raises
    ------
    SpecError
        If there is no such storage, or it can't be reached.
    """
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

    if storage == "journal":
        folder.mkdir(parents=True, exist_ok=True)
        return _journal(folder / JOURNAL)
    if "://" not in storage:
        raise SpecError(
            Diagnostic(
                "storage/unknown",
                None,
                f"there is no storage `{storage}`",
                expected="journal, or a URL as SQLAlchemy reads it: postgresql+psycopg://…, mysql+pymysql://…, sqlite:///…",
            )
        )
    import warnings

    from optuna.exceptions import ExperimentalWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            more: dict[str, Any] = {}
            if heartbeat is not None:
                more = {
                    "heartbeat_interval": heartbeat,
                    "grace_period": 3 * heartbeat,
                    "heartbeat_stale_trial_callback": RetryHeartbeatStaleTrialCallback(max_retry=3),
                }
            return RDBStorage(storage, **more)
    except Exception as error:  # drivers raise what they like: a missing module, a refused connection
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        message = f"the storage {_hidden(storage)} can't be opened: {reason}"
        raise SpecError(Diagnostic("storage/open", None, message)) from error


def close_storage(storage: Any) -> None:
    """Close a database's connections; nothing for a journal."""
    engine = getattr(getattr(storage, "_backend", storage), "engine", None)
    if engine is not None:
        storage.remove_session()
        engine.dispose()


def _hidden(url: str) -> str:
    """A URL without its password."""
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":…@")))
