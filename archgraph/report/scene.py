"""What a drawing shows: the folded rows of a report as boxes, and the values that pass between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from archgraph.ir.graph import Graph, Node
from archgraph.ir.types import TensorType
from archgraph.ops.base import Op
from archgraph.report.numbers import human
from archgraph.report.tree import Row, folded, rows

#: Item numbers that stand for the inputs and outputs of a scene.
INPUTS: Final = -1
OUTPUTS: Final = -2

#: Fill colours by op family: what holds most weights and work stands out.
COLOURS: Final = {
    "conv": "#cfe2ff",
    "linear": "#d5efd6",
    "contraction": "#d5efd6",
    "attention": "#ffe0b8",
    "norm": "#fdf3c0",
    "activation": "#f9d9e6",
    "elementwise": "#eadff7",
    "source": "#ffffff",
}
OTHER: Final = "#f2f2f2"
CLOSED: Final = "#dfe3ee"  # a block that is not opened

#: An end of an edge: the number of an item, and which of its outputs or operands.
End = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Edge:
    """A value on its way. ``label`` is its type, on the first of the edges that carry it."""

    source: End
    target: End
    label: str


@dataclass(frozen=True, slots=True)
class Item:
    """A box: a row of the report, and what is inside where it is opened."""

    row: Row
    colour: str
    scene: Scene | None = None

    @property
    def kind(self) -> str:
        """The op or block; empty where the node is named like it."""
        return "" if self.row.op == self.row.name else self.row.op

    @property
    def numbers(self) -> str:
        """``5.34 M params · 1.22 G MACs``, zeros left out."""
        parts = [(self.row.params, "params"), (self.row.macs, "MACs")]
        return " · ".join(f"{human(n)} {what}" for n, what in parts if n != 0)


@dataclass(frozen=True, slots=True)
class Scene:
    """The items of one graph in order, and the edges between them, its inputs and its outputs."""

    inputs: tuple[tuple[str, TensorType], ...]
    outputs: tuple[tuple[str, TensorType], ...]
    items: tuple[Item, ...]
    edges: tuple[Edge, ...]


def scene(graph: Graph, depth: int | None = 2) -> Scene:
    """The scene of a graph, composites opened down to ``depth`` levels (all of them if None)."""
    return scene_of(graph, rows(graph, depth))


def scene_of(graph: Graph, shown: tuple[Row, ...]) -> Scene:
    """The scene of a graph with these rows: composites are opened as far as their rows are."""
    groups = folded(graph)
    home = {k: g for g, group in enumerate(groups) for k in group}
    found: dict[tuple[End, End], str] = {}
    labelled: set[End] = set()
    parallel: set[tuple[int, int, str]] = set()
    joined: set[tuple[int, End]] = set()

    def connect(ref: tuple[int, int] | None, target: End) -> None:
        if ref is None:
            return
        source = (INPUTS, ref[1]) if ref[0] < 0 else (home[ref[0]], ref[1])
        # an operand of folded turns may take an output each of one box: one line says it
        if source[0] == target[0] or (source[0] >= 0 and (source[0], target) in joined) or (source, target) in found:
            return
        joined.add((source[0], target))
        text = str(graph.type_of(ref))
        beside = (source[0], target[0], text)  # equal values between the same boxes, as q, k and v
        found[source, target] = "" if source in labelled or beside in parallel else text
        labelled.add(source)
        parallel.add(beside)

    for g, group in enumerate(groups):
        for k in group:
            for operand, ref in enumerate(_reads(graph.nodes[k])):
                connect(ref, (g, operand))
    for k, (_, ref) in enumerate(graph.outputs):
        connect(ref, (OUTPUTS, k))
    return Scene(
        inputs=graph.inputs,
        outputs=tuple((name, graph.type_of(ref)) for name, ref in graph.outputs),
        items=tuple(_item(graph.nodes[group.start], row) for group, row in zip(groups, shown, strict=True)),
        edges=tuple(Edge(source, target, label) for (source, target), label in found.items()),
    )


def _reads(node: Node) -> Iterator[tuple[int, int] | None]:
    yield from node.inputs
    for _, ref in node.weights:
        yield ref


def _item(node: Node, row: Row) -> Item:
    family = type(node.op).__module__.rpartition(".")[2] if isinstance(node.op, Op) else ""
    # the regions of a switch are rows, but share their operands: they are not drawn
    opened = row.children and len(node.callees) == 1
    colour = COLOURS.get(family, OTHER) if isinstance(node.op, Op) else CLOSED
    return Item(row, colour, scene_of(node.callees[0], row.children) if opened else None)
