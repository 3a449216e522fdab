"""Rewrites and rules for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from archgraph.analysis.cost import totals
from archgraph.ir.dim import Num
from archgraph.report.numbers import exact, human_bytes
from archgraph.report.rewriting import QUANTITIES, crossing, grouped, tally
from archgraph.report.tables import listing
from archgraph.rewrite.api import Found, Rewritten
from archgraph.rewrite.rule import Rule

__all__ = ["found_view", "rewritten_view", "rule_view", "rules_view"]

#: Places listed before the rest is counted.
MAX_PLACES: Final = 12


def rewritten_view(rewritten: Rewritten) -> RenderableType:
    """Rules with their sites, costs before and after, and what became of the weights."""
    steps = listing("rule", "sites", "", "relation", "preserves")
    for step in rewritten.steps:
        places = _places(grouped(step.places))
        steps.add_row(step.rule.name, exact(step.count), places, step.rule.relation, "; ".join(step.rule.preserves))
    before, after = totals(rewritten.before), totals(rewritten.after)
    costs = listing("", "before", "after", "")
    for name, title in QUANTITIES.items():
        old, new = getattr(before, name), getattr(after, name)
        show = human_bytes if name.endswith("bytes") else exact
        costs.add_row(title, show(old), show(new), _ratio(old, new))
    parts: list[RenderableType] = [steps, Text(), costs, Text()]
    if where := crossing(rewritten):
        parts += [Text(f"crossing {where}"), Text()]
    try:
        counts = tally(rewritten)
    except ValueError:  # how many there are depends on a symbol
        counts = {}
    if counts:
        parts.append(Text("weights  " + ", ".join(f"{n} {kind}" for kind, n in counts.items())))
    for step in rewritten.steps:
        parts += [Text(f"warning  {step.rule.name}: {text}", style="yellow") for text in step.warnings]
    return Group(*parts)


def found_view(found: Found) -> RenderableType:
    """Sites of a pattern."""
    lines: list[RenderableType] = [Text(f"{exact(found.count)} sites of `{found.rule.name}` in `{found.graph.name}`")]
    for path, n in list(grouped(found.places).items())[:MAX_PLACES]:
        lines.append(Text(f"  {path} × {exact(n)}"))
    lines += [Text(f"  refused: {text}", style="yellow") for text in found.refused]
    return Group(*lines)


def rules_view(rules: Iterable[Rule]) -> Table:
    """Shipped rules: name, relation, what they do."""
    found = listing("rule", "relation", "", "params")
    for rule in rules:
        found.add_row(rule.name, rule.relation, rule.summary, ", ".join(rule.params))
    return found


def rule_view(rule: Rule) -> RenderableType:
    """One rule: what it is, what it takes and binds, and its text."""
    from archgraph.spec.yaml import read_source

    lines = [Text(rule.name, style="bold"), Text(rule.summary), Text()]
    lines.append(Text(f"{rule.relation}{', in evaluation' if rule.mode == 'eval' else ''}"))
    if rule.preserves:
        lines.append(Text("preserves  " + "; ".join(rule.preserves)))
    lines += [Text(f"{'warns unless' if r.warn else 'requires'}  {r.expr}: {r.why}") for r in rule.requires]
    return Group(*lines, Text(), Text(read_source(rule.path)))


def _places(places: dict[str, Num]) -> str:
    shown = [f"{path} × {exact(n)}" for path, n in list(places.items())[:MAX_PLACES]]
    more = len(places) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _ratio(old: Num, new: Num) -> str:
    if not isinstance(old, int) or not isinstance(new, int) or not old:
        return ""
    return f"{100 * (new - old) / old:+.2f} %" if old != new else "="
