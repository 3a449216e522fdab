"""``archgraph devices`` and ``report --device``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from archgraph.analysis.profiles import load_profile, read_profile, shipped_profiles
from archgraph.report import calibrate as module
from archgraph.report.calibrate import Sizes, cache_bytes, measure, profile_text
from tests.cli.running import run
from tests.cli.test_imports import HEAVY, imported

SMALL = Sizes((8,), ((2, 4),), (16,), 4096, 4096, 3, 4, 10.0)


def test_table_and_one_device() -> None:
    text = run("devices").stdout
    assert all(name in text for name in shipped_profiles())
    one = run("devices", "h100-sxm").stdout
    assert "3.35 TB/s" in one
    assert "data sheet" in one
    found = json.loads(run("devices", "--json").stdout)
    assert [d["name"] for d in found] == shipped_profiles()
    assert json.loads(run("devices", "t4", "--json").stdout)["bytes_per_second"] == 320e9


def test_a_name_that_is_none() -> None:
    found = run("devices", "h100sxm")
    assert found.exit_code == 1
    assert "did you mean `h100-sxm`" in found.stderr


def test_report(tiny: Path) -> None:
    text = run("report", tiny, "--device", "a100-sxm", "--dtype", "bfloat16").stdout
    assert "a100-sxm, bfloat16" in text
    assert "at least" in text
    found = json.loads(run("report", tiny, "--device", "a100-sxm", "--json").stdout)
    assert found["device"]["dtype"] == "float32"
    assert run("report", tiny, "--dtype", "bfloat16").exit_code == 2
    refused = run("report", tiny, "--device", "t4", "--dtype", "bfloat16")
    assert refused.exit_code == 1
    assert "no rate for `bfloat16`" in refused.stderr


@pytest.mark.parametrize("arguments", [["report", "TINY", "--device", "t4"], ["devices"], ["devices", "t4"]])
def test_nothing_heavy_is_imported(tiny: Path, arguments: list[str]) -> None:
    assert not imported(*(a.replace("TINY", str(tiny)) for a in arguments)) & HEAVY


def test_rates_by_a_clock_that_ticks_once_a_look() -> None:
    ticks = iter(range(10**6))
    found = measure(1, SMALL, lambda: float(next(ticks)))
    # every run takes a second by this clock; the best shape is that with most work
    assert found.macs["float32"].best == max(8**3, 4 * 10**2)
    assert found.macs["float64"].best == 512
    assert found.elementwise["float32"].best == 16 * 2
    assert found.bandwidth.best == 4096
    assert found.launch == found.launch_median == 1 / SMALL.calls
    profile = read_profile(profile_text(found), "cpu.yaml")
    assert profile.macs_per_second["float32"] == 512
    assert profile.elementwise_per_second["float32"] == pytest.approx(1024)
    assert profile.bytes_per_second == 4096
    assert profile.launch_seconds == 0.25
    assert "products of 8×8" in profile.sources["macs_per_second"]


def test_more_threads_are_no_slower_than_fewer() -> None:
    ticks = iter(range(0, 10**7, 1))
    slow = iter(range(0, 10**7, 3))
    one = measure(1, SMALL, lambda: float(next(ticks)))
    both = measure(2, SMALL, lambda: float(next(slow)))
    assert both.macs["float32"].best < one.macs["float32"].best
    found = both.at_least(one)
    assert found.threads == 2
    assert found.macs["float32"].best == one.macs["float32"].best
    assert found.bandwidth.best == one.bandwidth.best
    assert found.launch == one.launch


def test_calibrate_writes_both_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUICK", SMALL)
    monkeypatch.setattr("archgraph.cli.devices._processors", lambda: 2)
    found = run("devices", "calibrate", "--quick", "-o", tmp_path / "own.yaml")
    assert found.exit_code == 0, found.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["own-one-thread.yaml", "own.yaml"]
    profile = load_profile(str(tmp_path / "own.yaml"))
    assert "2 threads" in profile.summary
    assert profile.macs_per_second["float32"] > 1
    assert run("devices", "calibrate", "-o", tmp_path / "own.json").exit_code == 1
    assert run("devices", "calibrate", "-o", tmp_path / "no" / "own.yaml").exit_code == 1


def test_caches_as_linux_tells_them(tmp_path: Path) -> None:
    for cpu in range(2):
        for index, (level, kind, size, shared) in enumerate(
            [("1", "Data", "32K", str(cpu)), ("2", "Unified", "1024K", str(cpu)), ("3", "Unified", "8M", "0-1")]
        ):
            folder = tmp_path / f"cpu{cpu}" / "cache" / f"index{index}"
            folder.mkdir(parents=True)
            for name, value in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
                (folder / name).write_text(value + "\n", encoding="ascii")
    assert cache_bytes(tmp_path) == (2 << 20) + (8 << 20)
    assert cache_bytes(tmp_path / "nothing") == 0
