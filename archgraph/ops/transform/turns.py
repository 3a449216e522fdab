"""Chains written out: one call of a graph with a node per turn."""

from __future__ import annotations

from archgraph.ir.dim import Dim
from archgraph.ir.graph import Graph, Node, ValueRef
from archgraph.ir.real import Late, late_names, substitute
from archgraph.ops.base import fail


def rolled_out(node: Node) -> Node:
    """A plain call in place of a chain; its callee has the turns as nodes ``0``, ``1`` …, so that paths stay.

    Raises
    ------
    OpError
        If the number of turns is symbolic.
    """
    if node.op is not None or (isinstance(node.count, int) and node.count == 1):
        return node
    if isinstance(node.count, Dim):
        fail(f"`{node.name}` has {node.count} turns: give its symbols values")
    callee = node.callee
    values: list[ValueRef] = [(-1, k) for k in range(len(callee.inputs))]
    nodes: list[Node] = []
    n = len(callee.outputs)
    for turn in range(node.count):
        late = tuple((name, substitute(value, {"turn": turn})) for name, value in node.late)
        nodes.append(
            Node(str(turn), None, tuple(values), callee.output_types, (callee,), late=late, origin=node.origin)
        )
        values[:n] = [(turn, out) for out in range(n)]
    names: dict[str, None] = {}
    for _, value in (pair for turn in nodes for pair in turn.late):
        names.update(dict.fromkeys(sorted(late_names(value))))
    chain = Graph(
        f"{callee.name}_chain",
        callee.inputs,
        tuple(nodes),
        tuple((name, values[k]) for k, (name, _) in enumerate(callee.outputs)),
        late=tuple(names),
    )
    return node.replace(callees=(chain,), count=1, late=tuple((name, Late(name)) for name in names))
