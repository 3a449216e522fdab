"""The shipped folders of specs and block libraries."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from archgraph.ir.diagnostics import SpecError
from archgraph.spec.yaml import YMap, load_yaml, read_source

__all__ = ["library_with", "shipped_libraries", "specs_folder"]


@cache
def specs_folder() -> Path:
    """The folder of shipped specs: inside an installed package, else beside it in a checkout."""
    inside = Path(__file__).resolve().parent.parent / "specs"
    return inside if inside.is_dir() else inside.parent.parent / "specs"


def shipped_libraries() -> list[str]:
    """Shipped libraries as ``uses`` names them."""
    root = specs_folder()
    return sorted(p.relative_to(root).with_suffix("").as_posix() for p in root.glob("blocks/*.yaml"))


def library_with(block: str) -> str | None:
    """The shipped library that declares a block of this name; None if none does."""
    root = specs_folder()
    for name in shipped_libraries():
        try:
            tree = load_yaml(read_source(root / f"{name}.yaml"))
        except SpecError:  # whoever uses it hears of it
            continue
        blocks = tree.get("blocks") if isinstance(tree, YMap) else None
        if isinstance(blocks, YMap) and block in blocks:
            return name
    return None
