"""Small specs and rules for tests."""

from __future__ import annotations

from typing import Any

from archgraph.ir.graph import Graph
from archgraph.rewrite.api import Step, apply_rule
from archgraph.rewrite.rule import Rule, loads_rule
from archgraph.spec.load import loads


def spec(graph: str, more: str = "", inputs: str = "{x: [2, 8, 6, 6]}", outputs: str = "") -> Graph:
    """The typed graph of a body; ``more`` holds further sections."""
    text = f"archgraph: 1\nname: host\ninputs: {inputs}\n{more}\ngraph:\n"
    text += "".join(f"  {line}\n" for line in graph.strip().splitlines())
    return loads(text + outputs).graph()


def rule(match: str, replace: str = "", more: str = "relation: approximate") -> Rule:
    """A rule from the YAML of its two sides."""
    text = f"archgraph: 1\nrule: test\nmatch: {match}\n"
    if replace:
        text += f"replace: {replace}\n"
    return loads_rule(text + more + "\n")


def apply(graph: Graph, match: str, replace: str, more: str = "relation: approximate", **given: Any) -> Step:
    """Apply a rule written in place."""
    return apply_rule(graph, rule(match, replace, more), **given)


def words(graph: Graph) -> list[str]:
    """``name: op`` of every node."""
    return [f"{n.name}: {n.op.op_name if n.op is not None else n.callee.name}" for n in graph.nodes]
