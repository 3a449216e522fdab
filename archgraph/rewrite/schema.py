"""JSON Schema of rule files; nodes of replacements are those of specs."""

from __future__ import annotations

from typing import Any, Final

from archgraph.rewrite.rule import RELATIONS, SECTIONS
from archgraph.spec.parse import VERSION
from archgraph.spec.schema import spec_schema

__all__ = ["rule_schema"]

_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_NODE_OF_MATCH: Final = {
    "description": "What a node must be. Unknown names bind, known ones must be equal, `_` is anything; attributes "
    "that are not named must have their defaults, unless `_: _` frees them.",
    "anyOf": [_TEXT, {"type": "array"}, {"type": "object"}],
}
_KEEP: Final = {
    "description": "The matched node again, with these attributes changed.",
    "type": "object",
    "required": ["keep"],
    "properties": {"keep": _TEXT},
}
_WHERE: Final = {
    "description": "Which sites: a path (`blocks.$j.attn`), several, or `{path, if}`.",
    "anyOf": [
        _TEXT,
        _TEXTS,
        {
            "type": "object",
            "properties": {"path": {"anyOf": [_TEXT, _TEXTS]}, "if": {"type": ["string", "boolean"]}},
            "additionalProperties": False,
        },
    ],
}


def rule_schema() -> dict[str, Any]:
    """The schema of a rule file, for the ops known now."""
    spec = spec_schema()
    shared = spec["properties"]
    node = {"anyOf": [_KEEP, {"$ref": "#/$defs/node"}]}
    graph = {"type": "object", "additionalProperties": node}
    sections: dict[str, Any] = {
        "archgraph": {"description": "Version of the language.", "const": VERSION},
        "rule": {"description": "The name of the rule.", **_TEXT},
        "summary": shared["summary"],
        "uses": shared["uses"],
        "plugins": shared["plugins"],
        "params": shared["params"],
        "match": {
            "description": "The pattern: values from outside with their shapes, and nodes; the last is the root.",
            "type": "object",
            "required": ["graph"],
            "additionalProperties": False,
            "properties": {
                "inputs": shared["inputs"],
                "graph": {"type": "object", "minProperties": 1, "additionalProperties": _NODE_OF_MATCH},
                "outputs": {"type": "object", "additionalProperties": _TEXT},
            },
        },
        "replace": {
            "description": "The replacement: nodes that may name inputs and labels of the pattern; a label that is "
            "named and not defined anew stays.",
            "type": "object",
            "additionalProperties": False,
            "properties": {"graph": graph, "outputs": shared["outputs"]},
        },
        "requires": shared["requires"],
        "relation": {
            "description": "Whether the outputs stay equal; exact rules are tested on random instances.",
            "enum": list(RELATIONS),
        },
        "preserves": {"description": "What an approximate rule keeps, in words.", **_TEXTS},
        "mode": {"description": "`eval`: the rule holds in evaluation only.", "const": "eval"},
        "weights": {
            "description": "New parameter or module: old one, a node of `graph`, or {init: …}; `dropped`: lost ones.",
            "type": "object",
            "properties": {"graph": graph, "dropped": {"anyOf": [_TEXT, _TEXTS]}},
            "additionalProperties": {"anyOf": [_TEXT, {"type": "object", "required": ["init"]}]},
        },
        "where": _WHERE,
        "repeat": {"description": "`fixpoint`: again until nothing matches.", "enum": ["once", "fixpoint"]},
        "blocks": shared["blocks"],
        "context": {
            "description": "Values from elsewhere in the graph, by path from its root.",
            "type": "object",
            "additionalProperties": _TEXT,
        },
        "check": {"description": "Values of unknown names under which random instances are drawn.", "type": "object"},
        "notes": {"description": "Anything worth telling."},
    }
    return {
        "$schema": spec["$schema"],
        "title": "archgraph rewrite rule",
        "type": "object",
        "properties": {key: sections[key] for key in SECTIONS},
        "additionalProperties": False,
        "required": ["archgraph", "rule", "match"],
        "$defs": spec["$defs"],
    }
