"""Which process runs which trial, on one machine: a file for each worker, locked as long as the process lives.

The kernel drops a lock when its process ends, however it ends. So a running trial without a living owner is known at
once, and is taken over under its own number: with the same parameters and the same seed, as if nothing had happened.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["Claims"]

_GATE: Final = "gate.lock"


class Claims:
    """The claims of a study's folder, and this process's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "claims"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._own: Path | None = None
        self._handle: int | None = None

    def enter(self) -> None:
        """Begin to be a worker."""
        self._own = self.folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
        self._handle = os.open(self._own, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        self.claim(None)

    def leave(self) -> None:
        """End to be one."""
        if self._own is not None and self._handle is not None:
            self._own.unlink(missing_ok=True)
            os.close(self._handle)
        self._own = self._handle = None

    def claim(self, number: int | None) -> None:
        """Say which trial this process runs."""
        assert self._handle is not None
        data = json.dumps({"pid": os.getpid(), "trial": number}).encode()
        os.pwrite(self._handle, data.ljust(64), 0)

    @contextmanager
    def gate(self) -> Iterator[None]:
        """One process at a time counts, takes and claims trials."""
        handle = os.open(self.folder / _GATE, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def taken(self) -> set[int]:
        """Trials that a living process runs. Files of dead ones are cleared away. Call it inside `gate`."""
        found: set[int] = set()
        for path in self.folder.glob("*.json"):
            if path == self._own:
                continue
            try:
                handle = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                continue
            try:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    number = _read(handle)
                    if number is not None:
                        found.add(number)
                    continue
                path.unlink(missing_ok=True)
            finally:
                os.close(handle)
        return found

    def workers(self) -> int:
        """How many processes work on the study now."""
        alive = 0
        for path in self.folder.glob("*.json"):
            try:
                handle = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                alive += 1
            finally:
                os.close(handle)
        return alive


def _read(handle: int) -> int | None:
    try:
        number = json.loads(os.pread(handle, 256, 0) or b"{}").get("trial")
    except ValueError:
        return None
    return number if isinstance(number, int) else None
