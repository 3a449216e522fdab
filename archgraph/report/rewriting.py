"""What a rewrite did, as plain values: where, costs before and after, what became of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from archgraph.analysis.cost import Totals, totals
from archgraph.analysis.crossing import Unsolvable, crossings
from archgraph.ir.dim import Num, evaluate, substitute, symbols
from archgraph.report.numbers import plain
from archgraph.rewrite.api import Found, Rewritten, Step
from archgraph.rewrite.engine import Place
from archgraph.rewrite.rule import Rule

__all__ = ["QUANTITIES", "found_to_dict", "grouped", "rewritten_to_dict", "rule_to_dict", "tally"]

#: Up to which size crossings are looked for.
LARGEST: Final = 1 << 24
#: What is put side by side: attribute of `Totals` and its name.
QUANTITIES: dict[str, str] = {
    "params": "params",
    "macs": "MACs",
    "flops": "FLOPs",
    "activation_bytes": "memory at the peak",
    "weight_bytes": "weights",
}


def grouped(places: Iterable[Place]) -> dict[str, Num]:
    """Places with the same path but for numbers, and how many sites that is: ``blocks.*.attn`` → 12."""
    found: dict[str, Num] = {}
    for path, count in places:
        key = ".".join("*" if s.isdecimal() else s for s in path)
        found[key] = found.get(key, 0) + count
    return found


def tally(rewritten: Rewritten) -> dict[str, int]:
    """How many weights are carried, computed, new and dropped."""
    found: dict[str, int] = {}
    for _, kind, _ in rewritten.weight_table():
        found[kind] = found.get(kind, 0) + 1
    return found


def crossing(rewritten: Rewritten) -> str:
    """Where the multiply-adds of the rewritten graph overtake, or are overtaken, as the only open size grows.

    Empty if they depend on several sizes (a common factor, such as the batch, aside), or on none.
    """
    gap = totals(rewritten.after).macs - totals(rewritten.before).macs
    names = sorted(symbols(gap))
    for other in names:
        if len(symbols(gap)) > 1 and substitute(gap, {other: 2}) == 2 * substitute(gap, {other: 1}):
            gap = substitute(gap, {other: 1})
    names = sorted(symbols(gap))
    if len(names) != 1:
        return ""
    try:
        found, _ = crossings(gap, names[0], 1, LARGEST)
    except Unsolvable:
        return ""
    words = {-1: "fewer", 0: "as many", 1: "more"}
    first = evaluate(gap, {names[0]: 1})
    parts = [f"{words[(first > 0) - (first < 0)]} MACs from {names[0]} = 1"]
    return ", ".join([*parts, *(f"{words[c.after]} from {c.at}" for c in found)])


def costs(t: Totals) -> dict[str, Any]:
    return {name: plain(getattr(t, name)) for name in QUANTITIES}


def step_to_dict(step: Step) -> dict[str, Any]:
    """One rule's application."""
    return {
        "rule": step.rule.name,
        "relation": step.rule.relation,
        "preserves": list(step.rule.preserves),
        "sites": plain(step.count),
        "places": {path: plain(n) for path, n in grouped(step.places).items()},
        "warnings": list(step.warnings),
    }


def rewritten_to_dict(rewritten: Rewritten) -> dict[str, Any]:
    """A rewrite: steps, costs before and after, and the weights one by one."""
    return {
        "graph": rewritten.before.name,
        "steps": [step_to_dict(step) for step in rewritten.steps],
        "before": costs(totals(rewritten.before)),
        "after": costs(totals(rewritten.after)),
        "crossing": crossing(rewritten),
        "weights": [{"path": p, "is": kind, "from": origin} for p, kind, origin in rewritten.weight_table()],
    }


def found_to_dict(found: Found) -> dict[str, Any]:
    """Where a pattern stands."""
    return {
        "rule": found.rule.name,
        "graph": found.graph.name,
        "sites": plain(found.count),
        "places": {".".join(place.path): plain(place.times) for place in found.places},
        "refused": list(found.refused),
    }


def rule_to_dict(rule: Rule) -> Mapping[str, Any]:
    """A rule: what it does and takes."""
    return {
        "name": rule.name,
        "path": rule.path,
        "summary": rule.summary,
        "relation": rule.relation,
        "preserves": list(rule.preserves),
        "mode": rule.mode,
        "params": {name: str(p.value) if p.default is None else "computed" for name, p in rule.params.items()},
        "binds": sorted(rule.pattern.names),
        "requires": [r.why for r in rule.requires],
    }
