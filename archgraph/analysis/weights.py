"""Which weights a graph has: state_dict keys and declarations, without torch."""

from __future__ import annotations

from collections.abc import Iterator

from archgraph.ir.graph import Graph
from archgraph.ops.base import Weight
from archgraph.ops.binding import NOTHING, Late, bind_weight, instances, own_weights, weight_path


def weight_table(graph: Graph) -> dict[str, Weight]:
    """Parameters and buffers by path, in path order, each once: under the node that owns it.

    Non-persistent buffers are among them, though no state_dict holds them.

    Raises
    ------
    SymbolicTurns
        If how many there are depends on a symbol.
    """
    return dict(_weights(graph, NOTHING, ""))


def _weights(graph: Graph, late: Late, prefix: str) -> Iterator[tuple[str, Weight]]:
    for node in graph.nodes:
        if node.share is not None:
            continue
        path = prefix + node.name
        given = {f"{path}.{name}" if name else path for name, _ in node.weights}
        if node.callees:
            for segments, callee, values in instances(node, late):
                for key, weight in _weights(callee, values, ".".join((path, *segments, ""))):
                    if key not in given:
                        yield key, weight
        else:
            for weight in own_weights(graph, node):
                key = weight_path(path, weight)
                if key not in given:
                    yield key, bind_weight(weight, late)
