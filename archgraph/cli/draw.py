"""``archgraph draw``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archgraph.cli.options import At, Depth, GraphName, Plugins, Settings, Spec, Variant


def draw(
    spec: Spec,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="A .svg, .png, .pdf or .dot; Graphviz text if left out."),
    ] = None,
    variant: Variant = None,
    settings: Settings = None,
    at: At = None,
    graph: GraphName = None,
    depth: Depth = 2,
    plugins: Plugins = None,
) -> None:
    """Draw a graph: blocks as boxes around what is inside, repeats folded (×12), shapes on the edges.

    Graphviz draws if its program `dot` is installed; SVG needs nothing.

    Example:  archgraph draw vit -o vit.svg
    """
    from archgraph.analysis.sizes import default_sizes
    from archgraph.cli.loading import open_specs, read_at, use_plugins
    from archgraph.report.draw import draw as drawing

    use_plugins(plugins)
    (opened,) = open_specs([spec], [variant] if variant is not None else None, settings)
    sizes = default_sizes(opened, graph, read_at(at, opened, graph))
    form = "dot" if output is None else output.suffix.removeprefix(".").lower()
    data = drawing(opened.graph(graph, sizes), form, title=opened.label, depth=depth)
    if output is None:
        typer.echo(data.decode(), nl=False)
    else:
        output.write_bytes(data)
