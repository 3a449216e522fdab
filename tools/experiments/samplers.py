"""Does a sampler beat random draws at equal trials? Median hypervolume of the front over some seeds.

    python -m tools.experiments.samplers search/vit_digits.yaml --trials 40 \\
        --reference accuracy=0.1 macs=2.0e6 --set train.epochs=12 train.batch_size=64 pruner.kind=none

Every sampler runs every seed once, in a folder of its own below ``--out``, with one worker. Seeds take turns, so that
an early end leaves whole rounds. ``--seconds`` ends a call early and the same command goes on where it ended, trial by
trial as if nothing had happened; the table holds what there is. A front counts what is inside of the reference point,
in the objectives' own units; ``--log`` names objectives whose logarithm is taken in a second column.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archgraph.ops.plugins import use
from archgraph.search.folder import STUDY, study_of
from archgraph.search.results import Results, hypervolume
from archgraph.search.run import prepare
from archgraph.search.study_file import Study, read_study
from archgraph.search.worker import Worker, record_of
from archgraph.spec.yaml import YMap, dump_yaml, load_yaml


def changed(path: Path, sampler: str, seed: int, trials: int, settings: Mapping[str, Any]) -> Study:
    """The study with another sampler, seed, number of trials and settings ``section.key``."""
    tree = _plain(load_yaml(path.read_text(encoding="utf-8"), str(path)))
    tree["sampler"], tree["seed"], tree["trials"] = _value(sampler), seed, trials
    for name, value in settings.items():
        head, _, rest = name.partition(".")
        if (head, rest) == ("pruner", "kind"):
            tree["pruner"] = value
        elif rest:
            tree.setdefault(head, {})[rest] = value
        else:
            tree[head] = value
    return read_study(dump_yaml(tree), str(path))


def volumes(results: Results, reference: Mapping[str, float], logs: Sequence[str], trials: int) -> tuple[float, float]:
    """Hypervolume of the first trials' front: as it is, and with some objectives in logarithms to base 10."""
    import copy
    import math

    names = [o.name for o in results.study.objectives]
    corner = [reference[n] for n in names]
    found = results.trials[:trials]
    plain = hypervolume(results.study, found, corner)
    if not logs:
        return plain, plain
    bent = []
    for t in found:
        t = copy.deepcopy(t)
        if t.values is not None and len(t.values) == len(names):
            t.values = [math.log10(v) if n in logs else v for n, v in zip(names, t.values, strict=True)]
        bent.append(t)
    corner = [math.log10(v) if n in logs else v for n, v in zip(names, corner, strict=True)]
    return plain, hypervolume(results.study, bent, corner)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.experiments.samplers", description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--samplers", nargs="+", default=["", "random"], help="YAML; empty for the study's own")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--set", nargs="+", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--reference", nargs="+", required=True, metavar="OBJECTIVE=VALUE")
    parser.add_argument("--log", nargs="+", default=[])
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--plugin", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path("out/samplers"))
    given = parser.parse_args()
    for plugin in given.plugin:
        use(plugin)
    settings = {n: _value(v) for n, _, v in (item.partition("=") for item in given.set)}
    reference = {n: float(v) for n, _, v in (item.partition("=") for item in given.reference)}
    own = load_yaml(given.study.read_text(encoding="utf-8"), str(given.study)).get("sampler", "tpe")
    if isinstance(own, dict):
        own = "{" + ", ".join(f"{k}: {v}" for k, v in own.items()) + "}"
    samplers = [s or own for s in given.samplers]
    deadline = time.time() + given.seconds
    folders: dict[tuple[str, int], Path] = {}
    for seed in given.seeds:
        for sampler in samplers:
            stem = "".join(c if c.isalnum() else "_" for c in sampler)
            folder = folders[sampler, seed] = given.out / given.study.stem / f"{stem}-{seed}"
            if (folder / STUDY).exists():
                study = study_of(folder, trials=given.trials)
                prepare(study, folder, 1, resume=True, changes={})
            else:
                study = changed(given.study, sampler, seed, given.trials, settings)
                prepare(study, folder, 1, resume=False, changes={})
            if time.time() < deadline:
                Worker(study, folder).run(deadline=deadline)
    print("| sampler | seed | trials | from the record | front | hypervolume | with logarithms |")
    print("|---" * 7 + "|")
    found: dict[str, list[tuple[float, float]]] = {}
    for (sampler, seed), folder in folders.items():
        results = Results(folder)
        done = [t for t in results.trials[: given.trials] if t.state.is_finished()]
        pair = volumes(results, reference, given.log, given.trials)
        found.setdefault(sampler, []).append(pair)
        repeated = sum("same_as" in record_of(t) for t in done)
        cells = [sampler, seed, len(done), repeated, len(results.front()), f"{pair[0]:.6g}", f"{pair[1]:.6g}"]
        print("| " + " | ".join(map(str, cells)) + " |")
    for sampler, pairs in found.items():
        middle = [statistics.median(column) for column in zip(*pairs, strict=True)]
        print(f"median of {sampler}: {middle[0]:.6g}, with logarithms {middle[1]:.6g}")


def _value(text: str) -> Any:
    tree = load_yaml(f"it: {text}\n", "<command line>")
    assert isinstance(tree, YMap)
    return _plain(tree["it"])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
