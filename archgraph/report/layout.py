"""Where the boxes of a scene stand: layers from top to bottom, opened blocks laid out inside their box.

Sugiyama's method in its plainest form: layers by longest path, a lane through the layers in between for every value
that skips some, order by the mean place of neighbours, places pulled towards neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from archgraph.report.scene import INPUTS, OUTPUTS, Edge, End, Item, Scene

Point = tuple[float, float]

#: Sizes in pixels: of text, the space around boxes, and between layers (an edge's label stands there).
FONT: Final = 11.0
SMALL: Final = 9.0
LINE: Final = 14.0
PAD: Final = 8.0
GAP_X: Final = 22.0
GAP_Y: Final = 34.0
GAP_END: Final = 16.0
HEADER: Final = 2 * LINE
_LANE: Final = 10.0
_SWEEPS: Final = 6


@dataclass(slots=True)
class Box:
    """A placed vertex: an item, an end of the scene, or one layer of a lane. ``x`` is its centre, ``y`` its top."""

    width: float
    height: float
    item: Item | None = None
    inner: Plan | None = None
    label: tuple[str, str] | None = None
    layer: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def left(self) -> float:
        return self.x - self.width / 2


@dataclass(slots=True)
class Route:
    """The points that an edge passes, and its label."""

    points: list[Point]
    label: str


@dataclass(frozen=True, slots=True)
class Layered:
    """A scene as layers of vertices in order, without places: what does not hang on how large its boxes are.

    A vertex is an item ``(number, 0)``, an input ``(INPUTS, k)``, an output ``(OUTPUTS, k)``, or one layer of a lane,
    numbered above the items. ``paths``: for every edge of the scene the vertices that it passes, ends included.
    """

    rows: tuple[tuple[End, ...], ...]
    paths: tuple[tuple[End, ...], ...]


@dataclass(slots=True)
class Plan:
    """A scene laid out; ``entries`` and ``exits``: where its inputs and outputs are on its upper and lower edge."""

    width: float
    height: float
    boxes: list[Box]
    routes: list[Route]
    entries: dict[int, float] = field(default_factory=dict)
    exits: dict[int, float] = field(default_factory=dict)


def text_width(text: str, size: float) -> float:
    """About the width of a text in Helvetica."""
    narrow = sum(text.count(c) for c in " .,:;il|()[]'!")
    return size * (0.56 * (len(text) - narrow) + 0.3 * narrow)


def plan(scene: Scene, *, root: bool = True) -> Plan:
    """Lay out a scene; below the root its ends are points on the edge of the box around it."""
    return _Layout(scene, root).plan()


def layered(scene: Scene, *, root: bool = True) -> Layered:
    """The layers of a scene, its items taken as they are, opened or not; below the root unused inputs are left out."""
    return _Layout(scene, root, _point).layered()


class _Layout:
    def __init__(self, scene: Scene, root: bool, box: Callable[[Item], Box] | None = None) -> None:
        self.scene = scene
        self.root = root
        self.box = box or _box
        self.boxes: dict[End, Box] = {}
        self.edges: list[Edge] = list(scene.edges)
        self.above: dict[End, list[End]] = {}
        self.below: dict[End, list[End]] = {}

    def plan(self) -> Plan:
        self._vertices()
        self._layers()
        lanes = self._lanes()
        rows = self._rows()
        self._order(rows)
        self._places(rows)
        height = self._heights(rows)
        left = min((box.left for box in self.boxes.values()), default=0.0)
        width = max((box.x + box.width / 2 for box in self.boxes.values()), default=0.0) - left
        for box in self.boxes.values():
            box.x -= left
        routes = [self._route(edge, lanes) for edge in self.edges]
        return Plan(
            width,
            height,
            [box for vertex, box in self.boxes.items() if box.item is not None or (self.root and box.label)],
            routes,
            {k: box.x for (number, k), box in self.boxes.items() if number == INPUTS},
            {k: box.x for (number, k), box in self.boxes.items() if number == OUTPUTS},
        )

    def layered(self) -> Layered:
        self._vertices()
        self._layers()
        lanes = self._lanes()
        rows = self._rows()
        self._order(rows)
        return Layered(tuple(map(tuple, rows)), tuple(self._path(edge, lanes) for edge in self.edges))

    # -- vertices and layers -----------------------------------------------------------------------------------------

    def _vertices(self) -> None:
        used = {edge.source for edge in self.edges}
        for k, (name, t) in enumerate(self.scene.inputs):
            if self.root or (INPUTS, k) in used:
                self.boxes[INPUTS, k] = self._end(name, str(t))
        for number, item in enumerate(self.scene.items):
            self.boxes[number, 0] = self.box(item)
        for k, (name, t) in enumerate(self.scene.outputs):
            self.boxes[OUTPUTS, k] = self._end(name, str(t))

    def _end(self, name: str, text: str) -> Box:
        if not self.root:
            return Box(_LANE, 0.0)
        width = max(text_width(name, FONT), text_width(text, SMALL)) + 3 * PAD
        return Box(width, 2 * LINE + PAD, label=(name, text))

    def _layers(self) -> None:
        pairs = [(_vertex(edge.source), _vertex(edge.target)) for edge in self.edges]
        for source, target in pairs:
            self.above.setdefault(target, []).append(source)
            self.below.setdefault(source, []).append(target)
        order = sorted(self.boxes, key=lambda v: (0, v) if v[0] == INPUTS else (1, v) if v[0] >= 0 else (2, v))
        for vertex in order:
            self.boxes[vertex].layer = max((self.boxes[a].layer + 1 for a in self.above.get(vertex, ())), default=0)
        for vertex in reversed(order):
            if vertex[0] >= 0 and vertex not in self.above and vertex in self.below:
                self.boxes[vertex].layer = max(0, min(self.boxes[b].layer for b in self.below[vertex]) - 1)
        last = max((box.layer for vertex, box in self.boxes.items() if vertex[0] != OUTPUTS), default=0)
        for vertex, box in self.boxes.items():
            if vertex[0] == OUTPUTS:
                box.layer = last + 1

    def _lanes(self) -> dict[tuple[End, int], End]:
        """Vertices that keep a place in every layer that a value skips; all edges of the value share them."""
        lanes: dict[tuple[End, int], End] = {}
        links: list[tuple[End, End]] = []
        for edge in self.edges:
            source, target = _vertex(edge.source), _vertex(edge.target)
            before = source
            for layer in range(self.boxes[source].layer + 1, self.boxes[target].layer):
                lane = lanes.get((edge.source, layer))
                if lane is None:
                    lane = lanes[edge.source, layer] = (len(self.scene.items) + len(lanes), 0)
                    self.boxes[lane] = Box(_LANE, 0.0, layer=layer)
                    links.append((before, lane))
                before = lane
            links.append((before, target))
        self.above, self.below = {}, {}
        for source, target in links:
            self.above.setdefault(target, []).append(source)
            self.below.setdefault(source, []).append(target)
        return lanes

    def _rows(self) -> list[list[End]]:
        rows: list[list[End]] = [[] for _ in range(1 + max((b.layer for b in self.boxes.values()), default=0))]
        for vertex, box in self.boxes.items():
            rows[box.layer].append(vertex)
        return rows

    # -- order and places --------------------------------------------------------------------------------------------

    def _order(self, rows: list[list[End]]) -> None:
        place = {vertex: float(k) for row in rows for k, vertex in enumerate(row)}
        for sweep in range(_SWEEPS):
            near = self.above if sweep % 2 == 0 else self.below
            for row in rows if sweep % 2 == 0 else reversed(rows):
                row.sort(key=lambda v, near=near: _mean((place[n] for n in near.get(v, ())), place[v]))  # type: ignore[misc]
                place.update((vertex, float(k)) for k, vertex in enumerate(row))

    def _places(self, rows: list[list[End]]) -> None:
        for row in rows:
            x = 0.0
            for vertex in row:
                box = self.boxes[vertex]
                box.x = x + box.width / 2
                x += box.width + GAP_X
            for vertex in row:
                self.boxes[vertex].x -= x / 2
        for sweep in range(2 * _SWEEPS):
            near = self.above if sweep % 2 == 0 else self.below
            for row in rows if sweep % 2 == 0 else reversed(rows):
                self._pull(row, near)

    def _pull(self, row: list[End], near: dict[End, list[End]]) -> None:
        """Move the boxes of a layer towards their neighbours as far as they leave each other room."""
        boxes = [self.boxes[vertex] for vertex in row]
        wanted = [self._wanted(vertex, near.get(vertex, ())) for vertex in row]
        right = _packed(wanted, boxes, 1)
        left = _packed(wanted, boxes, -1)
        for box, a, b in zip(boxes, right, left, strict=True):
            box.x = (a + b) / 2

    def _wanted(self, vertex: End, near: Iterable[End]) -> float:
        """The mean place of neighbours. Boxes weigh more than lanes, so that what skips layers bends, not the spine."""
        lane = self._is_lane(vertex)
        total = weights = 0.0
        for other in near:
            weight = 1.0 if self._is_lane(other) == lane else 0.1
            total += weight * self.boxes[other].x
            weights += weight
        return total / weights if weights else self.boxes[vertex].x

    def _is_lane(self, vertex: End) -> bool:
        return vertex[0] >= len(self.scene.items)

    def _heights(self, rows: list[list[End]]) -> float:
        y = 0.0
        for k, row in enumerate(rows):
            height = max((self.boxes[vertex].height for vertex in row), default=0.0)
            for vertex in row:
                box = self.boxes[vertex]
                lane = self._is_lane(vertex) or box.height == 0.0
                box.y = y if lane else y + (height - box.height) / 2
                if lane:
                    box.height = height
            y += height
            if k < len(rows) - 1:
                # a value that enters or leaves an opened block bears its label outside
                ends = not self.root and ((k == 0 and self._all_ends(row)) or k == len(rows) - 2)
                y += GAP_END if ends else GAP_Y
        return y

    def _all_ends(self, row: list[End]) -> bool:
        return all(vertex[0] < 0 for vertex in row)

    # -- edges -------------------------------------------------------------------------------------------------------

    def _route(self, edge: Edge, lanes: dict[tuple[End, int], End]) -> Route:
        source, *between, target = (self.boxes[vertex] for vertex in self._path(edge, lanes))
        points = [(_port(source, edge.source[1], lambda p: p.exits), source.y + source.height)]
        for lane in between:
            points += [(lane.x, lane.y), (lane.x, lane.y + lane.height)]
        points.append((_port(target, edge.target[1], lambda p: p.entries), target.y))
        labelled_outside = edge.source[0] == INPUTS or (edge.target[0] == OUTPUTS and not self.root)
        return Route(points, "" if labelled_outside else edge.label)

    def _path(self, edge: Edge, lanes: dict[tuple[End, int], End]) -> tuple[End, ...]:
        source, target = _vertex(edge.source), _vertex(edge.target)
        between = range(self.boxes[source].layer + 1, self.boxes[target].layer)
        return (source, *(lanes[edge.source, layer] for layer in between), target)


def _vertex(end: End) -> End:
    """The vertex of an end: all outputs and operands of an item are one, those of the scene are themselves."""
    return end if end[0] < 0 else (end[0], 0)


def _point(item: Item) -> Box:
    return Box(0.0, 0.0, item)


def _box(item: Item) -> Box:
    head = text_width(item.row.label, FONT) * 1.08 + (text_width(f"  {item.kind}", FONT) if item.kind else 0)
    width = max(head, text_width(item.numbers, SMALL)) + 2 * PAD
    if item.scene is None:
        return Box(width, (2 if item.numbers else 1) * LINE + PAD, item)
    inner = plan(item.scene, root=False)
    return Box(max(width, inner.width + 2 * PAD), inner.height + HEADER + PAD, item, inner)


def _port(box: Box, k: int, side: Callable[[Plan], dict[int, float]]) -> float:
    """Where an edge meets a box: where the value goes on inside, else the middle."""
    if box.inner is None:
        return box.x
    inside = side(box.inner).get(k)
    return box.x if inside is None else box.x - box.inner.width / 2 + inside


def _mean(values: Iterable[float], default: float) -> float:
    found = list(values)
    return sum(found) / len(found) if found else default


def _packed(wanted: list[float], boxes: list[Box], direction: int) -> list[float]:
    """Places near the wanted ones, in order and without overlap, room being made in one direction."""
    found = list(wanted)
    order = range(len(boxes)) if direction > 0 else range(len(boxes) - 1, -1, -1)
    previous: int | None = None
    for k in order:
        if previous is not None:
            room = direction * ((boxes[k].width + boxes[previous].width) / 2 + GAP_X)
            limit = found[previous] + room
            found[k] = max(found[k], limit) if direction > 0 else min(found[k], limit)
        previous = k
    return found
