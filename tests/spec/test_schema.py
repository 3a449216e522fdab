"""The JSON Schema: every shipped spec validates, wrong keys and values don't, and its words are the parser's."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

from archgraph.ops.base import Op, all_ops
from archgraph.report.claims import _KEYS as CLAIM_KEYS
from archgraph.report.claims import FORMULA_KEYS
from archgraph.report.formulas import SUBJECT_KEYS
from archgraph.rewrite.schema import rule_schema
from archgraph.spec import schema
from archgraph.spec.libraries import specs_folder
from archgraph.spec.reference_parse import ENTRY_KEYS
from archgraph.spec.yaml import load_yaml, read_source
from tools.schema import RULES, TARGET

SPECS = sorted(p for p in specs_folder().rglob("*.yaml") if "rewrites" not in p.relative_to(specs_folder()).parts)


@cache
def validator() -> Draft7Validator:
    return Draft7Validator(schema.spec_schema())


def faults(text: str) -> list[str]:
    """``path: message`` of each fault of a YAML text."""
    tree = json.loads(json.dumps(load_yaml(text)))
    found = [best_match([error]) for error in validator().iter_errors(tree)]
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in found if e is not None]


def test_the_file_is_up_to_date() -> None:
    assert TARGET.read_text(encoding="utf-8") == schema.schema_text(schema.spec_schema()), "run `make docs`"
    assert RULES.read_text(encoding="utf-8") == schema.schema_text(rule_schema()), "run `make docs`"


def test_the_schema_is_one() -> None:
    Draft7Validator.check_schema(schema.spec_schema())
    assert json.loads(schema.schema_text(schema.spec_schema())) == schema.spec_schema()


def test_every_reference_has_a_definition() -> None:
    whole = schema.spec_schema()

    def refs(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*(refs(v) for v in value.values()))
        return set().union(*(refs(v) for v in value)) if isinstance(value, list) else set()

    assert {r.removeprefix("#/$defs/") for r in refs(whole)} <= set(whole["$defs"])


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.relative_to(specs_folder()).as_posix())
def test_shipped_specs_validate(path: Path) -> None:
    assert faults(read_source(path)) == []


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.relative_to(specs_folder()).as_posix())
def test_shipped_specs_name_the_schema(path: Path) -> None:
    up = "../" * len(path.relative_to(specs_folder().parent).parent.parts)
    first = read_source(path).partition("\n")[0]
    assert first == f"# yaml-language-server: $schema={up}schema/spec.json"


@pytest.mark.parametrize("path", sorted((specs_folder() / "rewrites").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_rules_validate(path: Path) -> None:
    text = read_source(path)
    assert text.partition("\n")[0] == "# yaml-language-server: $schema=../../schema/rule.json"
    assert [
        e.message for e in Draft7Validator(rule_schema()).iter_errors(json.loads(json.dumps(load_yaml(text))))
    ] == []


def test_words_are_those_of_the_readers() -> None:
    properties = schema.spec_schema()["properties"]
    assert set(properties["claims"]["items"]["properties"]) == {*CLAIM_KEYS, *FORMULA_KEYS}
    assert set(schema._SUBJECT) == set(SUBJECT_KEYS)
    assert set(properties["reference"]["additionalProperties"]["properties"]) == set(ENTRY_KEYS)


@pytest.mark.parametrize("op", all_ops().values(), ids=lambda op: op.op_name)
def test_defaults_are_written_as_they_are_read(op: type[Op]) -> None:
    for a in op.attributes:
        if not a.required and a.default is not None:
            written = json.loads(json.dumps(a.kind.written(a.default)))
            assert a.kind.convert(written) == a.default


HEAD = "archgraph: 1\ninputs: {x: [B, 3, H, W]}\ngraph:\n  y: "


@pytest.mark.parametrize(
    "node",
    [
        "relu",
        "some_block",
        "{op: conv2d, out_channels: 2 * c, kernel_size: [3, 1], padding: same, in: x}",
        "{op: conv2d, out_channels: 8, kernel_size: 3, when: deep, else: x, as: [y], shape: [B, 8, _, _]}",
        "{op: some_block, anything: {op: relu}, in: {a: x, b: [x, z]}}",
        "{op: rearrange, pattern: b (h d) -> b h d, h: heads}",
        "{op: parameter, shape: [1, dim], init: {trunc_normal: {std: 0.02}}}",
        "{op: $norm, eps: 1.0e-6}",
        "{residual: [a: {op: linear, out_features: 3}, relu], shortcut: identity}",
        "{residual: {a: {op: linear, out_features: 3}, b: relu}}",
        "{switch: training, cases: {true: relu, false: x}}",
        "{op: scan, xs: {a: x}, init: {h: z}, graph: {y: {formula: a + h}}, carry: {h: y}, ys: {y: y}}",
        "{for: {i: 3, w: widths}, graph: {z: {op: linear, out_features: w}}, label: 's${i}'}",
        '{list: "reversed(a) + [b[-1]]"}',
        "{op: linear, in: x, out_features: 3, weights: {weight: w, bias: null}}",
    ],
)
def test_good_nodes_pass(node: str) -> None:
    assert faults(HEAD + node) == []


@pytest.mark.parametrize(
    ("node", "place"),
    [
        ("{op: conv2d, out_channels: 3}", "graph/y"),
        ("{op: conv2d, out_channels: 3, kernel_size: 3, strides: 2}", "graph/y"),
        ("{op: conv2d, out_channels: 3, kernel_size: [1, 2, 3]}", "graph/y/kernel_size"),
        ("{op: conv2d, out_channels: 3, kernel_size: 3, padding_mode: mirror}", "graph/y/padding_mode"),
        ("{op: rearrange, pattern: 3}", "graph/y/pattern"),
        ("{op: parameter, shape: [1], init: {trunc_normal: {sd: 0.02}}}", "graph/y/init/trunc_normal"),
        ("{residual: [{a: {op: relu, q: 1}}]}", "graph/y/residual/0/a"),
        ("{residual: {a: {op: relu, q: 1}}}", "graph/y/residual/a"),
        ("{formula: x + 1, shap: [1]}", "graph/y"),
        ("{op: scan, xs: {a: x}}", "graph/y"),
        ("{op: relu, repeat: [2]}", "graph/y/repeat"),
        ("{switch: a}", "graph/y"),
        ("{cases: {a: relu}}", "graph/y"),
        ("3", "graph/y"),
    ],
)
def test_bad_nodes_are_found_where_they_are(node: str, place: str) -> None:
    assert [f.partition(":")[0] for f in faults(HEAD + node)] == [place]


def test_ops_that_only_elaboration_makes_are_left_out() -> None:
    assert set(all_ops()) >= schema.INTERNAL
    assert not any(f"op {name}" in schema.spec_schema()["$defs"] for name in schema.INTERNAL)
