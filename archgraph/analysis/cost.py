"""Params, buffers, MACs, FLOPs and activation memory of a graph, memoised per distinct graph.

Dims may be ints or symbols; the same rules give numbers or closed forms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from archgraph.analysis.memory import peak, storages
from archgraph.ir.dim import Num, prod
from archgraph.ir.graph import Graph, Node
from archgraph.ir.types import DTYPE_BYTES
from archgraph.ops.base import FREE, Cost, Op
from archgraph.ops.higher import Scan, SwitchTraining

if TYPE_CHECKING:
    from archgraph.ir.types import TensorType


class Memory(NamedTuple):
    """Bytes: ``peak`` of live intermediate values in evaluation, without the inputs; ``saved`` all values made, an
    upper bound of what a backward pass needs; ``weights`` parameters and buffers."""

    peak: Num = 0
    saved: Num = 0
    weights: Num = 0


class Totals:
    """What a graph or node costs.

    ``params`` and ``buffers`` are element counts, shared weights once; ``macs`` and ``elementwise`` are work of one
    evaluation, every call counted; ``frozen_params`` is the part of ``params`` that is not trained. Memory is worked
    out when it is first asked for.
    """

    __slots__ = ("_memory", "buffers", "elementwise", "frozen_params", "macs", "params")

    def __init__(
        self,
        params: Num = 0,
        buffers: Num = 0,
        macs: Num = 0,
        elementwise: Num = 0,
        frozen_params: Num = 0,
        memory: Callable[[], Memory] | None = None,
    ) -> None:
        self.params = params
        self.buffers = buffers
        self.macs = macs
        self.elementwise = elementwise
        self.frozen_params = frozen_params
        self._memory = memory

    @property
    def flops(self) -> Num:
        """Two per MAC, and the element-wise work."""
        return 2 * self.macs + self.elementwise

    @property
    def memory(self) -> Memory:
        return Memory() if self._memory is None else self._memory()

    @property
    def activation_bytes(self) -> Num:
        """`Memory.peak`."""
        return self.memory.peak

    @property
    def saved_bytes(self) -> Num:
        """`Memory.saved`."""
        return self.memory.saved

    @property
    def weight_bytes(self) -> Num:
        """`Memory.weights`."""
        return self.memory.weights

    def __repr__(self) -> str:
        return (
            f"Totals(params={self.params}, buffers={self.buffers}, macs={self.macs}, elementwise={self.elementwise}, "
            f"activation_bytes={self.activation_bytes})"
        )


def totals(graph: Graph) -> Totals:
    """The cost of one evaluation of ``graph``."""
    known: Totals | None = graph._cache.get("totals")
    if known is None:
        known = graph._cache["totals"] = _totals(graph)
    return known


def _totals(graph: Graph) -> Totals:
    params: Num = 0
    buffers: Num = 0
    macs: Num = 0
    elementwise: Num = 0
    frozen: Num = 0
    nodes, inputs = graph.nodes, graph.inputs
    for k, node in enumerate(nodes):
        op: Any = node.op
        if op is None and not node.flags:
            inner, n = totals(node.callees[0]), node.count
            macs += inner.macs * n
            elementwise += inner.elementwise * n
            if node.share is None and not node.weights:
                params += inner.params * n
                buffers += inner.buffers * n
                frozen += inner.frozen_params * n
            continue
        if op is None or node.callees or node.flags:
            t = node_totals(graph, k)
            params += t.params
            buffers += t.buffers
            macs += t.macs
            elementwise += t.elementwise
            frozen += t.frozen_params
            continue
        owned = op.has_weights and node.share is None and not node.weights
        free = op.free
        if free and not owned:
            continue
        ins = [None if r is None else inputs[r[1]][1] if r[0] < 0 else nodes[r[0]].types[r[1]] for r in node.inputs]
        if owned:
            for w in op.weights(*ins):
                n = prod(w.shape)
                if w.buffer:
                    buffers += n
                else:
                    params += n
        if not free:
            more, also = op.cost(ins, node.types)
            macs += more
            elementwise += also
    return Totals(params, buffers, macs, elementwise, frozen, lambda: memory(graph))


def memory(graph: Graph) -> Memory:
    """Peak, saved and weight bytes of a graph."""
    known: Memory | None = graph._cache.get("memory")
    if known is None:
        saved: Num = 0
        weights: Num = 0
        for k, _ in enumerate(graph.nodes):
            m = node_totals(graph, k).memory
            saved += m.saved
            weights += m.weights
        known = graph._cache["memory"] = Memory(peak(graph), saved, weights)
    return known


def in_types(graph: Graph, node: Node) -> tuple[TensorType | None, ...]:
    """Types of a node's operands."""
    nodes, inputs = graph.nodes, graph.inputs
    return tuple([None if r is None else inputs[r[1]][1] if r[0] < 0 else nodes[r[0]].types[r[1]] for r in node.inputs])


