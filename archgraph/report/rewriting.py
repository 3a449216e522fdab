"""What a rewrite did, as plain values: where, costs before and after, what became of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from archgraph.analysis.cost import Totals, totals
from archgraph.ir.dim import Num
from archgraph.report.numbers import plain
from archgraph.rewrite.api import Found, Rewritten, Step
from archgraph.rewrite.engine import Place
from archgraph.rewrite.rule import Rule

__all__ = ["QUANTITIES", "found_to_dict", "grouped", "rewritten_to_dict", "rule_to_dict", "tally"]

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
