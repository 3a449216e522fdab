"""``archgraph compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archgraph.cli.devices import complete_device
from archgraph.cli.options import At, GraphName, Json, Plugins, Settings

_SPECS = "Specs as for `report`; `vit:tiny+softmax_to_linear` is a spec under rewrite rules."


def compare(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC…", help=_SPECS)],
    over: Annotated[str, typer.Option("--over", metavar="NAME=LOW:HIGH", help="A size or whole-number parameter.")],
    cost: Annotated[str, typer.Option("--cost", help="macs, flops, params, activation_bytes …; roofline.")] = "macs",
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME_OR_FILE",
            help="Of `--cost roofline` (the bound) and `roofline_op_by_op`.",
            autocompletion=complete_device,
        ),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="What the device computes in; float32 if it can.")
    ] = None,
    settings: Settings = None,
    at: At = None,
    graph: GraphName = None,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write the curves as SVG.")] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Write the curves as PNG; needs matplotlib.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with the curves of every cost.")
    ] = None,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """Compare architectures over a range of sizes: cost curves, orders of growth, and the sizes at which they cross.

    Crossings are solved, not scanned: exactly, for every remainder by the common multiple of the floors' divisors.

    Example:  archgraph compare vit vit+softmax_to_linear --over image_size=64:1024
    Example:  archgraph compare vit:base swin:base --over B=1:256 --cost roofline --device a100-sxm --dtype bfloat16
    """
    from archgraph.cli.console import console, print_json
    from archgraph.cli.loading import open_specs, read_at, read_range, use_plugins
    from archgraph.report.compare import COSTS, TIMED, curve
    from archgraph.report.compare import compare as compare_curves
    from archgraph.report.files import write_whole

    use_plugins(plugins)
    if cost not in (*COSTS, *TIMED):
        raise typer.BadParameter(f"costs are {', '.join((*COSTS, *TIMED))}", param_hint="--cost")
    if (cost in TIMED) != (device is not None) or (device is None and dtype is not None):
        raise typer.BadParameter(f"{' and '.join(TIMED)} go with a --device", param_hint="--device")
    on = None
    if device is not None:
        from archgraph.analysis.profiles import load_profile
        from archgraph.analysis.roofline import target

        on = target(load_profile(device), dtype)
    size = read_range(over)
    curves = []
    for text in specs:
        base, *rules = text.split("+")
        (spec,) = open_specs([base], None, settings)
        curves.append(curve(spec, size.name, cost, graph, read_at(at, spec, graph), rules, on))
    found = compare_curves(curves, size.low, size.high)
    if svg is not None:
        from archgraph.report.curves import svg as draw

        write_whole(svg, draw(found))
    if png is not None:
        from archgraph.report.plot import png as plot

        write_whole(png, plot(found))
    if html is not None:
        from archgraph.report.page import CURVES, comparison_page

        others = (compare_curves([c.by(k) for c in curves], size.low, size.high) for k in CURVES if k != cost)
        write_whole(html, comparison_page([found, *others]))
    if json:
        print_json(found.to_dict())
    else:
        console().print(found)
