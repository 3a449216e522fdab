"""``archgraph build``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from archgraph.cli.options import At, GraphName, Json, Plugins, Settings, Spec, Variant


def build(
    spec: Spec,
    variant: Variant = None,
    settings: Settings = None,
    at: At = None,
    graph: GraphName = None,
    photo: Annotated[
        str | None,
        typer.Option(
            "--input",
            "-i",
            metavar="PHOTO",
            help="An image file, or `china` or `flower`, which scikit-learn ships; `name=PHOTO` names the input.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the weights.")] = 0,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="A checkpoint to load, of ours or of a reference.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", metavar="CLASS", help="The implementation that the checkpoint is of.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write the weights as safetensors.")
    ] = None,
    depth: Annotated[int, typer.Option("--depth", "-d", min=0, help="How many levels of blocks to show.")] = 1,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """Build a model with initialised weights: its report, and what it makes of a photograph.

    Example:  archgraph build hornet --variant tiny_7x7 --input flower --save hornet.safetensors
    """
    from archgraph.cli.building import Job, show
    from archgraph.cli.console import print_json
    from archgraph.cli.loading import open_specs, read_at, use_plugins

    if reference is not None and weights is None:
        raise typer.BadParameter("--reference says what --weights is of")
    use_plugins(plugins)
    (opened,) = open_specs([spec], [variant] if variant is not None else None, settings)
    job = Job(opened, graph, read_at(at, opened, graph), depth)
    if photo is not None:
        job.choose_input(photo)
    if save is not None:
        job.choose_target(save)
    found: dict[str, Any] = job.run(seed, weights, reference)
    if json:
        print_json({**job.report.to_dict(), **found})
    else:
        show(job.report, found)
