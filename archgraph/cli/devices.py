"""``archgraph devices``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from archgraph.cli.options import Json


class _Named(TyperGroup):
    """A group in which a word that is no command names a device."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """`show` stands before anything but a command."""
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=_Named, name="devices", invoke_without_command=True, no_args_is_help=False)


def complete_device(incomplete: str) -> list[str]:
    """Names of shipped profiles, for the shell."""
    from archgraph.analysis.profiles import shipped_profiles

    return [name for name in shipped_profiles() if name.startswith(incomplete)]


@app.callback()
def devices(ctx: typer.Context, json: Json = False) -> None:
    """Processors that latency and energy can be told for: their peaks, memory, and where the figures come from.

    `archgraph devices NAME` shows one, `archgraph devices calibrate` measures the processor of this machine.

    Example:  archgraph devices h100-sxm
    """
    if ctx.invoked_subcommand is not None:
        return
    from archgraph.analysis.profiles import load_profile, shipped_profiles
    from archgraph.cli.console import console, print_json

    known = [load_profile(name) for name in shipped_profiles()]
    if json:
        print_json([{"name": d.name, **d.to_dict()} for d in known])
        return
    from archgraph.report.devices import devices_view

    console().print(devices_view(known))


@app.command(hidden=True)
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A shipped device, or a YAML file.", autocompletion=complete_device)
    ],
    json: Json = False,
) -> None:
    """Show one device with its sources.

    Example:  archgraph devices show h100-sxm
    """
    from archgraph.analysis.profiles import load_profile
    from archgraph.cli.console import console, print_json

    found = load_profile(name)
    if json:
        print_json({"name": found.name, **found.to_dict()})
        return
    from archgraph.report.devices import device_view

    console().print(device_view(found))


@app.command()
def calibrate(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the profile; printed if left out.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="With so many; one and all, a file each, if left out.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few seconds rather than a minute or so.")] = False,
) -> None:
    """Measure the processor of this machine: products, element-wise work, memory, the smallest call.

    The figures are peaks, the best of several runs, with medians beside them. Without --threads it measures with one
    thread and with all: `-o cpu.yaml` is that of all, and `cpu-one-thread.yaml` stands beside it.

    Example:  archgraph devices calibrate -o cpu.yaml
    """
    from archgraph.analysis.profiles import read_profile
    from archgraph.cli.console import console, fail
    from archgraph.report.calibrate import FULL, QUICK
    from archgraph.report.calibrate import calibrate as measure
    from archgraph.report.devices import devices_view
    from archgraph.report.files import write_whole

    if output is not None and output.suffix not in (".yaml", ".yml"):
        fail("device/output", f"`{output}` is no YAML file", hint="write -o cpu.yaml")
    if output is not None and not output.parent.is_dir():
        fail("device/output", f"there is no folder `{output.parent}`")
    target = Path("cpu.yaml") if output is None else output
    most = threads or _processors()
    counts = [most] if threads is not None else [1, most]
    files = {
        target if n == most else target.with_name(f"{target.stem}-one-thread{target.suffix}"): text
        for n, text in measure(sorted(set(counts)), QUICK if quick else FULL, say=_tell).items()
    }
    if output is None:
        for path, text in files.items():
            typer.echo(f"# {path}\n{text}")
        return
    for path, text in files.items():
        write_whole(path, text)
    console().print(devices_view(read_profile(text, str(path)) for path, text in files.items()))
    for path in files:
        typer.echo(f"written: {path}")


def _tell(what: str) -> None:
    typer.echo(what, err=True)


def _processors() -> int:
    """Processors that this process may use."""
    import os

    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
