"""The full check of a graph: its form (`archgraph.ir.verify`), and each node by the rules of its op."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from archgraph.ir.dim import Cond
from archgraph.ir.graph import Graph, Node
from archgraph.ir.paths import find
from archgraph.ir.types import TensorType
from archgraph.ir.verify import VerifyError
from archgraph.ir.verify import verify as verify_form
from archgraph.ops.base import Op, OpError, Weight, check_operands
from archgraph.ops.binding import own_weights
from archgraph.ops.higher import GetWeight, Scan, SwitchTraining

__all__ = ["VerifyError", "verify", "weights_below"]

#: Shape, dtype and kind of a weight by its path below a node; ``*`` stands for all turns of a chain.
Table = dict[str, tuple[Any, ...]]


def verify(graph: Graph) -> None:
    """Check a graph and all below it.

    Raises
    ------
    VerifyError
        With every violation.
    """
    verify_form(graph, faults)


def faults(graph: Graph, sound: bool) -> Iterator[tuple[Node, str]]:
    """What is wrong with the nodes of a graph of sound form: types first, and weights where all types are right."""
    for node in graph.nodes:
        if node.op is not None:
            for text in _type_faults(graph, node, node.op):
                sound = False
                yield node, text
    if not sound:
        return
    for node in graph.nodes:
        if node.share is not None or node.weights or isinstance(node.op, GetWeight):
            for text in _weight_faults(graph, node):
                yield node, text


def _type_faults(graph: Graph, node: Node, op: Any) -> Iterator[str]:
    if not isinstance(op, Op):
        yield f"{op!r} is no op"
        return
    types = tuple([None if r is None else graph.type_of(r) for r in node.inputs])
    yield from _region_faults(op, node, types) if node.callees else _op_faults(op, node, types)


def _weight_faults(graph: Graph, node: Node) -> Iterator[str]:
    if isinstance(node.op, GetWeight):
        yield from _get_weight_faults(graph, node.op)
    yield from _given_faults(graph, node)
    if node.share is not None:
        yield from _share_faults(graph, node, node.share)


class _Context:
    """Lets pass what depends on symbols."""

    def require(self, cond: bool | Cond, why: str) -> None:
        if cond is False:
            raise OpError(why)


_CONTEXT: Final = _Context()


def _op_faults(op: Op, node: Node, types: tuple[TensorType | None, ...]) -> Iterator[str]:
    operands = type(op).operands
    if isinstance(op, (Scan, SwitchTraining)):
        yield f"`{op.op_name}` has no regions"
        return
    variadic = bool(operands) and operands[-1].variadic
    if (len(types) < len(operands)) if variadic else (len(types) != len(operands)):
        yield f"`{op.op_name}` has {len(operands)} operands; the node gives {len(types)}"
        return
    missing = [o.name for o, t in zip(operands, types, strict=False) if t is None and not o.optional]
    if missing:
        yield f"`{op.op_name}` needs the operand `{missing[0]}`"
        return
    try:
        check_operands(type(op), types)
        found = op.infer(_CONTEXT, *types)
    except OpError as error:
        yield str(error)
        return
    outs = found if isinstance(found, tuple) else (found,)
    if outs != node.types:
        yield f"its type is {_types(outs)}; the node says {_types(node.types)}"


# -- regions -----------------------------------------------------------------------------------------------------------


def _region_faults(op: Op, node: Node, types: tuple[TensorType | None, ...]) -> Iterator[str]:
    if None in types:
        yield f"`{op.op_name}` takes all its operands"
    elif isinstance(op, SwitchTraining):
        if len(node.callees) != 2:
            yield f"`switch_training` has two regions, not {len(node.callees)}"
        for region in node.callees:
            yield from _unlike(f"`{region.name}` takes", region.input_types, types)
            yield from _unlike(f"`{region.name}` gives", region.output_types, node.types)
    elif isinstance(op, Scan):
        yield from _scan_faults(op, node, tuple(t for t in types if t is not None))
    else:
        yield f"`{op.op_name}` takes no regions"


def _scan_faults(op: Scan, node: Node, types: tuple[TensorType, ...]) -> Iterator[str]:
    if len(node.callees) != 1:
        yield f"`scan` has one region, not {len(node.callees)}"
        return
    region = node.callees[0]
    if not 0 < op.xs <= len(types) - op.carry or len(region.outputs) < op.carry:
        yield f"`scan` walks {op.xs} and carries {op.carry} of {len(types)} operands and {len(region.outputs)} outputs"
        return
    axis = op.dim
    length = op.length(types) if 0 <= axis < types[0].rank else None
    if length is None or any(axis >= t.rank or t.shape[axis] != length for t in types[: op.xs]):
        yield f"the walked values have one length along axis {axis}: {_types(types[: op.xs])}"
        return
    slices = tuple(TensorType(t.dtype, (*t.shape[:axis], *t.shape[axis + 1 :])) for t in types[: op.xs])
    carried, collected = region.output_types[: op.carry], region.output_types[op.carry :]
    yield from _unlike("the region takes", region.input_types, (*slices, *types[op.xs :]))
    yield from _unlike("the region carries", carried, types[op.xs : op.xs + op.carry])
    if any(axis > t.rank for t in collected):
        yield f"collected values have too few axes for axis {axis}: {_types(collected)}"
        return
    stacked = tuple(TensorType(t.dtype, (*t.shape[:axis], length, *t.shape[axis:])) for t in collected)
    yield from _unlike("the node says", node.types, (*carried, *stacked))


def _unlike(what: str, found: tuple[TensorType, ...], expected: tuple[TensorType | None, ...]) -> Iterator[str]:
    if found != expected:
        yield f"{what} {_types(found)}; that should be {_types(expected)}"


# -- weights -----------------------------------------------------------------------------------------------------------


def weights_below(graph: Graph, node: Node) -> Table:
    """Weights that a node owns, by path below it; empty for the node's own path."""
    found: Table = {}
    given = {name for name, _ in node.weights}
    if node.share is not None:
        return found
    if not node.callees:
        for w in own_weights(graph, node):
            if w.name not in given:
                found[w.name] = _row(w)
        return found
    segments = getattr(node.op, "segments", ((),)) if node.op is not None else ((),)
    for heads, callee in zip(segments, node.callees, strict=True):
        inside = _table(callee)
        turns = () if node.count == 1 else ("*",)
        for path, row in inside.items():
            full = ".".join((*heads, *turns, path))
            if full not in given:
                found[full] = (*row, node.count) if turns else row
    return found


