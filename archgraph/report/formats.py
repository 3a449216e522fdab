"""Reports as CSV, Markdown and HTML: one report as its tree, several as a table with a row each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from archgraph.ir.dim import Num
from archgraph.report.numbers import exact, human, human_bytes, human_si, plain, share
from archgraph.report.tree import Row

if TYPE_CHECKING:
    from archgraph.analysis.roofline import Roofline
    from archgraph.report.report import Report

TREE_HEADERS: Final = ("output", "params", "%", "MACs", "%", "FLOPs", "memory")
SUMMARY_HEADERS: Final = ("", "input", "params", "MACs", "FLOPs", "weights", "activations")
#: Further columns where a device was named.
DEVICE_HEADERS: Final = ("bound", "op by op", "binds", "energy")

_CSV_TREE: Final = (
    "depth", "path", "name", "op", "count", "output", "params", "buffers", "macs", "elementwise", "flops",
    "activation_bytes", "saved_bytes", "note",
)  # fmt: skip
_CSV_SUMMARY: Final = (
    "spec", "variant", "graph", "input", "params", "buffers", "macs", "elementwise", "flops", "activation_bytes",
    "saved_bytes", "weight_bytes",
)  # fmt: skip
_CSV_DEVICE: Final = (
    "bound_seconds", "binds", "op_by_op_seconds", "op_by_op_binds", "energy_joules", "op_by_op_joules",
)  # fmt: skip
_GUARDS: Final = 6  # conditions in a footer; JSON has them all
_EM_SPACE: Final = "\u2003"  # kept at the head of a cell by Markdown and HTML, where others are dropped


# -- cells, for every form that people read ------------------------------------------------------------------------


def tree_headers(report: Report) -> tuple[str, ...]:
    """`TREE_HEADERS`, and those of a device where one was named."""
    return TREE_HEADERS if report.roofline is None else TREE_HEADERS + DEVICE_HEADERS


def summary_headers(reports: Sequence[Report]) -> tuple[str, ...]:
    """`SUMMARY_HEADERS`, and those of a device where one was named."""
    return SUMMARY_HEADERS if all(r.roofline is None for r in reports) else SUMMARY_HEADERS + DEVICE_HEADERS


def _device_cells(found: Roofline | None) -> tuple[str, ...]:
    """The cells under `DEVICE_HEADERS`; nothing without a device. Sides and energies are those of ops by themselves."""
    if found is None:
        return ()
    if found.load.kernels == 0:
        return ("",) * len(DEVICE_HEADERS)
    joules = found.op_by_op_energy
    return (
        human_si(found.bound, "s"),
        human_si(found.op_by_op, "s"),
        found.op_by_op_binds or "",
        "" if joules is None else human_si(joules, "J"),
    )


def tree_cells(report: Report, row: Row) -> tuple[str, ...]:
    """The cells of one row under `tree_headers`; zeros are left empty."""
    return (
        row.shape,
        _some(row.params),
        share(row.params, report.params),
        _some(row.macs),
        share(row.macs, report.macs),
        _some(row.flops),
        "" if row.saved_bytes == 0 else human_bytes(row.saved_bytes),
        *_device_cells(row.roofline),
    )


def total_cells(report: Report) -> tuple[str, ...]:
    """The cells of the last row."""
    return (
        _types(report.outputs),
        human(report.params),
        "",
        human(report.macs),
        "",
        human(report.flops),
        human_bytes(report.saved_bytes),
        *_device_cells(report.roofline),
    )


def summary_cells(report: Report) -> tuple[str, ...]:
    """The row of one report among several, under `summary_headers`."""
    return (
        report.label,
        _types(report.inputs),
        human(report.params),
        human(report.macs),
        human(report.flops),
        human_bytes(report.weight_bytes),
        human_bytes(report.activation_bytes),
        *_device_cells(report.roofline),
    )


def footer(report: Report) -> list[tuple[str, str]]:
    """What stands below a tree, as (title, text): exact totals, memory, coverage, guards."""
    frozen = "" if report.frozen_params == 0 else f" ({exact(report.frozen_params)} frozen)"
    lines = [
        ("params", f"{exact(report.params)}{frozen}, buffers {exact(report.buffers)}"),
        ("MACs", exact(report.macs)),
        ("FLOPs", f"{exact(report.flops)} = 2 · MACs + {exact(report.elementwise)} element-wise"),
        (
            "memory",
            f"weights {human_bytes(report.weight_bytes)}, activations {human_bytes(report.activation_bytes)} at the "
            f"peak of an evaluation, {human_bytes(report.saved_bytes)} in all",
        ),
    ]
    if report.expected_macs != report.macs:
        less = share(report.expected_macs, report.macs)
        lines.append(("expected", f"{exact(report.expected_macs)} MACs where zeros are skipped{less and f', {less}'}"))
    lines += device_lines(report)
    lines += [
        ("counted", _tally(report.counted.items())),
        ("free by declaration", _tally(report.free.items())),
    ]
    if report.guards:
        more = len(report.guards) - _GUARDS
        shown = "; ".join(report.guards[:_GUARDS])
        lines.append(("provided that", shown + (f"; and {more} more conditions" if more > 0 else "")))
    return lines


def device_lines(report: Report) -> list[tuple[str, str]]:
    """What a footer says about times, energy and memory on a device."""
    found, room = report.roofline, report.fit
    if found is None or room is None:
        return []
    device = found.on.device
    lines = [
        ("device", f"{device.name}, {found.on.dtype}" + (f": {device.summary}" if device.summary else "")),
        (
            "latency",
            f"at least {human_si(found.bound, 's')}, {_because(found.binds)}; op by op {human_si(found.op_by_op, 's')} "
            f"in {exact(found.load.kernels)} kernels, {_because(found.op_by_op_binds)} for the most part",
        ),
        (
            "traffic",
            f"{human_bytes(found.compulsory)} of weights, inputs and outputs; op by op {human_bytes(found.load.moved)}",
        ),
    ]
    joules, more = found.energy, found.op_by_op_energy
    if joules is None or more is None:
        lines.append(("energy", f"the profile does not tell for {found.on.dtype}"))
    else:
        lines.append(("energy", f"{human_si(joules, 'J')} within the bound, {human_si(more, 'J')} op by op"))
    if room.size is not None:
        verb = "fits in" if room.fits else "DOES NOT FIT in"
        lines.append(("room", f"{human_bytes(room.needed)} {verb} {human_bytes(int(room.size))}"))
    return lines


def _because(side: str | None) -> str:
    return "nothing to do" if side is None else f"{side} {'bind' if side == 'products' else 'binds'}"


def _tally(ops: Iterable[tuple[str, Num]]) -> str:
    return ", ".join(op if n == 1 else f"{op} ×{n}" for op, n in ops) or "none"


def _some(n: Num) -> str:
    return "" if n == 0 else human(n)


def _types(named: Sequence[tuple[str, object]]) -> str:
    if len(named) == 1:
        return str(named[0][1])
    return ", ".join(f"{name} {t}" for name, t in named)


# -- CSV -----------------------------------------------------------------------------------------------------------


def tree_csv(report: Report) -> str:
    """A line per row, the total first; exact numbers, closed forms as expressions."""
    total = (
        0, "", report.label, report.graph, 1, _types(report.outputs), plain(report.params), plain(report.buffers),
        plain(report.macs), plain(report.elementwise), plain(report.flops), plain(report.activation_bytes),
        plain(report.saved_bytes), "", *_device_csv(report.roofline),
    )  # fmt: skip
    header = _CSV_TREE if report.roofline is None else _CSV_TREE + _CSV_DEVICE
    return _csv(header, [total, *(_csv_row(depth + 1, row) for depth, row in report.walk())])


def _csv_row(depth: int, row: Row) -> tuple[object, ...]:
    return (
        depth, row.path, row.name, row.op, plain(row.count), row.shape, plain(row.params), plain(row.buffers),
        plain(row.macs), plain(row.elementwise), plain(row.flops), plain(row.activation_bytes),
        plain(row.saved_bytes), row.note, *_device_csv(row.roofline),
    )  # fmt: skip


def _device_csv(found: Roofline | None) -> tuple[object, ...]:
    if found is None:
        return ()
    values = found.to_dict()
    return tuple("" if values[name] is None else values[name] for name in _CSV_DEVICE)


def summary_csv(reports: Iterable[Report]) -> str:
    """A line per report; exact numbers, closed forms as expressions."""
    reports = list(reports)
    lines = (
        (
            r.spec, r.variant or "", r.graph, _types(r.inputs), plain(r.params), plain(r.buffers), plain(r.macs),
            plain(r.elementwise), plain(r.flops), plain(r.activation_bytes), plain(r.saved_bytes),
            plain(r.weight_bytes), *_device_csv(r.roofline),
        )
        for r in reports
    )  # fmt: skip
    header = _CSV_SUMMARY if all(r.roofline is None for r in reports) else _CSV_SUMMARY + _CSV_DEVICE
    return _csv(header, lines)


def _csv(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return out.getvalue()


# -- Markdown ------------------------------------------------------------------------------------------------------


def tree_markdown(report: Report) -> str:
    """A heading, the tree as a table, and the footer as a list."""
    lines = [f"### {report.label}", f"Input {_types(report.inputs)}.", ""]
    lines += _markdown_table(("", *tree_headers(report)), _text_rows(report))
    lines += ["", *(f"- {title}: {text}" for title, text in footer(report))]
    return "\n".join(lines) + "\n"


def summary_markdown(reports: Iterable[Report]) -> str:
    """A table with a row per report."""
    reports = list(reports)
    return "\n".join(_markdown_table(summary_headers(reports), map(summary_cells, reports), text=2)) + "\n"


def _text_rows(report: Report) -> Iterator[tuple[str, ...]]:
    for depth, row in report.walk():
        yield _name(depth, row), *tree_cells(report, row)
    yield "total", *total_cells(report)


def _name(depth: int, row: Row) -> str:
    note = f" ({row.note})" if row.note else ""
    return f"{_EM_SPACE * depth}{row.label} · {row.op}{note}"


def _markdown_table(headers: Sequence[str], cells: Iterable[Sequence[str]], text: int = 2) -> list[str]:
    """``text``: how many columns hold text; numbers are set to the right."""
    rule = ["---"] * text + ["---:"] * (len(headers) - text)
    return [_markdown_row(headers), _markdown_row(rule), *map(_markdown_row, cells)]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in cells) + " |"


# -- HTML ----------------------------------------------------------------------------------------------------------


def tree_html(report: Report) -> str:
    """The tree as a table, for notebooks."""
    import html

    head = "".join(f"<th>{html.escape(h)}</th>" for h in ("", *tree_headers(report)))
    body = "".join(_html_row(cells) for cells in _text_rows(report))
    notes = "".join(f"<li>{html.escape(title)}: {html.escape(text)}</li>" for title, text in footer(report))
    title = html.escape(f"{report.label}, input {_types(report.inputs)}")
    return (
        f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><ul>{notes}</ul>"
    )


def _html_row(cells: Sequence[str]) -> str:
    import html

    styles = ["left", "left"] + ["right"] * (len(cells) - 2)
    inside = (
        f'<td style="text-align:{style}">{html.escape(cell)}</td>' for style, cell in zip(styles, cells, strict=True)
    )
    return f"<tr>{''.join(inside)}</tr>"
