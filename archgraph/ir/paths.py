"""Paths through the hierarchy: the segments of a state_dict key, read from the top."""

from __future__ import annotations

from typing import Any

from archgraph.ir.graph import Graph, Node

Path = tuple[str, ...]


def find(graph: Graph, path: Path) -> tuple[Graph, Node] | None:
    """The node at a path and the graph that it stands in; the node that owns its weights, if it shares them.

    One turn of a chain is a plain call under the number of the turn.

    Returns
    -------
    (Graph, Node) or None
        None if there is no such node, or if nodes share each other's weights in a circle.
    """
    return _find(graph, path, frozenset())


def _find(graph: Graph, path: Path, asked: frozenset[tuple[int, Path]]) -> tuple[Graph, Node] | None:
    if not path or (id(graph), path) in asked:
        return None
    try:
        node = graph.node(path[0])
    except KeyError:
        return None
    rest = path[1:]
    if node.share is not None:
        return _find(graph, (*node.share, *rest), asked | {(id(graph), path)})
    if not rest:
        return graph, node
    if node.op is not None:
        segments: tuple[Path, ...] = getattr(node.op, "segments", ())
        for head, region in zip(segments, node.callees, strict=False):
            if rest[: len(head)] == head:
                found = _find(region, rest[len(head) :], asked)
                if found is not None:
                    return found
        return None
    if node.count == 1:
        return _find(node.callee, rest, asked)
    turn, inside = rest[0], rest[1:]
    if not turn.isdigit() or (isinstance(node.count, int) and int(turn) >= node.count):
        return None
    return _find(node.callee, inside, asked) if inside else (graph, turn_of(node, int(turn)))


def owner_path(graph: Graph, path: Path) -> Path:
    """The path of the node that owns the weights at a path; the path itself where nothing is shared."""
    head, rest = path[0], path[1:]
    try:
        node = graph.node(head)
    except KeyError:
        return path
    if node.share is not None:
        return owner_path(graph, (*node.share, *rest))
    if not rest or node.op is not None:
        return path
    if node.count == 1:
        return (head, *owner_path(node.callee, rest))
    return (head, rest[0], *owner_path(node.callee, rest[1:])) if len(rest) > 1 else path


def turn_of(node: Node, turn: int) -> Node:
    """One turn of a chain as a node of its own, named by its number."""
    from archgraph.ir.real import substitute

    late: tuple[tuple[str, Any], ...] = tuple((n, substitute(e, {"turn": turn})) for n, e in node.late)
    return node.replace(name=str(turn), count=1, late=late)
