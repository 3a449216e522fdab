"""Parity rows for a terminal, as rich tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from archgraph.lower.parity import KeyRow, Row

_STYLES: Final = {"pass": "green", "fail": "bold red", "unmapped": "yellow"}


def cases_view(rows: Sequence[Row]) -> Group:
    """A row a recorded run, then how many of each verdict there are."""
    table = _table("paper", "case", "spec", "params", "max error", "")
    for row in rows:
        params = "" if row.params is None else f"{row.params:,}"
        if row.params is not None and row.params_expected not in (None, row.params):
            params += f" (expected {row.params_expected:,})"
        error = "" if row.max_abs_error is None else f"{row.max_abs_error:.1e}"
        table.add_row(row.paper, row.case, row.spec or "", params, error, _verdict(row.verdict, row.reason))
    return Group(table, Text(_counts([row.verdict for row in rows], "cases")))


def keys_view(rows: Sequence[KeyRow]) -> Group:
    """A row a key list, then how many of each verdict there are."""
    table = _table("paper", "variant", "spec", "theirs", "dropped", "ours", "")
    for row in rows:
        numbers = [f"{n:,}" if n else "" for n in (row.theirs, row.dropped, row.ours)]
        table.add_row(row.paper, row.name, row.spec or "", *numbers, _verdict(row.verdict, row.reason))
    return Group(table, Text(_counts([row.verdict for row in rows], "key lists")))


def _table(*headers: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for header in headers:
        right = header in ("params", "max error", "theirs", "dropped", "ours")
        table.add_column(header, overflow="fold", justify="right" if right else "left")
    return table


def _verdict(verdict: str, reason: str) -> Text:
    text = Text(verdict, style=_STYLES[verdict])
    return text.append(f"  {reason}", style="default not bold") if reason else text


def _counts(verdicts: Sequence[str], what: str) -> str:
    counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in _STYLES if verdict in verdicts]
    return f"{len(verdicts)} {what}: {', '.join(counts)}"
