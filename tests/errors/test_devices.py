"""Broken profiles of devices, with everything that is said about each; as in `test_messages`.

ARCHGRAPH_UPDATE=1 python -m pytest tests/errors/test_devices.py
"""

import os
import re
from pathlib import Path

import pytest

from archgraph.analysis.profiles import load_profile
from archgraph.ir.diagnostics import SpecError

CASES = Path(__file__).parent / "devices"
NAMES = sorted(path.stem for path in CASES.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_message_is_as_stored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES)
    with pytest.raises(SpecError) as error:
        load_profile(f"{name}.yaml")
    stored = CASES / f"{name}.txt"
    if "ARCHGRAPH_UPDATE" in os.environ:
        stored.write_text(f"{error.value}\n", encoding="utf-8")
    said = stored.read_text(encoding="utf-8")
    assert f"{error.value}\n" == said
    assert all(re.match(rf"{name}\.yaml:\d+:\d+: error\[", line) for line in said.splitlines() if "error[" in line)


def test_every_stored_message_has_its_profile() -> None:
    assert sorted(path.stem for path in CASES.glob("*.txt")) == NAMES


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(SpecError, match="did you mean `h100-sxm`") as error:
        load_profile("h100sxm")
    assert "raspberry-pi-5" in str(error.value)
    with pytest.raises(SpecError, match="calibrate"):
        load_profile("nothing-like-it.yaml")
