"""Running studies: hard limits, records, resuming, killed workers, broken journals, failing trials."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from archgraph.ir.diagnostics import SpecError
from archgraph.ops.plugins import use
from archgraph.search.folder import study_of
from archgraph.search.results import Results, replay
from archgraph.search.run import Stop, prepare, run_here
from archgraph.search.storage import JOURNAL, mend_journal
from archgraph.search.study_file import Study, load_study
from archgraph.search.worker import Worker, record_of
from tests.search.studies import STUDY, write
from tests.shared_files import CHECKOUT

PLUGIN = str(CHECKOUT / "tests" / "search" / "plugin_metrics.py")

Run = Callable[..., Results]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def go(text: str = STUDY, name: str = "run", **changes: Any) -> Results:
        study = dataclasses.replace(load_study(write(tmp_path, text)), **changes)
        folder = tmp_path / name
        prepare(study, folder, 1, resume=False, changes=changes)
        run_here(study, folder, Stop(), lambda _: None)
        return Results(folder)

    return go


def seen(trials: list[FrozenTrial]) -> list[Any]:
    """What has to be equal between two runs."""

    def steady(record: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in record.items() if name != "seconds"}

    return [(t.number, t.state, t.params, t.values, steady(record_of(t))) for t in trials]


def test_every_candidate_keeps_the_limits_and_is_recorded(run: Run) -> None:
    results = run()
    assert len(results.trials) == 8
    for t in results.trials:
        record = record_of(t)
        assert t.state == TrialState.COMPLETE
        assert record["costs"]["params"] <= 4000
        assert record["params"]["dim"] % record["params"]["heads"] == 0
        assert t.values == [record["costs"]["macs"], record["costs"]["params"]]
        assert record["hash"] == results.candidate(t).hash
        assert {"seed", "draw", "versions", "seconds", "key"} <= set(record)
    rate = results.acceptance()
    assert rate is not None
    assert 0 < rate < 1


def test_nothing_feasible_is_said_before_anything_runs(run: Run) -> None:
    with pytest.raises(SpecError, match="nothing to search") as caught:
        run(STUDY.replace("4000", "4"))
    assert "params ≤ 4" in str(caught.value)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "gp"])
def test_a_resumed_study_equals_an_uninterrupted_one(run: Run, tmp_path: Path, sampler: str) -> None:
    more = {"tpe": ", n_startup_trials: 4", "nsga2": ", population_size: 4", "gp": ", n_startup_trials: 3"}
    trials = 5 if sampler == "gp" else 12
    text = STUDY.replace("trials: 8", f"trials: {trials}\nsampler: {{kind: {sampler}{more.get(sampler, '')}}}")
    whole = run(text, "whole")
    study = load_study(tmp_path / "small.yaml")
    folder = tmp_path / "parts"
    prepare(study, folder, 1, resume=False, changes={})
    for limit in (2, 2, 99):
        Worker(study_of(folder), folder).run(limit=limit)
    assert seen(Results(folder).trials) == seen(whole.trials)


def test_an_interrupted_trial_goes_on_under_its_number(run: Run, tmp_path: Path) -> None:
    whole = run(name="whole")
    folder = tmp_path / "parts"
    prepare(load_study(tmp_path / "small.yaml"), folder, 1, resume=False, changes={})
    worker = Worker(study_of(folder), folder)
    worker.run(limit=5)
    trial = worker.optuna.ask()  # dies in the midst of its parameters
    for name in ("dim", "depth"):
        trial._suggest(name, worker.study.space.distributions[name])
    Worker(study_of(folder), folder).run()
    assert seen(Results(folder).trials) == seen(whole.trials)


def test_a_trial_that_kills_its_workers_ends_alone(run: Run, tmp_path: Path) -> None:
    whole = run(name="whole")
    folder = tmp_path / "parts"
    prepare(load_study(tmp_path / "small.yaml"), folder, 1, resume=False, changes={})
    Worker(study_of(folder), folder).run(limit=3)
    for _ in range(4):
        worker = Worker(study_of(folder), folder)
        assert worker.claims is not None
        worker.claims.enter()
        trial = worker._next()
        assert trial is not None
        assert trial.number == 3
        worker.claims.leave()  # it dies, as the kernel sees it
    Worker(study_of(folder), folder).run()
    trials = Results(folder).trials
    assert [t.number for t in trials if t.state == TrialState.FAIL] == [3]
    assert record_of(trials[3])["error"]["kind"] == "died"
    assert seen(trials[:3]) == seen(whole.trials[:3])
    assert len(trials) == 8


def test_isomorphic_candidates_are_evaluated_once(run: Run) -> None:
    use(PLUGIN)
    text = STUDY.replace("{macs: minimize, params: maximize}", "{quick: maximize}").replace("trials: 8", "trials: 60")
    text = text.replace("plugins", "").replace("dim: {range: [4, 64], step: 4}", "dim: [4, 8]")
    results = run(text + "sampler: random\n")
    repeated = [t for t in results.trials if "same_as" in record_of(t)]
    assert repeated
    for t in repeated:
        first = results.trials[record_of(t)["same_as"]]
        assert t.values == first.values
        assert record_of(t)["hash"] == record_of(first)["hash"]
        assert record_of(t)["seed"] == record_of(first)["seed"]
    fresh = [record_of(t)["key"] for t in results.trials if "same_as" not in record_of(t)]
    assert len(fresh) == len(set(fresh))


def test_failing_trials_end_alone(run: Run) -> None:
    use(PLUGIN)
    results = run(
        STUDY.replace("{macs: minimize, params: maximize}", "{moody: maximize}") + "sampler: random\n", trials=24
    )
    kinds = {t.params["dim"] % 16: record_of(t).get("error", {}).get("kind") for t in results.trials}
    assert kinds == {0: None, 4: "exception", 8: "memory", 12: "nan"}
    assert all((t.state == TrialState.COMPLETE) == (t.params["dim"] % 16 == 0) for t in results.trials)
    assert results.counts()["fail"] > 0


def test_measured_limits_end_a_trial_and_are_told_to_the_sampler(run: Run) -> None:
    use(PLUGIN)
    text = STUDY.replace("{params: {max: 4000}}", "{params: {max: 4000}, quick: {max: 0.5}}")
    results = run(text)
    for t in results.trials:
        assert set(t.constraints) == {"quick"}
        assert (t.constraints["quick"] > 0) == (t.state == TrialState.PRUNED)
    assert {t.state for t in results.trials} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_a_broken_tail_is_moved_aside(run: Run) -> None:
    results = run()
    journal = results.folder / JOURNAL
    before = seen(results.trials)
    with open(journal, "ab") as file:
        file.write(b'{"op_code":4,"worker_id":"x","study')
    notes = prepare(results.study, results.folder, 1, resume=True, changes={})
    assert len(notes) == 1
    (aside,) = results.folder.glob("journal.broken-*")
    assert aside.read_bytes().startswith(b'{"op_code":4')
    assert seen(Results(results.folder).trials) == before
    assert mend_journal(journal) is None


def test_a_writer_cuts_a_tail_that_another_left(run: Run) -> None:
    results = run()
    with open(results.folder / JOURNAL, "ab") as file:
        file.write(b'{"op_code":9')
    study = dataclasses.replace(results.study, trials=9)
    Worker(study, results.folder).run()
    assert len(Results(results.folder).trials) == 9
    assert (results.folder / "journal.broken-tail.log").read_bytes() == b'{"op_code":9\n'


def test_sqlite_takes_one_worker(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, STUDY + f"storage: sqlite:///{tmp_path}/s.db\n"))
    with pytest.raises(SpecError, match="one writer at a time"):
        prepare(study, tmp_path / "run", 2, resume=False, changes={})
    prepare(study, tmp_path / "run", 1, resume=False, changes={})
    Worker(study, tmp_path / "run").run(limit=2)
    assert len(Results(tmp_path / "run").trials) == 2


def test_replay_gives_the_same(run: Run) -> None:
    use(PLUGIN)
    results = run(STUDY.replace("{macs: minimize, params: maximize}", "{macs: minimize, quick: maximize}"))
    found = replay(results, 3)
    assert found.equal
    assert {name: found.after[name] for name in ("macs", "quick")} == {
        "macs": results.trials[3].values[0],
        "quick": results.trials[3].values[1],
    }


def test_an_objective_may_have_any_name(run: Run) -> None:
    text = STUDY.replace("{macs: minimize, params: maximize}", "{state: {metric: macs, direction: minimize}}")
    results = run(text)
    (best,) = results.front()
    assert best.values is not None
    assert results.row(best)["state"] == best.values[0]
    assert "| trial | state | params |" in results.markdown()


def start_worker(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-m", "archgraph.search.worker", str(folder), "--plugin", PLUGIN]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_kill_9_loses_nothing(tmp_path: Path) -> None:
    """Twenty workers are killed at random moments, two at a time; the study ends as one that nobody disturbed."""
    use(PLUGIN)
    text = STUDY.replace("{macs: minimize, params: maximize}", "{macs: minimize, quick: maximize}")
    text = text.replace("trials: 8", "trials: 100000\nsampler: random")
    study = load_study(write(tmp_path, text))
    folder = tmp_path / "killed"
    prepare(study, folder, 1, resume=False, changes={})
    random_ = random.Random(7)
    watch = optuna.load_study(study_name="small", storage=Worker(study, folder).storage)
    kept: dict[int, Any] = {}
    kills = 0

    def finished() -> dict[int, Any]:
        return {
            t.number: (t.params, t.values, t.state) for t in watch.get_trials(deepcopy=False) if t.state.is_finished()
        }

    while kills < 20:
        workers = [start_worker(folder) for _ in range(2)]
        goal = len(kept) + 4
        deadline = time.monotonic() + 60
        while len(finished()) < goal and time.monotonic() < deadline:
            assert all(w.poll() is None for w in workers)
            time.sleep(0.02)
        time.sleep(random_.random() * 0.1)
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            worker.communicate()
            kills += 1
        now = finished()
        assert kept.items() <= now.items()
        kept = now
    (folder / "study.yaml").write_text(study.text)
    last = dataclasses.replace(study, trials=len(watch.get_trials(deepcopy=False)) + 3)
    prepare(last, folder, 1, resume=True, changes={})
    Worker(last, folder).run()
    trials = Results(folder).trials
    assert kept.items() <= {t.number: (t.params, t.values, t.state) for t in trials}.items()
    assert [t.number for t in trials] == list(range(last.trials or 0))
    assert all(t.state == TrialState.COMPLETE for t in trials)

    undisturbed = tmp_path / "undisturbed"
    prepare(last, undisturbed, 1, resume=False, changes={})
    Worker(last, undisturbed).run()
    for a, b in zip(trials, Results(undisturbed).trials, strict=True):
        assert a.params == b.params
        if "same_as" not in record_of(a) and "same_as" not in record_of(b):
            assert a.values == b.values


def test_the_copy_in_the_folder_is_enough(run: Run, tmp_path: Path) -> None:
    results = run()
    (tmp_path / "small.yaml").unlink()
    assert isinstance(study_of(results.folder), Study)
    assert json.loads((results.folder / "origin.json").read_text())["file"] == str(tmp_path / "small.yaml")
