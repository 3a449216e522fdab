"""``archgraph optical``: reports, devices, mistakes."""

import json

import pytest

from tests.cli.running import run

SPEC = ("convsharevit", "--variant", "share-valid-full")


@pytest.mark.parametrize("command", ["report", "devices"])
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
