"""What ends one trial, and not the study."""

from __future__ import annotations

__all__ = ["Diverged", "Pruned", "is_out_of_memory"]


class Diverged(Exception):
    """A loss or score is no number any more."""


class Pruned(Exception):
    """The pruner, or a limit that was measured, ends the trial. ``values`` is what is known by then."""

    def __init__(self, why: str, values: dict[str, float] | None = None) -> None:
        super().__init__(why)
        self.values = values or {}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory did not suffice."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
