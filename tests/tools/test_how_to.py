"""The code of the how-to pages is complete and does what they say."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.cli.running import run
from tools.docs import ROOT


def blocks(page: str) -> list[tuple[str, str]]:
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    return re.findall(r"```(\w+)\n(.*?)```", text, flags=re.DOTALL)


def test_the_op_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict(__import__("archgraph.ops.base", fromlist=["x"]).all_ops())
    monkeypatch.setattr("archgraph.ops.base._ops", known)
    monkeypatch.chdir(tmp_path)
    for _, text in blocks("add-an-op.md")[:2]:
        found = re.match(r"# (\S+)\n", text)
        assert found is not None
        Path(found[1]).write_text(text, encoding="utf-8")
    try:
        reported = run("report", "attended.yaml", "--plugin", "./simam.py", "--json")
        assert reported.exit_code == 0, reported.output
        assert run("build", "attended.yaml", "--plugin", "./simam.py", "--json").exit_code == 0
        import torch

        import archgraph

        model = archgraph.build("attended.yaml")
        x = torch.randn(2, 8, 6, 6)
        y = model.conv(x)
        square = (y - y.mean((2, 3), keepdim=True)) ** 2
        energy = square / (4 * (square.sum((2, 3), keepdim=True) / 15 + 0.01)) + 0.5
        torch.testing.assert_close(model(x), y * energy.sigmoid())
    finally:
        sys.modules.pop("simam", None)


@pytest.mark.slow
def test_the_checkpoint_of_the_page_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timm: ModuleType) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, text in blocks("load-a-checkpoint.md"):
        if kind == "python":
            exec(compile(text, "load-a-checkpoint.md", "exec"), {})
