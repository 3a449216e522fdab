"""The blocks of the tour are complete: its specs load and run, its Python holds, its message is what is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from archgraph.report.check import check_file
from tools.docs import FOLDER

TOUR = (FOLDER / "tour.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TOUR, flags=re.DOTALL)


def test_every_block_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    seen = []
    for kind, text in BLOCKS:
        if kind == "yaml":
            found = re.match(r"# (\S+\.yaml)\n", text)
            assert found is not None, text
            Path(found[1]).write_text(text, encoding="utf-8")
            seen.append(found[1])
            if found[1] != "wrong.yaml":
                assert [str(fault) for fault in check_file(found[1]).faults] == []
        elif kind == "python":
            exec(compile(text, "tour.md", "exec"), names)
        else:
            assert "\n".join(map(str, check_file(seen[-1]).faults)) == text.strip()
    assert len(seen) >= 8
