"""Cases of broken specs: what a person sees of each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from archgraph.ir.diagnostics import SpecError, render
from archgraph.report.check import check_file
from archgraph.spec.load import load
from archgraph.spec.yaml import load_yaml

CASES = Path(__file__).parent / "cases"

#: After it stands how the spec is loaded, where plain checking of the file does not show the mistake.
_LOAD = "# load: "


def text_of(name: str) -> str:
    """Everything that is said about a case in the current folder; an empty text if nothing is wrong.

    Folders are written as a reader of the repository knows them; which libraries and initialisers there are
    is left open.
    """
    root = str(Path(__file__).parents[2])
    said = _said(name).replace(str(CASES) + "/", "").replace(root + "/", "")
    said = re.sub(r"(?<=one of )blocks/\w+(, blocks/\w+)*", "blocks/…", said)
    return re.sub(r"(?<=an initialiser )\(.*\)", "(…)", said)


def _said(name: str) -> str:
    lines = Path(name).read_text(encoding="utf-8").splitlines()
    for line in lines[:2]:
        if line.startswith(_LOAD):
            return _loaded(name, load_yaml(line.removeprefix(_LOAD)))
    return "\n".join(render(fault) for fault in check_file(name).faults)


def _loaded(name: str, how: Any) -> str:
    try:
        load(name, how.get("variant"), **how.get("set", {})).graph(how.get("graph"), how.get("at"))
    except SpecError as error:
        return str(error)
    return ""
