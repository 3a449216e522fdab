"""Params, buffers, MACs, FLOPs and activation memory of a graph, memoised per distinct graph.

Dims may be ints or symbols; the same rules give numbers or closed forms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from archgraph.ir.dim import Num, dmax, prod
from archgraph.ir.graph import Graph, Node
from archgraph.ir.types import DTYPE_BYTES
from archgraph.ops.base import FREE, Cost, Op
from archgraph.ops.higher import Scan, SwitchTraining

if TYPE_CHECKING:
    from archgraph.ir.types import TensorType


class Totals(NamedTuple):
    """What a graph or node costs.

    ``params`` and ``buffers`` are element counts, shared weights once; ``macs`` and ``elementwise`` are work of one
    evaluation, every call counted; ``activation_bytes`` is the peak of live intermediate values in evaluation, without
    the inputs; ``saved_bytes`` all values that a backward pass may need.
    """

    params: Num = 0
    buffers: Num = 0
    macs: Num = 0
    elementwise: Num = 0
    activation_bytes: Num = 0
    saved_bytes: Num = 0
    frozen_params: Num = 0
    weight_bytes: Num = 0

    @property
    def flops(self) -> Num:
        """Two per MAC, and the element-wise work."""
        return 2 * self.macs + self.elementwise


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
    saved: Num = 0
    frozen: Num = 0
    weight_bytes: Num = 0
    for k, _ in enumerate(graph.nodes):
        t = node_totals(graph, k)
        params += t.params
        buffers += t.buffers
        macs += t.macs
        elementwise += t.elementwise
        saved += t.saved_bytes
        frozen += t.frozen_params
        weight_bytes += t.weight_bytes
    return Totals(params, buffers, macs, elementwise, _peak(graph), saved, frozen, weight_bytes)


def in_types(graph: Graph, node: Node) -> tuple[TensorType | None, ...]:
    """Types of a node's operands."""
    nodes, inputs = graph.nodes, graph.inputs
    return tuple(
        [None if r is None else inputs[r[1]][1] if r[0] < 0 else nodes[r[0]].types[r[1]] for r in node.inputs]
    )


def op_cost(op: Op, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
    """Work of one call of an op; nothing where it is free by declaration."""
    return FREE if op.free else op.cost(ins, outs)


def node_totals(graph: Graph, index: int) -> Totals:
    """The cost of one node with all its turns; ``activation_bytes`` is that of its inside."""
    node = graph.nodes[index]
    unused = "unused" in node.flags
    owned = node.share is None and not node.weights
    op = node.op
    if op is None:
        inner = totals(node.callees[0])
        n = node.count
        work = 0 if unused else n
        own = n if owned else 0
        return Totals(
            inner.params * own,
            inner.buffers * own,
            inner.macs * work,
            inner.elementwise * work,
            0 if unused else inner.activation_bytes,
            inner.saved_bytes * work,
            (inner.params if "frozen" in node.flags else inner.frozen_params) * own,
            inner.weight_bytes * own,
        )
    assert isinstance(op, Op)
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
    if unused:
        return Totals(params, buffers, frozen_params=frozen, weight_bytes=weight_bytes)
    cost = op_cost(op, ins, node.types)
    saved: Num = 0
    if not op.view:
        for t in node.types:
            saved += t.bytes
    return Totals(params, buffers, cost.macs, cost.elementwise, 0, saved, frozen, weight_bytes)


def _with_regions(graph: Graph, node: Node, op: Op) -> Totals:
    inner = [totals(c) for c in node.callees]
    if isinstance(op, SwitchTraining):
        run, turns = inner[1], 1
    else:
        assert isinstance(op, Scan)
        first = node.inputs[0]
        assert first is not None
        run, turns = inner[0], graph.type_of(first).shape[op.dim]  # type: ignore[assignment]
    return Totals(
        sum((t.params for t in inner), start=0),
        sum((t.buffers for t in inner), start=0),
        run.macs * turns,
        run.elementwise * turns,
        run.activation_bytes,
        run.saved_bytes * turns,
        sum((t.frozen_params for t in inner), start=0),
        sum((t.weight_bytes for t in inner), start=0),
    )


def _peak(graph: Graph) -> Num:
    """Peak bytes of values made in this graph and alive at once, callees' insides included."""
    nodes = graph.nodes
    last: dict[tuple[int, int], int] = {}
    root: dict[tuple[int, int], tuple[int, int]] = {}

    def base(ref: tuple[int, int]) -> tuple[int, int]:
        while ref in root:
            ref = root[ref]
        return ref

    for k, node in enumerate(nodes):
        if isinstance(node.op, Op) and node.op.view and node.inputs and node.inputs[0] is not None:
            for out in range(len(node.types)):
                root[(k, out)] = node.inputs[0]
        for r in node.inputs:
            if r is not None:
                last[base(r)] = k
    end = len(nodes)
    for _, r in graph.outputs:
        last[base(r)] = end
    dying: dict[int, list[tuple[int, int]]] = {}
    for ref, k in last.items():
        if ref[0] >= 0:
            dying.setdefault(k, []).append(ref)
    live: Num = 0
    peaks: list[Num] = []
    for k, node in enumerate(nodes):
        if "unused" in node.flags:
            continue
        made: Num = 0
        for out, t in enumerate(node.types):
            if (k, out) not in root:
                made += t.bytes
        inside: Num = made
        if node.callees:
            callee = node.callees[-1]
            inside = dmax(made, totals(callee).activation_bytes)
            if node.count != 1:
                # while a turn runs, the value that the turn before left is alive as well
                carried = sum((t.bytes for t in callee.output_types), start=0)
                inside = dmax(inside, totals(callee).activation_bytes + carried)
        peaks.append(live + inside)
        live += made
        for out in range(len(node.types)):
            if (k, out) not in root and (k, out) not in last:
                live -= node.types[out].bytes
        for ref in dying.get(k, ()):
            live -= nodes[ref[0]].types[ref[1]].bytes
    if not peaks:
        return 0
    highest = peaks[0]
    ints = [p for p in peaks if isinstance(p, int)]
    if len(ints) == len(peaks):
        return max(ints)
    for p in dict.fromkeys(peaks[1:]):
        highest = dmax(highest, p)
    return highest


def uncounted(graph: Graph) -> dict[str, int]:
    """Ops of a graph that are free by declaration, with how often they stand (distinct blocks once)."""
    found: dict[str, int] = {}
    for g in graph.graphs():
        for node in g.nodes:
            if isinstance(node.op, Op) and node.op.free:
                found[node.op.op_name] = found.get(node.op.op_name, 0) + 1
    return found
