"""Profiles of devices for a terminal: a table of all, and one with its sources."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from archgraph.analysis.profiles import KEYS, DeviceProfile
from archgraph.report.numbers import human_bytes, human_si
from archgraph.report.tables import listing

_SHOWN = ("float64", "float32", "tf32", "bfloat16", "float16", "int8")


def devices_view(profiles: Iterable[DeviceProfile]) -> RenderableType:
    """A row per device: peaks in MACs a second by dtype, memory, what it is."""
    table = listing("device", *_SHOWN, "memory", "at", "")
    for d in profiles:
        rates = [human_si(d.macs_per_second[t], "") if t in d.macs_per_second else "" for t in _SHOWN]
        size = "" if d.memory_bytes is None else human_bytes(int(d.memory_bytes))
        table.add_row(d.name, *map(Text, rates), size, f"{human_si(d.bytes_per_second, 'B/s')}", Text(d.summary))
    return Group(table, Text("MACs a second by dtype. `archgraph devices NAME` tells sources.", style="dim"))


def device_view(d: DeviceProfile) -> RenderableType:
    """All figures of a device, each with where it comes from."""
    table = listing("", "", "", "source")
    for key in KEYS:
        rows = _rows(d, key)
        for k, (what, value) in enumerate(rows):
            table.add_row(key if k == 0 else "", what, value, Text(d.sources.get(key, "") if k == 0 else ""))
    head = Text(d.name, style="bold")
    head.append(f"  {d.summary}", style="not bold")
    return Group(head, Padding(table, (1, 0, 0, 0)))


def _rows(d: DeviceProfile, key: str) -> list[tuple[str, str]]:
    match key:
        case "macs_per_second":
            return [(t, human_si(r, "MAC/s")) for t, r in d.macs_per_second.items()]
        case "elementwise_per_second":
            return [(t, human_si(d.elementwise(t), "op/s")) for t in d.macs_per_second]
        case "bytes_per_second":
            return [("", human_si(d.bytes_per_second, "B/s"))]
        case "memory_bytes" if d.memory_bytes is not None:
            return [("", human_bytes(int(d.memory_bytes)))]
        case "cache_bytes":
            return [("", human_bytes(int(d.cache_bytes)) if d.cache_bytes else "not known, counted as none")]
        case "launch_seconds":
            return [("", human_si(d.launch_seconds, "s") if d.launch_seconds else "not known, counted as none")]
        case "energy" if d.energy is not None:
            e = d.energy
            found = [(f"{t}, a MAC", f"{j:g} pJ") for t, j in e.picojoules_per_mac.items()]
            found += [(f"{t}, an operation", f"{j:g} pJ") for t, j in e.picojoules_per_elementwise.items()]
            return [*found, ("a byte", f"{e.picojoules_per_byte:g} pJ"), ("at rest", f"{e.static_watts:g} W")]
    return []
