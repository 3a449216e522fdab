"""Claims of a spec: numbers that a paper or its code states, to be compared with ours.

    claims:
      - {variant: tiny, at: {image: [1, 3, 224, 224]}, params: 5717416, printed: {macs: 1.3G}, source: table 5}

Exact integers must be met exactly, ``printed`` figures to the last digit printed or within ``tolerance`` (a fraction).
``convention: macs`` says that the source calls multiply-accumulates FLOPs, ``units: binary`` that its M is 2²⁰.
A claim that our number contradicts for a known reason says ``agrees: false`` and the reason in ``note``.
One that compares configurations, or is open, says so in words; see `archgraph.report.formulas`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from archgraph.ir.diagnostics import Collector, Span, did_you_mean
from archgraph.ops.kinds import show
from archgraph.spec.model import SpecFile
from archgraph.spec.yaml import YList, YMap, span_of

if TYPE_CHECKING:
    from archgraph.report.formulas import Formula

#: What can be claimed.
FIGURES: Final = ("params", "buffers", "macs", "flops")

_KEYS: Final = (
    "variant", "graph", "set", "at", *FIGURES, "printed", "convention", "units", "tolerance", "agrees", "source",
    "note",
)  # fmt: skip
#: What a claim that compares configurations, or an open one, may say.
FORMULA_KEYS: Final = (
    "claim", "paper", "of", "formula", "exact", "printed", "units", "tolerance", "agrees", "source", "note", "open",
)  # fmt: skip
_PRINTED: Final = re.compile(r"(?P<digits>\d+(?:\.(?P<places>\d+))?) ?(?P<prefix>[kKMGBTP]?)")
_VALUE: Final = re.compile(
    r"(?P<digits>-?\d+(?:\.(?P<places>\d+))?)(?:[eE](?P<power>[+-]?\d{1,3}))? ?(?P<prefix>[kKMGBTP%]?)"
)
_EMPTY: Final = YMap()
_POWERS: Final = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "B": 3, "T": 4, "P": 5}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a claim.

    Attributes
    ----------
    name : str
        What the source calls it: one of `FIGURES`.
    quantity : str
        What is compared: ``macs`` where a source says FLOPs and counts multiply-accumulates.
    text : str
        As written.
    value : Decimal
        The number.
    slack : Decimal
        How far ours may be away: 0 for exact integers, half a unit of the last digit printed, or the tolerance.
    """

    name: str
    quantity: str
    text: str
    value: Decimal
    slack: Decimal

    def holds(self, ours: int | float) -> bool:
        """Whether our number meets the claim."""
        return abs(Decimal(ours) - self.value) <= self.slack


@dataclass(frozen=True, slots=True)
class Claim:
    """What a source says about one configuration, or about several by a formula.

    Attributes
    ----------
    variant, graph, settings, at
        The configuration.
    figures : tuple of Figure
        For a formula the one that its value is to be; empty for an open claim.
    agrees : bool
        False for a recorded disagreement.
    text, paper : str
        What is claimed in words, and by which paper.
    formula : Formula or None
    open : str
        Why it can't be checked yet.
    """

    variant: str | None
    graph: str | None
    settings: Mapping[str, Any]
    at: Mapping[str, Any]
    figures: tuple[Figure, ...]
    agrees: bool = True
    source: str = ""
    note: str = ""
    span: Span | None = field(default=None, compare=False)
    text: str = ""
    paper: str = ""
    formula: Formula | None = None
    open: str = ""


def claims_of(file: SpecFile, faults: Collector) -> tuple[Claim, ...]:
    """The claims of a file; what is wrong with them goes to ``faults``."""
    raw = file.claims
    if raw is None:
        return ()
    if not isinstance(raw, YList):
        faults.error("claims/form", span_of(file.tree, "claims"), "`claims` is a list of mappings", expected=_EXPECTED)
        return ()
    found = (_Reader(file, raw, k, faults).claim() for k in range(len(raw)))
    return tuple(claim for claim in found if claim is not None)


_EXPECTED: Final = "- {variant: tiny, params: 5717416, macs: 1253683200, printed: {params: 5.7M}, source: table 5}"


