"""The tree of a report: a row per node with its cost, composites opened to a depth, equal turns folded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from archgraph.analysis.cost import node_totals, totals
from archgraph.analysis.roofline import Load, Roofline, Target, load, node_load, total
from archgraph.ir.dim import Num
from archgraph.ir.graph import Graph, Node
from archgraph.ir.types import TensorType
from archgraph.ops.base import Op
from archgraph.ops.higher import Scan, SwitchTraining
from archgraph.report.numbers import plain


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a report.

    Attributes
    ----------
    name : str
        The node's name; ``0–2`` where turns are folded.
    path : str
        Path from the root, with ``*`` for the turns of a loop and ``0-2`` for folded ones.
    op : str
        The op, the called block, or ``loop``.
    count : int or Dim
        How many turns the row stands for.
    types : tuple of TensorType
        Output types of one turn.
    params, buffers, macs, elementwise : int or Dim
        Of all turns, on all turns of what is around: the rows below a row add up to it, but for shared weights.
    activation_bytes : int or Dim
        Peak of values alive at once inside one turn; 0 for an op.
    saved_bytes : int or Dim
        Bytes of all values that it makes.
    note : str
        ``unused``, ``frozen``, ``weights of …``.
    children : tuple of Row
        Empty for ops, and below the depth asked for.
    roofline : Roofline or None
        Times and energies of all turns, where a device was named; of traffic its bound has the weights alone.
    """

    name: str
    path: str
    op: str
    count: Num
    types: tuple[TensorType, ...]
    params: Num
    buffers: Num
    macs: Num
    elementwise: Num
    activation_bytes: Num
    saved_bytes: Num
    note: str = ""
    children: tuple[Row, ...] = ()
    roofline: Roofline | None = None

    @property
    def flops(self) -> Num:
        """Two per MAC, and the element-wise work."""
        return 2 * self.macs + self.elementwise

    @property
    def shape(self) -> str:
        """Output types, equal ones once: ``[1, 197, 768]``, ``3 × [1, 12, 197, 64]``."""
        if len(self.types) > 1 and all(t == self.types[0] for t in self.types):
            return f"{len(self.types)} × {self.types[0]}"
        return ", ".join(map(str, self.types))

    @property
    def label(self) -> str:
        """The name, with ``×n`` where the row stands for several turns."""
        return self.name if isinstance(self.count, int) and self.count == 1 else f"{self.name} ×{self.count}"

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Row]]:
        """This row and those below, each with its depth."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: exact ints, closed forms as text."""
        found: dict[str, Any] = {
            "name": self.name,
            "path": self.path,
            "op": self.op,
            "count": plain(self.count),
            "outputs": [type_to_dict(t) for t in self.types],
            "params": plain(self.params),
            "buffers": plain(self.buffers),
            "macs": plain(self.macs),
            "elementwise": plain(self.elementwise),
            "flops": plain(self.flops),
            "activation_bytes": plain(self.activation_bytes),
            "saved_bytes": plain(self.saved_bytes),
        }
        if self.roofline is not None:
            found["roofline"] = self.roofline.to_dict()
        if self.note:
            found["note"] = self.note
        if self.children:
            found["children"] = [child.to_dict() for child in self.children]
        return found


def type_to_dict(t: TensorType) -> dict[str, Any]:
    """A type as plain values."""
    return {"dtype": t.dtype, "shape": [plain(d) for d in t.shape]}


def rows(graph: Graph, depth: int | None = None, on: Target | None = None) -> tuple[Row, ...]:
    """The rows of a graph's nodes, composites opened down to ``depth`` levels (all of them if None).

    ``on``: a device, for times and energies.
    """
    return _rows(graph, "", 1, 1, depth, on)


def _rows(graph: Graph, prefix: str, own: Num, work: Num, depth: int | None, on: Target | None) -> tuple[Row, ...]:
    """``own`` and ``work``: how often the weights of this graph exist, and how often it runs."""
    if depth is not None and depth <= 0:
        return ()
    below = None if depth is None else depth - 1
    return tuple(_row(graph, group, prefix, own, work, below, on) for group in folded(graph))


def folded(graph: Graph) -> list[range]:
    """The nodes of a graph in order, as ranges: turns of one loop that are alike stand together."""
    nodes = graph.nodes
    groups: list[range] = []
    k = 0
    while k < len(nodes):
        end = k + 1
        while end < len(nodes) and _continues(nodes, k, end):
            end += 1
        groups.append(range(k, end))
        k = end
    return groups


def _continues(nodes: Sequence[Node], first: int, k: int) -> bool:
    """Whether node ``k`` is the next turn of the loop that node ``first`` begins, and equal to it."""
    a, b = nodes[first], nodes[k]
    if a.name.isdecimal():
        if b.name != str(int(a.name) + k - first) or a.share != b.share:
            return False
    elif b.name != f"{a.name}_{k - first}" or b.share != (a.name,):
        return False
    return (
        a.types == b.types
        and a.count == b.count
        and a.flags == b.flags
        and _runs_alike(a, b)
        and (a.callees == b.callees if a.callees or b.callees else a.op == b.op)
    )


