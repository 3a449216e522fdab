"""Claims beside our numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from archgraph.analysis.cost import totals
from archgraph.analysis.sizes import default_sizes, with_params
from archgraph.ir.diagnostics import Collector, Diagnostic, SpecError
from archgraph.ir.dim import Num
from archgraph.report.check import spec_files
from archgraph.report.claims import Claim, Figure, claims_of
from archgraph.report.numbers import exact, plain
from archgraph.spec.load import Spec
from archgraph.spec.model import SpecFile
from archgraph.spec.settings import variant_settings
from archgraph.spec.spec_files import claim_files, parse_file

#: What becomes of a figure, the worst first.
OUTCOMES: Final = ("differs", "stale", "recorded", "printed", "holds", "exact")


@dataclass(frozen=True, slots=True)
class Check:
    """One claimed figure and ours; ``ours`` is symbolic where a size was left open, and for a formula its value."""

    figure: Figure
    ours: Num | float

    @property
    def shown(self) -> str:
        """Ours as people read it: a part of a whole in per cent where the claim is."""
        if self.figure.text.endswith("%") and isinstance(self.ours, (int, float)):
            return f"{100 * self.ours:.3g}%"
        return exact(self.ours)

    @property
    def holds(self) -> bool:
        """Whether ours is what is claimed."""
        return isinstance(self.ours, (int, float)) and self.figure.holds(self.ours)


@dataclass(frozen=True, slots=True)
class Verified:
    """One claim, checked.

    Attributes
    ----------
    path, spec : str
        The file, and the name it gives itself.
    claim : Claim
    checks : tuple of Check
        One per figure; empty where the claimed configuration has faults, and where there is nothing to check.
    faults : tuple of Diagnostic
    used : mapping
        What the value of a formula hangs on: ``eca.params`` and the like, with our numbers.
    """

    path: str
    spec: str
    claim: Claim
    checks: tuple[Check, ...]
    faults: tuple[Diagnostic, ...] = ()
    used: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name and variant; for a claim in words the paper and the words."""
        if self.claim.text:
            return f"{self.claim.paper}: {self.claim.text}"
        return f"{self.spec}:{self.claim.variant}" if self.claim.variant else self.spec

    @property
    def open(self) -> str:
        """Why there is nothing to check; empty where there is."""
        return self.claim.open

    @property
    def status(self) -> str:
        """``open``, ``unclaimed`` (a variant that no claim is about), ``faults``, or the worst outcome."""
        if self.open:
            return "open" if self.claim.text else "unclaimed"
        if self.faults or not self.checks:
            return "faults"
        return min(map(self.outcome, self.checks), key=OUTCOMES.index)

    @property
    def stale(self) -> bool:
        """Whether a disagreement is recorded that is none."""
        return not self.claim.agrees and bool(self.checks) and all(check.holds for check in self.checks)

    @property
    def ok(self) -> bool:
        """Whether our numbers are what is claimed, or the disagreement is recorded."""
        if self.open:
            return True
        if self.faults or self.stale:
            return False
        return not self.claim.agrees or all(check.holds for check in self.checks)

    def outcome(self, check: Check) -> str:
        """One of `OUTCOMES`: ``exact``, ``holds`` (a condition), ``printed`` (to the digits or tolerance of the
        source), ``recorded`` disagreement, ``stale``, or ``differs``."""
        if check.holds:
            kind = "printed" if check.figure.slack else "holds" if check.figure.text == "true" else "exact"
            return "stale" if self.stale else kind
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
            "status": self.status,
            **self._words(),
            "checks": [
                {
                    "figure": check.figure.name,
                    "quantity": check.figure.quantity,
                    "claimed": check.figure.text,
                    "ours": check.ours if isinstance(check.ours, float) else plain(check.ours),
                    "outcome": self.outcome(check),
                }
                for check in self.checks
            ],
            "source": self.claim.source,
            "note": self.claim.note,
            "faults": [str(fault) for fault in self.faults],
        }

    def _words(self) -> dict[str, Any]:
        """What only claims by formula and open ones have."""
        claim = self.claim
        found: dict[str, Any] = {}
        if claim.text:
            found |= {"paper": claim.paper, "claim": claim.text}
        if claim.open:
            found["open"] = claim.open
        if claim.formula is not None:
            found["formula"] = claim.formula.text
            found["of"] = {name: str(subject) for name, subject in claim.formula.of.items()}
            found["used"] = {name: plain(n) for name, n in self.used.items()}
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def verified_files(*names: str | os.PathLike[str]) -> list[Path]:
    """The files whose claims are checked: specs and files of claims, by path or shipped name; all shipped ones without
    names.

    Raises
    ------
    SpecError
        For names that stand for nothing.
    """
    if not names:
        return [*spec_files(), *claim_files().values()]
    return [path for name in names for path in _named(os.fspath(name))]


def _named(name: str) -> list[Path]:
    own = claim_files().get(name)
    return [own] if own is not None and not os.path.exists(name) else spec_files(name)


def verify(*specs: str | os.PathLike[str]) -> list[Verified]:
    """Every claim of some specs beside our number; of all shipped ones, and the shipped comparisons, without arguments.

    A variant that no claim is about has an entry of its own, with the status ``unclaimed``.

    Raises
    ------
    SpecError
        For specs that can't be read. What is wrong with one claimed configuration stands in its `Verified.faults`.
    """
    return [each for path in verified_files(*specs) for each in verify_file(path)]


def verify_file(path: str | os.PathLike[str]) -> Iterator[Verified]:
    """The claims of one file, one after the other, then the variants that none is about.

    Raises
    ------
    SpecError
        If the file or one of its claims can't be read.
    """
    yield from verify_claims(parse_file(path))


def verify_claims(file: SpecFile) -> Iterator[Verified]:
    """`verify_file` for a file that is read already."""
    faults = Collector()
    claims = claims_of(file, faults)
    faults.raise_if_any()
    for claim in claims:
        try:
            if claim.formula is not None:
                value, used = claim.formula.value()
                yield Verified(file.path, file.name, claim, (Check(claim.figures[0], value),), used=used)
            else:
                yield Verified(file.path, file.name, claim, () if claim.open else _checks(file, claim))
        except SpecError as error:
            yield Verified(file.path, file.name, claim, (), error.diagnostics)
    for variant in _unclaimed(file, claims):
        yield Verified(file.path, file.name, Claim(variant, None, {}, {}, (), open="no claim recorded"), ())


def _unclaimed(file: SpecFile, claims: Sequence[Claim]) -> list[str | None]:
    """Variants that no claim is about; None for a file that has neither variants nor claims."""
    about = {claim.variant for claim in claims if claim.formula is None and not claim.open}
    for claim in claims:
        if claim.formula is not None:
            about |= {each.variant for each in claim.formula.of.values() if each.file is file}
    if file.variants:
        return [variant for variant in file.variants if variant not in about]
    return [None] if file.graphs and not about else []


def _checks(file: SpecFile, claim: Claim) -> tuple[Check, ...]:
    spec = Spec(file, claim.variant, variant_settings(file, claim.variant))
    spec = with_params(spec, claim.settings)
    graph = totals(spec.graph(claim.graph, default_sizes(spec, claim.graph, claim.at)))
    return tuple(Check(figure, getattr(graph, figure.quantity)) for figure in claim.figures)
