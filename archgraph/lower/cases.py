"""Recorded runs of reference implementations: a folder with `case.yaml` and `tensors.safetensors`.

``case.yaml`` says which class was run, with which arguments and in which mode; the tensors are ``state.<key>``,
``in.<name>`` and ``out.<name>``.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from safetensors.torch import load_file
from torch import Tensor

from archgraph.spec.keys import Shape

__all__ = ["Case", "CaseError", "find_cases", "find_key_lists", "read_case", "read_key_list"]

CASE: Final = "case.yaml"
TENSORS: Final = "tensors.safetensors"


class CaseError(Exception):
    """A recorded run, or a key list, is not written as one."""


@dataclass(frozen=True, slots=True)
class Case:
    """One recorded run; the fields are those of ``case.yaml``, then its tensors by kind."""

    folder: Path
    paper: str
    unit: str
    official: str
    args: Mapping[str, Any]
    params: int | None
    mode: str
    note: str
    state: Mapping[str, Tensor] = field(repr=False)
    inputs: Mapping[str, Tensor] = field(repr=False)
    outputs: Mapping[str, Tensor] = field(repr=False)

    @property
    def name(self) -> str:
        return self.folder.name


def find_cases(paths: Iterable[Path]) -> list[Path]:
    """The folders with a ``case.yaml`` at or below these paths, each once, in order.

    Raises
    ------
    CaseError
        If a path is not there.
    """
    return [file.parent for file in _below(paths, CASE)]


def find_key_lists(paths: Iterable[Path]) -> list[Path]:
    """The files ``keys-*.tsv.gz`` at or below these paths, each once, in order.

    Raises
    ------
    CaseError
        If a path is not there.
    """
    return _below(paths, "keys-*.tsv.gz")


def _below(paths: Iterable[Path], pattern: str) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise CaseError(f"{path}: no such file or folder")
        files = [path] if path.is_file() and path.match(pattern) else sorted(path.rglob(pattern))
        found.update(dict.fromkeys(files))
    return list(found)


def read_case(folder: Path) -> Case:
    """Read a recorded run.

    Raises
    ------
    CaseError
        If its files are missing or are not what they should be.
    """
    head = read_head(folder)
    try:
        tensors = load_file(folder / TENSORS)
    except Exception as error:  # safetensors has an error of its own for each fault
        raise CaseError(f"{folder / TENSORS}: can't be read: {error}") from error
    kinds: dict[str, dict[str, Tensor]] = {"state": {}, "in": {}, "out": {}}
    for key, tensor in tensors.items():
        kind, _, name = key.partition(".")
        if kind not in kinds:
            raise CaseError(f"{folder / TENSORS}: `{key}` is no `state.`, `in.` or `out.`")
        kinds[kind][name] = tensor
    args, params = head.get("args"), head.get("params")
    return Case(
        folder=folder,
        paper=str(head.get("paper", folder.parent.name)),
        unit=str(head.get("unit", "")),
        official=str(head["official"]),
        args=args if args is not None else {},
        params=params if isinstance(params, int) else None,
        mode=str(head.get("mode", "eval")),
        note=str(head.get("note") or ""),
        state=kinds["state"],
        inputs=_in_order(kinds["in"], head.get("inputs")),
        outputs=_in_order(kinds["out"], head.get("outputs")),
    )


def _in_order(tensors: dict[str, Tensor], names: Any) -> dict[str, Tensor]:
    """Tensors in the order in which ``case.yaml`` names them; a file of tensors sorts them."""
    first = [name for name in names if name in tensors] if isinstance(names, dict) else []
    return {name: tensors[name] for name in [*first, *(name for name in tensors if name not in first)]}


def read_head(folder: Path) -> Mapping[str, Any]:
    """``case.yaml`` by itself: foreign data, read as PyYAML reads it.

    Raises
    ------
    CaseError
        If it can't be read, or does not say `official`.
    """
    file = folder / CASE
    try:
        head = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CaseError(f"{file}: can't be read: {str(error).splitlines()[0]}") from error
    if not isinstance(head, dict) or "official" not in head:
        raise CaseError(f"{file}: a case says which class was run: `official`")
    if not isinstance(head.get("args") or {}, dict):
        raise CaseError(f"{file}: `args` is a mapping")
    return head


_SIZE: Final = re.compile(r"\d+")


def read_key_list(file: Path) -> dict[str, Shape]:
    """Keys and shapes of a published state_dict: lines of key, shape (``64x3x7x7`` or ``[64, 3]``), dtype, by tabs.

    Raises
    ------
    CaseError
        If it can't be read.
    """
    found: dict[str, Shape] = {}
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                if line.strip():
                    key, shape, *_ = [*line.rstrip("\n").split("\t"), ""]
                    found[key] = tuple(map(int, _SIZE.findall(shape)))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise CaseError(f"{file}: can't be read: {error}") from error
    return found
