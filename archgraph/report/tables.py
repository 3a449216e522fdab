"""Lists for a terminal, as rich tables: claims beside our numbers, shipped specs, ops.

They are for consoles without markup, which would read ``[b, c]`` as a style.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from archgraph.ops.base import Op
from archgraph.report.ops import default_text, family, op_to_dict, operand_text, summary
from archgraph.report.verify import Verified
from archgraph.spec.model import SpecFile

_STYLES: Final = {
    "exact": "green",
    "holds": "green",
    "printed": "green",
    "recorded": "yellow",
    "stale": "red",
    "differs": "bold red",
}


def verified_view(verified: Iterable[Verified]) -> RenderableType:
    """Claims beside our numbers, a row per figure, and a line that counts them."""
    table = listing("", "claim", "claimed", "ours", "", "source")
    table.columns[0].max_width, table.columns[0].no_wrap = 48, False
    tally: dict[str, int] = {}
    for each in verified:
        if each.faults:
            tally["faults"] = tally.get("faults", 0) + 1
            table.add_row(each.label, "", "", "", Text("faults", style="bold red"), each.claim.source)
        if each.open:
            tally[each.status] = tally.get(each.status, 0) + 1
            table.add_row(each.label, "", "", "", Text(each.status, style="dim"), each.open)
        for k, check in enumerate(each.checks):
            outcome = each.outcome(check)
            tally[outcome] = tally.get(outcome, 0) + 1
            note = each.claim.note if outcome in ("recorded", "stale") else each.claim.source
            name = "" if each.claim.formula is not None else check.figure.name
            if each.claim.formula is None and check.figure.quantity != name:
                name += f" (counts {check.figure.quantity})"
            table.add_row(
                each.label if k == 0 else "",
                name,
                check.figure.text,
                check.shown,
                Text(outcome, style=_STYLES[outcome]),
                note,
            )
    counts = ", ".join(f"{n} {what}" for what, n in tally.items()) or "no claims"
    return Group(table, Text(counts))


def specs_view(specs: Sequence[tuple[str, SpecFile]]) -> Table:
    """Shipped specs: name, variants, summary, year."""
    table = listing("spec", "variants", "", "paper")
    for name, file in specs:
        paper = file.paper.get("arxiv") or file.paper.get("doi") or ""
        year = file.paper.get("year", "")
        table.add_row(name, ", ".join(file.variants), file.summary, f"{paper} {f'({year})' if year else ''}".strip())
    return table


def ops_view(ops: Iterable[type[Op]]) -> Table:
    """Ops by family, with their operands and what they compute."""
    table = listing("op", "takes", "")
    families: dict[str, list[type[Op]]] = {}
    for op in ops:
        families.setdefault(family(op), []).append(op)
    for name, members in sorted(families.items()):
        table.add_row(Text(name, style="bold"), "", "")
        for op in members:
            takes = ", ".join(o.name + ("..." if o.variadic else "?" if o.optional else "") for o in op.operands)
            table.add_row(f"  {op.op_name}", takes, summary(op))
    return table


def op_view(op: type[Op]) -> RenderableType:
    """One op: documentation, operands, attributes, cost."""
    attributes = listing("attribute", "takes", "default", "")
    for a in op.attributes:
        attributes.add_row(a.name, a.kind.expected, default_text(a), a.doc)
    if op.extra is not None:
        attributes.add_row("any other name", op.extra.expected, "", "the length of an axis")
    cost = "Free by declaration." if op.free else "Its work is counted."
    parts: list[RenderableType] = [
        Text(op.op_name, style="bold"),
        Padding(Text(op_to_dict(op)["doc"].replace("``", "`")), (1, 0)),
        Text("takes    " + (", ".join(map(operand_text, op.operands)) or "nothing")),
        Text("gives    " + ", ".join(op.outputs)),
        Text(cost),
    ]
    if op.attributes or op.extra is not None:
        parts += [Text(), attributes]
    return Group(*parts)


def listing(*headers: str) -> Table:
    """A plain table with these headers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for k, header in enumerate(headers):
        table.add_column(header, overflow="fold", no_wrap=k == 0, justify="right" if header == "ours" else "left")
    return table
