"""``archgraph report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archgraph.cli.devices import complete_device
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
    symbolic: Annotated[
        str | None,
        typer.Option(
            "--symbolic",
            metavar="NAMES",
            help="Closed forms in these: `dim,depth,H`; sizes, numbers, flags. `depth=1:24,pool=cls|mean` list values.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME_OR_FILE",
            help="Latency and energy on a device: a name of `archgraph devices`, or a YAML file.",
            autocompletion=complete_device,
        ),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="What the device computes in; float32 if it can.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--md", help="Print Markdown.")] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write one self-contained page as well: block graph, icicle of the cost, cost curves, claims.",
        ),
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            "--over",
            metavar="NAME=LOW:HIGH",
            help="A size or whole-number parameter for the page's curves, `side` for both sides of a square image; may "
            "repeat. Left out: what all specs have.",
        ),
    ] = None,
) -> None:
    """Show what an architecture costs, in total and block by block, without building it.

    Params and MACs of repeated blocks (×n) are those of all n. MACs are multiply-accumulates of contractions and
    convolutions; FLOPs are 2 · MACs and all element-wise work. Several specs or variants get a row each.

    With a device, `bound` is a time that nothing can beat, whatever is fused or cached; `op by op` is the roofline of
    every op by itself, with what most of it waits for, and its energy.

    Example:  archgraph report vit --variant base --at image=1x3x384x384
    Example:  archgraph report convnext --device h100-sxm --dtype bfloat16
    Example:  archgraph report vit:small resnet:resnet50 --html page.html
    """
    from archgraph.cli.console import console, fail, print_json
    from archgraph.cli.loading import open_specs, read_at, read_names, read_range, use_plugins
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
    if dtype is not None and device is None:
        raise typer.BadParameter("a dtype is one of a --device", param_hint="--dtype")
    if html is not None and symbolic is not None:
        raise typer.BadParameter("choose one of --html and --symbolic; a page has closed forms beside its curves")
    if over and html is None:
        raise typer.BadParameter("--over is for the curves of --html; without a page, `archgraph compare` draws them")
    if html is not None:
        from archgraph.analysis.profiles import load_profile
        from archgraph.analysis.roofline import target
        from archgraph.report.files import write_whole
        from archgraph.report.page import entry, page

        ranges = [read_range(text) for text in over or ()]
        on = None if device is None else target(load_profile(device), dtype)
        write_whole(html, page([entry(spec, graph, read_at(at, spec, graph), on) for spec in opened], ranges))
    if symbolic is not None:
        from archgraph.report.symbolic import closed_forms

        if csv:
            raise typer.BadParameter("closed forms have no --csv")
        if device is not None:
            raise typer.BadParameter("closed forms have no --device")
        names = read_names(symbolic)
        forms = [f for s in opened for f in closed_forms(s, names, graph, read_at(at, s, graph), depth)]
        if json:
            print_json([f.to_dict() for f in forms] if len(forms) > 1 else forms[0].to_dict())
        for f in () if json else forms:
            typer.echo(f.to_markdown(), nl=False) if markdown else console().print(f)
        return
    reports = [
        report_on(
            spec,
            graph=graph,
            at=read_at(at, spec, graph),
            depth=0 if several and not json else depth,
            device=device,
            dtype=dtype,
        )
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