def _row(w: Weight) -> tuple[Any, ...]:
    return (w.shape, w.dtype, w.buffer)


def _table(graph: Graph) -> Table:
    """Weights that a graph owns, by path."""
    known: Table | None = graph._cache.get("weights")
    if known is None:
        known = graph._cache["weights"] = {
            ".".join(filter(None, (node.name, path))): row
            for node in graph.nodes
            for path, row in weights_below(graph, node).items()
        }
    return known


def _weight(graph: Graph, path: tuple[str, ...]) -> Weight | None:
    """The weight at a path."""
    for cut in range(len(path), 0, -1):
        found = find(graph, path[:cut])
        if found is not None and found[1].op is not None and not found[1].callees:
            for w in own_weights(*found):
                if w.name == ".".join(path[cut:]):
                    return w
    return None


def _get_weight_faults(graph: Graph, op: GetWeight) -> Iterator[str]:
    w = _weight(graph, tuple(op.path.split(".")))
    if w is None:
        yield f"there is no weight `{op.path}`"
    elif (w.shape, w.dtype) != (op.shape, op.dtype):
        said = TensorType(op.dtype, op.shape)
        yield f"the weight `{op.path}` is {TensorType(w.dtype, w.shape)}; the node says {said}"


def _given_faults(graph: Graph, node: Node) -> Iterator[str]:
    for name, ref in node.weights:
        if node.callees:
            w = _weight(node.callees[0], tuple(name.split("."))) if node.count == 1 else None
        else:
            w = next((w for w in own_weights(graph, node) if w.name == name), None)
        if w is None:
            yield f"it is given a weight `{name}`, and has none of that name"
        elif ref is not None and graph.type_of(ref).shape != w.shape:
            yield f"its weight `{name}` is {TensorType(w.dtype, w.shape)}; it is given {graph.type_of(ref)}"


def _share_faults(graph: Graph, node: Node, path: tuple[str, ...]) -> Iterator[str]:
    found = find(graph, path)
    assert found is not None
    theirs = weights_below(*found)
    for name, row in weights_below(graph, node.replace(share=None)).items():
        if theirs.get(name) != row:
            what = "no such weight" if name not in theirs else str(list(theirs[name][0]))
            yield f"its weight `{name}` is {list(row[0])}; `{'.'.join(path)}` has {what}"


def _types(types: tuple[TensorType | None, ...]) -> str:
    return ", ".join("nothing" if t is None else str(t) for t in types) or "nothing"
