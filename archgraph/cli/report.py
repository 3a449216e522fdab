"""``archgraph report``."""

from __future__ import annotations

from typing import Annotated

import typer

from archgraph.cli.options import At, Depth, GraphName, Json, Plugins, Settings, Specs, Variants


def report(
    specs: Specs,
    variants: Variants = None,
    all_variants: Annotated[bool, typer.Option("--all-variants", help="A row per variant.")] = False,
    settings: Settings = None,
    at: At = None,
    graph: GraphName = None,
    depth: Depth = 2,
    plugins: Plugins = None,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with exact numbers.")] = False,
    markdown: Annotated[bool, typer.Option("--md", help="Print Markdown.")] = False,
) -> None:
    """Show what an architecture costs, in total and block by block, without building it.

    Params and MACs of repeated blocks (×n) are those of all n. MACs are multiply-accumulates of contractions and
    convolutions; FLOPs are 2 · MACs and all element-wise work. Several specs or variants get a row each.

    Example:  archgraph report vit --variant base --at image=1x3x384x384
    """
    from archgraph.cli.console import console, fail, print_json
    from archgraph.cli.loading import open_specs, read_at, use_plugins
    from archgraph.report.report import report as report_on
    from archgraph.spec.load import load

    if json + csv + markdown > 1:
        raise typer.BadParameter("choose one of --json, --csv and --md")
    use_plugins(plugins)
    if all_variants:
        if variants:
            raise typer.BadParameter("choose one of --variant and --all-variants")
        specs = [f"{text}:{variant}" for text in specs for variant in load(text).variants]
        if not specs:
            fail("variant/none", "the spec has no variants")
    opened = open_specs(specs, variants, settings)
    several = len(opened) > 1
    reports = [
        report_on(spec, graph=graph, at=read_at(at, spec, graph), depth=0 if several and not json else depth)
        for spec in opened
    ]
    if json:
        print_json([r.to_dict() for r in reports] if several else reports[0].to_dict())
    elif csv or markdown:
        from archgraph.report.formats import summary_csv, summary_markdown

        if several:
            text = summary_csv(reports) if csv else summary_markdown(reports)
        else:
            text = reports[0].to_csv() if csv else reports[0].to_markdown()
        typer.echo(text, nl=False)
    else:
        from archgraph.report.console import summary_view

        console().print(summary_view(reports) if several else reports[0])
