"""Attention swaps on a CPU: how much of what they save on paper do they save in time?

    python -m tools.bench.attention [--lengths 196 1024 4096 16384] [--heads 8] [--dim 64] [--agents 49] [--repeats 7]

Each kind is a graph of one or two ops, built as any spec is, on the same query, key and value [1, heads, N, dim].
Beside the measured speed-up over softmax attention stands the ratio of their multiply-adds, and which share of it is
realised; beside the predicted peak of live intermediate values what torch's allocator really held.

Times are CPU seconds of one thread, the least of several rounds in which all kinds take turns. Large tensors get large
pages (torch's ``THP_MEM_ALLOC_ENABLE``) unless ``--small-pages`` is given: at N = 16384 the kernel otherwise takes a
third as long to hand out the pages of the result as some kinds take to compute it. It is the same for all kinds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

if "--small-pages" not in sys.argv:
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read when torch first allocates
os.environ.setdefault("KINETO_LOG_LEVEL", "9")

import torch
from torch import Tensor
from torch.fx import GraphModule

import archgraph
from archgraph.analysis.cost import Totals, totals
from archgraph.lower.fx import build

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


def table(these: Sequence[Kind], measured: Sequence[Measured], n: int) -> list[str]:
    """Lines of one length."""
    lines = []
    base, first = these[0].cost.macs, measured[0].ms
    for kind, (ms, held) in zip(these, measured, strict=True):
        ratio, speed = int(base) / int(kind.cost.macs), first / ms
        rate = int(kind.cost.macs) / ms / 1e6
        lines.append(
            f"{n:>6}  {kind.name:<16}{ms:>10.2f}{speed:>9.2f}x{ratio:>9.2f}x{100 * speed / ratio:>7.0f} %{rate:>8.1f}"
            f"{int(kind.cost.memory.peak) / 2**20:>10.2f}{held / 2**20:>10.2f}"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(prog="tools.bench.attention", description=__doc__.partition("\n")[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[196, 1024, 4096, 16384])
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--agents", type=int, default=49)
    parser.add_argument("--repeats", type=int, default=7, help="rounds; a long sequence gets fewer")
    parser.add_argument("--small-pages", action="store_true", help="leave the size of pages to the system")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    pages = "small pages" if given.small_pages else "large pages"
    print(f"one thread, {pages}, torch {torch.__version__}; {given.heads} heads of {given.dim}, {given.agents} agents")
    heads = ("N", "ms", "speed-up", "MACs", "share", "GMAC/s", "MiB said", "held")
    widths = (6, 28, 10, 10, 9, 8, 10, 10)
    print("".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)))
    for n in given.lengths:
        these = kinds(n, given.heads, given.dim, given.agents)
        rounds = max(2, given.repeats if n <= 4096 else given.repeats // 2) * (20 if n <= 256 else 1)
        print("\n".join(table(these, measure(these, rounds), n)), flush=True)


if __name__ == "__main__":
    main()
