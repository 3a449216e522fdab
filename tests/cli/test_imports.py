"""What a command does not need it does not import: an answer is not to wait for torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared_files import CHECKOUT

HEAVY = {"torch", "sympy", "networkx", "numpy", "PIL", "sklearn", "optuna"}
SCRIPT = """
import json, sys
from archgraph.cli import main
sys.argv = ["archgraph", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as done:
    code = done.code
print(json.dumps([code or 0, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


def imported(*arguments: str) -> set[str]:
    """Top-level names of the modules that a command loads."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(arguments)], capture_output=True, text=True, cwd=CHECKOUT, check=True
    )
    code, names = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    return set(names)


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "TINY"],
        ["report", "TINY", "--md"],
        ["report", "TINY", "--at", "image=1x3xNxN"],
        ["report", "TINY", "--html", "PAGE"],
        ["compare", "TINY", "--over", "width=8:64", "--html", "PAGE"],
        ["check", "TINY"],
        ["verify", "TINY"],
        ["draw", "TINY"],
        ["dump", "TINY"],
        ["specs"],
        ["ops", "conv2d"],
        ["build", "--help"],
    ],
)
def test_light_commands(tiny: Path, arguments: list[str]) -> None:
    page = str(tiny.parent / "page.html")
    found = imported(*(argument.replace("TINY", str(tiny)).replace("PAGE", page) for argument in arguments))
    assert not found & HEAVY


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_machine_readable_reports_need_no_rich(tiny: Path, form: str) -> None:
    assert "rich" not in imported("report", str(tiny), form)


def test_the_package_itself_imports_nothing() -> None:
    code = "import sys, archgraph; print([name for name in sys.modules if name.startswith('archgraph')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT, check=True)
    assert done.stdout.strip() == "['archgraph']"
