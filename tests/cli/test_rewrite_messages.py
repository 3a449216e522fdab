"""What is said of wrong uses of `archgraph rewrite`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import run


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ["--set", "agentz=9"],
            [
                "neither a rule nor the spec has a param `agentz`",
                "of `softmax_to_agent`: agents",
                "did you mean `agents`?",
            ],
        ),
        (["--where", "blocks[0]"], ["12 matches outside `where: blocks[0]`, such as `blocks.0.attn`"]),
        (["-o", "nowhere/agent.yaml"], ["there is no folder `", "nowhere`", "make the folder first"]),
        (["--expect", "11"], ["has 12 sites", "expected: 11"]),
    ],
)
def test_wrong_uses(more: list[str], said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = run("rewrite", "vit", "--rule", "softmax_to_agent", *more)
    assert found.exit_code == 1
    for text in said:
        assert text in found.output, found.output
    assert not list(tmp_path.iterdir())


def test_a_spec_is_no_rule(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text("archgraph: 1\nname: net\ninputs: {x: [B, C]}\ngraph: {y: relu}\n", encoding="utf-8")
    found = run("rewrite", "vit", "--rule", str(path))
    assert found.exit_code == 1
    assert "is a spec, not a rule" in found.output
    assert found.output.count("error[") == 1, found.output
