"""Devices: what a study asks for is what it gets, or it is refused before the first trial."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from archgraph.ir.diagnostics import SpecError
from archgraph.search.objectives.devices import accelerator, check_devices, device, shares
from archgraph.search.run import prepare
from archgraph.search.study_file import load_study
from tests.search.studies import STUDY, write


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    """As many CUDA devices as the test says."""
    count: int = request.param
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return count


@pytest.mark.parametrize("gpus", [0], indirect=True)
def test_without_a_gpu(gpus: int) -> None:
    assert accelerator("cpu", 4) == "cpu"
    assert accelerator("auto") == "cpu"
    assert device("auto") == torch.device("cpu")
    with pytest.raises(SpecError, match="sees no cuda device") as caught:
        accelerator("cuda")
    assert "`auto` takes what there is" in str(caught.value)
    with pytest.raises(SpecError, match=r"latency\.device: cuda"):
        device("cuda")
    with pytest.raises(SpecError, match="sees no mps device"):
        accelerator("mps")


@pytest.mark.parametrize("gpus", [2], indirect=True)
def test_with_two(gpus: int) -> None:
    assert accelerator("auto", 2) == accelerator("cuda", 2) == "cuda"
    assert accelerator("cpu") == "cpu"
    assert device("cuda:1") == torch.device("cuda", 1)
    for wrong in (lambda: accelerator("cuda", 3), lambda: device("cuda:2")):
        with pytest.raises(SpecError, match="this machine has 2"):
            wrong()


@pytest.mark.parametrize("name", ["gpu", "cpu:1", "cuda:x", "cuda:"])
def test_no_such_device(name: str) -> None:
    if name == "cuda:":
        name = "cuda:-1"
    with pytest.raises(SpecError, match="there is no device"):
        device(name)


def test_gpus_are_shared_out() -> None:
    assert shares(3, 1, ["0", "1"]) == ["0", "1", "0"]
    assert shares(2, 2, ["4", "5", "6", "7"]) == ["4,5", "6,7"]
    assert shares(3, 2, ["0", "1", "2"]) == [None, None, None]
    assert shares(2, 1, []) == [None, None]


TRAINED = STUDY.replace("{macs: minimize, params: maximize}", "{accuracy: maximize}") + "data: digits\n"


@pytest.mark.parametrize("gpus", [0], indirect=True)
@pytest.mark.parametrize(
    "text",
    [
        TRAINED + "train: {accelerator: cuda}\n",
        STUDY.replace("params: maximize", "latency: minimize") + "latency: {device: cuda}\n",
    ],
)
def test_a_study_is_refused_before_anything_is_written(tmp_path: Path, gpus: int, text: str) -> None:
    study = load_study(write(tmp_path, text))
    for resume in (False, True):
        with pytest.raises(SpecError, match="sees no cuda device"):
            prepare(study, tmp_path / "run", 1, resume=resume, changes={})
    assert not (tmp_path / "run").exists()


def test_what_needs_no_device_is_not_asked(tmp_path: Path) -> None:
    check_devices(load_study(write(tmp_path, STUDY + "train: {accelerator: cuda}\n")))
