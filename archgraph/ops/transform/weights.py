"""A graph whose weights are inputs: what a call with given ``weights:`` calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from archgraph.ir.graph import Graph, Node, ValueRef
from archgraph.ir.types import TensorType
from archgraph.ops.base import Op, Weight, fail
from archgraph.ops.binding import bind_weight, own_weights
from archgraph.ops.higher import GetWeight
from archgraph.ops.source import Parameter
from archgraph.ops.transform.builder import Builder, Value
from archgraph.ops.transform.turns import rolled_out


class Opened(NamedTuple):
    """``graph`` takes its weights behind its own inputs, in the order of ``weights``: by path, as declared."""

    graph: Graph
    weights: tuple[tuple[str, Weight], ...]


def weights_as_inputs(graph: Graph) -> Opened:
    """The graph with every parameter that it owns as a further input, named by its path.

    Raises
    ------
    OpError
        If a node owns buffers, or has regions: weights of those can't be given.
    """
    known: Opened | None = graph._cache.get("opened")
    if known is None:
        known = graph._cache["opened"] = _Opening(graph).run()
    return known


class _Opening:
    """One graph being rebuilt."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.b = Builder(graph.name)
        self.values: dict[ValueRef, Value] = {}
        #: Weights by path from this graph, whether or not they became inputs.
        self.held: dict[str, Value] = {}
        self.weights: list[tuple[str, Weight]] = []

    def run(self) -> Opened:
        for k, (name, t) in enumerate(self.graph.inputs):
            self.values[(-1, k)] = self.b.input(name, t)
        for k, node in enumerate(self.graph.nodes):
            for out, value in enumerate(self.node(rolled_out(node))):
                self.values[(k, out)] = value
        outputs = tuple((name, self.values[ref].ref) for name, ref in self.graph.outputs)
        return Opened(self.b.finish(outputs, self.graph), tuple(self.weights))

    def weight(self, path: str, weight: Weight) -> Value:
        """The input for the weight at a path."""
        self.weights.append((path, weight))
        found = self.held[path] = self.b.input(path, TensorType(weight.dtype, weight.shape))
        return found

    def node(self, node: Node) -> tuple[Value, ...]:
        inputs = tuple(None if r is None else self.values[r].ref for r in node.inputs)
        given = tuple((w, None if r is None else self.values[r].ref) for w, r in node.weights)
        if isinstance(node.op, GetWeight):
            return (self.held[node.op.path],)
        if "unused" in node.flags:
            return self.b.add(node.replace(inputs=inputs, weights=given))
        owner = ".".join(node.share) if node.share is not None else None
        if node.op is None:
            return self.call(node, inputs, owner, dict(node.weights))
        if node.callees:
            fail(f"`{node.name}` has a region, so its weights can't be given")
        assert isinstance(node.op, Op)
        owned = own_weights(self.graph, node)
        if any(w.buffer for w in owned):
            fail(f"`{node.name}` owns buffers, so `{self.graph.name}` can't be called with given weights")
        if given or not owned:
            return self.b.add(node.replace(inputs=inputs, weights=given))
        found: list[tuple[str, Value]] = []
        for w in owned:
            tail = f".{w.name}" if w.name else ""
            if owner is not None:
                found.append((w.name, self.held[owner + tail]))
            else:
                found.append((w.name, self.weight(node.name + tail, w)))
        if isinstance(node.op, Parameter):
            return (found[0][1],)
        weights = tuple((w, v.ref) for w, v in found)
        return self.b.add(node.replace(inputs=inputs, weights=weights, share=None))

    def call(
        self, node: Node, inputs: tuple[ValueRef | None, ...], owner: str | None, given: Mapping[str, ValueRef | None]
    ) -> tuple[Value, ...]:
        inner = weights_as_inputs(node.callee)
        more: list[ValueRef] = []
        late = dict(node.late)
        for path, weight in inner.weights:
            ref = given.get(path)
            if ref is not None:
                more.append(self.values[ref].ref)
            elif owner is not None:
                more.append(self.held[f"{owner}.{path}"].ref)
            else:
                more.append(self.weight(f"{node.name}.{path}", bind_weight(weight, late)).ref)
        kept = tuple((name, value) for name, value in node.late if name in inner.graph.late)
        return self.b.add(
            node.replace(inputs=(*inputs, *more), callees=(inner.graph,), late=kept, share=None, weights=())
        )
