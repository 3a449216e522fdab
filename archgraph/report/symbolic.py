"""Closed forms of an architecture's costs: in total and block by block, with their orders of growth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from archgraph.analysis.cases import Case, Cases
from archgraph.analysis.conditions import conditions, guards
from archgraph.analysis.growth import growth
from archgraph.analysis.memory import peaks
from archgraph.analysis.sizes import with_params
from archgraph.analysis.symbolic import base_point, close, open_names, unknown_name
from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.ir.dim import Num, pretty
from archgraph.ir.real import Real
from archgraph.report.enumerated import fitted, usual_values
from archgraph.report.numbers import plain
from archgraph.report.report import Report, report_of
from archgraph.report.tree import Row
from archgraph.spec.load import Spec

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

#: Totals that every report has.
TOTALS: Final = ("params", "macs", "flops", "activation_bytes", "saved_bytes")
_SHOWN: Final = 12  # forms of a peak that people still read
_EM_SPACE: Final = "\u2003"  # kept at the head of a cell by Markdown
_LABELS: Final = {
    "params": "params",
    "macs": "MACs",
    "expected_macs": "MACs where zeros are skipped",
    "flops": "FLOPs",
    "activation_bytes": "activation bytes at the peak of an evaluation",
    "saved_bytes": "activation bytes in all",
}


@dataclass(frozen=True, slots=True)
class ClosedForms:
    """The costs of one structure as expressions.

    Attributes
    ----------
    report : Report
        With symbols for numbers.
    names : tuple of str
        What stands open.
    chosen : mapping
        Values of what was enumerated: texts and flags.
    case : Case
        Where the structure is this one.
    peak : tuple of int or Dim
        Of these the greatest is the peak memory.
    enumerated : mapping
        Hyperparameters whose values were tried one by one, and why.
    """

    report: Report
    names: tuple[str, ...]
    chosen: Mapping[str, Any]
    case: Case
    peak: tuple[Num, ...]
    enumerated: Mapping[str, str] = field(default_factory=dict)

    def forms(self, name: str) -> tuple[Num, ...]:
        """One total: a closed form, or several of which the greatest counts."""
        return self.peak if name == "activation_bytes" else (getattr(self.report, name),)

    @property
    def totals(self) -> tuple[str, ...]:
        """Names of the totals, with the expected MACs where they are fewer."""
        return TOTALS if self.report.expected_macs == self.report.macs else (*TOTALS[:2], "expected_macs", *TOTALS[2:])

    def order(self, name: str) -> str:
        """The order of growth of one total."""
        return str(growth(self.forms(name)))

    @property
    def title(self) -> str:
        """Name, variant, choices and the condition of the case."""
        chosen = "".join(f" {name}={_value(value)}" for name, value in self.chosen.items())
        where = f", where {self.case}" if self.case.assumed else ""
        within = f" in {', '.join(self.names)}" if self.names else ""
        return f"{self.report.label}{chosen}{within}{where}"

    def to_dict(self) -> dict[str, Any]:
        """`Report.to_dict`, and what the closed forms add to it."""
        return {
            **self.report.to_dict(),
            "symbols": list(self.names),
            "chosen": {k: v if isinstance(v, (bool, int, float, str)) else _value(v) for k, v in self.chosen.items()},
            "case": [str(cond) for cond in self.case.assumed],
            "peak": [plain(x) for x in self.peak],
            "enumerated": dict(self.enumerated),
            "orders": {name: self.order(name) for name in self.totals},
        }

    def provisos(self) -> list[str]:
        """Conditions under which the forms hold, without those that others imply."""
        assert self.case.graph is not None
        needed = conditions(guard.cond for guard in guards(self.case.graph))
        return [
            *(f"{pretty(x)} ≥ {n}" for x, n in needed.least),
            *(f"{pretty(x)} = 0" for x in needed.zero),
            *(f"{pretty(x)} ≠ 0" for x in needed.nonzero),
            *map(str, needed.either),
        ]

    def tried(self) -> list[str]:
        """What the symbols of shares count, and what was enumerated because it can't be a symbol, and why."""
        values = {name: self.report.settings.get(name.partition(".")[0]) for name in self.names}
        shares = [
            name
            for name, v in values.items()
            if any(isinstance(x, Real) for x in (v if isinstance(v, tuple) else (v,)))
        ]
        found = [f"{name} in per cent" for name in shares]
        return found + [f"{name}: value by value, as {reason}" for name, reason in self.enumerated.items()]

    def blocks(self) -> Iterator[tuple[int, Row, str]]:
        """Every row that costs something, its depth, and the order of its MACs (of its params, where it has none)."""
        for depth, row in self.report.walk():
            if row.params != 0 or row.macs != 0:
                yield depth, row, str(growth(row.macs if row.macs != 0 else row.params))

    def to_markdown(self) -> str:
        """Totals as a list, blocks as a table."""
        lines = [f"### {self.title}", ""]
        lines += [f"- {_LABELS[name]}: {self._text(name)}, {self.order(name)}" for name in self.totals]
        lines += [f"- provided that {guard}" for guard in self.provisos()]
        lines += [f"- {text}" for text in self.tried()]
        if not self.report.rows:
            return "\n".join(lines) + "\n"
        lines += ["", "| block | params | MACs | order |", "| --- | --- | --- | --- |"]
        for depth, row, order in self.blocks():
            cells = (f"{_EM_SPACE * depth}{row.label} · {row.op}", _form(row.params), _form(row.macs), order)
            lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
        return "\n".join(lines) + "\n"

    def _text(self, name: str) -> str:
        forms = self.forms(name)
        if len(forms) > _SHOWN:
            return f"the greatest of {len(forms)} forms, all of which `--json` tells"
        return f"max({', '.join(map(pretty, forms))})" if len(forms) > 1 else _form(forms[0])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        yield Text(self.title, style="bold")
        totals = Table.grid(padding=(0, 2))
        totals.add_column(style="dim", max_width=24)
        totals.add_column(overflow="fold")
        totals.add_column(no_wrap=True)
        for name in self.totals:
            totals.add_row(Text(_LABELS[name]), Text(self._text(name)), Text(self.order(name)))
        for guard in self.provisos():
            totals.add_row("provided that", Text(guard), "")
        yield totals
        for text in self.tried():
            yield Text(text, style="dim")
        if not self.report.rows:
            return
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for header in ("block", "params", "MACs", "order"):
            table.add_column(header, overflow="fold", no_wrap=header == "block")
        for depth, row, order in self.blocks():
            block = Text(f"{'  ' * depth}{row.label} {row.op}")
            table.add_row(block, Text(_form(row.params)), Text(_form(row.macs)), Text(order))
        yield table