def _runs_alike(a: Node, b: Node) -> bool:
    return (a.op is None) == (b.op is None) and type(a.op) is type(b.op) and len(a.inputs) == len(b.inputs)


def _row(graph: Graph, group: range, prefix: str, own: Num, work: Num, depth: int | None, on: Target | None) -> Row:
    node = graph.nodes[group.start]
    costs = [node_totals(graph, k) for k in group]
    turns = len(group) * node.count
    name = node.name
    if len(group) > 1 and name.isdecimal():
        name = f"{name}–{graph.nodes[group[-1]].name}"
    path = prefix + name.replace("–", "-")
    return Row(
        name=name,
        path=path,
        op=_what(node),
        count=turns,
        types=node.types,
        params=sum(t.params for t in costs) * own,
        buffers=sum(t.buffers for t in costs) * own,
        macs=sum(t.macs for t in costs) * work,
        elementwise=sum(t.elementwise for t in costs) * work,
        activation_bytes=costs[0].activation_bytes,
        saved_bytes=sum(t.saved_bytes for t in costs) * work,
        note=_note(node),
        children=_children(graph, group, path, own, work, depth, on),
        roofline=None if on is None else _part(total(node_load(graph, k, on) for k in group), own, work, on),
    )


def _part(load: Load, own: Num, work: Num, on: Target) -> Roofline:
    return Roofline(on, load.times(work), load.weights * own)


def _what(node: Node) -> str:
    if node.op is not None:
        return node.op.op_name
    name = node.callees[0].name
    return "loop" if "." in name else name  # a loop's own graph is called `block.node`


def _note(node: Node) -> str:
    notes = sorted(node.flags - {"piece"})
    if node.share is not None:
        notes.append(f"weights of {'.'.join(node.share)}")
    if node.weights:
        notes.append("weights given")
    return ", ".join(notes)


def _children(
    graph: Graph, group: range, path: str, own: Num, work: Num, depth: int | None, on: Target | None
) -> tuple[Row, ...]:
    node = graph.nodes[group.start]
    if not node.callees or (depth is not None and depth <= 0):
        return ()
    owners = sum(1 for k in group if graph.nodes[k].share is None and not graph.nodes[k].weights)
    runs = 0 if "unused" in node.flags else work
    if node.op is None:
        rolled = not (isinstance(node.count, int) and node.count == 1)
        prefix = f"{path}.*." if rolled else f"{path}."
        turns = len(group) * node.count
        return _rows(node.callees[0], prefix, own * owners * node.count, runs * turns, depth, on)
    if isinstance(node.op, Scan):
        first = node.inputs[0]
        assert first is not None
        length = graph.type_of(first).shape[node.op.dim]
        return _rows(node.callees[0], f"{path}.", own * owners, runs * length, depth, on)
    if isinstance(node.op, SwitchTraining):
        names = [".".join(segments) for segments in node.op.segments]
        return tuple(
            _region(name, callee, path, own * owners, work, depth, on)
            for name, callee, work in zip(names, node.callees, (0, runs), strict=True)
        )
    return ()


def _region(name: str, graph: Graph, path: str, own: Num, work: Num, depth: int | None, on: Target | None) -> Row:
    """A region as a row of its own, where a node has several."""
    t = totals(graph)
    return Row(
        name=name,
        path=f"{path}.{name}",
        op=graph.name,
        count=1,
        types=graph.output_types,
        params=t.params * own,
        buffers=t.buffers * own,
        macs=t.macs * work,
        elementwise=t.elementwise * work,
        activation_bytes=t.activation_bytes,
        saved_bytes=t.saved_bytes * work,
        children=_rows(graph, f"{path}.{name}.", own, work, None if depth is None else depth - 1, on),
        roofline=None if on is None else _part(load(graph, on), own, work, on),
    )


def coverage(graph: Graph) -> tuple[dict[str, Num], dict[str, Num]]:
    """How often each op runs: those whose work is counted, and those free by declaration."""
    known: dict[int, dict[type[Op], Num]] = {}

    def runs(g: Graph) -> dict[type[Op], Num]:
        found = known.get(id(g))
        if found is not None:
            return found
        found = known[id(g)] = {}
        for node in g.nodes:
            if "unused" in node.flags:
                continue
            if isinstance(node.op, Op) and not node.callees:
                found[type(node.op)] = found.get(type(node.op), 0) + 1
            for callee in node.callees:
                for op, n in runs(callee).items():
                    found[op] = found.get(op, 0) + n * node.count
        return found

    found = sorted(runs(graph).items(), key=lambda item: item[0].op_name)
    return {op.op_name: n for op, n in found if not op.free}, {op.op_name: n for op, n in found if op.free}
