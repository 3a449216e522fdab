"""The full check of a graph: its form (`archgraph.ir.verify`), and each node by the rules of its op."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from archgraph.ir.dim import Cond, Facts
from archgraph.ir.graph import Graph, Node
from archgraph.ir.paths import find
from archgraph.ir.types import TensorType
from archgraph.ir.verify import VerifyError
from archgraph.ir.verify import verify as verify_form
from archgraph.ops.base import Op, OpError, Weight, check_operands
from archgraph.ops.binding import own_weights
from archgraph.ops.higher import GetWeight, Regional

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
    facts = Facts(guard.cond for guard in graph.guards)
    for node in graph.nodes:
        if node.op is not None:
            for text in _type_faults(graph, node, node.op, facts):
                sound = False
                yield node, text
    if not sound:
        return
    for node in graph.nodes:
        if node.share is not None or node.weights or isinstance(node.op, GetWeight):
            for text in _weight_faults(graph, node):
                yield node, text


def _type_faults(graph: Graph, node: Node, op: Any, facts: Facts) -> Iterator[str]:
    if not isinstance(op, Op):
        yield f"{op!r} is no op"
        return
    types = tuple([None if r is None else graph.type_of(r) for r in node.inputs])
    yield from _region_faults(op, node, types) if node.callees else _op_faults(op, node, types, facts)


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


def _op_faults(op: Op, node: Node, types: tuple[TensorType | None, ...], facts: Facts) -> Iterator[str]:
    operands = type(op).operands
    if isinstance(op, Regional):
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
    if outs != node.types and not _same(outs, node.types, facts):
        yield f"its type is {_types(outs)}; the node says {_types(node.types)}"


def _same(found: tuple[TensorType, ...], said: tuple[TensorType, ...], facts: Facts) -> bool:
    """Whether types differ in words only, by the conditions of their graph."""
    return len(found) == len(said) and all(
        a.dtype == b.dtype and facts.same(a.shape, b.shape) for a, b in zip(found, said, strict=True)
    )


# -- regions -----------------------------------------------------------------------------------------------------------


def _region_faults(op: Op, node: Node, types: tuple[TensorType | None, ...]) -> Iterator[str]:
    if not isinstance(op, Regional):
        yield f"`{op.op_name}` takes no regions"
        return
    operands = tuple(t for t in types if t is not None)
    if len(operands) < len(types):
        yield f"`{op.op_name}` takes all its operands"
        return
    if len(node.callees) != len(op.segments):
        n = len(op.segments)
        yield f"`{op.op_name}` has {n} region{'s' * (n != 1)}, not {len(node.callees)}"
        return
    try:
        for region, expected in zip(node.callees, op.taken(*operands), strict=True):
            if region.input_types != expected:
                yield f"the region `{region.name}` takes {_types(region.input_types)}; it is given {_types(expected)}"
        found = op.given(operands, *[region.output_types for region in node.callees])
    except OpError as error:
        yield str(error)
        return
    if found != node.types:
        yield f"its type is {_types(found)}; the node says {_types(node.types)}"


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
    segments = node.op.segments if isinstance(node.op, Regional) else ((),)
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
