"""Signs of life of trials in a database."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import optuna

from archgraph.search.storage import Watch


def test_a_worker_that_dies_before_its_first_sign_of_life_does_not_stop_a_study(tmp_path: Path) -> None:
    from optuna.storages import RDBStorage, RetryFailedTrialCallback

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # heartbeats are marked experimental
        storage = RDBStorage(
            f"sqlite:///{tmp_path / 'study.db'}",
            heartbeat_interval=1,
            grace_period=1,
            failed_trial_callback=RetryFailedTrialCallback(inherit_intermediate_values=False),
        )
        study = optuna.create_study(storage=storage)
        study.ask()  # and its worker is gone
        optuna.storages.fail_stale_trials(study)
    watch = Watch()
    watch.fail_lost(study)
    assert [t.state.name for t in study.get_trials()] == ["RUNNING"]
    time.sleep(2.5)
    watch.fail_lost(study)
    assert [t.state.name for t in study.get_trials()] == ["FAIL", "WAITING"]
