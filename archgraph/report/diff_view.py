"""Differences of two architectures for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from archgraph.analysis.cost import Totals
from archgraph.report.diff import Diff
from archgraph.report.numbers import exact, human, human_bytes
from archgraph.report.tables import listing

__all__ = ["diff_view"]


def diff_view(found: Diff) -> RenderableType:
    """A row per difference with its costs, then the totals."""
    if not found.changes:
        return Text("no difference: equal graphs, but for names")
    rows = listing("", "before", "after", "params", "MACs")
    for c in found.changes:
        rows.add_row(c.path, c.before or "–", c.after or "–", _both(c.costs, "params"), _both(c.costs, "macs"))
    sums = listing("", "before", "after")
    before, after = found.totals
    for name, title in (("params", "params"), ("macs", "MACs"), ("flops", "FLOPs")):
        sums.add_row(title, exact(getattr(before, name)), exact(getattr(after, name)))
    for name, title in (("activation_bytes", "memory at the peak"), ("weight_bytes", "weights")):
        sums.add_row(title, human_bytes(getattr(before, name)), human_bytes(getattr(after, name)))
    return Group(rows, Text(), sums)


def _both(costs: tuple[Totals | None, Totals | None], name: str) -> str:
    old, new = (0 if t is None else getattr(t, name) for t in costs)
    return "" if old == new == 0 else human(old) if old == new else f"{human(old)} → {human(new)}"
