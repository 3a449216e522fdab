"""Profiles of processors: peak rates, memory, launch overhead and energy, as YAML files checked key by key.

A profile is named by a text: one that is shipped, or the path of a YAML file. (Profiles of 4f optical systems are
`archgraph.optical.device`.)
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from archgraph.ir.diagnostics import Collector, Diagnostic, Span, SpecError, did_you_mean
from archgraph.spec.yaml import YMap, load_yaml, read_source, span_of

__all__ = ["WIDTHS", "DeviceProfile", "Energy", "load_profile", "profile_schema", "shipped_profiles"]

FOLDER: Final = Path(__file__).parent / "devices"
VERSION: Final = 1

#: Bytes of an element of each dtype that a rate may be given for. ``tf32`` is float32 in memory.
WIDTHS: Final[dict[str, int]] = {
    "float64": 8, "float32": 4, "tf32": 4, "bfloat16": 2, "float16": 2, "float8": 1, "int8": 1,
}  # fmt: skip

_RATES: Final = "rates by dtype"
_NUMBER: Final = "a number"
#: Keys of a profile: what each takes, whether it must be there, and what it is.
KEYS: Final[dict[str, tuple[str, bool, str]]] = {
    "archgraph": ("version", True, "Version of the language."),
    "summary": ("text", False, "What it is, in a line."),
    "macs_per_second": (_RATES, True, "Peak multiply-accumulates a second of products, by dtype: half of the FLOPs."),
    "elementwise_per_second": (
        _RATES,
        False,
        "Peak element-wise operations a second, by dtype; twice the MACs where one is left out.",
    ),
    "bytes_per_second": (_NUMBER, True, "Peak of the memory, reading and writing together."),
    "memory_bytes": (_NUMBER, False, "Size of the memory."),
    "cache_bytes": (_NUMBER, False, "Size of the last cache, which may hold values from one call to the next; 0."),
    "launch_seconds": (_NUMBER, False, "Least time that one kernel takes, however small; 0."),
    "energy": ("energy", False, "Energy of work, traffic and time."),
    "sources": ("sources", False, "Where the figures come from, by key."),
}
ENERGY_KEYS: Final[dict[str, tuple[str, bool, str]]] = {
    "picojoules_per_mac": (_RATES, True, "Of one multiply-accumulate, by dtype."),
    "picojoules_per_elementwise": (_RATES, False, "Of one element-wise operation, by dtype; 0."),
    "picojoules_per_byte": (_NUMBER, True, "Of one byte read from or written to memory."),
    "static_watts": (_NUMBER, False, "Power that flows whatever is computed; 0."),
}


@dataclass(frozen=True, eq=False, slots=True)
class Energy:
    """Picojoules of work and traffic, and watts at rest."""

    picojoules_per_mac: Mapping[str, float]
    picojoules_per_byte: float
    picojoules_per_elementwise: Mapping[str, float] = field(default_factory=dict)
    static_watts: float = 0.0


@dataclass(frozen=True, eq=False, slots=True)
class DeviceProfile:
    """One processor and its memory. Two profiles are equal only if they are one object.

    Attributes
    ----------
    name : str
    macs_per_second, elementwise_per_second : mapping of str to float
        Peaks by dtype.
    bytes_per_second : float
    memory_bytes : float or None
    cache_bytes : float
        What may stay in the last cache between two calls.
    launch_seconds : float
    energy : Energy or None
    sources : mapping of str to str
        Key → where its figures come from.
    summary : str
    """

    name: str
    macs_per_second: Mapping[str, float]
    bytes_per_second: float
    elementwise_per_second: Mapping[str, float] = field(default_factory=dict)
    memory_bytes: float | None = None
    cache_bytes: float = 0.0
    launch_seconds: float = 0.0
    energy: Energy | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""

    @property
    def dtype(self) -> str:
        """The dtype that is meant where none is named: float32, or else the first."""
        return "float32" if "float32" in self.macs_per_second else next(iter(self.macs_per_second))

    def elementwise(self, dtype: str) -> float:
        """Peak element-wise operations a second: as stated, or two for each multiply-accumulate."""
        found = self.elementwise_per_second.get(dtype)
        return 2 * self.macs_per_second[dtype] if found is None else found

    def to_dict(self) -> dict[str, Any]:
        """As a profile is written, without what is left out."""
        found: dict[str, Any] = {"archgraph": VERSION}
        for key in KEYS:
            if key in ("archgraph", "energy"):
                continue
            value = getattr(self, key)
            if value or key in ("macs_per_second", "bytes_per_second"):
                found[key] = dict(value) if isinstance(value, Mapping) else value
        if self.energy is not None:
            energy = {key: getattr(self.energy, key) for key in ENERGY_KEYS}
            found["energy"] = {k: dict(v) if isinstance(v, Mapping) else v for k, v in energy.items() if v}
        return found


def shipped_profiles() -> list[str]:
    """Names of the shipped profiles."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


