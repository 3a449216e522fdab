"""The language reference is what the declarations say, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archgraph.ops.base import all_ops
from archgraph.spec.schema import INTERNAL
from tools import docs

PAGES = docs.pages()
TEXTS = [*sorted((docs.ROOT / "docs").rglob("*.md")), docs.ROOT / "README.md", docs.ROOT / "CONTRIBUTING.md"]


def test_generated_pages_are_up_to_date() -> None:
    stale = [
        str(path.relative_to(docs.ROOT))
        for path, text in PAGES.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run `make docs`"


def test_every_op_has_its_place() -> None:
    listed = {op.op_name for ops in docs.by_family().values() for op in ops}
    own = {name for name, op in all_ops().items() if op.__module__.startswith("archgraph.")}
    assert listed == own - INTERNAL


def test_every_code_of_a_kept_message_is_listed() -> None:
    kept = {
        code
        for path in docs.CASES.glob("*.txt")
        for code in re.findall(r"error\[([\w/-]+)\]", path.read_text(encoding="utf-8"))
    }
    text = PAGES[docs.FOLDER / "errors.md"]
    dynamic = {code for code in kept if code.startswith("claims/")}
    assert {code for code in kept - dynamic if f"### {code}\n" not in text} == set()


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(docs.ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            assert (path.parent / target).exists(), target