class _Reader:
    """Reads one claim."""

    def __init__(self, file: SpecFile, container: YList, index: int, faults: Collector) -> None:
        self.file = file
        self.faults = faults
        self.tree: Any = container[index]
        self.span = span_of(container, index)

    def claim(self) -> Claim | None:
        tree = self.tree
        if not isinstance(tree, YMap):
            self.faults.error("claims/form", self.span, "a claim is a mapping", expected=_EXPECTED)
            return None
        before = len(self.faults)
        if any(key in tree for key in ("formula", "open", "of")):
            return self._compared()
        self._check_keys(_KEYS)
        variant = self._known("variant", self.file.variants)
        graph = self._known("graph", self.file.graphs)
        settings = self._mapping("set", self.file.params, "param")
        at = self._mapping("at", None, "input")
        agrees = self._agrees()
        figures = (*self._exact(), *self._printed())
        if len(self.faults) == before and not figures:
            self.faults.error("claims/empty", self.span, "a claim states a number", expected=", ".join(FIGURES))
        if len(self.faults) > before:
            return None
        return Claim(
            variant=variant,
            graph=graph,
            settings=settings,
            at=at,
            figures=figures,
            agrees=agrees,
            source=str(tree.get("source", "")),
            note=str(tree.get("note", "")),
            span=self.span,
        )

    def _check_keys(self, known: tuple[str, ...]) -> None:
        for key in self.tree:
            if key not in known:
                near = did_you_mean(str(key), known)
                self.faults.error(
                    "claims/key",
                    span_of(self.tree, key, key=True),
                    f"a claim has no `{key}`",
                    expected=", ".join(known),
                    hint=f"did you mean `{near}`?" if near else None,
                )

    def _agrees(self) -> bool:
        agrees = self.tree.get("agrees", True)
        if not isinstance(agrees, bool):
            self._wrong("agrees", "true or false")
        elif not agrees and not self.tree.get("note"):
            self._wrong("agrees", "a `note` that says why")
        return agrees is not False

    def _compared(self) -> Claim | None:
        """A claim over several configurations, or an open one."""
        tree, before = self.tree, len(self.faults)
        self._check_keys(FORMULA_KEYS)
        for key in ("claim", "paper", "open", "source", "note"):
            if key in tree and not isinstance(tree[key], str):
                self._wrong(key, "a text")
        if not tree.get("claim"):
            self.faults.error("claims/claim", self.span, "`claim` says in words what is claimed")
        agrees = self._agrees()
        formula: Formula | None = None
        figures: tuple[Figure, ...] = ()
        if "open" in tree:
            for key in ("of", "formula", "exact", "printed"):
                if key in tree:
                    self.faults.error("claims/open", span_of(tree, key, key=True), f"an open claim has no `{key}`")
        elif "formula" not in tree:
            self.faults.error("claims/formula", self.span, "`of` comes with a `formula` over its names")
        else:
            from archgraph.report.formulas import read_formula  # with the analyses behind it; few claims need them

            formula = read_formula(self.file, tree, self.faults)
            figures = (self._value(),)
        if len(self.faults) > before:
            return None
        return Claim(
            variant=None,
            graph=None,
            settings={},
            at={},
            figures=figures,
            agrees=agrees,
            source=str(tree.get("source", "")),
            note=str(tree.get("note", "")),
            span=self.span,
            text=str(tree["claim"]),
            paper=str(tree.get("paper", self.file.name)),
            formula=formula,
            open=str(tree.get("open", "")),
        )

    def _value(self) -> Figure:
        """What a formula is to be: exact, printed, or true."""
        tree, text = self.tree, str(self.tree["formula"])
        if "exact" in tree and "printed" in tree:
            self._wrong("printed", "`exact` or `printed`, not both")
        exact = tree.get("exact")
        if "exact" in tree:
            if not isinstance(exact, int) or isinstance(exact, bool):
                self._wrong("exact", "a whole number; rounded ones stand under `printed`")
                exact = 0
            return Figure(text, "formula", f"{exact:,}", Decimal(exact), Decimal(0))
        units, tolerance = self._units(), self._tolerance()
        if "printed" not in tree:
            return Figure(text, "formula", "true", Decimal(1), Decimal(0))
        printed = tree["printed"]
        match = _VALUE.fullmatch(str(printed).strip()) if isinstance(printed, (str, int, float)) else None
        if match is None or isinstance(printed, bool):
            self._wrong("printed", "a figure of the formula, as 80, 13%, 0.47M or 4.7e-4G")
            return Figure(text, "formula", "", Decimal(0), Decimal(0))
        prefix = match["prefix"]
        unit = Decimal("0.01") if prefix == "%" else Decimal(1024 if units == "binary" else 1000) ** _POWERS[prefix]
        unit *= Decimal(10) ** int(match["power"] or 0)
        number = Decimal(match["digits"]) * unit
        slack = unit / 10 ** len(match["places"] or "") / 2 if tolerance is None else abs(number) * tolerance
        return Figure(text, "formula", str(printed), number, slack)

    def _units(self) -> str:
        units = self.tree.get("units", "decimal")
        if units not in ("decimal", "binary"):
            self._wrong("units", "decimal (M is 10⁶) or binary (M is 2²⁰)")
        return str(units)

    def _wrong(self, key: str, expected: str) -> None:
        shown = show(self.tree[key])
        self.faults.error(
            f"claims/{key}",
            span_of(self.tree, key),
            f"`{key}` of a claim can't be `{shown}`",
            expected=expected,
            found=shown,
        )

    def _known(self, key: str, names: Mapping[str, Any]) -> str | None:
        value = self.tree.get(key)
        if value is None:
            return None
        if value not in names:
            near = did_you_mean(str(value), names)
            self.faults.error(
                f"claims/{key}",
                span_of(self.tree, key),
                f"there is no {key} `{value}`",
                expected=", ".join(names) or f"no {key}s",
                hint=f"did you mean `{near}`?" if near else None,
            )
            return None
        return str(value)

    def _mapping(self, key: str, names: Mapping[str, Any] | None, what: str) -> Mapping[Any, Any]:
        value = self.tree.get(key, _EMPTY)
        if not isinstance(value, YMap):
            self._wrong(key, f"a mapping by {what}")
            return {}
        for name in value:
            if names is not None and name not in names:
                near = did_you_mean(str(name), names)
                self.faults.error(
                    f"claims/{key}",
                    span_of(value, name, key=True),
                    f"there is no {what} `{name}`",
                    expected=", ".join(names) or f"no {what}s",
                    hint=f"did you mean `{near}`?" if near else None,
                )
        return value

    def _exact(self) -> list[Figure]:
        found = []
        for name in FIGURES:
            value = self.tree.get(name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                self._wrong(name, "a whole number; rounded ones stand under `printed`")
                continue
            found.append(Figure(name, name, f"{value:,}", Decimal(value), Decimal(0)))
        return found

    def _printed(self) -> list[Figure]:
        tree = self.tree
        printed = tree.get("printed", {})
        if not isinstance(printed, YMap):
            if printed != {}:
                self._wrong("printed", "a mapping: {params: 5.7M, macs: 1.3G}")
            return []
        convention = tree.get("convention")
        if convention not in (None, "macs", "flops"):
            self._wrong("convention", "macs or flops: what the source calls FLOPs")
        units = self._units()
        tolerance = self._tolerance()
        found = []
        for name, value in printed.items():
            match = _PRINTED.fullmatch(str(value).strip()) if isinstance(value, (str, int, float)) else None
            if name not in FIGURES or match is None or isinstance(value, bool):
                self.faults.error(
                    "claims/printed",
                    span_of(printed, name),
                    f"`{name}: {value}` is no printed figure",
                    expected=f"one of {', '.join(FIGURES)}, as 5.7M or 1.3G",
                )
                continue
            unit = Decimal(1024 if units == "binary" else 1000) ** _POWERS[match["prefix"]]
            number = Decimal(match["digits"]) * unit
            digit = unit / 10 ** len(match["places"] or "")
            slack = digit / 2 if tolerance is None else number * tolerance
            quantity = "macs" if name == "flops" and convention == "macs" else name
            found.append(Figure(name, quantity, str(value), number, slack))
        return found

    def _tolerance(self) -> Decimal | None:
        value = self.tree.get("tolerance")
        if value is None:
            return None
        text = str(value).strip()
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(%?)", text)
        if match is None:
            self._wrong("tolerance", "a fraction, as 0.02 or 2%")
            return None
        return Decimal(match[1]) / (100 if match[2] else 1)
