"""Graphs as networkx graphs, for drawing, analysis and isomorphism tests by users; nothing of ours reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from archgraph.ir.graph import Graph, Node, ValueRef
from archgraph.ir.paths import Path, owner_path
from archgraph.ir.real import Late, substitute

if TYPE_CHECKING:
    from networkx import MultiDiGraph

#: A value: the networkx node that makes it, and the number of the output.
_Value = tuple[str, int]


def to_networkx(graph: Graph, flatten: bool = False) -> MultiDiGraph[str]:
    """The graph as a networkx ``MultiDiGraph``.

    Its nodes are named by their paths, those of inputs and outputs with ``input:`` and ``output:`` before the name.
    Attributes of a node:

    - ``kind``: ``input``, ``output``, ``op``, ``call`` or ``region`` (an op that calls graphs)
    - ``op``: name of the op or of the called graph
    - ``attrs``: attributes of the op that differ from their defaults
    - ``types``: of its outputs
    - ``owner``: path of the node whose weights it uses, mostly its own
    - ``flags``, ``count`` (turns of a chain), ``callees``

    An edge runs from the node that makes a value to the one that takes it; ``output`` and ``operand`` are their
    numbers, ``type`` is the value's. Weights given as values have their name as ``operand``.

    Parameters
    ----------
    graph : Graph
    flatten : bool
        Calls are replaced by what they call, turn by turn, so that only ops are left; but chains with a symbolic number
        of turns and ops with regions stay.

    Raises
    ------
    ImportError
        Without networkx.
    """
    import networkx as nx

    made: MultiDiGraph[str] = nx.MultiDiGraph(name=graph.name)
    values: list[_Value] = []
    for name, t in graph.inputs:
        values.append((f"input:{name}", 0))
        made.add_node(f"input:{name}", kind="input", op="input", types=(t,))
    outputs = _Builder(made, flatten).run(graph, values, (), (), {n: Late(n) for n in graph.late})
    for (name, ref), value in zip(graph.outputs, outputs, strict=True):
        made.add_node(f"output:{name}", kind="output", op="output", types=(graph.type_of(ref),))
        made.add_edge(value[0], f"output:{name}", operand=0, output=value[1], type=graph.type_of(ref))
    return made


class _Builder:
    def __init__(self, made: MultiDiGraph[str], flatten: bool) -> None:
        self.made = made
        self.flatten = flatten

    def run(self, graph: Graph, inputs: list[_Value], path: Path, home: Path, late: Mapping[str, Any]) -> list[_Value]:
        """Add a graph's nodes, its weights being at ``home``, on given values; returns those of its outputs."""
        values: list[list[_Value]] = []

        def value(ref: ValueRef) -> _Value:
            return inputs[ref[1]] if ref[0] < 0 else values[ref[0]][ref[1]]

        for node in graph.nodes:
            owner = (*home, *owner_path(graph, (node.name,)))
            if self.flatten and node.op is None and isinstance(node.count, int) and not node.weights:
                operands = [value(r) for r in node.inputs if r is not None]
                values.append(self.inline(node, operands, (*path, node.name), owner, late))
                continue
            own = ".".join((*path, node.name))
            self.made.add_node(own, **_attributes(node, owner, late))
            given: list[tuple[int | str, ValueRef | None]] = [*enumerate(node.inputs), *node.weights]
            for operand, ref in given:
                if ref is not None:
                    source, output = value(ref)
                    self.made.add_edge(source, own, operand=operand, output=output, type=graph.type_of(ref))
            values.append([(own, k) for k in range(len(node.types))])
        return [value(ref) for _, ref in graph.outputs]

    def inline(
        self, node: Node, operands: list[_Value], path: Path, home: Path, late: Mapping[str, Any]
    ) -> list[_Value]:
        """A call's nodes in place of the call."""
        assert isinstance(node.count, int)
        outputs: list[_Value] = []
        for turn in range(node.count):
            bound = {n: substitute(e, {**late, "turn": turn}) for n, e in node.late}
            below = () if node.count == 1 else (str(turn),)
            outputs = self.run(node.callee, operands, (*path, *below), (*home, *below), bound)
            operands = [*outputs, *operands[len(outputs) :]]
        return outputs


def _attributes(node: Node, owner: Path, late: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a node."""
    op = node.op
    return {
        "kind": "call" if op is None else "region" if node.callees else "op",
        "op": node.callee.name if op is None else op.op_name,
        "attrs": {} if op is None else {k: substitute(v, late) for k, v in op.attrs().items()},
        "types": node.types,
        "owner": ".".join(owner),
        "flags": node.flags,
        "count": node.count,
        "callees": node.callees,
    }
