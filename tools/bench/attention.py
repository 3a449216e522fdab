"""Attention swaps on a CPU: how much of what they save on paper do they save in time?

    python -m tools.bench.attention [--lengths 196 1024 4096 16384] [--heads 8] [--dim 64] [--agents 49] [--repeats 7]
    python -m tools.bench attention --write

Each kind is a graph of one or two ops, built as any spec is, on the same query, key and value [1, heads, N, dim].
Beside the measured speed-up over softmax attention stands the ratio of their multiply-adds, and which share of it is
realised; beside the predicted peak of live intermediate values what torch's allocator really held.

Times are CPU seconds of one thread, the least of several rounds in which all kinds take turns. Large tensors get large
pages (torch's ``THP_MEM_ALLOC_ENABLE``) unless ``--small-pages`` is given: at N = 16384 the kernel otherwise takes a
third as long to hand out the pages of the result as some kinds take to compute it. It is the same for all kinds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

if __name__ == "__main__" and "--small-pages" not in sys.argv:
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read when torch first allocates
os.environ.setdefault("KINETO_LOG_LEVEL", "9")

import torch
from torch import Tensor
from torch.fx import GraphModule

import archgraph
from archgraph.analysis.cost import Totals, totals
from archgraph.lower.fx import build
from tools.bench.common import Gate, Section

HEAD = """
archgraph: 1
name: attention
inputs: {{q: [1, {heads}, {n}, {dim}], k: [1, {heads}, {n}, {dim}], v: [1, {heads}, {n}, {dim}]{agents}}}
graph:
"""

#: Kinds by name; the first is what the others are compared with.
KINDS = {
    "softmax": "  y: {op: scaled_dot_product_attention, in: [q, k, v]}\n",
    "linear, elu + 1": "  y: {op: kernelized_attention, in: [q, k, v], feature_map: elu_plus_one}\n",
    "linear, relu": "  y: {op: kernelized_attention, in: [q, k, v], feature_map: relu}\n",
    "agent": (
        "  gathered: {op: scaled_dot_product_attention, in: [a, k, v]}\n"
        "  y: {op: scaled_dot_product_attention, in: [q, a, gathered]}\n"
    ),
}


class Kind(NamedTuple):
    """A kind of attention at one length, ready to run."""

    name: str
    model: GraphModule
    inputs: tuple[Tensor, ...]
    cost: Totals


class Measured(NamedTuple):
    """Milliseconds, and the most bytes that torch held at once beyond the inputs."""

    ms: float
    peak: int


def kinds(n: int, heads: int, dim: int, agents: int) -> list[Kind]:
    """All kinds at length ``n``, on the same random operands."""
    generator = torch.Generator().manual_seed(0)
    operands = [torch.randn(1, heads, n, dim, generator=generator) for _ in range(3)]
    given = torch.randn(1, heads, agents, dim, generator=generator)
    found = []
    for name, graph in KINDS.items():
        more = f", a: [1, {heads}, {agents}, {dim}]" if name == "agent" else ""
        typed = archgraph.loads(HEAD.format(heads=heads, n=n, dim=dim, agents=more) + graph).graph()
        inputs = (*operands, given) if more else tuple(operands)
        found.append(Kind(name, build(typed).eval(), inputs, totals(typed)))
    return found


def measure(these: Sequence[Kind], repeats: int, clock: Callable[[], float] = time.process_time) -> list[Measured]:
    """The least time of each over ``repeats`` rounds, after one that is not counted, and its peak of memory."""
    least = [float("inf")] * len(these)
    with torch.no_grad():
        for turn in range(repeats + 1):
            for at, kind in enumerate(these):
                start = clock()
                kind.model(*kind.inputs)
                if turn:
                    least[at] = min(least[at], clock() - start)
        return [Measured(1e3 * seconds, peak(kind)) for seconds, kind in zip(least, these, strict=True)]


def peak(kind: Kind) -> int:
    """Bytes allocated at once during one run, from the allocator's own events."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        kept = kind.model(*kind.inputs)
    del kept
    recorder = profile.profiler
    assert recorder is not None
    assert recorder.kineto_results is not None
    held = most = 0
    for event in recorder.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


class Row(NamedTuple):
    """One kind at one length, beside softmax attention: times, the ratio of multiply-adds, MiB of memory."""

    n: int
    kind: str
    ms: float
    speed_up: float
    macs: float
    gmacs: float
    said: float
    held: float

    @property
    def share(self) -> float:
        """Of the ratio of multiply-adds, what became speed."""
        return self.speed_up / self.macs


