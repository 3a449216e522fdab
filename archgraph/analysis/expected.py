"""Expected work: zeros that masks and selections leave are skipped by what reads them.

Dense cost counts every element. Here ops that keep k of n elements, or state a share (`expected_density`), give their
results a density; ops that contract such values count only what is expected to be other than zero. Dense where nothing
is known.
"""

from __future__ import annotations

from typing import Any

from archgraph.analysis.cost import in_types, totals
from archgraph.ir.density import DENSE, Density
from archgraph.ir.graph import Graph, Node
from archgraph.ops.base import Cost, Op
from archgraph.ops.higher import Scan

Found = tuple[Cost, tuple[Density, ...]]


def sparse(graph: Graph) -> bool:
    """Whether anything in a graph makes values most of which are expected to be zero."""
    known: bool | None = graph._cache.get("sparse")
    if known is None:
        known = graph._cache["sparse"] = any(
            (isinstance(node.op, Op) and node.op.sparsifies) or any(map(sparse, node.callees)) for node in graph.nodes
        )
    return known


def expected(graph: Graph, given: tuple[Density, ...] | None = None) -> Cost:
    """MACs and element-wise work of one evaluation that skips zeros, given the densities of the inputs."""
    return _expected(graph, (DENSE,) * len(graph.inputs) if given is None else given)[0]


def _expected(graph: Graph, given: tuple[Density, ...]) -> Found:
    if not sparse(graph) and all(d == DENSE for d in given):
        t = totals(graph)
        return Cost(t.macs, t.elementwise), (DENSE,) * len(graph.outputs)
    known: dict[tuple[Density, ...], Found] = graph._cache.setdefault("expected", {})
    found = known.get(given)
    if found is None:
        found = known[given] = _walk(graph, given)
    return found


def _walk(graph: Graph, given: tuple[Density, ...]) -> Found:
    made: list[tuple[Density, ...]] = []
    macs: Any = 0
    elementwise: Any = 0
    for node in graph.nodes:
        if "unused" in node.flags:
            made.append((DENSE,) * len(node.types))
            continue
        ins = tuple(DENSE if r is None else given[r[1]] if r[0] < 0 else made[r[0]][r[1]] for r in node.inputs)
        cost, outs = _node(graph, node, ins)
        macs = macs + cost.macs
        elementwise = elementwise + cost.elementwise
        made.append(outs)
    return Cost(macs, elementwise), tuple(given[r[1]] if r[0] < 0 else made[r[0]][r[1]] for _, r in graph.outputs)


def _node(graph: Graph, node: Node, ins: tuple[Density, ...]) -> Found:
    dense = (DENSE,) * len(node.types)
    op: Any = node.op
    if op is None:
        callee = node.callees[0]
        once = isinstance(node.count, int) and node.count == 1
        # what a turn leaves may be denser than what it was given, so turns after the first take dense values
        cost, outs = _expected(callee, ins if once else (DENSE,) * len(callee.inputs))
        return Cost(cost.macs * node.count, cost.elementwise * node.count), outs if once else dense
    if node.callees:
        callee = node.callees[-1]
        turns: Any = 1
        if isinstance(op, Scan):
            first = in_types(graph, node)[0]
            assert first is not None
            callee, turns = node.callees[0], first.shape[op.dim]
        cost, _ = _expected(callee, (DENSE,) * len(callee.inputs))
        return Cost(cost.macs * turns, cost.elementwise * turns), dense
    types = in_types(graph, node)
    return op.expected(ins, types, node.types), op.densities(ins, types, node.types)
