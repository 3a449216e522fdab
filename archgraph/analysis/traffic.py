"""What must pass between memory and a processor: weights, inputs and outputs once, whatever is fused or cached."""

from __future__ import annotations

from typing import Any, NamedTuple

from archgraph.analysis.cost import in_types
from archgraph.analysis.kernels import kernels
from archgraph.analysis.memory import bytes_of
from archgraph.ir.dim import Num, dmax, dmin, prod
from archgraph.ir.graph import Graph, Node
from archgraph.ir.types import DTYPE_BYTES
from archgraph.ops.base import Op, Weight
from archgraph.ops.higher import Scan, SwitchTraining

Ref = tuple[int, int]


class Needs(NamedTuple):
    """What a graph reads of what it is given, if its outputs are wanted whole.

    ``weights``: bytes of parameters and buffers, by node, shared ones once. ``inputs``: elements of each input.
    """

    weights: tuple[Num, ...]
    inputs: tuple[Num, ...]

    @property
    def weight_bytes(self) -> Num:
        return sum(self.weights, start=0)


def width_of(dtype: str, width: int) -> int:
    """Bytes of an element, where the model's own floating dtype takes ``width``."""
    return width if dtype == "float" else DTYPE_BYTES[dtype]


def weight_bytes(weights: tuple[Weight, ...], width: int) -> Num:
    """Bytes of weights that a call reads; single numbers are counters, or ride along."""
    return sum((prod(w.shape) * width_of(w.dtype, width) for w in weights if w.shape), start=0)


def calls(graph: Graph, node: Node) -> int:
    """Kernels of one call of a node's op."""
    known: dict[Any, int] = graph._cache.setdefault("kernels", {})
    ins = in_types(graph, node)
    key = node.op, ins, node.types
    found = known.get(key)
    if found is None:
        assert isinstance(node.op, Op)
        found = known[key] = kernels(node.op, ins, node.types)
    return found


def needs(graph: Graph, width: int = 4) -> Needs:
    """What a graph must read: a value is needed whole by most ops, in part by what selects, and not by what looks up
    rows, since which ones hangs on data."""
    known: dict[int, Needs] = graph._cache.setdefault("needs", {})
    if width not in known:
        known[width] = _needs(graph, width)
    return known[width]


def _needs(graph: Graph, width: int) -> Needs:
    nodes = graph.nodes
    wanted: dict[Ref, Num] = {}

    def want(ref: Ref | None, n: Num) -> None:
        if ref is not None:
            wanted[ref] = dmax(wanted[ref], n) if ref in wanted else n

    for _, given_out in graph.outputs:
        want(given_out, graph.type_of(given_out).numel)
    weights: list[Num] = [0] * len(nodes)
    for k in range(len(nodes) - 1, -1, -1):
        node = nodes[k]
        if "unused" in node.flags:
            continue
        op: Any = node.op
        owned = node.share is None and not node.weights
        if op is None or node.callees:
            inner, turns, slices = _called(graph, node, width)
            if owned:
                weights[k] = inner.weight_bytes * turns
            for n, (ref, part) in enumerate(zip(node.inputs, inner.inputs, strict=False)):
                want(ref, part * slices if isinstance(op, Scan) and n < op.xs else part)
            continue
        given = in_types(graph, node)
        made: Num = sum((wanted.get((k, out), 0) for out in range(len(node.types))), start=0)
        if op.source:
            if (owned and op.has_weights) or _of_a_table(graph, op):
                weights[k] = dmin(node.types[0].numel, made) * width_of(node.types[0].dtype, width)
            continue
        if owned and op.has_weights and not op.looks_up:
            weights[k] = weight_bytes(op.weights(*given), width)
        if not op.looks_up:
            for _, value in node.weights:
                if value is not None:
                    want(value, graph.type_of(value).numel)
        still = calls(graph, node) == 0
        for n, (ref, t) in enumerate(zip(node.inputs, given, strict=True)):
            if ref is None or t is None or (op.looks_up and n == 0 and not op.has_weights):
                continue
            want(ref, dmin(t.numel, made) if still else t.numel)
    return Needs(tuple(weights), tuple(wanted.get((-1, n), 0) for n in range(len(graph.inputs))))


def _of_a_table(graph: Graph, op: Op) -> bool:
    """Whether an op is the weight, as a value, of a node that only looks rows of it up."""
    if op.reads is None:
        return False
    owner = op.reads.partition(".")[0]
    return any(n.name == owner and isinstance(n.op, Op) and n.op.looks_up for n in graph.nodes)


def _called(graph: Graph, node: Node, width: int) -> tuple[Needs, Num, Num]:
    """What a callee needs, how many copies of its weights there are, and how many slices a scan walks."""
    op = node.op
    if op is None:
        inner = needs(node.callees[0], width)
        if isinstance(node.count, int):
            return inner, node.count, 1
        ran = dmin(node.count, 1)  # 0 where a chain of a symbolic number of turns may have none
        return Needs(inner.weights, tuple(part * ran for part in inner.inputs)), node.count, 1
    if isinstance(op, SwitchTraining):
        return needs(node.callees[1], width), 1, 1
    assert isinstance(op, Scan)
    first = node.inputs[0]
    assert first is not None
    return needs(node.callees[0], width), 1, graph.type_of(first).shape[op.dim]


def compulsory_bytes(graph: Graph, width: int = 4) -> Num:
    """Bytes that an evaluation moves however it is done: weights and inputs that it needs, and outputs, each once."""
    known: dict[int, Num] = graph._cache.setdefault("compulsory", {})
    if width not in known:
        found = needs(graph, width)
        moved = found.weight_bytes + _written(graph, width)
        for part, (_, t) in zip(found.inputs, graph.inputs, strict=True):
            moved += part * width_of(t.dtype, width)
        known[width] = moved
    return known[width]


def _written(graph: Graph, width: int) -> Num:
    """Bytes of outputs; those that only look at an input or a weight are there already."""
    parts: dict[Ref, Num] = {}
    for _, ref in graph.outputs:
        least = bytes_of(graph.type_of(ref), width)
        while ref[0] >= 0:
            node = graph.nodes[ref[0]]
            first = node.inputs[0] if node.inputs else None
            if node.op is None or node.callees or first is None or calls(graph, node):
                break
            ref = first
            least = dmin(least, bytes_of(graph.type_of(ref), width))
        if ref[0] < 0 or getattr(graph.nodes[ref[0]].op, "source", False):
            continue
        parts[ref] = dmax(parts[ref], least) if ref in parts else least
    return sum(parts.values(), start=0)