def op_cost(op: Op, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
    """Work of one call of an op; nothing where it is free by declaration."""
    return FREE if op.free else op.cost(ins, outs)


def node_totals(graph: Graph, index: int) -> Totals:
    """The cost of one node with all its turns; ``activation_bytes`` is that of its inside."""
    node = graph.nodes[index]
    unused = "unused" in node.flags
    owned = node.share is None and not node.weights
    op: Any = node.op
    if op is None:
        inner = totals(node.callees[0])
        n = node.count
        work = 0 if unused else n
        own = n if owned else 0

        def of_call() -> Memory:
            m = inner.memory
            return Memory(0 if unused else m.peak, m.saved * work, m.weights * own)

        return Totals(
            inner.params * own,
            inner.buffers * own,
            inner.macs * work,
            inner.elementwise * work,
            (inner.params if "frozen" in node.flags else inner.frozen_params) * own,
            of_call,
        )
    if node.callees:
        return _with_regions(graph, node, op)
    ins = in_types(graph, node)
    params: Num = 0
    buffers: Num = 0
    weight_bytes: Num = 0
    if owned:
        for w in op.weights(*ins):
            n = prod(w.shape)
            if w.buffer:
                buffers += n
            else:
                params += n
            weight_bytes += n * DTYPE_BYTES[w.dtype]
    frozen = params if "frozen" in node.flags else 0
    saved: Num = 0
    if unused:
        cost = FREE
    else:
        cost = op_cost(op, ins, node.types)
        root = storages(graph).root
        for out, t in enumerate(node.types):
            if (index, out) not in root:
                saved += t.bytes
    return Totals(params, buffers, cost.macs, cost.elementwise, frozen, lambda: Memory(0, saved, weight_bytes))


def _with_regions(graph: Graph, node: Node, op: Op) -> Totals:
    inner = [totals(c) for c in node.callees]
    turns: Num = 1
    if isinstance(op, SwitchTraining):
        run = inner[1]
    else:
        assert isinstance(op, Scan)
        first = node.inputs[0]
        assert first is not None
        run, turns = inner[0], graph.type_of(first).shape[op.dim]

    def of_regions() -> Memory:
        m = run.memory
        return Memory(m.peak, m.saved * turns, sum((t.memory.weights for t in inner), start=0))

    return Totals(
        sum((t.params for t in inner), start=0),
        sum((t.buffers for t in inner), start=0),
        run.macs * turns,
        run.elementwise * turns,
        sum((t.frozen_params for t in inner), start=0),
        of_regions,
    )


def uncounted(graph: Graph) -> dict[str, int]:
    """Ops of a graph that are free by declaration, with how often they stand (distinct blocks once)."""
    found: dict[str, int] = {}
    for g in graph.graphs():
        for node in g.nodes:
            if isinstance(node.op, Op) and node.op.free:
                found[node.op.op_name] = found.get(node.op.op_name, 0) + 1
    return found
