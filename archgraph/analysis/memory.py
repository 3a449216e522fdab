"""Which values of a graph share storage, and how many bytes are alive at once in an evaluation.

A value lives in a storage: its own, or that of the operand that its op only looks at in another way (`Op.aliases`).
Weights, constants and a graph's inputs are storages that others own and count nothing. A storage is alive from the node
that makes it to the last node that reads any value in it; what a composite is given stays alive until it returns, since
its caller holds it. What the kernels of one device take beside that (reordered weights, padded channels) is no property
of the graph and is not counted; what torch makes on every device (`Op.workspace`) is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archgraph.ir.dim import Num, dmax, dmin, is_nonnegative, terms
from archgraph.ir.types import DTYPE_BYTES
from archgraph.ops.base import Op
from archgraph.ops.strides import Strides, contiguous

if TYPE_CHECKING:
    from archgraph.ir.graph import Graph, Node, ValueRef
    from archgraph.ir.types import TensorType

#: Storages that are not counted: the number of a graph's input, or `HELD` for weights and constants.
HELD: Final = -1
_SELDOM: Final = Op.aliases
_NONE: Final = Op.workspace


class Storages(NamedTuple):
    """Where the values of a graph live.

    Attributes
    ----------
    root : mapping of ValueRef to ValueRef
        The value whose storage another one shares; a value without an entry has its own. (-1, k) is input k, (-1, -1)
        what weights and constants are.
    strides : mapping of ValueRef to Strides
        How a value lies there, where it is not contiguous.
    """

    root: dict[ValueRef, ValueRef]
    strides: dict[ValueRef, Strides]

    def base(self, ref: ValueRef) -> ValueRef:
        """The value that owns the storage."""
        return self.root.get(ref, ref)

    def of(self, graph: Graph, refs: tuple[ValueRef | None, ...]) -> tuple[Strides, ...]:
        """How operands lie."""
        return tuple([self.lies(graph, r) if r is not None else contiguous(0) for r in refs])

    def lies(self, graph: Graph, ref: ValueRef) -> Strides:
        """How a value lies."""
        found = self.strides.get(ref)
        return contiguous(_type(graph, ref).rank) if found is None else found


def storages(graph: Graph) -> Storages:
    """Where the values of a graph live, worked out once."""
    known: Storages | None = graph._cache.get("storages")
    if known is None:
        known = graph._cache["storages"] = _storages(graph)
    return known


def _storages(graph: Graph) -> Storages:
    found = Storages({}, {})
    root, strides = found
    for k, node in enumerate(graph.nodes):
        first = node.inputs[0] if node.inputs else None
        if node.callees:
            if node.op is None:
                _of_call(found, k, node)
            continue
        op: Any = node.op
        if op.source or op.reads is not None:
            root.update(((k, out), (-1, HELD)) for out in range(len(node.types)))
        elif first is not None:
            if type(op).aliases is _SELDOM and not op.view:
                continue
            layout = op.aliases(_type(graph, first), found.lies(graph, first))
            if layout is not None:
                for out in range(len(node.types)):
                    strides[(k, out)] = layout._replace(copied=False)
                    if not layout.copied:
                        root[(k, out)] = found.base(first)
    return found


def _of_call(found: Storages, k: int, node: Node) -> None:
    """Results of a call that are what it was given, or that share one storage."""
    inside = storages(node.callees[0])
    made: dict[ValueRef, ValueRef] = {}
    for out, (_, ref) in enumerate(node.callees[0].outputs):
        base = inside.base(ref)
        layout = inside.strides.get(ref)
        if base[0] < 0:
            given = node.inputs[base[1]] if base[1] != HELD else None
            if base[1] == HELD:
                found.root[(k, out)] = base
            elif given is not None:
                found.root[(k, out)] = found.base(given)
        else:
            owner = made.setdefault(base, (k, out))
            if owner != (k, out):
                found.root[(k, out)] = owner
        if layout is not None:
            found.strides[(k, out)] = layout


def bytes_of(t: TensorType, width: int = DTYPE_BYTES["float"]) -> Num:
    """Bytes of a tensor, where an element of the model's own floating dtype takes ``width``."""
    return t.numel * width if t.dtype == "float" else t.bytes


def storage_bytes(graph: Graph, ref: ValueRef, width: int = DTYPE_BYTES["float"]) -> Num:
    """Bytes of the storage that a value owns: of the whole tensor where a composite returns a part."""
    k, out = ref
    node = graph.nodes[k]
    if node.op is None:
        callee = node.callees[0]
        base = storages(callee).base(callee.outputs[out][1])
        if base[0] >= 0:
            return storage_bytes(callee, base, width)
    return bytes_of(node.types[out], width)


def peak(graph: Graph) -> Num:
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


def _peaks(graph: Graph, width: int) -> tuple[Num, ...]:
    where = storages(graph)
    dying = _dying(graph, where)
    live: Num = 0
    found: list[Num] = []
    for k, node in enumerate(graph.nodes):
        if "unused" in node.flags:
            continue
        made: Num = 0
        for out in range(len(node.types)):
            if (k, out) not in where.root:
                made += storage_bytes(graph, (k, out), width)
        if node.callees:
            found += _while_it_runs(node, live, made, width)
        else:
            op: Any = node.op
            ins = tuple([None if r is None else _type(graph, r) for r in node.inputs])
            beside = (
                op.workspace(ins, node.types, where.of(graph, node.inputs)) if type(op).workspace is not _NONE else ()
            )
            found.append(live + made + sum((bytes_of(t, width) for t in beside), start=0))
        live += made
        for ref in dying.get(k, ()):
            live -= storage_bytes(graph, ref, width)
    return _greatest(found)


def _type(graph: Graph, ref: ValueRef) -> TensorType:
    return graph.inputs[ref[1]][1] if ref[0] < 0 else graph.nodes[ref[0]].types[ref[1]]


def _dying(graph: Graph, where: Storages) -> dict[int, list[ValueRef]]:
    """The storages that nobody reads after a node, by the number of the node."""
    last: dict[ValueRef, int] = {}
    for k, node in enumerate(graph.nodes):
        if "unused" in node.flags:
            continue
        for out in range(len(node.types)):
            if (k, out) not in where.root:
                last[(k, out)] = k
        for r in node.inputs:
            if r is not None:
                last[where.base(r)] = k
        for _, r in node.weights:
            if r is not None:
                last[where.base(r)] = k
    for _, r in graph.outputs:
        last.pop(where.base(r), None)
    dying: dict[int, list[ValueRef]] = {}
    for ref, k in last.items():
        if ref[0] >= 0:
            dying.setdefault(k, []).append(ref)
    return dying


def _while_it_runs(node: Node, live: Num, made: Num, width: int) -> list[Num]:
    """What may be the peak while a composite runs, beside what is alive before."""
    ran = dmin(node.count, 1)  # 0 where a chain of a symbolic number of turns may have none
    carried: Num = 0
    first = node.inputs[0] if node.inputs else None
    outside = "piece" not in node.flags or first is None or first[0] < 0
    if node.count != 1 and outside:
        # while a turn runs, the value that the turn before left is alive as well, besides the chain's own input
        left = sum((bytes_of(t, width) for t in node.callees[-1].output_types), start=0)
        carried = left * (dmin(node.count, 2) - ran)
    return [live + made * ran, *(live + p * ran + carried for p in peaks(node.callees[-1], width))]


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
