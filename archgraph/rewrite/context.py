"""``context:`` values from the root graph, by path, brought to every site as further inputs of the blocks on the way.

Inputs are added to every block that holds a match, before anything is replaced; those that no replacement reads are
taken away again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from archgraph.ir.graph import Graph, Node, ValueRef
from archgraph.ir.types import TensorType
from archgraph.ops.base import OpError
from archgraph.ops.higher import Scan, SwitchTraining

__all__ = ["PREFIX", "bound", "locate", "pruned", "threaded"]

#: Begins the names of inputs that bring a value.
PREFIX: Final = "context_"


def locate(graph: Graph, context: Mapping[str, str]) -> dict[str, ValueRef]:
    """The values that paths name: ``/image`` an input, ``stem`` or ``split.q`` a node's output.

    Raises
    ------
    OpError
        If there is no such value in the root graph.
    """
    found: dict[str, ValueRef] = {}
    for name, path in context.items():
        if path.startswith("/"):
            names = [n for n, _ in graph.inputs]
            if path[1:] not in names:
                raise OpError(f"`{graph.name}` has no input `{path[1:]}`, which the rule takes as `{name}`")
            found[name] = (-1, names.index(path[1:]))
            continue
        head, _, part = path.partition(".")
        k = next((k for k, n in enumerate(graph.nodes) if n.name == head), None)
        if k is None:
            raise OpError(f"`{graph.name}` has no node `{head}`, which the rule takes as `{name}`")
        node = graph.nodes[k]
        outputs = [n for n, _ in node.callee.outputs] if node.op is None else list(getattr(node.op, "outputs", ()))
        if part and part not in outputs:
            raise OpError(f"`{head}` has no output `{part}`; only values of the root graph can be brought to a site")
        found[name] = (k, outputs.index(part) if part else 0)
    return found


def threaded(graph: Graph, values: Mapping[str, ValueRef], holds: Callable[[Graph], bool]) -> Graph:
    """The root graph with further inputs, for these values, in every block that ``holds`` a site or has one below.

    Raises
    ------
    OpError
        If a value stands below a site, or an op with a site in its regions gives them operands of its own making.
    """
    types = {name: graph.type_of(ref) for name, ref in values.items()}
    return _Threading(types, holds).root(graph, values)


class _Threading:
    def __init__(self, types: Mapping[str, TensorType], holds: Callable[[Graph], bool]) -> None:
        self.types = types
        self.holds = holds
        self.known: dict[int, tuple[Graph, Graph | None]] = {}

    def root(self, graph: Graph, values: Mapping[str, ValueRef]) -> Graph:
        nodes: list[Node] = []
        for k, node in enumerate(graph.nodes):
            new = self.called(node)
            if new is not node:
                late = [name for name, ref in values.items() if ref[0] >= k]
                if late:
                    raise OpError(f"`{late[0]}` is not known yet at `{node.name}`, where a site is")
                new = new.replace(inputs=(*node.inputs, *values.values()))
            nodes.append(new)
        return graph.replace(nodes=tuple(nodes))

    def called(self, node: Node) -> Node:
        """A call whose callee takes the values; its own inputs are added by who has them."""
        if node.op is not None:
            inners = [self.inside(c) for c in node.callees]
            if all(inner is None for inner in inners):
                return node
            if not isinstance(node.op, (Scan, SwitchTraining)):  # these hand on what stands behind their own operands
                raise OpError(f"`{node.name}` has regions, into which no value can be brought")
            pairs = zip(node.callees, inners, strict=True)
            return node.replace(callees=tuple(self.taking(c) if inner is None else inner for c, inner in pairs))
        inner = self.inside(node.callee)
        return node if inner is None else node.replace(callees=(inner,))

    def inside(self, graph: Graph) -> Graph | None:
        """A block with further inputs; None if there is no site in it or below."""
        known = self.known.get(id(graph))
        if known is not None:
            return known[1]
        n = len(graph.inputs)
        own = tuple((-1, n + k) for k in range(len(self.types)))
        nodes: list[Node] = []
        for node in graph.nodes:
            new = self.called(node)
            nodes.append(new if new is node else new.replace(inputs=(*node.inputs, *own)))
        found: Graph | None = None
        if self.holds(graph) or any(a is not b for a, b in zip(nodes, graph.nodes, strict=True)):
            found = self.taking(graph.replace(nodes=tuple(nodes)))
        self.known[id(graph)] = (graph, found)
        return found

    def taking(self, graph: Graph) -> Graph:
        """A graph with the values as further inputs."""
        more = tuple((PREFIX + name, t) for name, t in self.types.items())
        return graph.replace(inputs=(*graph.inputs, *more))


def bound(graph: Graph) -> dict[str, ValueRef]:
    """The values brought to a block."""
    return {n.removeprefix(PREFIX): (-1, k) for k, (n, _) in enumerate(graph.inputs) if n.startswith(PREFIX)}


def pruned(graph: Graph) -> Graph:
    """The graph without inputs that bring a value and are not read."""
    return _Pruning().graph(graph, root=True)[0]


class _Pruning:
    def __init__(self) -> None:
        self.known: dict[int, tuple[Graph, Graph, tuple[int, ...]]] = {}

    def graph(self, graph: Graph, root: bool = False) -> tuple[Graph, tuple[int, ...]]:
        """The graph, and the numbers of the inputs that it still takes."""
        known = self.known.get(id(graph))
        if known is not None:
            return known[1:]
        nodes: list[Node] = []
        for node in graph.nodes:
            if node.op is not None and node.callees:  # regions take what their op gives them
                regions = tuple(self.graph(c, root=True)[0] for c in node.callees)
                if any(a is not b for a, b in zip(regions, node.callees, strict=True)):
                    node = node.replace(callees=regions)
            elif node.op is None:
                callee, kept = self.graph(node.callee)
                if callee is not node.callee:
                    node = node.replace(callees=(callee,), inputs=tuple(node.inputs[k] for k in kept))
            nodes.append(node)
        read = {r for n in nodes for r in (*n.inputs, *(r for _, r in n.weights)) if r is not None}
        read |= {r for _, r in graph.outputs}
        kept = tuple(k for k, (n, _) in enumerate(graph.inputs) if root or not n.startswith(PREFIX) or (-1, k) in read)
        found = graph
        if len(kept) < len(graph.inputs):
            number = {(-1, k): (-1, j) for j, k in enumerate(kept)}
            nodes = [
                n.replace(
                    inputs=tuple(None if r is None else number.get(r, r) for r in n.inputs),
                    weights=tuple((w, None if r is None else number.get(r, r)) for w, r in n.weights),
                )
                for n in nodes
            ]
            outputs = tuple((o, number.get(r, r)) for o, r in graph.outputs)
            found = graph.replace(inputs=tuple(graph.inputs[k] for k in kept), nodes=tuple(nodes), outputs=outputs)
        elif any(a is not b for a, b in zip(nodes, graph.nodes, strict=True)):
            found = graph.replace(nodes=tuple(nodes))
        self.known[id(graph)] = (graph, found, kept)
        return found, kept