def _value(value: Any) -> str:
    return f"[{', '.join(map(_value, value))}]" if isinstance(value, (tuple, list)) else str(value)


def _form(x: Num) -> str:
    return pretty(x) if not isinstance(x, int) else f"{x:,}" if x else ""


def closed_forms(
    spec: Spec,
    names: Iterable[str] | Mapping[str, Iterable[Any] | None],
    graph: str | None = None,
    at: Mapping[str, Any] | None = None,
    depth: int | None = 1,
) -> list[ClosedForms]:
    """The costs of a spec as expressions in the named hyperparameters and sizes.

    Texts, flags and hyperparameters with listed values are enumerated, a result for each combination. So are
    hyperparameters that can't be symbols, as structure is looked up by them: where whole numbers in a row fit one
    closed form, they have one result, whose case tells the range in which every value was tried; else each has its own.
    Where structure hangs on a symbol the result is that of the case in which the spec's own values are, which tells its
    conditions.

    Parameters
    ----------
    names : iterable of str, or mapping
        What stands open; a mapping gives some the values to enumerate.

    Raises
    ------
    SpecError
        For unknown names, and where elaboration needs the value of a size.
    """
    listed: dict[str, tuple[Any, ...]] = {}
    why: dict[str, str] = {}
    opened: list[str] = []
    for name, given in (names if isinstance(names, Mapping) else dict.fromkeys(names)).items():
        p = spec.file.params.get(name)
        if given is not None:
            if p is None:
                raise unknown_name(spec, name, list(spec.file.params), "is no hyperparameter")
            listed[name] = tuple(given)
        elif p is not None and p.choices:
            listed[name] = tuple(p.choices)
        elif p is not None and isinstance(spec.params()[name], bool):
            listed[name] = (False, True)
        else:
            opened.append(name)
    for name in list(opened):
        reason = _refused(spec, name, graph, at) if name in spec.file.params else None
        if reason is not None:
            opened.remove(name)
            listed[name], why[name] = tuple(usual_values(spec, name)), reason
    found: list[ClosedForms] = []
    for values in product(*listed.values()):
        chosen = dict(zip(listed, values, strict=True))
        try:
            found.append(_forms(with_params(spec, chosen), opened, graph, at, depth, chosen, why))
        except SpecError:
            if not why:
                raise
    if not found:
        raise SpecError(
            Diagnostic("symbol/none", None, f"no value of {', '.join(why)} is valid", hint="give values: name=1:24")
        )
    return _together(found, why)


def _forms(
    spec: Spec,
    opened: list[str],
    graph: str | None,
    at: Mapping[str, Any] | None,
    depth: int | None,
    chosen: Mapping[str, Any],
    why: Mapping[str, str],
) -> ClosedForms:
    known = open_names(spec, graph)
    cases = Cases(spec, opened, graph, at)
    case = cases.at(base_point(spec, opened, graph, at) if all(n in known for n in opened) else {})
    if case.graph is None:
        assert case.error is not None
        raise case.error
    report = report_of(case.graph, cases.opened, depth=depth)
    return ClosedForms(report, tuple(opened), chosen, case, peaks(case.graph), why)


def _refused(spec: Spec, name: str, graph: str | None, at: Mapping[str, Any] | None) -> str | None:
    """Why a hyperparameter can't be a symbol, though its own value is fine; None if it can."""
    if name not in open_names(spec, graph):
        return None  # no number: told with what could be
    try:
        error = Cases(spec, [name], graph, at).at(base_point(spec, [name], graph, at)).error
    except SpecError as undecided:
        error = undecided
    if error is None:
        return None
    own, shapes = close(spec, [name], graph, at, base_point(spec, [name], graph, at))
    own.graph(graph, shapes)
    return error.diagnostics[0].message


def _together(found: list[ClosedForms], why: Mapping[str, str]) -> list[ClosedForms]:
    """One result in place of many that differ in one enumerated whole number and fit one closed form."""
    for name in why:
        groups: dict[str, list[ClosedForms]] = {}
        for each in found:
            rest = {k: v for k, v in each.chosen.items() if k != name}
            groups.setdefault(f"{rest} {each.case}", []).append(each)
        merged: list[ClosedForms] = []
        for group in groups.values():
            whole = None
            if all(isinstance(each.chosen.get(name), int) for each in group):
                whole = fitted(name, [(each.chosen[name], each.report, each.peak) for each in group])
            if whole is None:
                merged += group
                continue
            report, peak, held = whole
            last = group[-1]
            chosen = {k: v for k, v in last.chosen.items() if k != name}
            case = Case((*last.case.assumed, *held), last.case.graph)
            merged.append(ClosedForms(report, (*last.names, name), chosen, case, peak, last.enumerated))
        found = merged
    return found
