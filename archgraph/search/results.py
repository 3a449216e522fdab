"""What a study found: its front, as rows, as specs, as a page of Markdown; and a trial run once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.search.candidate import Candidate, Candidates
from archgraph.search.folder import study_of
from archgraph.search.parts import open_study
from archgraph.search.storage import open_storage
from archgraph.search.study_file import Study
from archgraph.search.worker import record_of

if TYPE_CHECKING:
    import optuna

__all__ = ["Replayed", "Results", "front", "hypervolume", "replay"]


def front(study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The best trials: those that no other dominates and that keep every limit, sorted by the last objective.

    Of equal results the first stays.
    """
    signs = [1 if o.direction == "minimize" else -1 for o in study.objectives]

    def losses(t: FrozenTrial) -> tuple[float, ...]:
        return tuple(s * v for s, v in zip(signs, t.values, strict=True))

    kept: dict[tuple[float, ...], FrozenTrial] = {}
    for t in trials:
        if t.state == TrialState.COMPLETE and all(v <= 0 for v in t.constraints.values()):
            kept.setdefault(losses(t), t)
    best: list[tuple[float, ...]] = []
    for point in sorted(kept):
        if not any(all(a <= b for a, b in zip(other, point, strict=True)) for other in best):
            best.append(point)
    return [kept[point] for point in sorted(best, key=lambda p: p[::-1])]


def hypervolume(study: Study, trials: Sequence[FrozenTrial], reference: Sequence[float]) -> float:
    """The volume between the front and a reference point, in the objectives' own units."""
    import numpy as np
    from optuna._hypervolume import compute_hypervolume

    signs = np.array([1 if o.direction == "minimize" else -1 for o in study.objectives])
    points = np.array([t.values for t in front(study, trials)]).reshape(-1, len(signs)) * signs
    corner = np.array(reference, dtype=float) * signs
    points = points[(points <= corner).all(axis=1)]
    return float(compute_hypervolume(points, corner)) if len(points) else 0.0


class Results:
    """Reads a study's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study = study_of(folder)
        self.optuna: optuna.Study = open_study(self.study, open_storage(self.study.storage, folder), None, create=False)

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.optuna.get_trials(deepcopy=False)

    def front(self) -> list[FrozenTrial]:
        return front(self.study, self.trials)

    def counts(self) -> dict[str, int]:
        """Trials by state, and those answered from the record of another."""
        found = {state.name.lower(): 0 for state in TrialState}
        for t in self.trials:
            found[t.state.name.lower()] += 1
        found["repeated"] = sum("same_as" in record_of(t) for t in self.trials)
        return found

    def acceptance(self) -> float | None:
        """The part of uniform draws that is feasible."""
        looked, passed = self.optuna.user_attrs.get("acceptance", (0, 0))
        return passed / looked if looked else None

    def trial(self, number: int) -> FrozenTrial:
        """A trial by its number.

        Raises
        ------
        SpecError
            If there is none.
        """
        trials = self.trials
        if not 0 <= number < len(trials):
            message = f"`{self.study.name}` has no trial {number}"
            raise SpecError(Diagnostic("trial/unknown", None, message, expected=f"0 to {len(trials) - 1}"))
        return trials[number]

    def candidate(self, trial: FrozenTrial) -> Candidate:
        """The candidate of a trial.

        Raises
        ------
        SpecError
            If the trial was lost before it had all parameters.
        """
        names = self.study.space.distributions
        if any(name not in trial.params for name in names):
            raise SpecError(Diagnostic("trial/parameters", None, f"trial {trial.number} has no parameters"))
        seed = record_of(trial).get("seed", 0)
        return Candidates(self.study).candidate({name: trial.params[name] for name in names}, seed)

    def row(self, trial: FrozenTrial) -> dict[str, Any]:
        """A trial as a flat row: number, objectives, params, MACs, its values."""
        record = record_of(trial)
        costs = record.get("costs", {})
        inactive = set(record.get("inactive", ()))
        found: dict[str, Any] = {"trial": trial.number}
        if trial.values:
            found.update({o.name: v for o, v in zip(self.study.objectives, trial.values, strict=True)})
        found.update({name: costs[name] for name in ("params", "macs") if name in costs and name not in found})
        found.update({name: value for name, value in trial.params.items() if name not in inactive})
        return found

    def export(self, target: Path) -> list[Path]:
        """The front as spec files.

        Returns
        -------
        list of Path
            ``NAME_trial_N.yaml``, one for each trial of the front.
        """
        target.mkdir(parents=True, exist_ok=True)
        written: list[Path] = []
        for t in self.front():
            path = target / f"{_stem(self.study.name)}_trial_{t.number}.yaml"
            path.write_text(self.spec_text(t), encoding="utf-8")
            written.append(path)
        return written

    def spec_text(self, trial: FrozenTrial) -> str:
        """The spec of a trial, with what it scored in the summary."""
        candidate = self.candidate(trial)
        scores = ", ".join(f"{o.name} {v:.6g}" for o, v in zip(self.study.objectives, trial.values or (), strict=False))
        summary = f"Trial {trial.number} of the study {self.study.name}: {scores}."
        return candidate.to_yaml(f"{_stem(self.study.name)}_trial_{trial.number}", summary)

    def markdown(self) -> str:
        """A summary page."""
        study, counts = self.study, self.counts()
        rows = [self.row(t) for t in self.front()]
        lines = [f"# {study.name}", ""]
        if study.summary:
            lines += [study.summary, ""]
        goal = ", ".join(f"{o.direction} {o.name}" for o in study.objectives)
        limits = ", ".join(map(str, study.constraints)) or "none"
        rate = self.acceptance()
        lines += [
            f"- spec `{study.base.label}`, {len(study.space.parameters)} parameters, sampler `{study.sampler.kind}`, "
            f"seed {study.seed}",
            f"- objectives: {goal}",
            f"- limits: {limits}" + (f"; {rate:.2%} of uniform draws keep them" if rate is not None else ""),
            f"- trials: {counts['complete']} complete, {counts['pruned']} pruned, {counts['fail']} failed; "
            f"{counts['repeated']} answered from an isomorphic candidate's record",
            "",
            f"## Front ({len(rows)})",
            "",
            table(rows),
            "",
        ]
        return "\n".join(lines)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(shown(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def shown(value: Any) -> str:
    """A value in a table."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) >= 1000):
        return f"{int(value):,}"
    return f"{value:.4g}"


def _stem(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


@dataclass(frozen=True)
class Replayed:
    """A trial run again: metrics then and now."""

    number: int
    before: dict[str, float]
    after: dict[str, float]

    @property
    def equal(self) -> bool:
        """Whether every metric is the same to the last digit; measured times are left out."""
        return all(self.before.get(n) == v for n, v in self.after.items() if n != "latency")


def replay(results: Results, number: int) -> Replayed:
    """Run a trial again from its record: the same candidate, seed and settings.

    Raises
    ------
    SpecError
        If there is no such trial, or it has no result.
    """
    from archgraph.search.evaluate import Outcome, evaluate

    trial = results.trial(number)
    record = record_of(trial)
    if trial.state != TrialState.COMPLETE or "metrics" not in record:
        raise SpecError(Diagnostic("trial/unfinished", None, f"trial {number} has no result to compare with"))
    outcome = Outcome()
    evaluate(results.candidate(trial), outcome, lambda epoch, found: None, lambda name, value: None)
    return Replayed(number, record["metrics"], outcome.metrics)
