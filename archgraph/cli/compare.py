"""``archgraph compare``."""

from __future__ import annotations

from typing import Annotated

import typer

from archgraph.cli.options import At, GraphName, Json, Plugins, Settings

_SPECS = "Specs as for `report`; `vit:tiny+softmax_to_linear` is a spec under rewrite rules."


def compare(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC…", help=_SPECS)],
    over: Annotated[str, typer.Option("--over", metavar="NAME=LOW:HIGH", help="A size or whole-number parameter.")],
    cost: Annotated[str, typer.Option("--cost", help="macs, flops, params, activation_bytes …")] = "macs",
    settings: Settings = None,
    at: At = None,
    graph: GraphName = None,
    svg: Annotated[str | None, typer.Option("--svg", metavar="FILE", help="Write the curves as SVG.")] = None,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """Compare architectures over a range of sizes: cost curves, orders of growth, and the sizes at which they cross.

    Crossings are solved, not scanned: exactly, for every remainder by the common multiple of the floors' divisors.

    Example:  archgraph compare vit vit+softmax_to_linear --over image_size=64:1024
    """
    from archgraph.cli.console import console, fail, print_json
    from archgraph.cli.loading import open_specs, read_at, use_plugins
    from archgraph.report.compare import COSTS, curve
    from archgraph.report.compare import compare as compare_curves

    use_plugins(plugins)
    if cost not in COSTS:
        raise typer.BadParameter(f"costs are {', '.join(COSTS)}", param_hint="--cost")
    name, equals, bounds = over.partition("=")
    low, colon, high = bounds.partition(":")
    if not equals or not colon or not (low.isdecimal() and high.isdecimal()) or not 1 <= int(low) < int(high) < 2**40:
        fail("over/form", f"`--over {over}` is no range", expected="--over N=64:65536, low to high")
    curves = []
    for text in specs:
        base, *rules = text.split("+")
        (spec,) = open_specs([base], None, settings)
        curves.append(curve(spec, name, cost, graph, read_at(at, spec, graph), rules))
    found = compare_curves(curves, int(low), int(high))
    if svg is not None:
        from archgraph.report.curves import svg as draw

        with open(svg, "w", encoding="utf-8") as file:
            file.write(draw(found))
    if json:
        print_json(found.to_dict())
    else:
        console().print(found)
