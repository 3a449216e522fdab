"""The command works from an installed wheel as it does from a checkout."""

import json
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from tests.cli.running import run_alone
from tests.report.small import PARAMS
from tests.shared_files import CHECKOUT


def test_shipped_specs_come_with_a_wheel(tmp_path: Path, tiny: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    ZipFile(wheel).extractall(site)

    found = run_alone("specs", "--json", cwd=tmp_path, PYTHONPATH=str(site))
    listed = {entry["name"]: Path(entry["path"]) for entry in json.loads(found.stdout)}
    assert listed["vit"] == site / "archgraph" / "specs" / "vit.yaml"

    found = run_alone("report", "vit", tiny, "--json", cwd=tmp_path, PYTHONPATH=str(site))
    assert [each["params"] for each in json.loads(found.stdout)] == [5_717_416, PARAMS]
