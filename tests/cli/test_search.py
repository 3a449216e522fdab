"""``archgraph search``: from a study file to specs, plots and a summary; refusals with a remedy."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import pytest

from tests.cli.running import run, run_alone
from tests.search.studies import STUDY, write
from tests.shared_files import CHECKOUT

PLUGIN = CHECKOUT / "tests" / "search" / "plugin_metrics.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = run("search", "run", write(tmp_path), "--out", tmp_path / "out")
    assert found.exit_code == 0, found.output
    assert found.output.count("complete") == 8
    return tmp_path / "out"


def test_the_front_is_specs_that_build_takes(folder: Path) -> None:
    specs = sorted((folder / "front").glob("*.yaml"))
    rows = json.loads(run("search", "best", folder, "--json").stdout)
    assert len(specs) == len(rows) > 0
    for row in rows:
        path = folder / "front" / f"small_trial_{row['trial']}.yaml"
        report = json.loads(run("report", path, "--json").stdout)
        assert report["macs"] == row["macs"]
        assert run("check", path).exit_code == 0
    assert run("build", specs[0]).exit_code == 0
    text = (folder / "summary.md").read_text()
    assert "params ≤ 4000" in text
    assert f"## Front ({len(rows)})" in text
    number = rows[0]["trial"]
    printed = run("search", "best", folder, "--spec", str(number)).stdout
    assert printed == (folder / "front" / f"small_trial_{number}.yaml").read_text()


def test_status_resume_and_replay(folder: Path) -> None:
    status = json.loads(run("search", "status", folder, "--json").stdout)
    assert (status["complete"], status["workers"]) == (8, 0)
    assert 0 < status["acceptance"] < 1
    assert run("search", "resume", folder, "--trials", "10").exit_code == 0
    assert json.loads(run("search", "status", folder, "--json").stdout)["complete"] == 10
    assert "10 of 10 trials" in run("search", "status", folder).stdout
    replayed = json.loads(run("search", "replay", folder, "9", "--json").stdout)
    assert replayed["equal"]


def test_plots(folder: Path) -> None:
    assert run("search", "plot", folder).exit_code == 0
    names = {p.name for p in (folder / "plots").iterdir()}
    assert {"front.html", "front.png", "history_macs.png", "parallel_params.html"} <= names
    assert (folder / "plots" / "front.png").read_bytes().startswith(b"\x89PNG")


def test_optuna_dashboard_opens_the_storage(folder: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna_dashboard._app import create_app

    app = create_app(JournalStorage(JournalFileBackend(str(folder / "journal.log"))))
    found: list[str] = []
    request: dict[str, object] = {"PATH_INFO": "/api/studies"}
    setup_testing_defaults(request)
    body = app(request, lambda status, *more: found.append(status))
    names = [study["study_name"] for study in json.loads(b"".join(body))["study_summaries"]]
    assert found[0].startswith("200")
    assert names == ["small"]


def test_refusals(folder: Path, tmp_path: Path) -> None:
    again = run("search", "run", tmp_path / "small.yaml", "--out", folder)
    assert again.exit_code == 1
    assert "search resume" in again.stderr
    assert "there is no study `nobody`" in run("search", "status", "nobody").stderr
    assert "has no trial 99" in run("search", "replay", folder, "99").stderr
    several = run(
        "search", "run", tmp_path / "small.yaml", "-o", tmp_path / "b", "-w", "2", "--storage", "sqlite:///x.db"
    )
    assert "one writer at a time" in several.stderr
    there = run("search", "run", tmp_path / "small.yaml", "-o", tmp_path / "c", "--on", "ray")
    assert "postgresql" in there.stderr
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "c").exists()


def test_a_study_that_can_only_fail(tmp_path: Path) -> None:
    """Missing data is said before the first trial; data that no candidate takes, after the last."""
    trained = STUDY.replace("{macs: minimize, params: maximize}", "{accuracy: maximize}").replace(
        "trials: 8", "trials: 2"
    )
    path = write(tmp_path, trained + "data: {kind: arrays, path: none.npz}\n")
    found = run("search", "run", path, "--out", tmp_path / "a")
    assert found.exit_code == 1
    assert "there is no" in found.stderr
    assert not (tmp_path / "a").exists()
    path = write(tmp_path, trained + "data: {kind: digits, size: 9}\n")
    alone = run_alone("search", "run", path, "--out", tmp_path / "b")
    assert alone.returncode == 1
    assert "all 2 trials failed" in alone.stderr
    assert "does not take samples of shape [1, 9, 9]" in alone.stderr
    assert "Traceback" not in alone.stderr


@pytest.mark.slow
def test_two_processes_share_a_study(tmp_path: Path) -> None:
    text = STUDY.replace("params: maximize}", "quick: maximize}").replace("trials: 8", "trials: 30\nsampler: random")
    found = run_alone("search", "run", write(tmp_path, text), "-w", "2", "-o", tmp_path / "out", "-p", PLUGIN)
    assert found.returncode == 0, found.stderr
    status = json.loads(run_alone("search", "status", tmp_path / "out", "-p", PLUGIN, "--json").stdout)
    assert (status["complete"], status["running"], status["front"] > 0) == (30, 0, True)


@pytest.mark.slow
def test_ctrl_c_finishes_what_runs(tmp_path: Path) -> None:
    text = STUDY.replace("params: maximize}", "quick: maximize}").replace(
        "trials: 8", "trials: 100000\nsampler: random"
    )
    command = [
        sys.executable,
        "-m",
        "archgraph",
        "search",
        "run",
        str(write(tmp_path, text)),
        "-o",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen(
        [*command, "-p", str(PLUGIN)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT
    )
    journal = tmp_path / "out" / "journal.log"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (journal.exists() and '"op_code":6' in journal.read_text()):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in output
    status = json.loads(run_alone("search", "status", tmp_path / "out", "-p", PLUGIN, "--json").stdout)
    assert (status["running"], status["fail"]) == (0, 0)
    assert status["complete"] > 0
    assert (tmp_path / "out" / "summary.md").exists()
