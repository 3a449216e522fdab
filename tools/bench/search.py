"""What search adds to Optuna: ``python -m tools.bench.search``.

Two questions, each measured against bare Optuna in the same run, in turns: the time of a trial with ten
hyperparameters and an objective that costs nothing, on the same storage; and the time to draw feasible candidates of
which one in a hundred keeps the limits.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
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
    """Optuna alone: the same distributions, the same storage, no value to work out."""

    def __init__(self, study: Study, folder: Path, sampler: Any) -> None:
        self.space = study.space.distributions
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "bare.log")))
        self.study = optuna.create_study(storage=storage, sampler=sampler)

    def run(self, trials: int) -> None:
        for _ in range(trials):
            trial = self.study.ask(dict(self.space))
            self.study.tell(trial, 0.0)


def per_trial(trials: int, step: int, sampler: str, limit: bool) -> tuple[float, float]:
    """Milliseconds of a trial, bare and ours: medians over steps that alternate."""
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
        rows: list[tuple[float, float]] = []
        for _ in range(trials // step):
            start = time.perf_counter()
            bare.run(step)
            middle = time.perf_counter()
            worker.run(limit=step)
            rows.append((middle - start, time.perf_counter() - middle))
    return tuple(1000 * statistics.median(column) / step for column in zip(*rows, strict=True))  # type: ignore[return-value]


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


def main() -> None:
    """Print both tables, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.search")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found: dict[str, Any] = {"draws": feasible_draws(10_000)}
    for sampler in ("random", "tpe"):
        for limit in (False, True):
            bare, own = per_trial(given.trials, 20, sampler, limit)
            name = f"{sampler}, {'4M to 5M params' if limit else 'no limits'}"
            found[name] = {"bare_ms": bare, "archgraph_ms": own, "ratio": own / bare}
    if given.json:
        print(json.dumps(found, indent=1))
        return
    d = found.pop("draws")
    print(f"{d['wanted']:,} feasible of {d['looked']:,} draws ({d['acceptance']:.2%}): {d['seconds']:.2f} s")
    print(f"{'a trial':28s} {'bare Optuna':>12s} {'archgraph':>12s} {'ratio':>7s}")
    for name, row in found.items():
        print(f"{name:28s} {row['bare_ms']:9.2f} ms {row['archgraph_ms']:9.2f} ms {row['ratio']:7.2f}")


if __name__ == "__main__":
    main()
