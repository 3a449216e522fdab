"""Reports for a terminal, as rich tables. Cells are `Text`, since rich reads ``[b, c]`` in a plain string as markup."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from archgraph.report.formats import (
    DEVICE_HEADERS,
    footer,
    summary_cells,
    summary_headers,
    total_cells,
    tree_cells,
    tree_headers,
)
from archgraph.report.tree import Row

if TYPE_CHECKING:
    from archgraph.report.report import Report

_NEEDS: Final = {"FLOPs": 112, "memory": 100, "%": 84}
_DEVICE_WIDTH: Final = 11 * len(DEVICE_HEADERS)


def tree_view(report: Report, width: int) -> Iterator[RenderableType]:
    """The tree of one report and what stands below it; columns are left out where ``width`` is too small for them."""
    yield heading(report)
    headers = tree_headers(report)
    room = width if report.roofline is None else width - _DEVICE_WIDTH
    dropped = {name for name, least in _NEEDS.items() if room < least}
    kept = [k for k, header in enumerate(headers) if header not in dropped]
    table = _table(["", *(headers[k] for k in kept)], text=2)
    for lead, row in _guided(report.rows):
        cells = tree_cells(report, row)
        table.add_row(_name(lead, row), *(Text(cells[k]) for k in kept))
    table.add_section()
    cells = total_cells(report)
    table.add_row("total", *(Text(cells[k]) for k in kept), style="bold")
    yield table
    yield notes(report)


def heading(report: Report) -> Text:
    """Name, variant and inputs."""
    text = Text(report.label, style="bold")
    for name, t in report.inputs:
        text.append(f"  {name} {t}", style="not bold")
    return text


def notes(report: Report) -> Table:
    """The footer of a report: titles beside texts."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for title, text in footer(report):
        table.add_row(title, Text(text))
    return table


def summary_view(reports: Sequence[Report]) -> Table:
    """A table with a row per report."""
    table = _table(summary_headers(reports), text=2)
    for report in reports:
        table.add_row(*map(Text, summary_cells(report)))
    return table


def _table(headers: Sequence[str], text: int) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for k, header in enumerate(headers):
        if k == 0:
            table.add_column(header, no_wrap=True)
        elif k < text:
            table.add_column(header, overflow="fold")
        else:
            table.add_column(header, justify="right", overflow="fold")
    return table


def _guided(rows: Sequence[Row], lead: str = "", top: bool = True) -> Iterator[tuple[str, Row]]:
    """Every row behind the lines that show whose child it is; the outermost stand at the margin."""
    for k, row in enumerate(rows):
        last = k == len(rows) - 1
        branch, below = ("", "") if top else ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield lead + branch, row
        yield from _guided(row.children, lead + below, top=False)


def _name(lead: str, row: Row) -> Text:
    text = Text(lead, style="dim")
    text.append(row.name, style="not dim")
    if row.label != row.name:
        text.append(row.label.removeprefix(row.name), style="bold not dim")
    text.append(f" {row.op}")
    if row.note:
        text.append(f" ({row.note})", style="italic")
    return text
