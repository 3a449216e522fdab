"""Write ``schema/spec.json``, the JSON Schema of spec files: ``python -m tools.schema``."""

from __future__ import annotations

from pathlib import Path

from archgraph.spec.schema import schema_text, spec_schema

TARGET = Path(__file__).resolve().parent.parent / "schema" / "spec.json"


def main() -> None:
    """Write the file."""
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(schema_text(spec_schema()), encoding="utf-8")


if __name__ == "__main__":
    main()
