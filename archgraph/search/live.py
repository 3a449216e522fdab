"""What is seen while a study runs: progress, rate, time left, and the current front."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from archgraph.search.results import front, shown
from archgraph.search.study_file import Study
from archgraph.search.worker import record_of

if TYPE_CHECKING:
    import optuna
    from rich.console import Console, RenderableType

__all__ = ["Watch"]

_ROWS = 12


class Watch:
    """Shows a running study: live on a terminal, a line for each trial elsewhere."""

    def __init__(self, study: Study, console: Console, already: int = 0) -> None:
        self.study = study
        self.console = console
        self.start = time.monotonic()
        self.already = already
        self.told: set[int] = set()
        self.note = ""
        self._live: Any = None
        self._last = 0.0

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Live, where the output is a terminal."""
        if not self.console.is_terminal:
            yield
            return
        from rich.live import Live

        with Live(console=self.console, refresh_per_second=4, transient=True) as live:
            self._live = live
            yield
        self._live = None

    def __call__(self, optuna_study: optuna.Study) -> None:
        trials = optuna_study.get_trials(deepcopy=False)
        if self._live is not None:
            if time.monotonic() - self._last > 0.25:
                self._last = time.monotonic()
                self._live.update(self.view(trials))
            return
        for t in trials:
            if t.state.is_finished() and t.number not in self.told:
                self.told.add(t.number)
                if t.number >= self.already:
                    self.console.print(self.line(t))

    def line(self, t: Any) -> str:
        """One finished trial."""
        record = record_of(t)
        values = "  ".join(f"{o.name} {shown(v)}" for o, v in zip(self.study.objectives, t.values or (), strict=False))
        more = record.get("error", {}).get("message") or record.get("pruned") or ""
        if "same_as" in record:
            more = f"as trial {record['same_as']}"
        seconds = record.get("seconds", {}).get("total", 0)
        return f"trial {t.number:4d}  {t.state.name.lower():8s}  {values}  {seconds:.1f} s  {more}".rstrip()

    def view(self, trials: list[Any]) -> RenderableType:
        """Progress and front."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        done = sum(t.state.is_finished() for t in trials)
        running = sum(t.state == TrialState.RUNNING for t in trials)
        elapsed = time.monotonic() - self.start
        rate = (done - self.already) / elapsed if elapsed > 0 else 0.0
        total = self.study.trials
        left = f"  {_clock((total - done) / rate)} left" if total is not None and rate > 0 and total >= done else ""
        of = f" of {total}" if total is not None else ""
        head = Text(f"{self.study.name}  {done}{of} trials, {running} running  {rate * 60:.1f} a minute{left}", "bold")
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        best = front(self.study, trials)
        names = ["trial", *(o.name for o in self.study.objectives), *(p.name for p in self.study.space.parameters)]
        for name in names:
            table.add_column(name, justify="right")
        for t in best[:_ROWS]:
            inactive = set(record_of(t).get("inactive", ()))
            cells = [shown(v) for v in t.values]
            cells += ["–" if p.name in inactive else shown(t.params.get(p.name)) for p in self.study.space.parameters]
            table.add_row(str(t.number), *cells)
        parts: list[Any] = [head]
        if total is not None:
            parts.append(ProgressBar(total=total, completed=min(done, total), width=60))
        parts.append(table)
        if len(best) > _ROWS:
            parts.append(Text(f"… {len(best) - _ROWS} more on the front", "dim"))
        if self.note:
            parts.append(Text(self.note, "yellow"))
        return Group(*parts)


def _clock(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"
