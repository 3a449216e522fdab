"""JSON Schema of spec files, so that an editor completes and explains sections, ops and attributes.

It is built from the declarations that the parser and the ops themselves use; a word that one of them knows and the
schema lacks is a fault that tests find. The schema is wider than the language where a rule needs types or names:
what it accepts may still be refused by ``archgraph check``, what it refuses never loads.

Draft 7, which every editor's YAML service understands. The form of a node is chosen by ``if``/``then`` on its ``op``,
so that a wrong attribute is reported at the attribute.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from archgraph.ir.types import DTYPE_BYTES
from archgraph.ops.base import Attribute, Op, all_ops
from archgraph.ops.kinds import DTYPE, INIT, INT
from archgraph.spec.model import PARAM_TYPES
from archgraph.spec.node_words import FORM_KEYS, FORMS, META
from archgraph.spec.parse import BLOCK_KEYS, SECTIONS, VERSION
from archgraph.spec.parse_declarations import INPUT_KEYS
from archgraph.spec.scan import SCAN_KEYS

__all__ = ["INTERNAL", "schema_text", "spec_schema"]

#: Ops that elaboration makes; a spec writes them otherwise.
INTERNAL: Final = frozenset({"formula", "get_weight", "switch_training"})

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_NAME: Final[Schema] = {"pattern": r"^[A-Za-z_][A-Za-z0-9_]*$"}
_NULL: Final[Schema] = {"type": "null"}
_ANY: Final[Schema] = {}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _object(properties: Mapping[str, Any], required: Iterable[str] = (), **more: Any) -> Schema:
    """A mapping with these keys and no others."""
    found: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False, **more}
    if required:
        found["required"] = list(required)
    return found


#: Nodes may also be named by whole numbers, as turns written out are.
_NODE_NAME: Final[Schema] = {"pattern": r"^([A-Za-z_][A-Za-z0-9_]*|[0-9]+)$"}


def _table(values: Schema, names: Schema | None = _NAME) -> Schema:
    """A mapping from names to values of one kind."""
    found: Schema = {"type": "object", "additionalProperties": values}
    if names is not None:
        found["propertyNames"] = names
    return found


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _any_of(*choices: Schema) -> Schema:
    return {"anyOf": list(choices)}


def _doc(text: str, schema: Schema) -> Schema:
    """``schema`` with a description; a reference is wrapped, since draft 7 ignores what stands beside it."""
    return {"description": text, "allOf": [schema]} if "$ref" in schema else {"description": text, **schema}


# -- nodes -------------------------------------------------------------------------------------------------------

#: What many attributes share.
_PARTS: Final[dict[str, Schema]] = {"initialiser": INIT.schema(), "dtype": DTYPE.schema(), "whole": INT.schema()}

#: What every node may say.
_META: Final[dict[str, Schema]] = {
    "op": _doc("The op or block that the node calls; `$name` is a param that holds one.", _ref("op_name")),
    "in": _doc(
        "What the node takes: `node`, `node.output`, `list.0`, `list...`, a list of them, or a mapping from operand "
        "names. Left out: the value above.",
        _ref("operands"),
    ),
    "when": _doc("A static condition; a node that is skipped passes its first input on.", _ref("expression_or_bool")),
    "else": _doc("What a skipped node passes on: a value, or a number.", _any_of(_ref("value"), {"type": "number"})),
    "as": _doc("Names of the node's outputs, in order; `_` for one that is not needed.", _any_of(_TEXT, _list(_TEXT))),
    "shape": _doc("A shape pattern: checks the value and binds unknown names.", _ref("shape")),
    "unused": _doc("The node is registered and counted, and never run.", {"type": "boolean"}),
    "frozen": _doc("Its weights are not trained.", {"type": "boolean"}),
    "repeat": _doc("A chain of this many turns, each with its own weights.", _ref("expression_or_number")),
    "for": _doc("A chain over loop names in lock-step, each turn with its own weights.", _ref("loop_names")),
    "each": _doc("Turns side by side, each with its own weights; the value is a list.", _ref("loop_names")),
    "map": _doc("One module on every element, with one set of weights; the value is a list.", _ref("loop_names")),
    "label": _doc("The name of a turn in paths: a text such as `k${k}`.", _TEXT),
    "weights": _doc(
        "Values in place of the node's own weights: a record of them, or a mapping with null for one that is absent.",
        _any_of(_TEXT, _table(_any_of(_ref("value"), _NULL))),
    ),
    "vmap": _doc("How many leading axes of what it takes the body does not see.", _ref("expression_or_number")),
}

#: The keys of the forms that are no ops.
_FORMS: Final[dict[str, Schema]] = {
    "formula": _doc(
        "Element-wise arithmetic on named values, dims and params; `it` is the value above.",
        {"type": ["string", "number"]},
    ),
    "residual": _doc("A branch whose value is added to what goes in.", _ref("branch")),
    "shortcut": _doc("What the input becomes before it is added.", _ref("node")),
    "switch": _doc("What chooses a case; `training` is the module's mode at run time.", _ref("expression_or_bool")),
    "cases": _doc("From values to nodes, or names of values.", _table(_ref("node"), None)),
    "share": _doc("A node above, whose op, attributes and weights this one has.", _TEXT),
    "graph": _doc("Named nodes; the value is that of the last one, or `outputs`.", _ref("graph")),
    "inputs": _doc("What a region with `vmap` takes, by name.", _table(_ref("value"))),
    "outputs": _doc("From names to values.", _ref("outputs")),
    "carry": _doc("What one turn passes on to the next, by name.", _table(_ref("value"))),
    "updates": _doc(
        "Of the `true` case of `switch: training`: buffers around it, and the values that they get.",
        _table(_ref("value")),
    ),
    "list": _doc(
        "Several values as one list: names, or an expression over lists.", _any_of(_TEXT, _list(_ref("value")))
    ),
}

_SCAN: Final[dict[str, Schema]] = {
    "dim": _doc("The axis that is walked.", _ref("expression_or_number")),
    "reverse": _doc("Walk from the end.", _ref("expression_or_bool")),
    "xs": _doc("What is walked: one slice a turn.", _table(_ref("value"))),
    "init": _doc("What is carried, as it starts.", _table(_ref("value"))),
    "inputs": _doc("What every turn takes whole, by name.", _table(_ref("value"))),
    "graph": _doc("One turn.", _ref("graph")),
    "carry": _doc("What is carried on, under the names of `init`.", _table(_ref("value"))),
    "ys": _doc("What is collected from every turn.", _table(_ref("value"))),
}


def _op_schema(op: type[Op]) -> Schema:
    """The mapping of a node with this op; keys that every node has are described elsewhere."""
    properties: dict[str, Any] = dict.fromkeys(sorted(META), True)
    if op.op_name == "scan":
        properties |= {key: _SCAN[key] for key in SCAN_KEYS}
        return _object(properties, ("xs", "graph"), description=_summary(op))
    properties |= {a.name: _attribute_schema(a) for a in op.attributes}
    found = _object(properties, [a.name for a in op.attributes if a.required], description=_summary(op))
    if op.extra is not None:
        found["additionalProperties"] = _shared(op.extra.schema())
    return found


def _shared(schema: Any) -> Any:
    """A kind's schema with the parts that many kinds have replaced by references."""
    if isinstance(schema, list):
        return [_shared(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    for name, part in _PARTS.items():
        if schema == part:
            return _ref(name)
    return {key: _shared(value) for key, value in schema.items()}


def _attribute_schema(a: Attribute) -> Schema:
    schema: Schema = _shared(a.kind.schema())
    if "$ref" in schema:
        schema = {"allOf": [schema]}
    if a.doc:
        schema["description"] = a.doc
    if a.required:
        return schema
    schema["default"] = None if a.default is None else a.kind.written(a.default)
    if a.default is None and _NULL not in schema.get("anyOf", ()):
        return _any_of(schema, _NULL)
    return schema


def _summary(op: type[Op]) -> str:
    """The first paragraph of the op's documentation."""
    return inspect.cleandoc(op.__doc__ or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")


def _form_schema(form: str) -> Schema:
    own: dict[str, Any] = {key: _FORMS.get(key, True) for key in sorted(FORM_KEYS[form])}
    return _object(own, ("cases",) if form == "switch" else ())


def _node_schemas(ops: Mapping[str, type[Op]]) -> dict[str, Schema]:
    chosen = [
        {"if": {"properties": {"op": {"const": name}}, "required": ["op"]}, "then": _ref(f"op {name}")} for name in ops
    ]
    chosen += [
        {"if": {"required": [form], "not": {"required": ["op"]}}, "then": _ref(f"form {form}")}
        for form in FORMS
        if form != "op"
    ]
    is_node = _any_of(*({"required": [form]} for form in FORMS))
    node = {"if": is_node, "then": _ref("node_mapping")}
    one_name = _table(_ref("node")) | {"minProperties": 1, "maxProperties": 1}
    return {
        **{f"op {name}": _op_schema(op) for name, op in ops.items()},
        **{f"form {form}": _form_schema(form) for form in FORMS if form != "op"},
        "op_name": _any_of(*({"const": name, "description": _summary(op)} for name, op in ops.items()), _TEXT),
        "node": _doc(
            "A word (an op or block), a mapping, or a list (a chain: each item takes the value above).",
            _any_of(_ref("op_name"), _ref("chain"), _ref("node_mapping")),
        ),
        "node_mapping": {
            "type": "object",
            "properties": {**_META, **{form: True for form in FORMS if form != "op"}},
            **is_node,
            "allOf": chosen,
        },
        "chain": _list(_any_of(_ref("op_name"), _ref("chain"), {"type": "object", **node, "else": one_name})),
        "branch": _any_of(_ref("op_name"), _ref("chain"), {"type": "object", **node, "else": _ref("graph")}),
        "graph": _doc("Nodes by name, in order.", _table(_ref("node"), _NODE_NAME)),
        "value": _doc(
            "`node`, `node.output`, `list.0`, `list...`; or a node written in place.",
            _any_of(_TEXT, _ref("chain"), _ref("node_mapping")),
        ),
        "operands": _any_of(
            _TEXT,
            _list(_ref("value")),
            {"type": "object", **node, "else": _table(_ref("value"))},
        ),
        "outputs": _table(
            _any_of(
                _TEXT,
                {
                    "type": "object",
                    "if": {"required": ["value"]},
                    "then": _object({"value": _ref("value"), "when": _META["when"]}, ("value",)),
                    "else": _ref("node_mapping"),
                },
            )
        ),
        "loop_names": _table(_any_of(_ref("expression_or_number"), _list(_ANY))),
    }


# -- declarations ------------------------------------------------------------------------------------------------

_DECLARATIONS: Final[dict[str, Schema]] = {
    "expression": {
        "type": "string",
        "description": "An expression over params, locals, bound dims and loop names, such as `dim // num_heads`.",
    },
    "expression_or_number": _any_of({"type": "number"}, _ref("expression")),
    "expression_or_bool": _any_of({"type": "boolean"}, _ref("expression")),
    "shape": _doc(
        "A shape pattern: numbers, names, expressions, `_` any size, `...` any axes, `P + (H W)` a token grid.",
        _list({"type": ["integer", "string"]}),
    ),
    "default": _any_of(
        {"enum": list(PARAM_TYPES), "description": "A value of this type must be given."},
        {"type": ["number", "boolean", "null", "string", "array"]},
        {
            "type": "object",
            "if": {"required": ["one_of"]},
            "then": _object({"one_of": _list(_ANY, minItems=1), "default": _ANY}, ("one_of",)),
            "else": {"if": {"required": ["op"]}, "then": _ref("op_value")},
        },
    ),
    "op_value": {
        "type": "object",
        "description": "An op or block with attributes, as a value.",
        "properties": {"op": _ref("op_name")},
        "required": ["op"],
    },
    "params": _doc(
        "From names to defaults: a number, expression, list, table, `{one_of: [a, b]}`, `{op: name}`, or a type.",
        _table(_ref("default")),
    ),
    "let": _doc("Locals, in order: names for expressions.", _table(_ANY)),
    "requires": _doc(
        "Conditions that must hold. Over open sizes they become guards, one for each part of `a and b`, and decide "
        "what follows.",
        _list(
            _object(
                {
                    "that": _doc("The condition.", _ref("expression_or_bool")),
                    "why": _doc("What is said when it does not hold.", _TEXT),
                    "warn": _doc("Not an error.", {"type": "boolean"}),
                },
                ("that", "why"),
            )
        ),
    ),
}

_INPUT: Final[dict[str, Schema]] = {
    "shape": _ref("shape"),
    "list": _doc("The shape of each element of a list input.", _ref("shape")),
    "len": _doc("How many elements the list has.", _ref("expression_or_number")),
    "each": _doc("Names in the shape that differ from element to element.", _ref("loop_names")),
    "dtype": _doc("What the elements are; `float` is the model's dtype.", {"enum": list(DTYPE_BYTES)}),
    "optional": _doc("It may be left out.", {"type": "boolean"}),
    "when": _doc("It exists where this static condition holds.", _ref("expression_or_bool")),
    "at": _doc("Sizes for reports, where dims are free.", _list(_ANY)),
    "summary": _TEXT,
}

_REWRITE: Final[Schema] = _list(
    _any_of(
        _TEXT,
        _object(
            {
                "rule": _doc("A shipped rule by name, or the path of a rule's file.", _TEXT),
                "set": _doc(
                    "Params of the rule: expressions over the spec's own, and over numbers of the path.",
                    _ref("settings"),
                ),
                "where": _doc(
                    "Which sites: a path, several, or `{path, if}`.", _any_of(_TEXT, _list(_TEXT), {"type": "object"})
                ),
                "expect": _doc("How many sites there must be.", _ref("expression_or_number")),
                "when": _doc("The rule is applied only where this holds.", _ref("expression_or_bool")),
            },
            ("rule",),
        ),
    )
)

_BLOCK: Final[dict[str, Schema]] = {
    "summary": _TEXT,
    "base": _doc("The block that this one derives from.", _TEXT),
    "rewrite": _doc("Rules applied to the base, in order.", _REWRITE),
    "params": _ref("params"),
    "inputs": _ref("inputs"),
    "let": _ref("let"),
    "requires": _ref("requires"),
    "graph": _ref("graph"),
    "outputs": _ref("outputs"),
}

_SIZES: Final = _doc("Input shapes.", _table(_list(_ANY), None))

_SUBJECT: Final[dict[str, Schema]] = {
    "spec": _doc("A shipped spec or a file beside this one; this one if left out.", _TEXT),
    "variant": _TEXT,
    "graph": _TEXT,
    "set": _doc("Params set on top of the variant.", _table(_ANY)),
    "at": _SIZES,
    "rewrite": _doc(
        "Rules that are applied first.",
        _list(_any_of(_TEXT, _object({"rule": _TEXT, "set": {"type": "object"}, "where": _ANY}, ("rule",)))),
    ),
    "over": _doc("The size that degrees are in, or sizes as expressions in one symbol.", _any_of(_TEXT, _table(_ANY))),
    "around": _doc("The symbol's value whose structure counts.", {"type": "integer"}),
}

_CLAIM: Final[dict[str, Schema]] = {
    "variant": _TEXT,
    "graph": _TEXT,
    "set": _doc("Params set on top of the variant.", _table(_ANY)),
    "at": _SIZES,
    **{name: _doc("The exact number.", {"type": "integer"}) for name in ("params", "buffers", "macs", "flops")},
    "printed": _doc(
        "Figures as printed, such as `22.4M`; for a formula one figure, also `13%` or `4.7e-4G`.",
        _any_of(
            _object({name: {"type": ["string", "number"]} for name in ("params", "buffers", "macs", "flops")}),
            {"type": ["string", "number"]},
        ),
    ),
    "convention": _doc("What the source calls FLOPs.", {"enum": ["macs", "flops"]}),
    "units": _doc("`binary`: its M is 2²⁰.", {"enum": ["decimal", "binary"]}),
    "tolerance": _doc("How far the printed figures may be off, as a fraction.", {"type": "number"}),
    "agrees": _doc("False for a recorded disagreement; `note` says why.", {"type": "boolean"}),
    "source": _doc("Where it stands.", _TEXT),
    "note": _TEXT,
    "claim": _doc("What a claim by formula says, in words.", _TEXT),
    "paper": _doc("Whose claim it is; the spec's own name if left out.", _TEXT),
    "of": _doc("What a formula is over: from names to specs.", _table(_any_of(_TEXT, _object(_SUBJECT)), None)),
    "formula": _doc(
        "An expression over costs, such as `a.macs / b.macs` or `a.degree.macs`; a condition must hold.", _TEXT
    ),
    "exact": _doc("The whole number that the formula is.", {"type": "integer"}),
    "open": _doc("Why the claim can't be checked yet.", _TEXT),
}

_TEXTS: Final = _any_of(_TEXT, _list(_TEXT))
_USE: Final[Schema] = {"type": ["string", "object"]}

_REFERENCE: Final[dict[str, Schema]] = {
    "also": _doc("Other spellings of the class.", _TEXTS),
    "to": _doc("Which graph or block of ours it is: `graph`, or a name.", _TEXT),
    "when": _doc("The entry fits where this holds of the arguments.", _ref("expression_or_bool")),
    "args": _doc("The constructor's own defaults, as data.", {"type": "object"}),
    "ignored": _doc("Arguments that must have this value; `_` for any.", {"type": "object"}),
    "let": _doc("Locals over the arguments, in order.", {"type": "object"}),
    "params": _doc("Our params as expressions over the arguments.", {"type": "object"}),
    "dims": _doc("Sizes that a shape alone can't tell.", {"type": "object"}),
    "inputs": _doc("Our inputs from theirs.", {"type": "object"}),
    "unread": _doc("Inputs of theirs that are not read.", _TEXTS),
    "outputs": _doc("Their outputs from ours.", {"type": "object"}),
    "use": _doc("Entries whose renames come first.", _any_of(_USE, _list(_USE))),
    "rename": _doc("From patterns of their keys to ours, in order.", {"type": "object"}),
    "published": _doc("Published variants by name.", {"type": "object"}),
}

_SECTIONS: Final[dict[str, Schema]] = {
    "archgraph": _doc("Version of the language.", {"const": VERSION}),
    "name": _doc("The name of the spec; the file's name if left out.", _TEXT),
    "summary": _doc("One or two sentences.", _TEXT),
    "paper": _doc("title, arxiv, year, …", {"type": "object"}),
    "uses": _doc("Block libraries, beside this file or among the shipped ones.", _TEXTS),
    "plugins": _doc("Modules with ops of their own; each must be given with --plugin too.", _TEXTS),
    "base": _doc("The spec that this one derives from.", _TEXT),
    "rewrite": _doc("Rules applied to the base, in order.", _REWRITE),
    "symbols": _doc("Names of sizes that stay symbolic.", _TEXTS),
    "params": _ref("params"),
    "let": _ref("let"),
    "requires": _ref("requires"),
    "variants": _doc(
        "From names to settings of params; `graph` chooses another graph.",
        _table({"type": ["object", "null"]}, None),
    ),
    "inputs": _ref("inputs"),
    "graph": _ref("graph"),
    "outputs": _ref("outputs"),
    "graphs": _doc("Several graphs by name, each with inputs, graph and outputs.", _table(_ref("block"), None)),
    "blocks": _doc("Blocks by name: graphs with params, called as ops.", _table(_ref("block"), None)),
    "claims": _doc("Numbers that a paper or its code states.", _list(_object(_CLAIM))),
    "reference": _doc("How reference implementations' words map to ours.", _table(_object(_REFERENCE, ("to",)), None)),
    "notes": _doc("Anything worth telling.", _ANY),
}


def spec_schema() -> Schema:
    """The schema of a spec file, for the ops known now."""
    ops = {name: op for name, op in sorted(all_ops().items()) if name not in INTERNAL}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "archgraph spec",
        **_object({key: _SECTIONS[key] for key in SECTIONS}, ("archgraph",)),
        "$defs": {
            **_DECLARATIONS,
            **_PARTS,
            "inputs": _doc(
                "From names to shapes.", _table(_any_of(_ref("shape"), _object({k: _INPUT[k] for k in INPUT_KEYS})))
            ),
            "settings": {"type": "object"},
            "block": _object(
                {key: _BLOCK[key] for key in BLOCK_KEYS}, anyOf=[{"required": ["graph"]}, {"required": ["base"]}]
            ),
            **_node_schemas(ops),
        },
    }


def schema_text(schema: Schema) -> str:
    """The schema as JSON, one line for each section and each definition, so that a change shows where it is."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    def block(entries: Mapping[str, Any], indent: str) -> str:
        inside = ",\n".join(f"{indent} {line(key)}: {line(value)}" for key, value in entries.items())
        return "{\n" + inside + f"\n{indent}}}"

    wide = ("properties", "$defs")
    rows = [f" {line(k)}: {block(v, ' ') if k in wide else line(v)}" for k, v in schema.items()]
    return "{\n" + ",\n".join(rows) + "\n}\n"
