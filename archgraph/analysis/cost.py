"""Params, buffers, MACs, FLOPs and activation memory of a graph, memoised per distinct graph.

Dims may be ints or symbols; the same rules give numbers or closed forms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from archgraph.ir.dim import Num, dmax, dmin, is_nonnegative, prod, terms
from archgraph.ir.graph import Graph, Node
from archgraph.ir.types import DTYPE_BYTES
from archgraph.ops.base import FREE, Cost, Op
from archgraph.ops.higher import Scan, SwitchTraining

if TYPE_CHECKING:
    from archgraph.ir.types import TensorType


class Memory(NamedTuple):
    """Bytes: ``peak`` of live intermediate values in evaluation, without the inputs; ``saved`` all values that a
    backward pass may need; ``weights`` parameters and buffers."""

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
        known = graph._cache["memory"] = Memory(_peak(graph), saved, weights)
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
        if not op.view:
            for t in node.types:
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


def _peak(graph: Graph) -> Num:
    """The greatest of `peaks`."""
    found = peaks(graph)
    return dmax(*found) if found else 0


def peaks(graph: Graph, width: int = DTYPE_BYTES["float"]) -> tuple[Num, ...]:
    """Bytes of values made in this graph and alive at once, callees' insides included, at the moments that may be the
    peak: one number, or several closed forms of which none is known to be the greatest. ``width``: bytes of an element
    of the model's own floating dtype."""
    known: dict[int, tuple[Num, ...]] = graph._cache.setdefault("peaks", {})
    if width not in known:
        known[width] = _peaks(graph, width)
    return known[width]


def bytes_of(t: TensorType, width: int = DTYPE_BYTES["float"]) -> Num:
    """Bytes of a tensor, where an element of the model's own floating dtype takes ``width``."""
    return t.numel * width if t.dtype == "float" else t.bytes


def _peaks(graph: Graph, width: int) -> tuple[Num, ...]:
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
    found: list[Num] = []
    for k, node in enumerate(nodes):
        if "unused" in node.flags:
            continue
        made: Num = 0
        for out, t in enumerate(node.types):
            if (k, out) not in root:
                made += bytes_of(t, width)
        if not node.callees:
            found.append(live + made)
        else:
            ran = dmin(node.count, 1)  # 0 where a chain of a symbolic number of turns may have none
            carried: Num = 0
            first = node.inputs[0] if node.inputs else None
            outside = "piece" not in node.flags or first is None or first[0] < 0
            if node.count != 1 and outside:
                # while a turn runs, the value that the turn before left is alive as well, besides the chain's own input
                left = sum((bytes_of(t, width) for t in node.callees[-1].output_types), start=0)
                carried = left * (dmin(node.count, 2) - ran)
            found += [live + made * ran, *(live + p * ran + carried for p in peaks(node.callees[-1], width))]
        live += made
        for out in range(len(node.types)):
            if (k, out) not in root and (k, out) not in last:
                live -= bytes_of(node.types[out], width)
        for ref in dying.get(k, ()):
            live -= bytes_of(nodes[ref[0]].types[ref[1]], width)
    return _greatest(found)


def _greatest(found: list[Num]) -> tuple[Num, ...]:
    """Those of several counts that may be the greatest."""
    if all(isinstance(p, int) for p in found):
        return (max(found),) if found else ()
    kept: list[Num] = []
    for p in dict.fromkeys(found):
        if any(_below(p, q) for q in kept):
            continue
        kept = [q for q in kept if not _below(q, p)]
        kept.append(p)
    return tuple(kept)


def _below(a: Num, b: Num) -> bool:
    """Whether ``a <= b`` is plain: no term of the difference is negative, and none of its atoms may be."""
    if isinstance(a, int) and isinstance(b, int):
        return a <= b
    less, more = terms(a), terms(b)
    for mono, c in less.items():
        rest = more.get(mono, 0) - c
        if rest < 0 or (rest > 0 and not is_nonnegative(mono)):
            return False
    return all(mono in less or (c > 0 and is_nonnegative(mono)) for mono, c in more.items())


def uncounted(graph: Graph) -> dict[str, int]:
    """Ops of a graph that are free by declaration, with how often they stand (distinct blocks once)."""
    found: dict[str, int] = {}
    for g in graph.graphs():
        for node in g.nodes:
            if isinstance(node.op, Op) and node.op.free:
                found[node.op.op_name] = found.get(node.op.op_name, 0) + 1
    return found