_known: dict[tuple[str, int, int], DeviceProfile] = {}


def load_profile(text: str, folder: str | os.PathLike[str] | None = None) -> DeviceProfile:
    """The profile that a text names: a shipped one, or a YAML file, from ``folder`` on.

    Raises
    ------
    SpecError
        If there is no such profile, with every fault if a key or value is wrong.
    """
    shipped = FOLDER / f"{text}.yaml"
    path = shipped
    if text.endswith((".yaml", ".yml")) or os.sep in text or not shipped.is_file():
        path = Path(folder or "", text)
        if not path.is_file():
            names = shipped_profiles()
            near = did_you_mean(text, names)
            raise SpecError(
                Diagnostic(
                    "device/unknown",
                    None,
                    f"there is no device `{text}`",
                    expected=f"{', '.join(names)}, or the path of a YAML file",
                    hint=f"did you mean `{near}`?"
                    if near
                    else "`archgraph devices calibrate` writes one of this machine",
                )
            )
    about = path.stat()
    key = str(path), about.st_mtime_ns, about.st_size
    found = _known.get(key)
    if found is None:
        found = _known[key] = read_profile(read_source(path), str(path))
    return found


def read_profile(text: str, file: str = "<text>") -> DeviceProfile:
    """`load_profile` from a text; ``file`` names it in diagnostics.

    Raises
    ------
    SpecError
        With every fault found.
    """
    raw = load_yaml(text, file)
    if not isinstance(raw, YMap):
        at = Span(file, 1, 1)
        raise SpecError(
            Diagnostic("device/form", at, "a device is a mapping from keys to values", expected=", ".join(KEYS))
        )
    faults = Collector()
    found = _Reader(faults).mapping(raw, KEYS, "a device")
    faults.raise_if_any()
    found.pop("archgraph")
    return DeviceProfile(name=Path(file).stem, **found)


