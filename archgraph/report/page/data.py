"""What a page shows of one architecture, as plain values: its graph, its costs, its claims.

The structure of every distinct graph stands once (``defs``), in the layers in which it is drawn; costs hang on where a
block stands and make a tree beside it, a list per row: a value for every metric, then the rows below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from archgraph.analysis.roofline import Target
from archgraph.analysis.sizes import default_sizes, with_sizes
from archgraph.ir.dim import Dim, Num, pretty
from archgraph.ir.graph import Graph, Node
from archgraph.ir.types import TensorType
from archgraph.ops.base import Op
from archgraph.ops.kinds import show
from archgraph.report.formats import device_lines
from archgraph.report.layout import layered
from archgraph.report.numbers import plain
from archgraph.report.page.metrics import METRICS, TOTALS, Metric
from archgraph.report.report import Report, report_of
from archgraph.report.scene import COLOURS, INPUTS, OUTPUTS, Scene, scene_of
from archgraph.report.tree import Row, folded
from archgraph.report.verify import Verified, verify_claims
from archgraph.spec.load import Spec

_LONGEST: Final = 400  # characters of an attribute


@dataclass(frozen=True, slots=True)
class Entry:
    """One architecture of a page: a spec, the sizes asked for, and its typed graph with a report that opens all."""

    spec: Spec
    graph: Graph
    report: Report
    at: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None

    @property
    def label(self) -> str:
        """Name and variant."""
        return self.report.label


def entry(spec: Spec, graph: str | None = None, at: Mapping[str, Any] | None = None, on: Target | None = None) -> Entry:
    """An entry for a spec; on a device, with times and energies.

    Raises
    ------
    SpecError
        With every fault found.
    """
    sized = with_sizes(spec, graph, at)
    typed = sized.graph(graph, default_sizes(sized, graph, at))
    return Entry(spec, typed, report_of(typed, sized, depth=None, on=on), dict(at or {}), graph)


def model(e: Entry, metrics: Sequence[Metric] = METRICS, totals: Sequence[Metric] = TOTALS) -> dict[str, Any]:
    """An entry as plain values."""
    r = e.report
    definitions = _Definitions()
    definitions.define(e.graph, r.rows, root=True)
    return {
        "label": e.label,
        "name": r.spec,
        "variant": r.variant,
        "graph": r.graph,
        "summary": e.spec.file.summary,
        "paper": _paper(e.spec.file.paper),
        "inputs": [[name, str(t)] for name, t in r.inputs],
        "outputs": [[name, str(t)] for name, t in r.outputs],
        "settings": [[name, show(value)] for name, value in r.to_dict()["settings"].items()],
        "totals": {m.key: _number(m.of(r)) for m in totals},
        "values": [_number(m.of(r)) for m in metrics],
        "device": [[title, text] for title, text in device_lines(r)],
        "expected": None if r.expected_macs == r.macs else plain(r.expected_macs),
        "frozen": plain(r.frozen_params),
        "buffers": plain(r.buffers),
        "elementwise": plain(r.elementwise),
        "guards": list(r.guards),
        "counted": [[op, plain(n)] for op, n in r.counted.items()],
        "free": [[op, plain(n)] for op, n in r.free.items()],
        "defs": definitions.found,
        "tree": [_tree(row, metrics) for row in r.rows],
        "claims": claims(verify_claims(e.spec.file), r.variant),
    }


def _paper(paper: Mapping[str, Any]) -> dict[str, Any]:
    return {str(k): str(v) for k, v in paper.items() if isinstance(v, (str, int))}


def _number(n: Num | float) -> int | float | str:
    """A number for JSON; a closed form as people read it."""
    return pretty(n) if isinstance(n, Dim) else n


def _tree(row: Row, metrics: Sequence[Metric]) -> list[Any]:
    values: list[Any] = [_number(m.of(row)) for m in metrics]
    return [values, [_tree(child, metrics) for child in row.children]] if row.children else [values]


def claims(verified: Iterable[Verified], variant: str | None) -> list[dict[str, Any]]:
    """A row per figure claimed, in the order of the file; a claim without figures (faults, open) is one row."""
    found: list[dict[str, Any]] = []
    for each in verified:
        said = each.to_dict()
        given = {**said["at"], **said["settings"]}
        shared = {
            "variant": said["variant"] or "",
            "here": said["variant"] == variant and not each.claim.text,
            "claim": each.claim.text,
            "given": ", ".join(f"{name} = {show(value)}" for name, value in given.items()),
            "source": said["source"],
            "note": said["note"],
        }
        if not each.checks:
            why = each.open or "; ".join(f.message for f in each.faults)
            found.append({**shared, "figure": "", "claimed": "", "ours": "", "outcome": each.status, "note": why})
        for check, row in zip(each.checks, said["checks"], strict=True):
            found.append({**shared, **row, "ours": check.shown})
    return found


class _Definitions:
    """The distinct graphs below one."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.known: dict[Graph, int] = {}

    def define(self, graph: Graph, rows: Sequence[Row], *, root: bool = False) -> int:
        """The number of a graph's definition; ``rows`` are its rows, opened all the way."""
        number = self.known.get(graph)
        if number is not None:
            return number
        number = self.known[graph] = len(self.found)
        self.found.append({})  # the number is taken before those below take theirs
        nodes = [graph.nodes[group.start] for group in folded(graph)]
        items = [self._item(graph, node, row) for node, row in zip(nodes, rows, strict=True)]
        scene = scene_of(graph, tuple(replace(row, children=()) for row in rows))
        self.found[number] = {"name": graph.name, **_ends(graph), "items": items, **_drawn(scene, root)}
        return number

    def _item(self, graph: Graph, node: Node, row: Row) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": row.name,
            "op": row.op,
            "family": _family(node),
            "out": row.shape,
            "in": _texts(graph.type_of(ref) for ref in node.inputs if ref is not None),
        }
        if not (isinstance(row.count, int) and row.count == 1):
            found["count"] = plain(row.count)
        if isinstance(node.op, Op):
            attributes = list(node.op.attrs().items())
        else:  # what is bound turn by turn stands in no argument
            late = {name for name, _ in node.late}
            attributes = [(k, "by turn" if k in late else v) for k, v in node.callees[0].args]
        shown = [[name, _short(value)] for name, value in attributes if value is not None]
        if shown:
            found["attributes"] = shown
        if row.note:
            found["note"] = row.note
        if node.op is None and not (isinstance(node.count, int) and node.count == 1):
            found["rolled"] = True  # paths below have a `*` for the turns
        if row.children and len(node.callees) == 1:
            found["opens"] = self.define(node.callees[0], row.children)
        elif row.children:
            found["opens"] = self._regions(node, row)
        return found

    def _regions(self, node: Node, row: Row) -> int:
        """A definition of a node with several regions: they stand side by side."""
        number = len(self.found)
        self.found.append({})
        items: list[dict[str, Any]] = []
        for callee, region in zip(node.callees, row.children, strict=True):
            item: dict[str, Any] = {
                "name": region.name,
                "op": region.op,
                "family": "block",
                "out": region.shape,
                "in": _texts(callee.input_types),
            }
            if region.children:
                item["opens"] = self.define(callee, region.children)
            items.append(item)
        self.found[number] = {
            "name": row.op,
            "inputs": [],
            "outputs": [],
            "items": items,
            "layers": [list(range(len(items)))],
            "edges": [],
        }
        return number


