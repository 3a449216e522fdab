"""Scenes as SVG, laid out here: for machines without Graphviz."""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import Final

from archgraph.report.layout import FONT, HEADER, LINE, PAD, SMALL, Box, Plan, Route, plan
from archgraph.report.scene import Scene

_MARGIN: Final = 16.0
_STYLE: Final = (
    "text{font-family:Helvetica,Arial,sans-serif;fill:#222}"
    ".small{font-size:9px;fill:#444}.edge{fill:none;stroke:#666;stroke-width:1}"
    ".label{font-size:8px;fill:#555}"
)
_ARROW: Final = (
    '<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#666"/></marker>'
)


def to_svg(scene: Scene, title: str) -> str:
    """SVG of a scene."""
    placed = plan(scene)
    top = _MARGIN + LINE + PAD
    lines = [f'<text x="{_MARGIN:g}" y="{_MARGIN + FONT:g}" font-size="{FONT:g}">{escape(title)}</text>']
    _draw(placed, _MARGIN, top, 1, lines)
    # labels of the outermost edges may stand a little outside the boxes
    width = max(placed.width + 2 * _MARGIN + 60, 240)
    height = placed.height + top + _MARGIN
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n'
        f'<defs>{_ARROW}</defs>\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _draw(placed: Plan, x: float, y: float, depth: int, lines: list[str]) -> None:
    """Boxes first, then what is inside them, then edges, so that no box hides an edge."""
    for box in placed.boxes:
        _box(box, x + box.left, y + box.y, depth, lines)
        if box.inner is not None:
            inset = (box.width - box.inner.width) / 2
            _draw(box.inner, x + box.left + inset, y + box.y + HEADER, depth + 1, lines)
    for route in placed.routes:
        _edge(route, x, y, lines)


def _box(box: Box, x: float, y: float, depth: int, lines: list[str]) -> None:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
    if box.label is not None:
        name, text = box.label
        centre = x + box.width / 2
        lines.append(f'<rect {place} rx="{box.height / 2:.1f}" fill="#ffffff" stroke="#888"/>')
        lines.append(_text(centre, y + LINE, name, "bold", middle=True))
        lines.append(_small(centre, y + 2 * LINE, text, middle=True))
        return
    assert box.item is not None
    opened = box.inner is not None
    fill = ("#f7f7f7" if depth % 2 else "#ffffff") if opened else box.item.colour
    hint = f"{box.item.row.path}: {box.item.row.op} {box.item.row.shape}"
    lines.append(f'<rect {place} rx="7" fill="{fill}" stroke="#888"><title>{escape(hint)}</title></rect>')
    kind = f'<tspan font-weight="normal" dx="{PAD - 2:g}">{escape(box.item.kind)}</tspan>' if box.item.kind else ""
    lines.append(_text(x + PAD, y + LINE, box.item.row.label, "bold", more=kind))
    if box.item.numbers:
        lines.append(_small(x + PAD, y + 2 * LINE - 1, box.item.numbers))


def _text(x: float, y: float, text: str, weight: str, *, middle: bool = False, more: str = "") -> str:
    anchor = ' text-anchor="middle"' if middle else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{FONT:g}" font-weight="{weight}"{anchor}>{escape(text)}{more}</text>'
    )


def _small(x: float, y: float, text: str, *, middle: bool = False) -> str:
    anchor = ' text-anchor="middle"' if middle else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="small" font-size="{SMALL:g}"{anchor}>{escape(text)}</text>'


def _edge(route: Route, x: float, y: float, lines: list[str]) -> None:
    """A curve that leaves and enters every point vertically."""
    points = [(x + a, y + b) for a, b in route.points]
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        bend = (y1 - y0) / 2
        straight = abs(x1 - x0) < 0.5
        path.append(
            f"L{x1:.1f} {y1:.1f}"
            if straight
            else f"C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f} {x1:.1f} {y1:.1f}"
        )
    arrow = ' marker-end="url(#arrow)"' if len(points) > 1 else ""
    lines.append(f'<path class="edge" d="{"".join(path)}"{arrow}/>')
    if route.label:
        (x0, y0), (x1, y1) = points[0], points[1]
        lines.append(
            f'<text x="{(x0 + x1) / 2 + 4:.1f}" y="{(y0 + y1) / 2 + 3:.1f}" class="label">{escape(route.label)}</text>'
        )
