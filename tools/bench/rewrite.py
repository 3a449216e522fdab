"""Rewrites of ViT-B: its attention cores found, and the swapped model emitted beside the original."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.fx import GraphModule

import archgraph
from archgraph.ir.graph import Graph
from archgraph.lower.fx import emit
from archgraph.rewrite.api import find, rewrite
from tools.bench.common import Gate, Section, in_turns, many, median, ratio

#: Rule, its settings, and whether its model must be emitted in no more time than the original.
SWAPS = {
    "linear attention": ("softmax_to_linear", {"learn_scale": False}, True),
    "linear attention, a temperature per head": ("softmax_to_linear", {"learn_scale": True}, True),
    "agent attention, with its biases": ("softmax_to_agent", {}, False),
}


def nodes(graph: Graph) -> int:
    """fx nodes of all graphs of the emitted model."""
    return sum(len(part.graph.nodes) for part in emit(graph).modules() if isinstance(part, GraphModule))


def run(quick: bool) -> Section:
    """Finding in CPU ms, emission as a ratio of pairs."""
    torch.set_num_threads(1)
    base = archgraph.load("vit", "base").graph(at={"image": [1, 3, 224, 224]})
    swapped = {label: rewrite(base, rule, settings=given).after for label, (rule, given, _) in SWAPS.items()}

    def emitted(graph: Graph) -> Callable[[], object]:
        return lambda: emit(graph)

    lines: list[list[object]] = []
    gates: list[Gate] = []
    for rule in dict.fromkeys(rule for rule, _, _ in SWAPS.values()):
        count = int(find(base, rule).count)
        ms = median(many(lambda rule=rule: find(base, rule), 20 if quick else 400)) * 1e3  # type: ignore[misc]
        lines.append([f"find `{rule}`: {count} of 12", "", ms, "", ""])
        gates += [Gate(f"cores found by `{rule}`", count, 12, "", True), Gate(f"find by `{rule}`", ms, 1.0, " ms")]
    times = in_turns(
        {"original": emitted(base), **{k: emitted(g) for k, g in swapped.items()}}, 5 if quick else 60, warm=2
    )
    lines.append(["emit the original", nodes(base), median(times["original"]) * 1e3, "", ""])
    for label, graph in swapped.items():
        middle, low, high = ratio(times[label], times["original"])
        lines.append([f"emit, {label}", nodes(graph), median(times[label]) * 1e3, middle, f"{low:.3f} to {high:.3f}"])
        if SWAPS[label][2]:
            gates.append(Gate(f"emit, {label}, of the original's time", middle, 1.0))
    return Section(
        "Rewrites of ViT-B/16",
        ("what", "fx nodes", "CPU ms", "median ratio of pairs", "95 % interval"),
        lines,
        gates,
        ("A rule is parsed and indexed once; finding is asked of a typed graph. Emission is on meta.",),
    )
