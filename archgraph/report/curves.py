"""Cost curves drawn: in a terminal with braille dots, and as SVG without any library. Both axes are logarithmic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import log
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import RenderableType

    from archgraph.report.compare import Comparison

COLOURS: Final = ("#3366cc", "#dc3912", "#109618", "#990099", "#ff9900", "#0099c6", "#444444", "#dd4477")
_NAMES: Final = ("blue", "red", "green", "magenta", "yellow", "cyan", "white", "bright_red")
_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_SAMPLES: Final = 120

Series = list[tuple[int, int]]


def samples(comparison: Comparison, count: int = _SAMPLES) -> list[Series]:
    """Valid points of every curve, about ``count``, spread evenly in ratio."""
    low, high = comparison.low, comparison.high
    sizes = sorted({round(low * (high / low) ** (k / (count - 1))) for k in range(count)})
    found: list[Series] = []
    for c in comparison.curves:
        points: Series = []
        for n in sizes:
            near = next((m for m in range(n, min(n + 33, high + 1)) if c.at(m) is not None), None)
            if near is not None and (not points or near > points[-1][0]):
                value = c.at(near)
                if value:
                    points.append((near, value))
        found.append(points)
    return found


class _Scale:
    """From numbers to places from 0 to 1, by logarithms."""

    def __init__(self, values: Sequence[int]) -> None:
        self.low, self.high = (min(values), max(values)) if values else (1, 2)
        self._first = log(max(self.low, 1))
        self._span = (log(max(self.high, 1)) - self._first) or 1.0

    def __call__(self, x: int) -> float:
        return (log(max(x, 1)) - self._first) / self._span


def _scales(series: Sequence[Series]) -> tuple[_Scale, _Scale]:
    points = [p for s in series for p in s]
    return _Scale([n for n, _ in points]), _Scale([v for _, v in points])


def terminal(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    """A table of costs, a plot, and what there is to say."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(comparison.name, justify="right")
    for k, c in enumerate(comparison.curves):
        table.add_column(Text(c.label, style=_NAMES[k % len(_NAMES)]), justify="right")
        if k:
            table.add_column("ratio", justify="right")
    for n in comparison.points():
        first = comparison.curves[0].at(n)
        cells: list[str] = []
        for k, c in enumerate(comparison.curves):
            value = c.at(n)
            cells.append(comparison.cell(value))
            if k:
                cells.append(f"{value / first:.3g}" if value is not None and first else "")
        table.add_row(str(n), *cells)
    yield table
    yield _plot(comparison, min(width, 100))
    for line in comparison.lines():
        yield Text(line)


def _plot(comparison: Comparison, width: int) -> RenderableType:
    from rich.text import Text

    columns, rows = max(width - 14, 20), 16
    series = samples(comparison)
    x, y = _scales(series)
    dots = [[0] * columns for _ in range(rows)]
    owner = [[0] * columns for _ in range(rows)]
    for k, points in enumerate(series):
        for n, value in points:
            across, up = round(x(n) * (2 * columns - 1)), round((1 - y(value)) * (4 * rows - 1))
            dots[up // 4][across // 2] |= _DOTS[up % 4][across % 2]
            owner[up // 4][across // 2] = k
    text = Text()
    for r in range(rows):
        mark = y.high if r == 0 else y.low if r == rows - 1 else None
        text.append(f"{comparison.cell(mark) if mark is not None else '':>12} │", style="dim")
        for c in range(columns):
            style = _NAMES[owner[r][c] % len(_NAMES)]
            text.append(chr(0x2800 + dots[r][c]) if dots[r][c] else " ", style=style)
        text.append("\n")
    text.append(f"{'':>12} └{'─' * columns}\n{'':>14}{x.low:<{columns - 12}}{x.high:>12}", style="dim")
    return text


def svg(comparison: Comparison, width: int = 720, height: int = 420) -> str:
    """The curves as a picture."""
    series = samples(comparison)
    x, y = _scales(series)
    left, right, top, bottom = 80, 16, 30 + 18 * len(series), 44

    def place(n: int, value: int) -> str:
        across = left + x(n) * (width - left - right)
        down = top + (1 - y(value)) * (height - top - bottom)
        return f"{across:.1f},{down:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica,Arial,sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="18" font-weight="bold">{escape(comparison.cost)} over {escape(comparison.name)}</text>',
        f'<path d="M{left} {top}V{height - bottom}H{width - right}" fill="none" stroke="#888"/>',
    ]
    for k in range(5):
        size = round(x.low * (x.high / x.low) ** (k / 4))
        value = round(y.low * (y.high / y.low) ** (k / 4))
        across, down = (float(p) for p in place(size, value).split(","))
        parts.append(f'<text x="{across:.1f}" y="{height - bottom + 18}" text-anchor="middle">{size}</text>')
        parts.append(f'<path d="M{left} {down:.1f}H{width - right}" stroke="#eee"/>')
        label = escape(comparison.cell(value))
        parts.append(f'<text x="{left - 6}" y="{down + 4:.1f}" text-anchor="end">{label}</text>')
    for k, (c, points) in enumerate(zip(comparison.curves, series, strict=True)):
        colour = COLOURS[k % len(COLOURS)]
        line = " ".join(place(n, value) for n, value in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        order = escape(f"{c.label}  {c.order(comparison.high)}")
        parts.append(f'<rect x="{left}" y="{28 + 18 * k}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{left + 18}" y="{38 + 18 * k}">{order}</text>')
    for crossing in comparison.crossovers[:20]:
        if x.low <= crossing.at <= x.high:
            across = left + x(crossing.at) * (width - left - right)
            parts.append(f'<path d="M{across:.1f} {top}V{height - bottom}" stroke="#aaa" stroke-dasharray="3 3"/>')
            parts.append(f'<text x="{across + 3:.1f}" y="{top + 12}" fill="#555">{crossing.at}</text>')
    return "\n".join([*parts, "</svg>\n"])
