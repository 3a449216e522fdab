"""JSON Schema of study files, from the declarations that the reader itself uses."""

from __future__ import annotations

from typing import Any, Final

from archgraph.search.machine import machine_schema
from archgraph.search.metrics import COSTS, MEASURED
from archgraph.search.sections import DATA, LATENCY, PROXY, PRUNER, SAMPLER, TRAIN
from archgraph.search.study_file import DIRECTIONS, SECTIONS, VERSION

__all__ = ["study_schema"]

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_NUMBER: Final[Schema] = {"type": "number"}
_RULE: Final[Schema] = {
    "type": "object",
    "properties": {"rule": {"description": "The rewrite rule.", **_TEXT}},
    "required": ["rule"],
}
_REWRITE: Final[Schema] = {
    "anyOf": [{"type": "null"}, _TEXT, _RULE, {"type": "array", "items": {"anyOf": [_TEXT, _RULE]}}]
}

_DOMAIN: Final[Schema] = {
    "type": "object",
    "properties": {
        "choices": {
            "description": "Values, or a mapping from labels to values.",
            "anyOf": [{"type": "array", "minItems": 1}, {"type": "object", "minProperties": 1}],
        },
        "range": {
            "description": "Lowest and highest value; whole numbers where both are.",
            "type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2,
        },
        "step": {"description": "Distance of two values.", **_NUMBER},
        "log": {"description": "Drawn in the logarithm.", "type": "boolean"},
        "rewrites": {
            "description": "Rewrites of the spec to choose from: from labels to a rule, several, or null for none.",
            "anyOf": [{"type": "array", "items": _TEXT}, {"type": "object", "additionalProperties": _REWRITE}],
        },
        "at": {
            "description": "Where the rewrites apply: a path or several.",
            "anyOf": [_TEXT, {"type": "array", "items": _TEXT}],
        },
        "when": {
            "description": "Condition on parameters above; where it fails, the first value stands in.",
            "type": ["string", "boolean"],
        },
    },
    "additionalProperties": False,
}  # fmt: skip


def study_schema() -> Schema:
    """The schema of a study file."""
    metrics = [*COSTS, *(name for group in MEASURED.values() for name in group)]
    known = {
        name: {"description": text, "$ref": "#/$defs/limit"}
        for group in (COSTS, *MEASURED.values())
        for name, text in group.items()
    }
    directions: Schema = {"enum": list(DIRECTIONS)}
    limit: Schema = {
        "type": "object",
        "properties": {"min": _NUMBER, "max": _NUMBER},
        "additionalProperties": False,
        "minProperties": 1,
    }
    objective: Schema = {
        "anyOf": [
            directions,
            {
                "type": "object",
                "properties": {
                    "metric": {"description": f"{', '.join(metrics)}, or one of a plugin's.", **_TEXT},
                    "direction": directions,
                },
                "required": ["direction"],
                "additionalProperties": False,
            },
        ]
    }
    sections: dict[str, Schema] = {
        "archgraph": {"description": "Version of the language.", "const": VERSION},
        "name": {"description": "The name of the study; the file's name if left out.", **_TEXT},
        "summary": {"description": "One or two sentences.", **_TEXT},
        "plugins": {
            "description": "Modules with metrics and ops of your own; each must be given with --plugin too.",
            "anyOf": [_TEXT, {"type": "array", "items": _TEXT}],
        },
        "spec": {"description": "A spec file beside this one, or a shipped spec; `vit:base` names a variant.", **_TEXT},
        "graph": {"description": "Which graph, where the spec has several.", **_TEXT},
        "set": {"description": "Params of the spec, fixed for all candidates.", "type": "object"},
        "at": {
            "description": "Input shapes that costs are for.",
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        },
        "space": {
            "description": "From parameters (dim, depths.2, variant, train.lr, a place to rewrite) to their domains.",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"anyOf": [{"type": "array", "minItems": 1}, _DOMAIN]},
        },
        "constraints": {
            "description": "From metrics to limits. Costs are decided before anything is built.",
            "type": "object",
            "properties": known,
            "additionalProperties": {"$ref": "#/$defs/limit"},
        },
        "objectives": {
            "description": "From metrics to directions.",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": objective,
        },
        "sampler": SAMPLER.schema(),
        "pruner": PRUNER.schema(),
        "trials": {"description": "Trials in all.", "type": "integer", "minimum": 1},
        "timeout": {"description": "Seconds after which no trial begins.", "type": "number", "minimum": 0},
        "seed": {
            "description": "Every trial's seed follows from it and the trial's number.",
            "type": "integer",
            "minimum": 0,
        },
        "storage": {"description": "`journal` (the default) or a database URL.", **_TEXT},
        "data": DATA.schema(),
        "train": TRAIN.schema(),
        "proxies": PROXY.schema(),
        "latency": LATENCY.schema(),
        "machine": machine_schema(),
        "notes": {"description": "Anything worth telling."},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "archgraph study",
        "type": "object",
        "properties": {name: sections[name] for name in SECTIONS},
        "additionalProperties": False,
        "required": ["archgraph", "spec", "space", "objectives"],
        "$defs": {"limit": limit},
    }
