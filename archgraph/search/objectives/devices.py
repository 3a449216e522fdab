"""Where candidates are trained and timed: what a study asks for, and what this machine has.

A study that asks for a device which is not there is refused before its first trial, not trial by trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import torch

from archgraph.ir.diagnostics import Diagnostic, SpecError

if TYPE_CHECKING:
    from archgraph.search.study_file import Study

__all__ = ["accelerator", "check_devices", "device", "shares"]

_AUTO: Final = ("cuda", "mps", "cpu")


def _count(kind: str) -> int:
    """How many devices of a kind there are; any number of CPU processes may run."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return 1


def accelerator(asked: str, devices: int = 1, setting: str = "train.accelerator") -> str:
    """The accelerator for what was asked for: ``cpu``, ``cuda``, ``mps``, or for ``auto`` the first of cuda, mps, cpu
    that is there.

    Raises
    ------
    SpecError
        If it is not there, or not so many of it.
    """
    kind = next(k for k in _AUTO if _count(k)) if asked == "auto" else asked
    there = _count(kind)
    if not there:
        what = f"`{setting}: {asked}`, and PyTorch {torch.__version__} sees no {kind} device on this machine"
        missing = kind == "cuda" and torch.version.cuda is None
        why = "this PyTorch is built without CUDA; " if missing else ""
        raise SpecError(
            Diagnostic("device/missing", None, what, hint=f"{why}`auto` takes what there is, `cpu` always works")
        )
    if kind != "cpu" and devices > there:
        what = f"`{setting}: {asked}` with {devices} devices, and this machine has {there}"
        raise SpecError(Diagnostic("device/count", None, what, expected=f"at most {there}"))
    return kind


def device(asked: str, setting: str = "latency.device") -> torch.device:
    """The device for what was asked for: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``.

    Raises
    ------
    SpecError
        If there is no such device.
    """
    kind, _, index = asked.partition(":")
    if kind not in (*_AUTO, "auto") or (index and (kind != "cuda" or not index.isdecimal())):
        what = f"there is no device `{asked}`"
        raise SpecError(
            Diagnostic("device/unknown", None, f"`{setting}`: {what}", expected="cpu, cuda, cuda:1, mps or auto")
        )
    found = accelerator(kind, int(index or 0) + 1, setting)
    return torch.device(found, int(index)) if index else torch.device(found)


def check_devices(study: Study) -> None:
    """Refuse a study whose devices are not on this machine.

    Raises
    ------
    SpecError
        With the setting that asks for them.
    """
    if study.trained:
        accelerator(study.train["accelerator"], study.train["devices"])
    if "latency" in study.metrics:
        device(study.latency["device"])


def shares(workers: int, devices: int, visible: Sequence[str]) -> list[str | None]:
    """Which GPUs each worker sees, as ``CUDA_VISIBLE_DEVICES`` has them: groups of ``devices`` in turns.

    None for all of them where there are no more than one worker needs.
    """
    groups = [visible[k : k + devices] for k in range(0, len(visible) - devices + 1, devices)]
    if len(groups) < 2:
        return [None] * workers
    return [",".join(groups[k % len(groups)]) for k in range(workers)]