def rows(these: Sequence[Kind], measured: Sequence[Measured], n: int) -> list[Row]:
    """The kinds of one length; the first is what the others are compared with."""
    base, first = int(these[0].cost.macs), measured[0].ms
    found = []
    for kind, (ms, held) in zip(these, measured, strict=True):
        macs, said = int(kind.cost.macs), int(kind.cost.memory.peak)
        found.append(Row(n, kind.name, ms, first / ms, base / macs, macs / ms / 1e6, said / 2**20, held / 2**20))
    return found


#: Share of the ratio of multiply-adds that each kind must realise at 16384 tokens, in per cent.
WANTED = {"linear, elu + 1": 35, "linear, relu": 45, "agent": 65}


def gates(found: Sequence[Row], what: str) -> list[Gate]:
    """Shares at the greatest length, and that no swap is slower at the least."""
    least, greatest = min(r.n for r in found), max(r.n for r in found)
    made = [
        Gate(
            f"{row.kind}, N = {greatest}, {what}: share of the MAC ratio", 100 * row.share, WANTED[row.kind], " %", True
        )
        for row in found
        if row.n == greatest and row.kind in WANTED
    ]
    slowest = min(row.speed_up for row in found if row.n == least and row.kind in WANTED)
    return [*made, Gate(f"least speed-up of a swap at N = {least}, {what}", slowest, 1.0, "", True)]


def run(quick: bool) -> Section:
    """Both sizes of pages, each in a process of its own, since torch asks once."""
    lines: list[list[object]] = []
    made: list[Gate] = []
    for what, more in (("large pages", ()), ("small pages", ("--small-pages",))):
        command = [sys.executable, "-m", "tools.bench.attention", "--json", *more]
        command += ["--repeats", "3", "--lengths", "196", "1024"] if quick else []
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = [Row(*row) for row in json.loads(done.stdout)]
        made += gates(found, what)
        for row in found:
            share = f"{100 * row.share:.0f} %"
            lines.append([what, *row[:5], share, *row[5:]])
    return Section(
        "Attention swaps: speed-up beside the ratio of multiply-adds",
        ("pages", "N", "kind", "CPU ms", "speed-up", "MACs", "share", "GMAC/s", "MiB said", "MiB held"),
        lines,
        made,
        (
            "Forward, float32, one thread, 8 heads of 64, 49 agents; the least time of rounds in which all kinds take",
            "turns. Softmax is `scaled_dot_product_attention` as torch runs it. MiB said is the law's peak, MiB held",
            "what torch's allocator held beyond the inputs.",
        ),
    )


def line(row: Row) -> str:
    """A row as text."""
    return (
        f"{row.n:>6}  {row.kind:<16}{row.ms:>10.2f}{row.speed_up:>9.2f}x{row.macs:>9.2f}x{100 * row.share:>7.0f} %"
        f"{row.gmacs:>8.1f}{row.said:>10.2f}{row.held:>10.2f}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(prog="tools.bench.attention", description=__doc__.partition("\n")[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[196, 1024, 4096, 16384])
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--agents", type=int, default=49)
    parser.add_argument("--repeats", type=int, default=7, help="rounds; a long sequence gets fewer")
    parser.add_argument("--small-pages", action="store_true", help="leave the size of pages to the system")
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.json:
        print(json.dumps([row for found in lengths(given) for row in found]))
        return
    pages = "small pages" if given.small_pages else "large pages"
    print(f"one thread, {pages}, torch {torch.__version__}; {given.heads} heads of {given.dim}, {given.agents} agents")
    heads = ("N", "ms", "speed-up", "MACs", "share", "GMAC/s", "MiB said", "held")
    widths = (6, 28, 10, 10, 9, 8, 10, 10)
    print("".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)))
    for found in lengths(given):
        print("\n".join(map(line, found)), flush=True)


def lengths(given: argparse.Namespace) -> Iterator[list[Row]]:
    """The rows of each length, as they come."""
    for n in given.lengths:
        these = kinds(n, given.heads, given.dim, given.agents)
        rounds = max(2, given.repeats if n <= 4096 else given.repeats // 2) * (20 if n <= 256 else 1)
        yield rows(these, measure(these, rounds), n)


if __name__ == "__main__":
    main()
