"""``archgraph optical``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from archgraph.cli.options import At, GraphName, Json, Plugins, Settings, Spec, Variant

if TYPE_CHECKING:
    from archgraph.ir.dim import Num

app = typer.Typer(
    name="optical",
    help="An architecture on a 4f optical system: frames, time and energy; errors; sweeps over what a device can do.",
    no_args_is_help=True,
)

Device = Annotated[
    str,
    typer.Option(
        "--device", help="A shipped profile or a YAML file, changes behind a colon: `dmd:camera_bits=6,tile=rectangle`."
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
    from archgraph.cli.optical_views import timing_to_dict, timing_view
    from archgraph.optical.device import load_device
    from archgraph.optical.timing import spec_timing

    use_plugins(plugins)
    opened = open_specs([spec], [variant] if variant else None, settings)[0]
    found = spec_timing(opened, load_device(device), graph, read_at(at, opened, graph), _batch(batch))
    gpu = None if gpu_ms is None else gpu_ms / 1000
    if json:
        print_json(timing_to_dict(found, gpu, electronic_ms / 1000))
    else:
        console().print(
            timing_view(
                f"{opened.file.name}:{opened.variant}" if opened.variant else opened.file.name,
                found,
                gpu,
                electronic_ms / 1000,
            )
        )


def _batch(text: str) -> Num:
    from archgraph.cli.console import fail
    from archgraph.ir.dim import sym

    if text.isdecimal() and int(text) > 0:
        return int(text)
    if text.isidentifier():
        return sym(text)
    fail("batch/size", f"`--batch {text}` is no size", expected="a whole number, or a name that keeps it symbolic")


@app.command()
def devices(
    name: Annotated[str | None, typer.Argument(metavar="[DEVICE]", show_default=False, help="One to describe.")] = None,
    json: Json = False,
) -> None:
    """List the shipped 4f devices, or describe one: planes, rates, levels, noise, power.

    Example:  archgraph optical devices dmd:camera_bits=6
    """
    from archgraph.cli.console import console, print_json
    from archgraph.cli.optical_views import device_view, devices_view
    from archgraph.optical.device import load_device, shipped_devices

    found = [load_device(each) for each in ([name] if name else shipped_devices())]
    if json:
        values = [device.to_dict() for device in found]
        print_json(values[0] if name else values)
    else:
        console().print(device_view(found[0]) if name else devices_view(found))
