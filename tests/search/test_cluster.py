"""Two Ray nodes on one machine with PostgreSQL between the workers; a node is killed, and no finished trial is lost."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from archgraph.ops.plugins import use
from archgraph.search.parts import open_study
from archgraph.search.run import Stop, prepare
from archgraph.search.storage import close_storage, open_storage
from archgraph.search.study_file import load_study
from archgraph.search.worker import record_of
from tests.cli.running import run_alone
from tests.search.studies import STUDY, write
from tests.search.test_running import PLUGIN
from tests.shared_files import CHECKOUT

ray = pytest.importorskip("ray", reason="the cluster extra is not installed")
pgserver = pytest.importorskip("pgserver", reason="the cluster extra is not installed")

# Ray and pgserver leave sockets and subprocesses to the garbage collector.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    server = pgserver.get_server(tmp_path / "pg", cleanup_mode="stop")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80_000_000})
    yield found
    ray.shutdown()
    found.shutdown()


def test_the_command_line_runs_on_ray(tmp_path: Path, database: str) -> None:
    """`--on ray` starts a node on this machine; `--on ray=ADDRESS` refuses a cluster that is not there."""
    text = STUDY.replace("{macs: minimize, params: maximize}", "{macs: minimize, quick: maximize}")
    command: list[str | Path] = [
        "search",
        "run",
        write(tmp_path, text),
        "--out",
        tmp_path / "out",
        "--storage",
        database,
        "-p",
        PLUGIN,
    ]
    found = run_alone(*command, "--on", "ray", "--workers", "2", "--cpus-per-trial", "0.5", "--trials", "6")
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("complete  ") == 6, found.stdout
    status = json.loads(run_alone("search", "status", tmp_path / "out", "-p", PLUGIN, "--json").stdout)
    assert (status["complete"], status["running"], status["trials"]) == (6, 0, 6)
    assert status["front"] == len(list((tmp_path / "out" / "front").glob("*.yaml"))) > 0
    away = run_alone("search", "resume", tmp_path / "out", "-p", PLUGIN, "-n", "7", "--on", "ray=127.0.0.1:1")
    assert away.returncode == 1
    assert "no Ray cluster at 127.0.0.1:1" in away.stderr
    assert "Traceback" not in away.stderr


def test_a_killed_node_loses_no_finished_trial(tmp_path: Path, database: str, cluster: Any) -> None:
    from archgraph.search.cluster import run_ray

    use(PLUGIN)
    node = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    text = (
        STUDY.replace("{macs: minimize, params: maximize}", "{macs: minimize, quick: maximize}") + "sampler: random\n"
    )
    study = dataclasses.replace(load_study(write(tmp_path, text)), storage=database, trials=40)
    folder = tmp_path / "run"
    prepare(study, folder, 2, resume=False, changes={"storage": database, "trials": 40})
    watched = open_study(study, open_storage(database, folder), None, create=False)
    kept: dict[int, Any] = {}
    killed = threading.Event()

    def finished() -> dict[int, Any]:
        return {t.number: (t.params, t.values) for t in watched.get_trials() if t.state == TrialState.COMPLETE}

    def tick(_: Any) -> None:
        if len(finished()) >= 8 and not killed.is_set():
            cluster.remove_node(node, allow_graceful=False)
            kept.update(finished())
            killed.set()

    start = time.monotonic()
    ray.init(address=cluster.address, log_to_driver=False)
    run_ray(study, folder, cluster.address, 2, [PLUGIN], 1, 0, Stop(), tick)
    assert killed.is_set()
    now = finished()
    assert kept.items() <= now.items()
    assert len(now) >= 40, f"after {time.monotonic() - start:.0f} s"
    trials = watched.get_trials()
    close_storage(watched._storage)
    assert all(t.state in (TrialState.COMPLETE, TrialState.FAIL) for t in trials)
    for lost in (t for t in trials if t.state == TrialState.FAIL):
        again = [t for t in trials if t.system_attrs.get("failed_trial") == lost.number]
        again = [t for t in again if t.state == TrialState.COMPLETE]
        assert any(t.params == lost.params or not lost.params for t in again)
    for t in trials:
        if t.state == TrialState.COMPLETE and "same_as" not in record_of(t):
            assert t.values is not None
            assert t.values[1] == record_of(t)["seed"] / 2**32
