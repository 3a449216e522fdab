"""Write ``schema/``, the JSON Schemas of spec, rule, study and device files: ``python -m tools.schema``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from archgraph.analysis.profiles import profile_schema
from archgraph.rewrite.schema import rule_schema
from archgraph.search.schema import study_schema
from archgraph.spec.schema import schema_text, spec_schema

FOLDER = Path(__file__).resolve().parent.parent / "schema"
TARGET = FOLDER / "spec.json"
RULES = FOLDER / "rule.json"
STUDIES = FOLDER / "study.json"
DEVICES = FOLDER / "device.json"

TARGETS: dict[Path, Callable[[], dict[str, Any]]] = {
    TARGET: spec_schema,
    RULES: rule_schema,
    STUDIES: study_schema,
    DEVICES: profile_schema,
}


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for path, schema in TARGETS.items():
        path.write_text(schema_text(schema()), encoding="utf-8")


if __name__ == "__main__":
    main()
