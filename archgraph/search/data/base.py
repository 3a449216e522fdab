"""What a data set is, and where each kind comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from archgraph.ir.diagnostics import Diagnostic, SpecError

__all__ = ["IGNORED", "Dataset", "fault", "load_data", "split"]

#: Target of a position that does not count.
IGNORED: Final = -100


@dataclass(frozen=True)
class Dataset:
    """Samples and targets, to train on and held out.

    ``x`` is [samples, …]; ``y`` is [samples] of classes, or [samples, length] of a class for each position, where
    `IGNORED` ones don't count. ``classes`` is how many there are.
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or len(self.x_test) != len(self.y_test):
            raise ValueError("as many targets as samples")


def fault(code: str, message: str, hint: str | None = None) -> SpecError:
    """An error in the data of a study."""
    return SpecError(Diagnostic(code, None, message, hint=hint))


def split(x: Tensor, y: Tensor, held_out: float, seed: int, classes: int) -> Dataset:
    """A random split with the same part of each class held out."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=generator)
    x, y = x[order], y[order]
    test = torch.zeros(len(y), dtype=torch.bool)
    for c in torch.unique(y):
        rows = torch.nonzero(y == c).flatten()
        test[rows[: max(1, round(len(rows) * held_out))]] = True
    if bool(test.all()):
        raise fault("data/split", "nothing is left to train on: too few samples of each class")
    return Dataset(x[~test], y[~test], x[test], y[test], classes)


_known: dict[str, Dataset] = {}


def load_data(settings: Mapping[str, Any], folder: Path) -> Dataset:
    """The data set of a study or candidate; kept, so that trials of one process share it.

    Parameters
    ----------
    settings : mapping
        ``kind`` and its settings.
    folder : Path
        Where relative paths start.

    Raises
    ------
    SpecError
        If it is not there, or not what it should be.
    """
    key = json.dumps([dict(settings), str(folder)], sort_keys=True)
    known = _known.get(key)
    if known is None:
        from archgraph.search.data import files, tasks

        kind = settings["kind"]
        values = {name: value for name, value in settings.items() if name != "kind"}
        if "path" in values:
            values["path"] = folder / values["path"]
        if values.get("test_path") is not None:
            values["test_path"] = folder / values["test_path"]
        maker = getattr(tasks, kind, None) or getattr(files, kind)
        if len(_known) >= 8:
            _known.clear()
        known = _known[key] = maker(**values)
    return known
