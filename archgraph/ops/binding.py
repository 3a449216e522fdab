"""From a node to its instances: late values turn by turn, and weights with their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from archgraph.ir.dim import Dim
from archgraph.ir.graph import Graph, Node
from archgraph.ir.real import substitute
from archgraph.ops.base import Op, Weight
from archgraph.ops.higher import Scan, SwitchTraining

Late = Mapping[str, Any]
NOTHING: Final[Late] = {}


class SymbolicTurns(ValueError):
    """The instances of a node can't be listed: it has a symbolic number of turns."""


def late_turns(node: Node, late: Late) -> list[Late]:
    """The late values that a node binds for what it calls, turn by turn, given those of its own graph.

    Raises
    ------
    SymbolicTurns
        If the number of turns is symbolic.
    """
    if isinstance(node.count, Dim):
        raise SymbolicTurns(f"`{node.name}` has {node.count} turns: give its symbols values")
    if not node.late:
        return [NOTHING] * node.count
    return [{name: substitute(expr, {**late, "turn": turn}) for name, expr in node.late} for turn in range(node.count)]


def instances(node: Node, late: Late) -> Iterator[tuple[tuple[str, ...], Graph, Late]]:
    """The graphs that a node calls: path segments below the node, graph, late values.

    Raises
    ------
    SymbolicTurns
        If the number of turns is symbolic.
    """
    turns = late_turns(node, late)
    if isinstance(node.op, (Scan, SwitchTraining)):
        for segments, region in zip(type(node.op).segments, node.callees, strict=True):
            yield segments, region, turns[0]
    elif node.count == 1:
        yield (), node.callee, turns[0]
    else:
        for turn, values in enumerate(turns):
            yield (str(turn),), node.callee, values


def own_weights(graph: Graph, node: Node) -> tuple[Weight, ...]:
    """The weights of an op node, as its op declares them for its operands."""
    assert isinstance(node.op, Op)
    return tuple(node.op.weights(*[None if ref is None else graph.type_of(ref) for ref in node.inputs]))


def bind_weight(weight: Weight, late: Late) -> Weight:
    """A weight whose law has its late numbers put in."""
    name, args = weight.init
    if not late or not args:
        return weight
    return weight._replace(init=(name, tuple((key, _bound(value, late)) for key, value in args)))


def _bound(value: Any, late: Late) -> Any:
    return tuple(_bound(v, late) for v in value) if isinstance(value, tuple) else substitute(value, late)


def weight_path(path: str, weight: Weight) -> str:
    """The path of a weight of the node at ``path``.

    A non-persistent buffer at a node's own path lies one deeper: a `GraphModule` that is copied registers its own
    buffers anew, as persistent ones. It has no state_dict key, so nothing shows.
    """
    if weight.name:
        return f"{path}.{weight.name}"
    return path if weight.persistent else f"{path}.value"
