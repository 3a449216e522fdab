"""Params and MACs of ViT-B/16: from YAML text, again with other hyperparameters, and from a cold start.

Then the whole zoo in one report, millions of candidates a second, and what others count on six models.
"""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
import sys
import time

import archgraph
from archgraph.analysis.cost import totals
from archgraph.spec.libraries import specs_folder
from archgraph.spec.load import Spec, load, loads
from archgraph.spec.spec_files import shipped
from tools.bench.common import Gate, Section, in_turns, many, median
from tools.bench.counts import ask, candidates, six_models
from tools.bench.peers import PEERS

MACS, PARAMS = 17_563_828_224, 86_567_656


def run(quick: bool) -> Section:
    """Ours beside every peer that is installed."""
    runs, rounds = (100, 3) if quick else (400, 7)
    path = specs_folder() / "vit.yaml"
    text = path.read_text(encoding="utf-8")
    at = {"image": (1, 3, 224, 224)}

    def from_text() -> tuple[int, int]:
        cost = totals(loads(text, "base", file=str(path)).graph(at=at))
        return cost.macs, cost.params  # type: ignore[return-value]

    if from_text() != (MACS, PARAMS):
        raise AssertionError(f"ViT-B is {from_text()}")
    spec = load("vit", "base")
    numbers = itertools.count(20)

    def again() -> int:
        """A width that was not met before: every block is typed anew."""
        k = next(numbers)
        other = Spec(spec.file, "base", {**spec.settings, "dim": 12 * k, "depth": 6 + k % 18}, spec.session)
        return totals(other.graph(at=at)).macs  # type: ignore[return-value]

    law = archgraph.cost_function(spec, over={"dim": None, "depth": None}, at=at)
    if law.scalar(dim=768, depth=12)["macs"] != MACS:
        raise AssertionError(f"the closed form gives {law.scalar(dim=768, depth=12)}")

    def by_law() -> object:
        k = next(numbers)
        return law.scalar(dim=12 * k, depth=6 + k % 18)["macs"]

    whole, other, closed = (many(f, runs, warm=20) for f in (from_text, again, by_law))
    rows: list[list[object]] = [
        ["archgraph, from YAML text", median(whole) * 1e3, MACS, 1.0, PARAMS],
        ["archgraph, other hyperparameters, every block typed anew", median(other) * 1e3, "", 1.0, ""],
        ["archgraph, other hyperparameters, `cost_function`", median(closed) * 1e3, "", 1.0, ""],
    ]
    for name in PEERS:
        found = ask(name, "ViT-B/16", str(rounds))
        if "missing" in found:
            rows.append([f"{name} (needs {found['missing']})", "not installed", "", "", ""])
            continue
        macs = float(found["macs"])
        rows.append([name, median(found["seconds"]) * 1e3, int(macs), macs / MACS, int(found["params"])])
    best = min(float(str(row[1])) for row in rows[3:] if isinstance(row[1], float))
    cold = cold_starts(5 if quick else 15)
    report, torch = median(cold["report"]), median(cold["torch"])
    rows.append(["`archgraph report vit --variant base`, cold", report * 1e3, MACS, 1.0, PARAMS])
    rows.append(['`python -c "import torch"`, cold', torch * 1e3, "", "", ""])
    return Section(
        "Cost of ViT-B/16 at 224: time and value",
        ("tool", "CPU ms, median", "MACs", "of the exact count", "params"),
        rows,
        (
            Gate("from YAML text, warm", median(whole) * 1e3, 3, " ms"),
            Gate("again with other hyperparameters, by `cost_function`", median(closed) * 1e3, 0.3, " ms"),
            Gate("again, every block typed anew", median(other) * 1e3, 0.3, " ms"),
            Gate("cold start, of torch's import", report / torch, 0.25),
        ),
        (
            "Peers construct timm's model and analyse it, each in a process of its own. The exact count of products of",
            "matrices and convolutions is 17,563,828,224; attention that torch runs as one kernel on the CPU is not",
            "seen by most. Cold starts are CPU seconds of whole processes that take turns, their bytecode cached.",
            f"Of the best peer's time ours takes {median(whole) * 1e3 / best:.2%} from text,",
            f"{median(other) * 1e3 / best:.2%} typed anew and {median(closed) * 1e3 / best:.3%} by the closed form.",
        ),
        (whole_zoo(3 if quick else 9), candidates(quick), *six_models()),
    )


def whole_zoo(rounds: int) -> Section:
    """A report on every shipped spec in one process, beside torch's import; wall seconds in turns."""
    specs = [str(path) for paths in shipped().values() for path in paths]
    found = in_turns(
        {
            "report": lambda: _start("-m", "archgraph", "report", *specs),
            "torch": lambda: _start("-c", "import torch"),
        },
        rounds,
        clock=time.perf_counter,
    )
    report, torch = median(found["report"]), median(found["torch"])
    return Section(
        f"A report on all {len(specs)} specs",
        ("process", "wall s, median"),
        [["`archgraph report` of every shipped spec", report], ['`python -c "import torch"`', torch]],
        (Gate("the whole zoo, of torch's import", report / torch, 2),),
    )


def cold_starts(rounds: int) -> dict[str, list[float]]:
    """CPU seconds of fresh processes."""
    return in_turns(
        {
            "report": lambda: _start("-m", "archgraph", "report", "vit", "--variant", "base"),
            "torch": lambda: _start("-c", "import torch"),
        },
        rounds,
        clock=_children,
    )


def _start(*arguments: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
