"""Timing in turns, medians with intervals, and the tables that benchmarks print."""

from __future__ import annotations

import gc
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Clock = Callable[[], float]
#: CPU seconds of this process, all threads: others on the machine lengthen it far less than wall time.
CPU: Clock = time.process_time


@dataclass(frozen=True)
class Gate:
    """A figure and what it must not exceed; with ``least``, what it must reach."""

    what: str
    measured: float
    limit: float
    unit: str = ""
    least: bool = False

    @property
    def ok(self) -> bool:
        return self.measured >= self.limit if self.least else self.measured <= self.limit

    def __str__(self) -> str:
        verdict = "holds" if self.ok else "FAILS"
        bound = "at least" if self.least else "at most"
        return f"{verdict}: {self.what}: {number(self.measured)}{self.unit}, {bound} {number(self.limit)}{self.unit}"


@dataclass(frozen=True)
class Section:
    """What a benchmark found: a table, gates, and what to know about them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    gates: Sequence[Gate] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    also: Sequence[Section] = ()

    @property
    def all_gates(self) -> list[Gate]:
        """Its gates, and those of what belongs to it."""
        return [*self.gates, *(gate for section in self.also for gate in section.all_gates)]

    def markdown(self, level: int = 2) -> str:
        """The section as Markdown, what belongs to it below."""
        lines = [f"{'#' * level} {self.title}", "", *self.notes, *[""] * bool(self.notes)]
        lines += ["| " + " | ".join(self.columns) + " |", "|" + "---|" * len(self.columns)]
        lines += ["| " + " | ".join(map(number, row)) + " |" for row in self.rows]
        lines += [""] * bool(self.gates) + [f"- {gate}" for gate in self.gates]
        return "\n".join(lines) + "\n" + "".join("\n" + section.markdown(level + 1) for section in self.also)


def number(value: object) -> str:
    """A value for a table: three figures of a fraction, whole numbers in groups."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def in_turns(
    competitors: Mapping[str, Callable[[], object]], rounds: int, clock: Clock = CPU, warm: int = 1, seed: int = 0
) -> dict[str, list[float]]:
    """Seconds of each call: every round calls every competitor once, in shuffled order."""
    for _ in range(warm):
        for function in competitors.values():
            function()
    rng = random.Random(seed)
    found: dict[str, list[float]] = {name: [] for name in competitors}
    for _ in range(rounds):
        names = list(competitors)
        rng.shuffle(names)
        for name in names:
            gc.collect()
            start = clock()
            competitors[name]()
            found[name].append(clock() - start)
    return found


def many(function: Callable[[], object], runs: int, warm: int = 3, clock: Clock = CPU) -> list[float]:
    """Seconds of each of many calls of a short function."""
    for _ in range(warm):
        function()
    found: list[float] = []
    for _ in range(runs):
        start = clock()
        function()
        found.append(clock() - start)
    return found


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def ratio(ours: Sequence[float], theirs: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Median of the pairs' ratios, with the 95 % interval of a bootstrap over pairs."""
    pairs = [a / b for a, b in zip(ours, theirs, strict=True)]
    rng = random.Random(seed)
    medians = sorted(statistics.median(rng.choices(pairs, k=len(pairs))) for _ in range(2000))
    return statistics.median(pairs), medians[49], medians[1949]


def machine() -> str:
    """What ran, without names of hosts or paths."""
    cores = os.cpu_count()
    words = [f"{cores} cores {platform.machine()}", f"Python {platform.python_version()}"]
    for package in ("torch", "timm", "fvcore", "ptflops", "torchinfo", "calflops", "ultralytics-thop"):
        from importlib.metadata import PackageNotFoundError, version

        try:
            words.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(words)
