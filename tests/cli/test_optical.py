"""``archgraph optical``: reports, devices, mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.running import run

SPEC = ("convsharevit", "--variant", "share-valid-full")


@pytest.mark.parametrize("command", ["report", "devices", "simulate", "sweep"])
def test_help_has_an_example(command: str) -> None:
    assert f"archgraph optical {command}" in run("optical", command, "--help").output.partition("Example")[2]


def test_a_report_says_frames_time_and_energy() -> None:
    found = run("optical", "report", *SPEC, "--device", "dmd", "--batch", "64", "--gpu-ms", "12")
    assert found.exit_code == 0
    for word in ("blocks.heads.0.q.y.conv", "frames", "time", "energy", "break-even", "speed-up", "a batch of 64"):
        assert word in found.output


def test_a_batch_of_any_size_gives_closed_forms() -> None:
    found = run("optical", "report", *SPEC, "--batch", "B")
    assert "//32400)" in found.output
    assert "seconds" not in found.output
    law = json.loads(run("optical", "report", *SPEC, "--batch", "B", "--json").output)
    assert isinstance(law["frames"], str)
    assert law["seconds"] is None


def test_json_says_the_same() -> None:
    found = json.loads(run("optical", "report", *SPEC, "--batch", "64", "--gpu-ms", "12", "--json").output)
    assert found["frames"] == sum(layer["frames"] for layer in found["layers"])
    assert found["speed_up"] == pytest.approx(12e-3 / found["seconds"])
    assert found["device"]["name"] == "theoretical-2MHz"


def test_devices_are_listed_and_described() -> None:
    found = run("optical", "devices")
    assert all(name in found.output for name in ("dmd", "ideal", "lcos", "theoretical-2MHz"))
    assert json.loads(run("optical", "devices", "dmd:camera_bits=6", "--json").output)["camera_bits"] == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "theoretical-2MH"], "did you mean `theoretical-2MHz`?"),
        (["--batch", "0"], "`--batch 0` is no size"),
        (["--device", "dmd:width=60,height=60"], "a plane of `colours` does not fit"),
    ],
)
def test_mistakes_are_named(arguments: list[str], said: str) -> None:
    found = run("optical", "report", *SPEC, *arguments)
    assert found.exit_code == 1
    assert said in found.output


# -- simulate and sweep ----------------------------------------------------------------------------------------------

#: A ViT that takes digits in milliseconds.
SMALL = ("vit", "--set", "image_size=8", "--set", "patch_size=4", "--set", "in_chans=1", "--set", "dim=16", "--set",
         "depth=1", "--set", "num_heads=2", "--set", "num_classes=10")  # fmt: skip


def test_simulate_compares_devices_with_the_electronic_model() -> None:
    arguments = ["--data", "digits", "--samples", "60", "--device", "ideal", "--device", "theoretical-2MHz"]
    found = json.loads(run("optical", "simulate", *SMALL, *arguments, "--json").output)
    ideal, theoretical = found
    assert ideal["rms_error"] < 1e-5
    assert ideal["agreement"] == 1
    assert ideal["accuracy"] == ideal["electronic_accuracy"] is not None
    assert 1e-4 < theoretical["rms_error"] < 1


def test_bits_are_tried_on_each_device() -> None:
    found = run(
        "optical", "simulate", *SMALL, "--data", "digits", "--samples", "50", "--device", "ideal", "--bits", "4,8"
    )
    assert "ideal:input_bits=4,kernel_bits=4,camera_bits=4" in found.output
    assert "ideal:input_bits=8,kernel_bits=8,camera_bits=8" in found.output


def test_a_photograph_or_arrays_will_do(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz", x=np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype("f4"), y=np.arange(40) % 2
    )
    assert run("optical", "simulate", *SMALL, "--data", str(tmp_path / "a.npz")).exit_code == 0
    assert run("optical", "simulate", *SMALL, "--input", "flower").exit_code == 0


@pytest.mark.parametrize("suffix", [".png", ".html"])
def test_a_sweep_draws_curves(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"sweep{suffix}"
    arguments = ["--data", "digits", "--samples", "50", "-o", str(target), "--gpu-ms", "0.05"]
    assert run("optical", "sweep", *SMALL, *arguments).exit_code == 0
    assert target.stat().st_size > 20_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simulate", *SMALL], "one of --input and --data"),
        (["simulate", *SMALL, "--data", "nowhere.npz"], "there is no nowhere.npz"),
        (["simulate", "vit", "--data", "digits"], "patches must tile the image"),
        (["simulate", *SMALL, "--data", "digits", "--bits", "4,many"], "are no levels"),
        (["simulate", *SMALL, "--data", "digits", "--device", "idea"], "did you mean `ideal`?"),
        (["sweep", *SMALL, "--data", "digits", "-o", "sweep.gif"], "is no picture"),
        (["sweep", *SMALL, "--data", "digits", "-o", "nowhere/sweep.png"], "there is no folder nowhere"),
    ],
)
def test_mistakes_in_simulations_are_named(arguments: list[str], said: str) -> None:
    found = run("optical", *arguments)
    assert found.exit_code == 1
    assert said in found.output
