"""``archgraph search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archgraph.cli.options import Json, Plugins

app = typer.Typer(
    name="search", help="Search architectures: studies as files, Optuna as the optimiser.", no_args_is_help=True
)

_Folder = Annotated[str, typer.Argument(metavar="STUDY", help="The study's folder, file or name.", show_default=False)]
_Workers = Annotated[int, typer.Option("--workers", "-w", min=1, help="Processes on this machine.")]
_Trials = Annotated[int | None, typer.Option("--trials", "-n", min=1, help="Trials in all, in place of the file's.")]
_Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0, help="Seconds after which no trial begins, in place of the file's.")
]
_On = Annotated[
    str | None,
    typer.Option(
        "--on", metavar="ray[=ADDRESS]", help="Run the workers on a Ray cluster; needs a database as storage."
    ),
]
_Cpus = Annotated[float, typer.Option("--cpus-per-trial", min=0, help="With --on ray: CPUs of a worker.")]
_Gpus = Annotated[float, typer.Option("--gpus-per-trial", min=0, help="With --on ray: GPUs of a worker.")]


@app.command()
def run(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study file.", show_default=False)],
    workers: _Workers = 1,
    trials: _Trials = None,
    timeout: _Timeout = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed, in place of the file's.")] = None,
    storage: Annotated[
        str | None,
        typer.Option("--storage", metavar="URL", help="`journal` or a database URL, in place of the file's."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The study's own folder; out/NAME if left out.")
    ] = None,
    on: _On = None,
    cpus: _Cpus = 1,
    gpus: _Gpus = 0,
    plugins: Plugins = None,
) -> None:
    """Run a study from its beginning.

    Example:  archgraph search run search/vit_digits.yaml --workers 2
    """
    from archgraph.cli.loading import use_plugins
    from archgraph.cli.searching import Job, need_optuna

    need_optuna()
    use_plugins(plugins)
    changes = {"trials": trials, "timeout": timeout, "seed": seed, "storage": storage}
    Job.new(study, out, changes).run(workers, plugins or [], resume=False, on=on, cpus=cpus, gpus=gpus)


@app.command()
def resume(
    study: _Folder,
    workers: _Workers = 1,
    trials: _Trials = None,
    timeout: _Timeout = None,
    on: _On = None,
    cpus: _Cpus = 1,
    gpus: _Gpus = 0,
    plugins: Plugins = None,
) -> None:
    """Go on with a study: trials that were interrupted are run with the same parameters and seed.

    Example:  archgraph search resume vit_digits --trials 100
    """
    from archgraph.cli.loading import use_plugins
    from archgraph.cli.searching import Job, need_optuna

    need_optuna()
    use_plugins(plugins)
    job = Job.old(study, {"trials": trials, "timeout": timeout})
    job.run(workers, plugins or [], resume=True, on=on, cpus=cpus, gpus=gpus)


@app.command()
def status(study: _Folder, plugins: Plugins = None, json: Json = False) -> None:
    """How far a study is: trials by state, living workers, acceptance, the front's size.

    Example:  archgraph search status vit_digits
    """
    from archgraph.cli.searching import opened, show_status

    show_status(opened(study, plugins), json)


@app.command()
def best(
    study: _Folder,
    spec: Annotated[
        int | None, typer.Option("--spec", metavar="TRIAL", min=0, help="Print the spec of a trial instead.")
    ] = None,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """The best trials of a study: its front.

    Example:  archgraph search best vit_digits
    """
    from archgraph.cli.searching import opened, show_front

    results = opened(study, plugins)
    if spec is not None:
        typer.echo(results.spec_text(results.trial(spec)), nl=False)
    else:
        show_front(results, json)


@app.command()
def plot(
    study: _Folder,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder; plots/ in the study's own if left out.")
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Draw a study as HTML and PNG: front, history, importances, parallel coordinates, front over cost.

    Example:  archgraph search plot vit_digits
    """
    from archgraph.cli.searching import draw_plots, opened

    draw_plots(opened(study, plugins), out)


@app.command()
def replay(
    study: _Folder,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", min=0, help="The number of a finished trial.")],
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """Run one trial again from its record and compare the score, digit by digit. Exit code 1 where it differs.

    Example:  archgraph search replay vit_digits 12
    """
    from archgraph.cli.searching import opened, show_replay

    if not show_replay(opened(study, plugins), trial, json):
        raise typer.Exit(1)


@app.command()
def export(
    study: _Folder,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder; front/ in the study's own if left out.")
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Write the front as spec files that `archgraph build` takes, and a summary in Markdown.

    Example:  archgraph search export vit_digits --out front
    """
    from archgraph.cli.searching import opened, write_front

    write_front(opened(study, plugins), out)
