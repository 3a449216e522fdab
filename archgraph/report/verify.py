"""Claims beside our numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from archgraph.analysis.cost import totals
from archgraph.analysis.sizes import default_sizes, with_params
from archgraph.ir.diagnostics import Collector, Diagnostic, SpecError
from archgraph.ir.dim import Num
from archgraph.report.check import spec_files
from archgraph.report.claims import Claim, Figure, claims_of
from archgraph.report.numbers import plain
from archgraph.spec.load import Spec
from archgraph.spec.model import SpecFile
from archgraph.spec.settings import variant_settings
from archgraph.spec.spec_files import parse_file


@dataclass(frozen=True, slots=True)
class Check:
    """One claimed figure and ours; ``ours`` is symbolic where a size was left open."""

    figure: Figure
    ours: Num

    @property
    def holds(self) -> bool:
        """Whether ours is what is claimed."""
        return isinstance(self.ours, int) and self.figure.holds(self.ours)


@dataclass(frozen=True, slots=True)
class Verified:
    """One claim, checked.

    Attributes
    ----------
    path, spec : str
        The file, and the name it gives itself.
    claim : Claim
    checks : tuple of Check
        One per figure; empty where the claimed configuration has faults.
    faults : tuple of Diagnostic
    """

    path: str
    spec: str
    claim: Claim
    checks: tuple[Check, ...]
    faults: tuple[Diagnostic, ...] = ()

    @property
    def label(self) -> str:
        """Name and variant."""
        return f"{self.spec}:{self.claim.variant}" if self.claim.variant else self.spec

    @property
    def stale(self) -> bool:
        """Whether a disagreement is recorded that is none."""
        return not self.claim.agrees and bool(self.checks) and all(check.holds for check in self.checks)

    @property
    def ok(self) -> bool:
        """Whether our numbers are what is claimed, or the disagreement is recorded."""
        if self.faults or self.stale:
            return False
        return not self.claim.agrees or all(check.holds for check in self.checks)

    def outcome(self, check: Check) -> str:
        """``exact``, ``printed`` (to the digits or tolerance of the source), ``recorded`` disagreement, ``stale``, or
        ``differs``."""
        if check.holds:
            return "stale" if self.stale else "printed" if check.figure.slack else "exact"
        return "differs" if self.claim.agrees else "recorded"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "spec": self.spec,
            "path": self.path,
            "variant": self.claim.variant,
            "graph": self.claim.graph,
            "settings": {str(k): _plain(v) for k, v in self.claim.settings.items()},
            "at": {str(k): _plain(v) for k, v in self.claim.at.items()},
            "ok": self.ok,
            "checks": [
                {
                    "figure": check.figure.name,
                    "quantity": check.figure.quantity,
                    "claimed": check.figure.text,
                    "ours": plain(check.ours),
                    "outcome": self.outcome(check),
                }
                for check in self.checks
            ],
            "source": self.claim.source,
            "note": self.claim.note,
            "faults": [str(fault) for fault in self.faults],
        }


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def verify(*specs: str | os.PathLike[str]) -> list[Verified]:
    """Every claim of some specs beside our number; of all shipped ones without arguments.

    Raises
    ------
    SpecError
        For specs that can't be read. What is wrong with one claimed configuration stands in its `Verified.faults`.
    """
    return [each for path in spec_files(*specs) for each in verify_file(path)]


def verify_file(path: str | os.PathLike[str]) -> Iterator[Verified]:
    """The claims of one file, one after the other.

    Raises
    ------
    SpecError
        If the file or one of its claims can't be read.
    """
    file = parse_file(path)
    faults = Collector()
    claims = claims_of(file, faults)
    faults.raise_if_any()
    for claim in claims:
        try:
            yield Verified(file.path, file.name, claim, _checks(file, claim))
        except SpecError as error:
            yield Verified(file.path, file.name, claim, (), error.diagnostics)


def _checks(file: SpecFile, claim: Claim) -> tuple[Check, ...]:
    spec = Spec(file, claim.variant, variant_settings(file, claim.variant))
    spec = with_params(spec, claim.settings)
    graph = totals(spec.graph(claim.graph, default_sizes(spec, claim.graph, claim.at)))
    return tuple(Check(figure, getattr(graph, figure.quantity)) for figure in claim.figures)