def _ends(graph: Graph) -> dict[str, Any]:
    return {
        "inputs": [[name, str(t)] for name, t in graph.inputs],
        "outputs": [[name, str(graph.type_of(ref))] for name, ref in graph.outputs],
    }


def _drawn(scene: Scene, root: bool) -> dict[str, Any]:
    """The layers of a scene and its edges.

    Vertices are numbered: items, then inputs, then outputs, then the lanes by which values pass layers. An edge is
    ``[label, output of its source, operand of its target, vertices…]``.
    """
    placed = layered(scene, root=root)
    inputs, items = len(scene.inputs), len(scene.items)
    lanes = items + inputs + len(scene.outputs)

    def number(vertex: tuple[int, int]) -> int:
        kind, k = vertex
        if kind == INPUTS:
            return items + k
        if kind == OUTPUTS:
            return items + inputs + k
        return kind if kind < items else lanes + kind - items

    return {
        "layers": [[number(v) for v in row] for row in placed.rows],
        "edges": [
            [edge.label, edge.source[1], edge.target[1], *map(number, path)]
            for edge, path in zip(scene.edges, placed.paths, strict=True)
        ],
    }


def _family(node: Node) -> str:
    """What an op does, in the few words that colours tell apart."""
    if not isinstance(node.op, Op) or node.callees:
        return "block"
    family = type(node.op).__module__.rpartition(".")[2]
    return "linear" if family == "contraction" else family if family in COLOURS else "other"


def _texts(types: Iterable[TensorType]) -> str:
    """Types in words, equal ones once."""
    counted: dict[str, int] = {}
    for t in types:
        counted[str(t)] = counted.get(str(t), 0) + 1
    return ", ".join(text if n == 1 else f"{n} × {text}" for text, n in counted.items())


def _short(value: Any) -> str:
    text = show(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
