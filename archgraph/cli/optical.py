"""``archgraph optical`` and ``archgraph devices``."""

from __future__ import annotations

from typing import Annotated

import typer

from archgraph.cli.options import At, GraphName, Json, Plugins, Settings, Spec, Variant

app = typer.Typer(
    name="optical",
    help="An architecture on a 4f optical system: frames, time and energy; errors; sweeps over what a device can do.",
    no_args_is_help=True,
)

Device = Annotated[
    str,
    typer.Option(
        "--device", help="A shipped profile or a YAML file, with changes behind a colon: `dmd:camera_bits=6,tile=rectangle`."
    ),
]
Batch = Annotated[str, typer.Option("--batch", help="Samples computed together; a name keeps it symbolic.")]


@app.command()
def report(
    spec: Spec,
    variant: Variant = None,
    settings: Settings = None,
    at: At = None,
    graph: GraphName = None,
    device: Device = "theoretical-2MHz",
    batch: Batch = "1",
    gpu_ms: Annotated[
        float | None, typer.Option("--gpu-ms", min=0.0, help="Measured milliseconds of the same batch elsewhere.")
    ] = None,
    electronic_ms: Annotated[
        float, typer.Option("--electronic-ms", min=0.0, help="Milliseconds that the electronic parts of a batch take.")
    ] = 0.0,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """Frames, time and energy of an architecture on a 4f device, layer by layer, from its spec alone.

    Convolutions and linear layers are optical; norms, activations and attention products are electronic and counted
    by `--electronic-ms` only.

    Example:  archgraph optical report convsharevit -v share-valid-full --device dmd --batch 64 --gpu-ms 12
    """
    from archgraph.cli.console import console, print_json
    from archgraph.cli.loading import open_specs, read_at, use_plugins
    from archgraph.optical.device import load_device
    from archgraph.optical.report import report_of, report_view, to_dict

    use_plugins(plugins)
    opened = open_specs([spec], [variant] if variant else None, settings)[0]
    found = report_of(opened, load_device(device), graph, read_at(at, opened, graph), batch)
    gpu = None if gpu_ms is None else gpu_ms / 1000
    if json:
        print_json(to_dict(found, gpu, electronic_ms / 1000))
    else:
        console().print(report_view(found, gpu, electronic_ms / 1000))


def devices(
    name: Annotated[str | None, typer.Argument(metavar="[DEVICE]", show_default=False, help="One to describe.")] = None,
    json: Json = False,
) -> None:
    """List the shipped 4f devices, or describe one."""
