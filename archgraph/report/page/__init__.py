"""A report as one HTML file that needs nothing else: no network, no library, no server.

The page is made of small files beside this one: ``page.html``, ``page.css`` and the scripts, put together with the
data as JSON. Nothing in the data can become markup: `<`, `>` and `&` are written as escapes, scripts set text and never
HTML, and a policy in the page's head lets only this very script run and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from archgraph.report.compare import Comparison, Range
from archgraph.report.page.curves import CURVES, as_dict, curve_sets
from archgraph.report.page.data import Entry, entry, model
from archgraph.report.page.metrics import METRICS, TOTALS, Metric

__all__ = ["CURVES", "METRICS", "TOTALS", "Entry", "Metric", "Range", "comparison_page", "entry", "page"]

_FOLDER: Final = Path(__file__).parent
_SCRIPTS: Final = ("base.js", "tree.js", "layout.js", "graph.js", "icicle.js", "curves.js", "tables.js", "main.js")
#: Characters that could end a script, begin a comment, or end a line of one.
_ESCAPED: Final = {c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def page(
    entries: Sequence[Entry],
    over: Sequence[Range] = (),
    *,
    metrics: Sequence[Metric] = METRICS,
    totals: Sequence[Metric] = TOTALS,
) -> str:
    """The page of one architecture, or of several side by side.

    Parameters
    ----------
    entries : sequence of Entry
    over : sequence of Range, optional
        What cost curves are drawn over; the sizes and hyperparameters that all entries have if left out.
    metrics, totals : sequence of Metric
        What blocks are measured by, and what stands at the head.

    Raises
    ------
    SpecError
        For claims that can't be read, and ranges that can't be taken.
    """
    used = [m for m in metrics if all(m.of(row) is not None for e in entries for row in _measured(e))]
    heads = [m for m in totals if all(m.of(e.report) is not None for e in entries)]
    return _assembled(
        ", ".join(e.label for e in entries),
        {
            "metrics": [m.to_dict() for m in used],
            "totals": [m.to_dict() for m in heads],
            "models": [model(e, used, heads) for e in entries],
            "curves": curve_sets(entries, over),
        },
    )


def _measured(e: Entry) -> Iterator[object]:
    yield e.report
    yield from (row for _, row in e.report.walk())


def comparison_page(comparisons: Sequence[Comparison]) -> str:
    """A page of curves alone: comparisons of the same architectures by one cost or several."""
    first = comparisons[0]
    title = f"{' · '.join(c.label for c in first.curves)} over {first.name}"
    curves = as_dict(comparisons, first.name, [None] * len(first.curves))
    return _assembled(title, {"metrics": [], "totals": [], "models": [], "curves": [curves]})


@cache
def _part(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _assembled(title: str, data: dict[str, Any]) -> str:
    style = _part("page.css")
    script = '"use strict";\n(() => {\n' + "\n".join(map(_part, _SCRIPTS)) + "})();\n"
    parts = {
        "title": html.escape(title),
        "policy": (
            f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
            "base-uri 'none'; form-action 'none'"
        ),
        "style": style,
        "script": script,
        "data": _escaped(json.dumps({"title": title, **data}, ensure_ascii=False, separators=(",", ":"))),
    }
    # one pass: what is put in is not looked at again
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _part("page.html"))


def _escaped(text: str) -> str:
    """JSON that is the same value, and of which no part means anything to an HTML parser."""
    return re.sub(f"[{''.join(_ESCAPED)}]", lambda match: _ESCAPED[match[0]], text)


def _digest(text: str) -> str:
    """A content policy's name for an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
