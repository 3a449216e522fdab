"""Write ``docs/rewrites.md``: every shipped rule, shipped hosts that it applies to, and what it does to their costs.

``python -m tools.rewrites``: the page holds what the engine finds, nothing by hand but the choice of hosts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from archgraph.analysis.cost import totals
from archgraph.analysis.sizes import default_sizes
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.graph import Graph
from archgraph.rewrite.api import find, rewrite
from archgraph.rewrite.rule import Rule, load_rule, shipped_rules
from archgraph.spec.load import load

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "rewrites.md"
#: Rows of a rule at most.
MOST: Final = 3


class Host(NamedTuple):
    """A spec with settings, its shapes where it says none, and rules that are applied before."""

    spec: str
    variant: str | None = None
    settings: Mapping[str, Any] = {}
    at: Mapping[str, tuple[int, ...]] | None = None
    after: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """As a command would have it."""
        words = [self.spec if self.variant is None else f"{self.spec}:{self.variant}"]
        words += [
            f"{name}={str(value).lower() if isinstance(value, bool) else value}"
            for name, value in self.settings.items()
        ]
        return "`" + " ".join(words) + "`" + "".join(f" after `{rule}`" for rule in self.after)

    def graph(self) -> Graph:
        """The typed graph."""
        spec = load(self.spec, self.variant, **self.settings)
        graph = spec.graph(at=default_sizes(spec, at=self.at))
        for rule in self.after:
            graph = rewrite(graph, rule).after
        return graph


MEAN: Final = {"class_token": False, "pool": "mean"}
HOSTS: Final = (
    Host("vit", "tiny"),
    Host("vit", "tiny", MEAN),
    Host("vit", "base", MEAN),
    Host("resnet"),
    Host("mobilenet_v2"),
    Host("mobilenet_v1"),
    Host("swin", "tiny"),
    Host("swin", "base"),
    Host("pvt", "tiny"),
    Host("pvt_v2"),
    Host("cswin", "tiny"),
    Host("cswin", "base"),
    Host("biformer_trunk", "tiny"),
    Host("biformer_trunk", "stl"),
    Host("biformer_trunk", "stl_nchw"),
    Host("biformer", "tiny"),
    Host("dhvt"),
    Host("detr"),
    Host("convnext"),
    Host("hornet"),
    Host("densenet"),
    Host("efficientnet"),
    Host("overlock"),
    Host("m-sfanet"),
    Host("dbconformer"),
    Host("l2vit", at={"x": (1, 3, 224, 224)}),
    Host("convsharevit"),
    Host("vit", "tiny", {}, None, ("softmax_to_linear",)),
    Host("vit", "tiny", {}, None, ("split_packed_qkv",)),
)
#: Rules for insertion take any map: sites for them, per spec.
SITES: Final[dict[str, dict[str, str]]] = {
    "add_eca": {"resnet": "layers.*.blocks.*.bn2", "mobilenet_v2": "blocks.*.project.bn"},
    "add_ela": {"resnet": "layers.*.blocks.*.bn2", "mobilenet_v2": "blocks.*.depthwise"},
    "add_ulsam": {"mobilenet_v1": "^blocks.12", "mobilenet_v2": "^blocks.15"},
    "replace_by_ulsam": {"mobilenet_v1": "^blocks.10", "mobilenet_v2": "^blocks.12"},
}


class Row(NamedTuple):
    """What a rule does to a host."""

    host: Host
    places: int
    params: tuple[int, int]
    macs: tuple[int, int]


def rows(rule: Rule, hosts: Sequence[tuple[Host, Graph]]) -> list[Row]:
    """What a rule does to some hosts that it applies to: of different specs, or of one where there is no other."""
    found: list[Row] = []
    again: list[Row] = []
    for host, graph in hosts:
        if len(found) == MOST:
            break
        used = any(row.host.spec == host.spec for row in found)
        if used and again:
            continue
        row = row_of(rule, host, graph)
        if row is not None:
            (again if used else found).append(row)
    return found if len(found) > 1 else [*found, *again]


def row_of(rule: Rule, host: Host, graph: Graph) -> Row | None:
    """What a rule does to a host; None where it doesn't apply."""
    where = None
    if rule.name in SITES:
        where = SITES[rule.name].get(host.spec)
        if where is None:
            return None
    try:
        places = find(graph, rule, where=where).count
        if places == 0:
            return None
        after = totals(rewrite(graph, rule, where=where).after)
    except SpecError:  # a condition that this host does not meet, or params that have no default
        return None
    before = totals(graph)
    params, macs = ((number(b), number(a)) for b, a in ((before.params, after.params), (before.macs, after.macs)))
    return Row(host, number(places), params, macs)


def number(x: Any) -> int:
    """A cost of a graph of known sizes."""
    assert isinstance(x, int), x
    return x


def page() -> str:
    """The text of the page."""
    known = [(host, host.graph()) for host in HOSTS]
    lines = [
        "<!-- Generated by `python -m tools.rewrites`; edits are lost. -->",
        "# Rules and what they do to shipped networks",
        "",
        "Each line can be had again by `archgraph rewrite SPEC --rule NAME`; up to three hosts of each rule are shown.",
        "*exact* rules keep what a network computes, *approximate* ones its interface. Params and multiply-adds are",
        "those before → after, of one image of the spec's own size.",
        "",
        "| rule | relation | host | places | params | MACs |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    bare: list[Rule] = []
    for path in shipped_rules().values():
        rule = load_rule(path)
        found = rows(rule, known)
        if not found:
            bare.append(rule)
        for k, row in enumerate(found):
            first = (f"`{rule.name}`", rule.relation) if k == 0 else ("", "")
            cells = (*first, row.host.label, f"{row.places}", _change(*row.params), _change(*row.macs))
            lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "Patterns of these stand in none of the hosts above; they are held by tests on graphs drawn from the patterns:",
        "",
    ]
    lines += [f"- `{rule.name}` ({rule.relation}): {rule.summary}" for rule in bare]
    return "\n".join(lines) + "\n"


def _change(before: int, after: int) -> str:
    return f"{before:,}" if before == after else f"{before:,} → {after:,}"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
