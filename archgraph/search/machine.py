"""The machine of a study's roofline: a device by name or file, or two rates."""

from __future__ import annotations

from typing import Any, Final

from archgraph.analysis.profiles import WIDTHS, DeviceProfile, load_profile
from archgraph.analysis.roofline import TIMES, Target, target
from archgraph.ir.diagnostics import Collector, Diagnostic, SpecError
from archgraph.search.fields import Field, Section, read_section
from archgraph.spec.yaml import YMap, span_of

__all__ = ["TIMES", "default_machine", "machine_schema", "read_machine"]

MACHINE: Final = Section(
    "The device that `roofline`, `roofline_op_by_op` and `energy` are for; its name or file may stand by itself.",
    (
        Field("device", "text", None, "One of `archgraph devices`, or a YAML file, from the folder of the study file."),
        Field("dtype", "text", None, "What it computes in; float32 if it can.", choices=tuple(WIDTHS)),
        Field("flops_per_second", "float", 5e10, "Peak arithmetic, two for a multiply-add; without a `device`.", low=1),
        Field("bytes_per_second", "float", 1e10, "Peak memory traffic; without a `device`.", low=1),
    ),
)
_RATES: Final = ("flops_per_second", "bytes_per_second")


def machine_schema() -> dict[str, Any]:
    """The JSON Schema of the section."""
    return {"description": MACHINE.doc, "anyOf": [{"type": "string"}, MACHINE.schema()]}


def default_machine() -> Target:
    """What is meant where a study names a time and no machine."""
    return _plain(MACHINE.defaults())


def read_machine(tree: YMap, folder: str, faults: Collector) -> Target | None:
    """The machine of a study; None where it has none, or after a fault."""
    raw = tree.get("machine")
    if raw is None:
        return None
    before = len(faults)
    if isinstance(raw, YMap):
        values = read_section(raw, MACHINE, "`machine`", faults)
        both = [key for key in _RATES if key in raw]
        if raw.get("device") is not None and both:
            faults.error(
                "study/machine", span_of(raw, both[0], key=True), "a machine has a `device` or rates, not both"
            )
    elif isinstance(raw, str):
        values = {**MACHINE.defaults(), "device": raw}
    else:
        faults.error(
            "machine/form",
            span_of(tree, "machine"),
            "`machine` is a device, or a mapping",
            expected=", ".join(MACHINE.by_name),
        )
    if len(faults) > before:
        return None
    if values["device"] is None:
        return _plain(values)
    try:
        return target(load_profile(values["device"], folder), values["dtype"])
    except SpecError as error:
        at = span_of(raw, "device") if isinstance(raw, YMap) else span_of(tree, "machine")
        for d in error.diagnostics:
            placed = Diagnostic(d.code, at, d.message, d.notes, d.expected, d.found, d.hint)
            faults.add(d if d.at is not None else placed)
        return None


def _plain(values: dict[str, Any]) -> Target:
    dtype = values["dtype"] or "float32"
    flops = values["flops_per_second"]
    profile = DeviceProfile("machine", {dtype: flops / 2}, values["bytes_per_second"], {dtype: flops})
    return target(profile, dtype)
