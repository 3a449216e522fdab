"""``archgraph diff``."""

from __future__ import annotations

from typing import Annotated

import typer

from archgraph.cli.options import At, Json, Plugins, Settings, complete_spec


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A spec, as `vit:tiny`.", autocompletion=complete_spec)],
    after: Annotated[str, typer.Argument(metavar="B", help="Another one.", autocompletion=complete_spec)],
    settings: Settings = None,
    at: At = None,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """Show where two architectures differ, block by block, with the costs beside it; exit code 1 if they do.

    `--set` and `--at` hold for both.

    Example:  archgraph diff vit:tiny agent-attention/deit:deit_t
    """
    from archgraph.analysis.sizes import default_sizes
    from archgraph.cli.console import console, print_json
    from archgraph.cli.loading import open_specs, read_at, use_plugins
    from archgraph.report.diff import diff as compare

    use_plugins(plugins)
    pair = [open_specs([text], None, settings)[0] for text in (before, after)]
    graphs = [spec.graph(at=default_sizes(spec, None, read_at(at, spec, None))) for spec in pair]
    found = compare(graphs[0], graphs[1])
    if json:
        print_json(found.to_dict())
    else:
        from archgraph.report.diff_view import diff_view

        console().print(diff_view(found))
    if found.changes:
        raise typer.Exit(1)
