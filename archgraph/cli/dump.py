"""``archgraph dump``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archgraph.cli.options import At, GraphName, Plugins, Settings, Spec, Variant


def dump(
    spec: Spec,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write; printed if left out.")
    ] = None,
    variant: Variant = None,
    settings: Settings = None,
    at: At = None,
    graph: GraphName = None,
    plugins: Plugins = None,
) -> None:
    """Write a spec's typed graph out: a closed file, every param, loop and choice resolved.

    The file is a spec like others: it is reported, drawn, built and rewritten. Sizes that stand open stay symbols.

    Example:  archgraph dump hornet:tiny_7x7 -o hornet_tiny.yaml
    """
    from archgraph.cli.loading import open_specs, read_at, use_plugins
    from archgraph.spec.dump import dump as written

    use_plugins(plugins)
    (opened,) = open_specs([spec], [variant] if variant is not None else None, settings)
    text = written(opened.graph(graph, read_at(at, opened, graph)))
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
