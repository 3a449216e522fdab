"""Timings and devices of 4f systems, as tables and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from archgraph.ir.dim import pretty
from archgraph.optical.device import Device
from archgraph.optical.simulation import Comparison
from archgraph.optical.timing import Timing
from archgraph.report.numbers import exact, human, plain


def timing_view(label: str, found: Timing, gpu: float | None, electronic: float) -> RenderableType:
    """A row per optical layer, then totals; closed forms where the batch is symbolic."""
    device = found.device
    table = _table(label, "op", "calls", "kernels", "planes", "tile", "per frame", "frames", "MACs")
    for layer in found.layers:
        high, wide = layer.tile
        table.add_row(
            layer.path,
            layer.op,
            exact(layer.calls),
            exact(layer.kernels),
            exact(layer.planes),
            f"{pretty(wide)} × {pretty(high)}",
            exact(layer.tiles(device)),
            exact(layer.frames(device)),
            human(layer.calls * layer.macs),
        )
    return Group(table, Text(), _totals(found, gpu, electronic))


def _totals(found: Timing, gpu: float | None, electronic: float) -> Table:
    device = found.device
    rows: list[tuple[str, str]] = [
        ("device", f"{device.name}, {device.width} × {device.height} pixels, {_si(device.frame_rate, 'Hz')}"),
        ("passes", f"{device.passes}" + (f", each in {device.subframes} sub-frames" if device.subframes > 1 else "")),
        ("frames", exact(found.frames)),
        ("MACs", exact(found.macs)),
    ]
    if isinstance(found.frames, int) and isinstance(found.batch, int):
        seconds = found.seconds(electronic)
        energy = found.energy()
        joules = sum(energy.values())
        rows += [
            ("time", f"{_si(seconds, 's')} a batch of {found.batch}, {_si(seconds / found.batch, 's')} a sample"),
            (
                "energy",
                f"{_si(joules, 'J')} a batch: " + ", ".join(f"{k} {_si(v, 'J')}" for k, v in energy.items() if v),
            ),
            ("break-even", f"{_si(seconds, 's')} a batch elsewhere"),
        ]
        if isinstance(found.macs, int) and found.macs:
            rows.append(("per MAC", _si(joules / found.macs, "J")))
        if device.full_well:
            floor, given = device.photon_floor, device.laser_power
            short = "" if floor <= given else f": more than the {_si(given, 'W')} of the profile"
            rows.append(("photon floor", f"{_si(floor, 'W')} of laser light fill every well in each frame{short}"))
        if gpu is not None:
            rows.append(("speed-up", f"{found.speed_up(gpu, electronic):.3g}× over {_si(gpu, 's')} a batch"))
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(name, value)
    return table


def timing_to_dict(found: Timing, gpu: float | None, electronic: float) -> dict[str, Any]:
    """The same as plain values; closed forms as texts."""
    device = found.device
    known = isinstance(found.frames, int) and isinstance(found.depth, int)
    seconds = found.seconds(electronic) if known else None
    return {
        "device": device.to_dict(),
        "batch": plain(found.batch),
        "frames": plain(found.frames),
        "macs": plain(found.macs),
        "seconds": seconds,
        "energy": found.energy() if known else None,
        "gpu_seconds": gpu,
        "speed_up": found.speed_up(gpu, electronic) if known and gpu is not None else None,
        "layers": [
            {
                "path": layer.path,
                "op": layer.op,
                "calls": plain(layer.calls),
                "kernels": plain(layer.kernels),
                "planes": plain(layer.planes),
                "tile": [plain(n) for n in layer.tile],
                "tiles": plain(layer.tiles(device)),
                "frames": plain(layer.frames(device)),
                "macs": plain(layer.macs),
            }
            for layer in found.layers
        ],
    }


def comparisons_view(found: Sequence[Comparison]) -> Table:
    """A row per device."""
    labelled = any(c.accuracy is not None for c in found)
    more = ("accuracy", "electronic") if labelled else ()
    table = _table("device", "largest error", "RMS error", "agreement", *more)
    for c in found:
        row = [c.device, f"{c.max_error:.2e}", f"{c.rms_error:.2e}", f"{c.agreement:.1%}"]
        if c.accuracy is not None and c.electronic_accuracy is not None:
            row += [f"{c.accuracy:.1%}", f"{c.electronic_accuracy:.1%}"]
        table.add_row(*row)
    return table


def devices_view(found: Sequence[Device]) -> Table:
    """A row per device."""
    table = _table("device", "pixels", "frames", "passes", "input", "kernel", "camera", "detector", "noise")
    for d in found:
        bits = [("exact" if n is None else f"{n} bit") for n in (d.input_bits, d.kernel_bits, d.camera_bits)]
        noise = "none" if d.full_well is None else f"{d.full_well:g} e⁻ full, {d.read_noise:g} e⁻ read"
        table.add_row(
            d.name, f"{d.width} × {d.height}", _si(d.frame_rate, "Hz"), str(d.passes), *bits, d.detector, noise
        )
    return table


def device_view(device: Device) -> Table:
    """A row per field."""
    table = _table("key", "value")
    for key, value in device.to_dict().items():
        table.add_row(key, "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}")
    return table


def _si(x: float, unit: str) -> str:
    """Three significant digits and a prefix of the SI."""
    if x == 0:
        return f"0 {unit}"
    for scale, prefix in (
        (1e9, "G"),
        (1e6, "M"),
        (1e3, "k"),
        (1, ""),
        (1e-3, "m"),
        (1e-6, "µ"),
        (1e-9, "n"),
        (1e-12, "p"),
    ):
        if abs(x) >= 0.9995 * scale:
            return f"{x / scale:.3g} {prefix}{unit}"
    return f"{x * 1e15:.3g} f{unit}"


def _table(*headers: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for k, header in enumerate(headers):
        table.add_column(header, no_wrap=k == 0, overflow="fold", justify="left" if k < 2 else "right")
    return table


__all__ = ["comparisons_view", "device_view", "devices_view", "timing_to_dict", "timing_view"]
