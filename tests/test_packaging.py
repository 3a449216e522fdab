"""The wheel is complete: the package, its type marker, and the specs at the place where an install looks for them."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from tests.shared_files import CHECKOUT


def files(folder: str) -> set[Path]:
    """Every file below a folder of the checkout, relative to the checkout, but for bytecode."""
    paths = (path.relative_to(CHECKOUT) for path in (CHECKOUT / folder).rglob("*") if path.is_file())
    return {path for path in paths if path.suffix != ".pyc"}


def test_wheel_carries_package_and_specs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}

    expected = {path.as_posix() for path in files("archgraph")} | {
        f"archgraph/{path.as_posix()}" for path in files("specs")
    }
    assert packed == expected
    assert {"archgraph/py.typed", "archgraph/report/page/page.html", "archgraph/report/page/main.js"} <= packed
