"""Putting replacements into a graph: new nodes beside the old ones, in dominance order, under free names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from archgraph.ir.graph import Graph, Node, ValueRef, late_of
from archgraph.ir.reserved import RESERVED
from archgraph.rewrite.site import Replacement

__all__ = ["Loop", "Origin", "Spliced", "splice"]


class Loop(Exception):
    """A value leaves a match and comes back into it; ``site`` is the number of the replacement."""

    def __init__(self, site: int) -> None:
        super().__init__(site)
        self.site = site


class Origin(NamedTuple):
    """Where a node of the new graph comes from: node ``number`` of the old one (``site`` -1), or of a replacement."""

    site: int
    number: int


class Spliced(NamedTuple):
    """A new graph, for each of its nodes the origin, and for each replacement its nodes' names in the new graph."""

    graph: Graph
    origins: tuple[Origin, ...]
    names: tuple[Mapping[str, str], ...]


#: A value: (site, node, output); site -1 is the old graph, node -1 its inputs.
_Key = tuple[int, int, int]


def splice(graph: Graph, replacements: Sequence[Replacement], mark: str) -> Spliced:
    """The graph with replacements made; ``mark`` is added to its source.

    Raises
    ------
    Loop
        If a match is not convex.
    """
    gone: dict[int, int] = {}
    for s, r in enumerate(replacements):
        gone.update(dict.fromkeys(r.removed, s))
    new_value: dict[ValueRef, tuple[int, int]] = {}
    for s, r in enumerate(replacements):
        for old, k in r.outputs.items():
            new_value[old] = (s, k)

    def resolve(ref: ValueRef, own: int, seen: int = 0) -> _Key:
        """What a reference of the old graph stands for, read from replacement ``own`` (-1: from an old node)."""
        hit = new_value.get(ref)
        if hit is None or (hit[0] == own and ref[0] not in gone):
            return (-1, *ref)
        s, k = hit
        if s == own or seen > len(replacements):
            raise Loop(s)
        return inside(s, replacements[s].graph.outputs[k][1], seen + 1)

    def inside(s: int, ref: ValueRef, seen: int = 0) -> _Key:
        if ref[0] < 0:
            return resolve(replacements[s].operands[ref[1]], s, seen)
        return (s, *ref)

    names: list[dict[str, str]] = []
    taken = {n.name for k, n in enumerate(graph.nodes) if k not in gone}
    for r in replacements:
        own: dict[str, str] = {}
        for node in r.graph.nodes:
            number_of = r.names.get(node.name)
            wanted = node.name if number_of is None else graph.nodes[number_of].name
            name, count = wanted, 2
            while name in taken or name in RESERVED:
                name, count = f"{wanted}_{count}", count + 1
            taken.add(name)
            own[node.name] = name
        names.append(own)

    order: list[tuple[int, int]] = []
    state: dict[tuple[int, int], int] = {}

    def operands(item: tuple[int, int]) -> list[_Key]:
        s, k = item
        node = graph.nodes[k] if s < 0 else replacements[s].graph.nodes[k]
        refs = [r for r in (*node.inputs, *(r for _, r in node.weights)) if r is not None]
        return [resolve(r, -1) if s < 0 else inside(s, r) for r in refs]

    def visit(start: tuple[int, int]) -> None:
        stack: list[tuple[tuple[int, int], list[tuple[int, int]]]] = []

        def push(item: tuple[int, int]) -> None:
            state[item] = 1
            stack.append((item, [(s, k) for s, k, _ in operands(item) if k >= 0]))

        if start in state:
            return
        push(start)
        while stack:
            item, waiting = stack[-1]
            while waiting:
                above = waiting.pop(0)
                known = state.get(above)
                if known is None:
                    push(above)
                    break
                if known == 1:
                    raise Loop(above[0] if above[0] >= 0 else item[0])
            else:
                stack.pop()
                state[item] = 2
                order.append(item)

    place: dict[int, list[int]] = {}
    for s, r in enumerate(replacements):
        place.setdefault(_place(r), []).append(s)
    for k in range(len(graph.nodes)):
        if k not in gone:
            visit((-1, k))
        for s in place.get(k, ()):
            for j in range(len(replacements[s].graph.nodes)):
                visit((s, j))
    number = {item: i for i, item in enumerate(order)}

    def final(key: _Key) -> ValueRef:
        s, k, out = key
        return (-1, out) if k < 0 else (number[(s, k)], out)

    nodes: list[Node] = []
    for s, k in order:
        if s < 0:
            node = graph.nodes[k]
            inputs = tuple(None if r is None else final(resolve(r, -1)) for r in node.inputs)
            weights = tuple((w, None if r is None else final(resolve(r, -1))) for w, r in node.weights)
            nodes.append(
                node
                if inputs == node.inputs and weights == node.weights
                else node.replace(inputs=inputs, weights=weights)
            )
            continue
        node = replacements[s].graph.nodes[k]
        inputs = tuple(None if r is None else final(inside(s, r)) for r in node.inputs)
        weights = tuple((w, None if r is None else final(inside(s, r))) for w, r in node.weights)
        share = node.share
        if share is not None:
            share = (names[s].get(share[0], share[0]), *share[1:])
        op = node.op
        if op is not None and op.reads is not None:
            head, dot, rest = op.reads.partition(".")
            op = type(op).from_mapping({**op.attrs(), "path": names[s].get(head, head) + dot + rest})  # type: ignore[attr-defined]
        nodes.append(node.replace(name=names[s][node.name], op=op, inputs=inputs, weights=weights, share=share))
    guards = dict.fromkeys((*graph.guards, *(g for r in replacements for g in (*r.graph.guards, *r.guards))))
    source = graph.source if mark in graph.source.split("~")[1:] else f"{graph.source}~{mark}"
    result = graph.replace(
        nodes=tuple(nodes),
        outputs=tuple((n, final(resolve(r, -1))) for n, r in graph.outputs),
        late=late_of(nodes),
        guards=tuple(guards),
        source=source,
    )
    return Spliced(result, tuple(Origin(s, k) for s, k in order), tuple(names))


def _place(r: Replacement) -> int:
    """The old node at whose place new nodes stand: the last of those whose value they give."""
    return max((ref[0] for ref in r.outputs), default=0)