class _Reader:
    def __init__(self, faults: Collector) -> None:
        self.faults = faults

    def mapping(self, raw: YMap, keys: Mapping[str, tuple[str, bool, str]], what: str) -> dict[str, Any]:
        """Values by key; faults are reported at their place."""
        found: dict[str, Any] = {}
        for key, value in raw.items():
            if key not in keys:
                self.unknown(raw, key, list(keys), f"{what} has no key `{key}`")
                continue
            read = self.value(raw, str(key), keys[str(key)][0], value)
            if read is not None:
                found[str(key)] = read
        for key, (kind, needed, doc) in keys.items():
            if needed and key not in raw:
                self.faults.error(
                    "device/missing",
                    span_of(raw),
                    f"{what} needs `{key}`: {doc[0].lower()}{doc[1:].rstrip('.')}",
                    expected=_words(kind),
                )
        return found

    def value(self, raw: YMap, key: str, kind: str, value: Any) -> Any:
        """One value, or None after a fault."""
        at = span_of(raw, key)
        if kind == "version":
            if value == VERSION:
                return value
            self.faults.error(
                "file/version",
                at,
                "a device says its language version",
                expected=f"archgraph: {VERSION}",
                found=str(value),
            )
        elif kind == "text":
            if isinstance(value, str):
                return value
            self.wrong(at, key, "a text", value)
        elif kind == _NUMBER:
            low = 1.0 if key == "bytes_per_second" else 0.0
            if _number(value, low):
                return float(value)
            self.wrong(at, key, f"a number, at least {low:g}", value)
        elif not isinstance(value, YMap):
            self.wrong(at, key, _words(kind), value)
        elif kind == _RATES:
            return self.rates(value, key)
        elif kind == "energy":
            before = len(self.faults)
            found = self.mapping(value, ENERGY_KEYS, "`energy`")
            return Energy(**found) if len(self.faults) == before else None
        else:
            return self.texts(value)
        return None

    def rates(self, raw: YMap, key: str) -> dict[str, float] | None:
        low = 0.0 if key.startswith("picojoules") else 1.0
        found = {}
        for dtype, value in raw.items():
            if dtype not in WIDTHS:
                self.unknown(raw, dtype, list(WIDTHS), f"`{key}` is by dtype, and `{dtype}` is none of them")
            elif not _number(value, low):
                self.wrong(span_of(raw, dtype), f"{key}.{dtype}", f"a number, at least {low:g}", value)
            else:
                found[str(dtype)] = float(value)
        if not raw:
            self.wrong(span_of(raw), key, _words(_RATES), raw)
        return found or None

    def texts(self, raw: YMap) -> dict[str, str]:
        found = {}
        for key, value in raw.items():
            if key not in KEYS:
                self.unknown(raw, key, list(KEYS), f"a source is of a key, and a device has no key `{key}`")
            elif not isinstance(value, str):
                self.wrong(span_of(raw, key), f"sources.{key}", "a text", value)
            else:
                found[str(key)] = value
        return found

    def wrong(self, at: Span, key: str, expected: str, value: Any) -> None:
        self.faults.error("device/value", at, f"`{key}` of a device", expected=expected, found=_shown(value))

    def unknown(self, raw: YMap, key: Any, known: list[str], message: str) -> None:
        near = did_you_mean(str(key), known)
        self.faults.error(
            "key/unknown",
            span_of(raw, key, key=True),
            message,
            expected=", ".join(known),
            hint=f"did you mean `{near}`?" if near else None,
        )


def _number(value: Any, low: float) -> bool:
    return (
        not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value) and float(value) >= low
    )


def _words(kind: str) -> str:
    return {
        _RATES: "a mapping such as {float32: 1.0e+12, bfloat16: 2.0e+12}",
        _NUMBER: "a number",
        "energy": "a mapping of " + ", ".join(ENERGY_KEYS),
        "sources": "a mapping from keys to texts",
        "version": f"archgraph: {VERSION}",
    }.get(kind, "a text")


def _shown(value: Any) -> str:
    if isinstance(value, YMap):
        return "an empty mapping" if not value else "a mapping"
    if isinstance(value, list):
        return "a list"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def profile_schema() -> dict[str, Any]:
    """The JSON Schema of profiles."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "archgraph device",
        "description": "What a processor can do at best: rates, memory, launch overhead, energy.",
        **_schema(KEYS),
    }


def _schema(keys: Mapping[str, tuple[str, bool, str]]) -> dict[str, Any]:
    def of(key: str, kind: str) -> dict[str, Any]:
        low = 1 if key in ("bytes_per_second",) or (kind == _RATES and not key.startswith("picojoules")) else 0
        number = {"type": "number", "minimum": low}
        if kind == _RATES:
            return {
                "type": "object",
                "properties": dict.fromkeys(WIDTHS, number),
                "additionalProperties": False,
                "minProperties": 1,
            }
        if kind == "energy":
            return _schema(ENERGY_KEYS)
        if kind == "sources":
            texts = {key: {"type": "string"} for key in KEYS}
            return {"type": "object", "properties": texts, "additionalProperties": False}
        plain: dict[str, dict[str, Any]] = {"version": {"const": VERSION}, "text": {"type": "string"}}
        return plain.get(kind, number)

    return {
        "type": "object",
        "properties": {key: {"description": doc, **of(key, kind)} for key, (kind, _, doc) in keys.items()},
        "required": [key for key, (_, needed, _) in keys.items() if needed],
        "additionalProperties": False,
    }
