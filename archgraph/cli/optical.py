"""``archgraph optical``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
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
Photo = Annotated[
    str | None, typer.Option("--input", "-i", metavar="PHOTO", help="An image file, or `china` or `flower`.")
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="DATA", help="`digits`, or an .npz file with arrays x and y: held-out samples."),
]
Samples = Annotated[int, typer.Option("--samples", min=1, help="How many samples of the data, at most.")]
Weights = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="A checkpoint to load, of ours or of a reference.")
]
Reference = Annotated[
    str | None, typer.Option("--reference", metavar="CLASS", help="The implementation that the checkpoint is of.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the weights, where none are loaded, and of the noise.")]
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
                opened.label,
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
def simulate(
    spec: Spec,
    variant: Variant = None,
    settings: Settings = None,
    at: At = None,
    graph: GraphName = None,
    device: Annotated[
        list[str] | None,
        typer.Option("--device", help="A device, as in `report`; may repeat. `theoretical-2MHz` by default."),
    ] = None,
    bits: Annotated[
        str | None, typer.Option("--bits", help="Levels of input, kernel and camera to try on each device, as `4,6,8`.")
    ] = None,
    photo: Photo = None,
    data: Data = None,
    samples: Samples = 200,
    weights: Weights = None,
    reference: Reference = None,
    seed: Seed = 0,
    plugins: Plugins = None,
    json: Json = False,
) -> None:
    """Run an architecture on simulated 4f devices: errors and accuracy beside the electronic model.

    Both have the same weights. Errors are relative: the largest to the largest output, and RMS to RMS.

    Example:  archgraph optical simulate vit --input flower --device theoretical-2MHz --bits 4,6,8
    """
    from archgraph.cli.console import console, counted, print_json
    from archgraph.cli.loading import open_specs, read_at, use_plugins
    from archgraph.cli.optical_inputs import model_and_batches
    from archgraph.cli.optical_views import comparisons_view
    from archgraph.optical.device import load_device
    from archgraph.optical.simulation import compare

    use_plugins(plugins)
    chosen = _with_bits(device or ["theoretical-2MHz"], bits)
    for each in chosen:
        load_device(each)
    opened = open_specs([spec], [variant] if variant else None, settings)[0]
    asked = read_at(at, opened, graph)
    model, batches = model_and_batches(opened, graph, asked, photo, data, samples, weights, reference, seed)
    with counted(len(chosen) * len(batches), "simulating") as step:
        found = compare(model, chosen, batches, seed, step)
    if json:
        from dataclasses import asdict

        print_json([asdict(each) for each in found])
    else:
        console().print(comparisons_view(found))


def _with_bits(devices: list[str], bits: str | None) -> list[str]:
    from archgraph.cli.console import fail

    if bits is None:
        return devices
    levels = bits.split(",")
    if not all(level.strip().isdecimal() and int(level) > 0 for level in levels):
        fail("bits/form", f"`--bits {bits}` are no levels", expected="whole numbers with commas between them: 4,6,8")
    return [
        f"{name}{',' if ':' in name else ':'}input_bits={b},kernel_bits={b},camera_bits={b}"
        for name in devices
        for b in (int(level) for level in levels)
    ]


@app.command()
def sweep(
    spec: Spec,
    target: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A .png or .html file to write.")],
    variant: Variant = None,
    settings: Settings = None,
    at: At = None,
    graph: GraphName = None,
    device: Device = "ideal",
    photo: Photo = None,
    data: Data = None,
    samples: Samples = 200,
    weights: Weights = None,
    reference: Reference = None,
    gpu_ms: Annotated[
        float | None, typer.Option("--gpu-ms", min=0.0, help="Measured milliseconds of one sample elsewhere.")
    ] = None,
    seed: Seed = 0,
    plugins: Plugins = None,
) -> None:
    """Draw error and accuracy over bits, photons and noise, and time or speed-up over batch and frame rate.

    Each knob is turned by itself from `--device`; the ideal one shows what that knob alone costs.

    Example:  archgraph optical sweep convsharevit -v share-valid-full --input flower -o sweep.png
    """
    from archgraph.cli.console import console, counted
    from archgraph.cli.loading import open_specs, read_at, use_plugins
    from archgraph.cli.optical_inputs import model_and_batches
    from archgraph.ir.dim import sym
    from archgraph.optical.device import load_device
    from archgraph.optical.sweep import BATCHES, KNOBS, RATES, check_devices, check_target, draw, speed_ups
    from archgraph.optical.sweep import sweep as run
    from archgraph.optical.timing import spec_timing

    use_plugins(plugins)
    check_target(target)
    count = check_devices(device, list(KNOBS))
    opened = open_specs([spec], [variant] if variant else None, settings)[0]
    asked = read_at(at, opened, graph)
    timed = spec_timing(opened, load_device(device), graph, asked, sym("samples"))
    model, batches = model_and_batches(opened, graph, asked, photo, data, samples, weights, reference, seed)
    with counted(count * len(batches), "sweeping") as step:
        found = run(f"{opened.label} on {device}", model, batches, device, progress=step)
    if not isinstance(timed.batch, int):
        gpu = None if gpu_ms is None else gpu_ms / 1000
        times, gains = speed_ups(timed, RATES, BATCHES, gpu)
        found = replace(found, rates=RATES, batches=BATCHES, times=times, speed_ups=gains)
    draw(found, target)
    console().print(f"{target}: {count} devices, {sum(len(x) for x, _ in batches)} samples")


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
