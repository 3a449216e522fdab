"""A rewritten graph, and where each of its weights comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from archgraph.ir.dim import Dim
from archgraph.ir.graph import Graph
from archgraph.ops.higher import Regional
from archgraph.rewrite.site import Replacement
from archgraph.rewrite.splice import Spliced
from archgraph.rewrite.weights import Source, below, owned

__all__ = ["Done", "follow", "lost"]


class Done:
    """A rewritten graph, with what is needed to follow each weight back."""

    __slots__ = ("below", "graph", "old", "replacements", "spliced")

    def __init__(
        self,
        old: Graph,
        graph: Graph,
        spliced: Spliced | None,
        replacements: tuple[Replacement, ...],
        below: Mapping[tuple[int, int], tuple[bool, Done]],
    ) -> None:
        self.old = old
        self.graph = graph
        self.spliced = spliced
        self.replacements = replacements
        #: (node of the old graph, region) → whether its chain was unrolled, and what became of the region.
        self.below = below


def follow(done: Done, old: str = "", new: str = "") -> Iterator[tuple[str, Source]]:
    """Every weight of the new graph by path, and where it comes from in the old one."""
    for k, node in enumerate(done.graph.nodes):
        number, site = k, -1
        if done.spliced is not None:
            site, number = done.spliced.origins[k]
        if site >= 0:
            moves = done.replacements[site].moves
            inner = done.replacements[site].graph.nodes[number].name
            for path in owned(done.graph, node):
                source = moves.sources[f"{inner}.{path}" if path else inner]
                paths = tuple(old + p for p in source.paths)
                yield f"{new}{node.name}.{path}" if path else new + node.name, source._replace(paths=paths)
            continue
        before = done.old.nodes[number]
        regions = {r: item for (n, r), item in done.below.items() if n == number}
        if not regions or node.share is not None:
            for path in owned(done.graph, node):
                tail = f".{path}" if path else ""
                yield new + node.name + tail, Source("carried", (old + before.name + tail,))
            continue
        for r, callee in enumerate(node.callees):
            heads: list[str] = [""]
            if isinstance(node.op, Regional):
                heads = [".".join(type(node.op).segments[r]) + "."] if type(node.op).segments[r] else [""]
            elif isinstance(node.count, Dim):
                heads = ["*."]
            elif node.count != 1:
                heads = [f"{t}." for t in range(node.count)]
            for head in heads:
                o, n = f"{old}{before.name}.{head}", f"{new}{node.name}.{head}"
                if r in regions:
                    yield from follow(regions[r][1], o, n)
                else:
                    for path, _ in below(callee):
                        yield n + path, Source("carried", (o + path,))


def lost(done: Done, old: str = "") -> Iterator[str]:
    """Paths of the old graph's weights that a rule drops."""
    for r in done.replacements:
        for path in r.moves.dropped:
            yield old + path
    for (k, region), (is_loop, inner) in done.below.items():
        node = done.old.nodes[k]
        heads = [""]
        if isinstance(node.op, Regional):
            heads = [".".join(type(node.op).segments[region]) + "."] if type(node.op).segments[region] else [""]
        elif is_loop:
            heads = [""]
        elif isinstance(node.count, Dim):
            heads = ["*."]
        elif node.count != 1:
            heads = [f"{t}." for t in range(node.count)]
        for head in heads:
            yield from lost(inner, f"{old}{node.name}.{head}")
