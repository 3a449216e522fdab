"""What search adds to Optuna: ``python -m tools.bench search``.

Two questions, each measured against bare Optuna in the same run, in turns: the time of a trial with ten
hyperparameters and an objective that costs nothing, on the same storage; and the time to draw feasible candidates of
which one in a hundred keeps the limits.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from archgraph.search.draws import BLOCK, draw
from archgraph.search.feasible import Feasibility
from archgraph.search.run import prepare
from archgraph.search.study_file import Constraint, Study, read_study
from archgraph.search.worker import Worker
from tools.bench.common import Gate, Section

TEXT = """archgraph: 1
name: bench
spec: vit
set: {num_classes: 100}
space:
  patch_size: [8, 16, 32]
  dim: {range: [64, 512], step: 32}
  depth: {range: [2, 16]}
  num_heads: [1, 2, 4, 8]
  mlp_ratio: {range: [1, 4]}
  qk_norm: [false, true]
  class_token: [false, true]
  reg_tokens: {range: [0, 4]}
  pool: [mean, max]
  train.lr: {range: [1.0e-4, 1.0e-2], log: true}
objectives: {params: minimize}
sampler: random
trials: 100000
"""


class Bare:
    """Optuna alone: the same distributions, its own journal on the same disk, no value to work out."""

    def __init__(self, study: Study, folder: Path, sampler: Any) -> None:
        self.space = study.space.distributions
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "bare.log")))
        self.study = optuna.create_study(storage=storage, sampler=sampler)

    def run(self, trials: int) -> None:
        for _ in range(trials):
            trial = self.study.ask(dict(self.space))
            self.study.tell(trial, 0.0)


def per_trial(trials: int, step: int, sampler: str, limit: bool) -> list[float]:
    """Milliseconds of a trial, bare and ours, on the clock and of CPU: medians over steps that alternate."""
    study = read_study(TEXT.replace("sampler: random", f"sampler: {sampler}"))
    if limit:
        study = dataclasses.replace(study, constraints=(Constraint("params", 4.0e6, 5.0e6),))
    base: dict[str, Any] = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
    more = {"multivariate": True} if sampler == "tpe" else {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        bare = Bare(study, folder, base[sampler](seed=0, **more))
        own = folder / "own"
        prepare(study, own, 1, resume=False, changes={})
        worker = Worker(study, own)
        rows: list[tuple[float, ...]] = []
        for k in range(trials // step):
            found: dict[str, tuple[float, float]] = {}
            for name in ("bare", "own") if k % 2 else ("own", "bare"):
                start, cpu = time.perf_counter(), time.process_time()
                if name == "bare":
                    bare.run(step)
                else:
                    worker.run(limit=step)
                found[name] = time.perf_counter() - start, time.process_time() - cpu
            rows.append((found["bare"][0], found["own"][0], found["bare"][1], found["own"][1]))
    return [1000 * statistics.median(column) / step for column in zip(*rows, strict=True)]


def feasible_draws(wanted: int) -> dict[str, float]:
    """Seconds to draw candidates under limits on params and MACs that about one in a hundred keeps."""
    study = read_study(TEXT)
    study = dataclasses.replace(
        study, constraints=(Constraint("params", 4.4e6, 4.7e6), Constraint("macs", None, 2.0e9))
    )
    start = time.perf_counter()
    feasibility = Feasibility(study)
    compiled = time.perf_counter() - start
    rng = np.random.RandomState(0)
    found = looked = 0
    start = time.perf_counter()
    while found < wanted:
        found += int(feasibility({name: draw(rng, d, BLOCK) for name, d in study.space.distributions.items()}).sum())
        looked += BLOCK
    seconds = time.perf_counter() - start
    return {"wanted": wanted, "looked": looked, "acceptance": found / looked, "seconds": seconds, "compile": compiled}


def run(quick: bool) -> Section:
    """Milliseconds a trial beside bare Optuna's, and ten thousand feasible draws."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    trials = 60 if quick else 300
    wanted = 1_000 if quick else 10_000
    d = feasible_draws(wanted)
    rows: list[list[object]] = []
    gates = []
    for sampler in ("random", "tpe"):
        for limit in (False, True):
            wall, own, bare_cpu, own_cpu = per_trial(trials, 20, sampler, limit)
            rows.append([sampler, "4 to 5 M params" if limit else "none", wall, own, own / wall, bare_cpu, own_cpu])
            if not limit:
                gates.append(Gate(f"{sampler}, no limits, of bare Optuna's time", own / wall, 1.2))
    what = f"{wanted:,} feasible candidates, {d['acceptance']:.2%} of {int(d['looked']):,} draws"
    gates.append(Gate(what, d["seconds"], wanted / 1000, " s"))
    notes = [
        f"Milliseconds a trial over {trials} trials of ten hyperparameters, a null objective, one process, steps of 20",
        "in turns. Bare Optuna asks and tells on its own journal, on the same disk; archgraph elaborates a candidate,",
        "hashes it, records its costs, and writes what belongs together in one piece: so it waits for the disk once a",
        "trial, and bare Optuna at every parameter. The longer a wait for the disk, the smaller the ratio; CPU time is",
        "what is added to a storage that costs nothing.",
    ]
    columns = ["sampler", "limits", "bare Optuna, ms", "archgraph, ms", "ratio", "bare, CPU ms", "archgraph, CPU ms"]
    return Section("Search: time a trial beside bare Optuna", columns, rows, gates, notes)
