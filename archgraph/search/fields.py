"""Keys of a mapping in a study file, declared once: the reader, the errors and the JSON Schema follow from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from archgraph.ir.diagnostics import Collector, did_you_mean
from archgraph.spec.yaml import YList, YMap, span_of

__all__ = ["REQUIRED", "Field", "Kinds", "Section", "read_kind", "read_section", "unknown_key"]

REQUIRED: Final = object()

#: What a field may hold: its words in errors, and its JSON Schema.
_TYPES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "int": ("a whole number", {"type": "integer"}),
    "float": ("a number", {"type": "number"}),
    "bool": ("true or false", {"type": "boolean"}),
    "text": ("a text", {"type": "string"}),
    "texts": ("a list of texts", {"type": "array", "items": {"type": "string"}}),
    "ints": ("a list of whole numbers", {"type": "array", "items": {"type": "integer"}}),
    "floats": ("a list of numbers", {"type": "array", "items": {"type": "number"}}),
}


@dataclass(frozen=True)
class Field:
    """One key: its type, default and limits. ``null`` is allowed where it is the default."""

    name: str
    type: str
    default: Any
    doc: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def words(self) -> str:
        """What is expected, in words."""
        words = " or ".join(f"`{c}`" for c in self.choices) if self.choices else _TYPES[self.type][0]
        if self.low is not None and self.high is not None:
            words += f" from {self.low:g} to {self.high:g}"
        elif self.low is not None:
            words += f", at least {self.low:g}"
        return words + (", or null" if self.default is None else "")

    def accepts(self, value: Any) -> bool:
        """Whether a value from the file fits."""
        if value is None:
            return self.default is None
        if self.type in ("texts", "ints", "floats"):
            one = Field(self.name, self.type[:-1], REQUIRED, "", self.choices, self.low, self.high)
            return isinstance(value, list) and all(one.accepts(item) for item in value)
        if self.type == "bool":
            return isinstance(value, bool)
        if self.type == "text":
            return isinstance(value, str) and (not self.choices or value in self.choices)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return False
        if self.type == "int" and not isinstance(value, int):
            return False
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the value."""
        found = dict(_TYPES[self.type][1])
        inner = found["items"] = dict(found["items"]) if "items" in found else found
        if inner is found:
            del found["items"]
        if self.choices:
            inner["enum"] = list(self.choices)
        if self.low is not None:
            inner["minimum"] = self.low
        if self.high is not None:
            inner["maximum"] = self.high
        if self.default is None:
            found = {"anyOf": [found, {"type": "null"}]}
        return {"description": self.doc, **found}


@dataclass(frozen=True)
class Section:
    """A mapping with fixed keys."""

    doc: str
    fields: tuple[Field, ...]

    @property
    def by_name(self) -> dict[str, Field]:
        return {f.name: f for f in self.fields}

    def defaults(self) -> dict[str, Any]:
        return {f.name: f.default for f in self.fields if f.default is not REQUIRED}

    def schema(self, **more: Any) -> dict[str, Any]:
        """The JSON Schema; ``more`` are further properties."""
        required = list(more) + [f.name for f in self.fields if f.default is REQUIRED]
        found: dict[str, Any] = {
            "description": self.doc,
            "type": "object",
            "properties": {**more, **{f.name: f.schema() for f in self.fields}},
            "additionalProperties": False,
        }
        if required:
            found["required"] = required
        return found


@dataclass(frozen=True)
class Kinds:
    """A mapping whose ``kind`` chooses the other keys; a word by itself is a kind with its defaults."""

    doc: str
    kinds: Mapping[str, Section] = field(default_factory=dict)

    def schema(self) -> dict[str, Any]:
        words = [k for k, s in self.kinds.items() if all(f.default is not REQUIRED for f in s.fields)]
        choices: list[dict[str, Any]] = [{"enum": words}]
        choices += [s.schema(kind={"const": kind}) for kind, s in self.kinds.items()]
        return {"description": self.doc, "anyOf": choices}


def unknown_key(raw: YMap, key: Any, known: Mapping[str, Any] | list[str], what: str, faults: Collector) -> None:
    """Report a key that has no meaning."""
    near = did_you_mean(str(key), known)
    faults.error(
        "key/unknown",
        span_of(raw, key, key=True),
        f"{what} has no key `{key}`",
        expected=", ".join(known),
        hint=f"did you mean `{near}`?" if near else None,
    )


def read_section(
    raw: YMap, section: Section, what: str, faults: Collector, skip: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The values of a section, defaults filled in; faults are reported at their place."""
    known = section.by_name
    found = section.defaults()
    for key, value in raw.items():
        if key in skip:
            continue
        f = known.get(str(key))
        if f is None:
            unknown_key(raw, key, [*skip, *known], what, faults)
        elif not f.accepts(value):
            faults.error("study/value", span_of(raw, key), f"`{key}` of {what}", expected=f.words, found=_shown(value))
        else:
            found[f.name] = float(value) if f.type == "float" and value is not None else _plain(value)
    for f in section.fields:
        if f.default is REQUIRED and f.name not in raw:
            faults.error("study/missing", span_of(raw), f"{what} needs `{f.name}`: {f.doc}", expected=f.words)
    return found


def read_kind(
    raw: Any, container: YMap, key: str, kinds: Kinds, faults: Collector
) -> tuple[str, dict[str, Any]] | None:
    """``kind`` and the other values of a mapping with kinds, or of a word by itself; None after a fault."""
    at = span_of(container, key)
    expected = ", ".join(kinds.kinds)
    if isinstance(raw, str):
        word, body = raw, YMap(container.file, container.pos[key][1])
    elif isinstance(raw, YMap):
        if "kind" not in raw:
            faults.error("study/kind", at, f"`{key}` says its `kind`", expected=expected)
            return None
        word, body, at = raw["kind"], raw, span_of(raw, "kind")
    else:
        faults.error("study/kind", at, f"`{key}` is a word or a mapping with a `kind`", expected=expected)
        return None
    section = kinds.kinds.get(str(word))
    if section is None:
        near = did_you_mean(str(word), kinds.kinds)
        faults.error(
            "study/kind",
            at,
            f"`{key}` knows no `{word}`",
            expected=expected,
            hint=f"did you mean `{near}`?" if near else None,
        )
        return None
    return word, read_section(body, section, f"`{key}: {word}`", faults, skip=("kind",))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, YList) else value


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "a mapping" if isinstance(value, YMap) else str(list(value) if isinstance(value, YList) else value)
