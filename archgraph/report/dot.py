"""Scenes as Graphviz text: a cluster per opened block, edges between the ops inside."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from archgraph.ir.types import TensorType
from archgraph.report.scene import INPUTS, OUTPUTS, Edge, Item, Scene

_HEADER = """\
  graph [fontname="Helvetica", fontsize=10, labelloc=t, labeljust=l, nodesep=0.25, ranksep=0.35, style="rounded,filled"]
  node [fontname="Helvetica", fontsize=10, shape=box, style="rounded,filled", color="#888888", margin="0.12,0.05"]
  edge [fontname="Helvetica", fontsize=8, color="#666666", fontcolor="#555555", arrowsize=0.6]
"""

#: Where a value comes from: a Graphviz node and which of its outputs.
_Source = tuple[str, int]


def to_dot(scene: Scene, title: str) -> str:
    """Graphviz text of a scene."""
    writer = _Writer()
    feeds = []
    for k, (name, t) in enumerate(scene.inputs):
        writer.node(f"in{k}", _end_label(name, t), "#ffffff", shape="ellipse")
        feeds.append([(f"in{k}", 0)])
    for k, sources in enumerate(writer.scene(scene, feeds, "n", 1)):
        name, t = scene.outputs[k]
        writer.node(f"out{k}", _end_label(name, t), "#ffffff", shape="ellipse")
        writer.edges(sources, f"out{k}")
    body = "\n".join([*writer.lines, *writer.links])
    return f"digraph {_quoted(title)} {{\n  label={_quoted(title)}\n{_HEADER}{body}\n}}\n"


class _Writer:
    """Lines of text, and which values have been labelled."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.links: list[str] = []  # apart: an edge inside a cluster would pull both its ends into it
        self.types: dict[_Source, str] = {}

    def node(self, name: str, label: str, colour: str, **attributes: str) -> None:
        """One box."""
        more = "".join(f", {key}={value}" for key, value in attributes.items())
        self.lines.append(f'  {name} [label={label}, fillcolor="{colour}"{more}]')

    def edges(self, sources: Sequence[_Source], target: str) -> None:
        """Edges to an operand; the type of a value stands on its first.

        Folded turns may take an output each of one box: one line says it.
        """
        for source in {s[0]: s for s in reversed(sources)}.values():
            text = self.types.pop(source, "")
            self.links.append(f"  {source[0]} -> {target}" + (f" [label={_quoted(text)}]" if text else ""))

    def scene(self, scene: Scene, feeds: Sequence[Sequence[_Source]], prefix: str, depth: int) -> list[list[_Source]]:
        """Write a scene whose inputs come from ``feeds``; returns where its outputs come from."""
        arriving: dict[tuple[int, int], list[_Source]] = {}
        leaving: dict[tuple[int, int], list[_Source]] = {(INPUTS, k): list(feed) for k, feed in enumerate(feeds)}
        pending: dict[int, list[Edge]] = {}
        for edge in scene.edges:
            pending.setdefault(edge.target[0], []).append(edge)
        for number, item in enumerate(scene.items):
            for edge in pending.get(number, ()):
                arriving.setdefault(edge.target, []).extend(leaving.get(edge.source, ()))
            outputs = self.item(item, number, arriving, prefix, depth)
            leaving.update({(number, k): sources for k, sources in enumerate(outputs)})
        for edge in pending.get(OUTPUTS, ()):
            arriving.setdefault(edge.target, []).extend(leaving.get(edge.source, ()))
        return [arriving.get((OUTPUTS, k), []) for k in range(len(scene.outputs))]

    def item(
        self, item: Item, number: int, arriving: dict[tuple[int, int], list[_Source]], prefix: str, depth: int
    ) -> list[list[_Source]]:
        """Write one box, or the cluster of an opened one."""
        name = f"{prefix}{number}"
        operands = {k: sources for (target, k), sources in arriving.items() if target == number}
        label = _label(item)
        if item.scene is None:
            self.node(name, label, item.colour)
            for sources in operands.values():
                self.edges(sources, name)
            for k, t in enumerate(item.row.types):
                self.types[name, k] = str(t)
            return [[(name, k)] for k in range(len(item.row.types))]
        feeds = [operands.get(k, []) for k in range(len(item.scene.inputs))]
        shade = "#f7f7f7" if depth % 2 else "#ffffff"
        self.lines.append(f'  subgraph cluster_{name} {{ label={label}; color="#aaaaaa"; fillcolor="{shade}"')
        outputs = self.scene(item.scene, feeds, f"{name}_", depth + 1)
        self.lines.append("  }")
        return outputs


def _label(item: Item) -> str:
    """A label in Graphviz's HTML: the name in bold, the op or block, the numbers below."""
    kind = f"&#160; {escape(item.kind)}" if item.kind else ""
    numbers = f'<br align="left"/><font point-size="8">{escape(item.numbers)}</font>' if item.numbers else ""
    return f'<<b>{escape(item.row.label)}</b>{kind}{numbers}<br align="left"/>>'


def _end_label(name: str, t: TensorType) -> str:
    return f"<<b>{escape(name)}</b><br/>{escape(str(t))}>"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
