"""Running the command line in a test."""

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from tests.shared_files import CHECKOUT


def run(*arguments: str | Path) -> Result:
    """Run ``archgraph`` in this process; what it prints to stderr is in ``stderr`` and ``output``."""
    from archgraph.cli.app import app

    found = CliRunner().invoke(app, [str(a) for a in arguments])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def run_alone(*arguments: str | Path, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m archgraph`` as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), **variables}
    return subprocess.run(
        [sys.executable, "-m", "archgraph", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
        env=environment,
        check=False,
    )
