import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import archgraph
from archgraph.ir.diagnostics import SpecError
from tests.cli.running import run, run_alone

OPS = '''
from typing import Any

from archgraph.ops.base import Cost, Op, operand


class HalfWave(Op, name="half_wave"):
    """The positive half: [...] → [...]."""

    operands = (operand("x"),)

    def infer(self, cx: Any, x: Any) -> Any:
        return x

    def cost(self, ins: Any, outs: Any) -> Cost:
        return Cost(elementwise=outs[0].numel)

    def lower(self, b: Any, x: Any) -> Any:
        return b.call("torch.nn.functional.relu", x)
'''

SPEC = """\
archgraph: 1
name: waves
{plugins}inputs: {{x: [B, 4]}}
graph: {{y: half_wave}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "wave_ops.py").write_text(OPS)
    (tmp_path / "named.yaml").write_text(SPEC.format(plugins="plugins: [wave_ops]\n"))
    (tmp_path / "plain.yaml").write_text(SPEC.format(plugins=""))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("archgraph.ops.base._ops", dict(__import__("archgraph.ops.base", fromlist=["x"]).all_ops()))
    yield tmp_path
    sys.modules.pop("wave_ops", None)


@pytest.mark.parametrize("spec", ["named.yaml", "plain.yaml"])
def test_ops_of_a_file(folder: Path, spec: str) -> None:
    found = run("report", spec, "--plugin", "./wave_ops.py", "--json")
    assert found.exit_code == 0
    assert '"elementwise": 4' in found.output
    assert run("check", spec, "--plugin", "./wave_ops.py").exit_code == 0


def test_ops_of_an_importable_module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    assert run("ops", "half_wave", "--plugin", "wave_ops").exit_code == 0


def test_a_spec_imports_nothing_by_itself(folder: Path) -> None:
    (folder / "wave_ops.py").write_text("raise SystemExit('imported')")
    found = run_alone("report", "named.yaml", cwd=folder, PYTHONPATH=f"{folder}:{Path(archgraph.__file__).parents[1]}")
    assert found.returncode == 1
    assert "needs the plugin `wave_ops`" in found.stderr
    assert "--plugin wave_ops" in found.stderr
    assert "imported" not in found.stderr.replace("is imported", "")


def test_importing_it_oneself_is_enough(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="needs the plugin"):
        archgraph.load(folder / "named.yaml")
    monkeypatch.syspath_prepend(str(folder))
    __import__("wave_ops")
    assert archgraph.report(folder / "named.yaml").elementwise == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0\n", "fails: ZeroDivisionError"),
        ("class :\n", "is no Python"),
        ("import no_such_thing\n", "ModuleNotFoundError"),
    ],
)
def test_a_plugin_that_fails_is_told_with_its_place(folder: Path, text: str, message: str) -> None:
    (folder / "wave_ops.py").write_text(f"\n{text}")
    found = run("check", "plain.yaml", "--plugin", "./wave_ops.py")
    assert found.exit_code == 1
    assert message in found.stderr
    assert "wave_ops.py:2:" in found.stderr
    assert "wave_ops" not in sys.modules


def test_a_plugin_may_not_take_the_name_of_another_module(folder: Path) -> None:
    (folder / "json.py").write_text("")
    assert "imported already" in run("check", "plain.yaml", "--plugin", "./json.py").stderr
