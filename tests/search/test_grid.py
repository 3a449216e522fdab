"""Grids: every feasible candidate once, whoever runs it and however often it is interrupted."""

from __future__ import annotations

import dataclasses
from itertools import product
from pathlib import Path

from archgraph.ir.diagnostics import SpecError
from archgraph.search.candidate import Candidates
from archgraph.search.folder import study_of
from archgraph.search.results import Results
from archgraph.search.run import prepare
from archgraph.search.study_file import Study, load_study
from archgraph.search.worker import Worker
from tests.search.studies import STUDY, write

GRID = (
    STUDY.replace("range: [4, 64]", "range: [4, 16]")
    .replace("trials: 8\n", "sampler: grid\n")
    .replace("  act: [relu, gelu]", "  act: [relu, gelu]\n  widths.0: {range: [1, 2], when: act == 'gelu'}")
)


def expected(study: Study) -> set[tuple[object, ...]]:
    found = set()
    for values in product((4, 8, 12, 16), (1, 2, 3), (1, 2, 3, 4), ("relu", "gelu"), (1, 2)):
        row = dict(zip(study.space.by_name, values, strict=True))
        if row["act"] == "relu":
            row["widths.0"] = 1
        try:
            costs = Candidates(study).candidate(row).costs
        except SpecError:
            continue
        if costs["params"] <= 4000:
            found.add(tuple(row.values()))
    return found


def test_every_feasible_candidate_once(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, GRID))
    folder = tmp_path / "run"
    prepare(study, folder, 1, resume=False, changes={})
    for limit in (3, 4, 999):
        Worker(study_of(folder), folder).run(limit=limit)
    trials = Results(folder).trials
    rows = [tuple(t.params[name] for name in study.space.by_name) for t in trials]
    assert len(rows) == len(set(rows))
    assert set(rows) == expected(study)
    whole = tmp_path / "whole"
    prepare(study, whole, 1, resume=False, changes={})
    Worker(study, whole).run()
    assert [t.params for t in Results(whole).trials] == [t.params for t in trials]


def test_trials_end_a_grid_early_and_seeds_order_it(tmp_path: Path) -> None:
    study = dataclasses.replace(load_study(write(tmp_path, GRID)), trials=5)
    orders = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        own = dataclasses.replace(study, seed=seed)
        prepare(own, folder, 1, resume=False, changes={})
        Worker(own, folder).run()
        orders.append([t.params for t in Results(folder).trials])
    assert [len(o) for o in orders] == [5, 5]
    assert orders[0] != orders[1]
