"""What ``archgraph search`` does."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archgraph.cli.console import console, fail, print_json

if TYPE_CHECKING:
    from archgraph.search.results import Results
    from archgraph.search.study_file import Study


def need_optuna() -> None:
    """Refuse to go on without Optuna.

    Raises
    ------
    SpecError
        If it is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        fail("search/package", "search needs Optuna", hint="pip install 'archgraph[search]'")


def opened(text: str, plugins: Sequence[str] | None) -> Results:
    """The results of a study.

    Raises
    ------
    SpecError
        If there is no such study.
    """
    from archgraph.cli.loading import use_plugins

    need_optuna()
    use_plugins(plugins)
    from archgraph.search.folder import find_folder
    from archgraph.search.results import Results

    return Results(find_folder(text))


class Job:
    """One run of a study, new or resumed."""

    def __init__(self, study: Study, folder: Path, changes: dict[str, Any]) -> None:
        self.study = study
        self.folder = folder
        self.changes = changes

    @classmethod
    def new(cls, path: Path, out: Path | None, changes: dict[str, Any]) -> Job:
        """A study from its file."""
        from archgraph.search.folder import default_folder
        from archgraph.search.study_file import load_study

        study = load_study(path)
        given = {name: value for name, value in changes.items() if value is not None}
        study = dataclasses.replace(study, **given)
        if study.sampler.kind == "grid":
            from archgraph.search.parts import grid_trials

            given["trials"] = grid_trials(study)
            study = dataclasses.replace(study, trials=given["trials"])
        return cls(study, out if out is not None else default_folder(study), given)

    @classmethod
    def old(cls, text: str, changes: dict[str, Any]) -> Job:
        """A study from its folder."""
        from archgraph.search.folder import find_folder, study_of

        folder = find_folder(text)
        return cls(study_of(folder, **changes), folder, {})

    def run(
        self, workers: int, plugins: Sequence[str], *, resume: bool, on: str | None, cpus: float, gpus: float
    ) -> None:
        """Run it, with a live view; then the front, as table and files."""
        from archgraph.search.live import Watch
        from archgraph.search.results import Results
        from archgraph.search.run import Stop, prepare, run_here, run_processes
        from archgraph.search.worker import record_of

        out = console()
        remote = _remote(on, self.study)
        here = remote is None
        for note in prepare(self.study, self.folder, workers, resume=resume, changes=self.changes, here=here):
            out.print(f"note: {note}")
        already = 0
        if resume:
            already = sum(t.state.is_finished() for t in Results(self.folder).trials)
        watch = Watch(self.study, out, already)
        stop = Stop()
        try:
            with watch.showing():
                if remote is not None:
                    from archgraph.search.cluster import run_ray

                    run_ray(self.study, self.folder, remote, workers, plugins, cpus, gpus, stop, watch)
                elif workers == 1:
                    run_here(self.study, self.folder, stop, watch)
                else:
                    run_processes(self.study, self.folder, workers, plugins, stop, watch)
        except KeyboardInterrupt:
            stop.asked = max(stop.asked, 1)
        results = Results(self.folder)
        show_front(results, json=False)
        write_front(results, None)
        if stop.asked:
            out.print(f"interrupted; `archgraph search resume {self.folder}` goes on")
            import typer

            raise typer.Exit(130)
        failed = [t for t in results.trials if "error" in record_of(t)]
        if failed and len(failed) == len(results.trials):
            error = record_of(failed[-1])["error"]
            fail("search/failed", f"all {len(failed)} trials failed, the last with: {error['message']}")


def _remote(on: str | None, study: Study) -> str | None:
    """The address of ``--on ray[=ADDRESS]``; empty for a cluster on this machine."""
    if on is None:
        return None
    kind, _, address = on.partition("=")
    if kind != "ray":
        fail("search/on", f"`--on {on}`", expected="ray or ray=ADDRESS")
    if importlib.util.find_spec("ray") is None:
        fail("search/package", "`--on ray` needs Ray", hint="pip install 'archgraph[cluster]'")
    if not study.storage.startswith(("postgresql", "mysql", "mariadb")):
        fail(
            "search/storage",
            f"workers on several machines need a database between them, and the storage is `{study.storage}`",
            expected="--storage postgresql+psycopg://USER@HOST/NAME",
        )
    return address


def show_status(results: Results, json: bool) -> None:
    """Trials by state, workers, acceptance, front."""
    from archgraph.search.claims import Claims

    counts = results.counts()
    found: dict[str, Any] = {
        "study": results.study.name,
        "folder": str(results.folder),
        "trials": results.study.trials,
        **counts,
        "workers": Claims(results.folder).workers(),
        "acceptance": results.acceptance(),
        "front": len(results.front()),
    }
    if json:
        print_json(found)
        return
    out = console()
    total = f" of {results.study.trials}" if results.study.trials is not None else ""
    done = counts["complete"] + counts["pruned"] + counts["fail"]
    out.print(f"{results.study.name}  {done}{total} trials  ({results.folder})")
    out.print(
        f"  {counts['complete']} complete, {counts['pruned']} pruned, {counts['fail']} failed, "
        f"{counts['running']} running, {counts['waiting']} waiting; {counts['repeated']} answered from the record"
    )
    idle = counts["running"] and not found["workers"]
    out.print(f"  {found['workers']} workers alive" + ("; running trials wait for `search resume`" if idle else ""))
    if found["acceptance"] is not None:
        out.print(f"  {found['acceptance']:.2%} of uniform draws are feasible")
    out.print(f"  {found['front']} on the front")


def show_front(results: Results, json: bool) -> None:
    """The front as a table."""
    rows = [results.row(t) for t in results.front()]
    if json:
        print_json(rows)
        return
    from rich.table import Table

    from archgraph.search.results import shown

    out = console()
    if not rows:
        out.print("no trial is complete yet")
        return
    names = list(dict.fromkeys(n for row in rows for n in row))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(shown(row.get(name)) for name in names))
    out.print(table)


def write_front(results: Results, target: Path | None) -> None:
    """Spec files of the front and a summary."""
    folder = target if target is not None else results.folder / "front"
    written = results.export(folder)
    summary = (target if target is not None else results.folder) / "summary.md"
    summary.write_text(results.markdown(), encoding="utf-8")
    console().print(f"{len(written)} specs in {folder}, summary in {summary}")


def draw_plots(results: Results, target: Path | None) -> None:
    """Plots as HTML and PNG."""
    from archgraph.search.plots import plot

    written, left_out = plot(results, target if target is not None else results.folder / "plots")
    out = console()
    for path in written:
        out.print(str(path))
    for why in left_out:
        out.print(f"left out: {why}")


def show_replay(results: Results, number: int, json: bool) -> bool:
    """Run a trial again; whether it scores the same."""
    from archgraph.search.results import replay

    found = replay(results, number)
    if json:
        print_json({"trial": number, "before": found.before, "after": found.after, "equal": found.equal})
        return found.equal
    out = console()
    for name, value in found.after.items():
        before = found.before.get(name)
        same = "the same" if before == value else "different"
        out.print(f"{name}: {before!r} then, {value!r} now: {same}")
    return found.equal
