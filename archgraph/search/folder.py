"""The folder of a study: its file, its journal, its results."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Final

from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.search.study_file import Study, read_study

__all__ = ["STUDY", "create_folder", "default_folder", "find_folder", "study_of"]

STUDY: Final = "study.yaml"
_ORIGIN: Final = "origin.json"


def default_folder(study: Study) -> Path:
    """Where a study lives if nobody says otherwise: ``out/NAME`` below the working directory."""
    return Path("out") / study.name


def create_folder(study: Study, folder: Path, changes: dict[str, Any]) -> None:
    """Make the folder of a new study: a copy of its file, and where that came from.

    Parameters
    ----------
    changes : dict
        What the command line says otherwise than the file: ``trials``, ``timeout``, ``seed``, ``storage``.

    Raises
    ------
    SpecError
        If there is a study in it already.
    """
    if (folder / STUDY).exists():
        raise SpecError(
            Diagnostic(
                "study/exists",
                None,
                f"{folder} holds a study already",
                hint=f"`archgraph search resume {folder}` goes on with it; --out names another folder",
            )
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STUDY).write_text(study.text, encoding="utf-8")
    digest = hashlib.sha256(Path(study.base.file.path).read_bytes()).hexdigest()
    origin = {"file": str(Path(study.path).resolve()), "spec_sha256": digest, "changes": changes}
    (folder / _ORIGIN).write_text(json.dumps(origin, indent=1), encoding="utf-8")


def study_of(folder: Path, **changes: Any) -> Study:
    """The study of a folder, with paths as from its original file, and changes kept.

    Raises
    ------
    SpecError
        If there is none, or its file has faults.
    """
    try:
        origin = json.loads((folder / _ORIGIN).read_text(encoding="utf-8"))
        text = (folder / STUDY).read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise SpecError(Diagnostic("study/folder", None, f"{folder} holds no study")) from None
    study = read_study(text, origin["file"])
    given = {**origin.get("changes", {}), **{k: v for k, v in changes.items() if v is not None}}
    if any(v is not None for v in changes.values()):
        origin["changes"] = given
        (folder / _ORIGIN).write_text(json.dumps(origin, indent=1), encoding="utf-8")
    return dataclasses.replace(study, **given)


def find_folder(text: str) -> Path:
    """The folder that the user means: a folder, a study file, or a study's name.

    Raises
    ------
    SpecError
        If there is none.
    """
    path = Path(text)
    if (path / STUDY).is_file():
        return path
    if path.is_file():
        from archgraph.search.study_file import load_study

        folder = default_folder(load_study(path))
        if (folder / STUDY).is_file():
            return folder
        raise SpecError(
            Diagnostic(
                "study/folder",
                None,
                f"{text} has not been run: there is no {folder}",
                hint="give its folder, if it ran with --out",
            )
        )
    if (Path("out") / text / STUDY).is_file():
        return Path("out") / text
    raise SpecError(
        Diagnostic("study/folder", None, f"there is no study `{text}`", expected="its folder, its file or its name")
    )
