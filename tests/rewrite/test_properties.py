"""Rules on drawn graphs: none corrupts one, disjoint rules commute, every weight is accounted for."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import archgraph
from archgraph.analysis.weights import weight_table
from archgraph.ir.canon import canonical_hash
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.graph import Graph
from archgraph.ops.verify import verify
from archgraph.rewrite.api import apply_rule, rewrite
from archgraph.rewrite.rule import Rule, load_rule, shipped_rules
from tests.ir.graph_strategies import graphs
from tests.rewrite.rules import rule

GENERAL = [
    rule("{inputs: {x: [...]}, graph: {a: {op: _, _: _}}}", "{graph: {extra: {op: relu, in: a}}}"),
    rule("{inputs: {x: [...]}, graph: {a: {op: [relu, gelu, tanh, sigmoid], _: _}}}", "{outputs: {y: x}}"),
    rule(
        "{inputs: {x: [...]}, graph: {a: {op: linear, out_features: n, bias: b}}}",
        "{graph: {a: {op: linear, out_features: n, bias: b}}}",
        "relation: exact\nweights: {a: a}",
    ),
    rule(
        "{inputs: {x: [...], z: [...]}, graph: {a: {op: add, in: [x, z]}}}",
        "{graph: {a: {op: add, in: [z, x]}}}",
        "relation: exact",
    ),
    *[load_rule(path) for path in shipped_rules().values()],
]


def sound(before: Graph, each: Rule) -> None:
    kinds: set[str] = set()
    try:
        step = apply_rule(before, each, expect=None)
    except SpecError as error:
        kinds = {d.code.partition("/")[0] for d in error.diagnostics}
    assert kinds <= {"rule", "type", "requires", "name", "limit"}, kinds
    if kinds:
        return
    verify(step.after)
    assert step.after.input_types == before.input_types
    assert step.after.output_types == before.output_types
    old = weight_table(before)
    new = {path for path, w in weight_table(step.after).items() if w.persistent}
    sources = step.weights[-1].sources if len(step.weights) == 1 else None
    if sources is not None:
        assert set(sources) == new
        named = {p for s in sources.values() for p in s.paths} | set(step.weights[0].dropped)
        assert named <= set(old)
        assert {p for p, w in old.items() if w.persistent} <= named


@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(graph=graphs(), number=st.integers(0, len(GENERAL) - 1))
def test_no_rule_corrupts_a_graph(graph: Graph, number: int) -> None:
    sound(graph, GENERAL[number])


HOSTS = {
    "vit": ({"depth": 3}, {"image": [1, 3, 224, 224]}),
    "resnet": ({}, {"x": [1, 3, 64, 64]}),
    "swin": ({}, {}),
    "pvt": ({}, {}),
    "mobilenet_v2": ({}, {"x": [1, 3, 64, 64]}),
}


@pytest.mark.parametrize("name", HOSTS)
def test_shipped_rules_on_shipped_hosts(name: str) -> None:
    more, at = HOSTS[name]
    spec = archgraph.load(name, **more)
    graph = spec.graph(at=at or spec.example())
    for each in GENERAL[4:]:
        sound(graph, each)


@pytest.mark.parametrize(
    ("name", "at", "first", "second"),
    [
        ("vit", {"image": [1, 3, 224, 224]}, "softmax_to_linear", "fold_layer_norm_affine"),
        ("vit", {"image": [1, 3, 224, 224]}, "softmax_to_agent", "remove_dropout"),
        ("resnet", {"x": [1, 3, 64, 64]}, "add_eca_to_branches", "fold_conv_bn"),
    ],
)
def test_rules_on_disjoint_places_commute(name: str, at: dict[str, list[int]], first: str, second: str) -> None:
    where = {"fold_conv_bn": ["stem.bn1", "layers.**.bn1"], "remove_dropout": ["mlp.drop1", "mlp.drop2"]}.get(second)
    more = {"norm_after_pool": True, "pool": "mean"} if second == "fold_layer_norm_affine" else {}
    graph = archgraph.load(name, **more).graph(at=at)
    ab = rewrite(rewrite(graph, first).after, second, where=where).after
    ba = rewrite(rewrite(graph, second, where=where).after, first).after
    assert canonical_hash(ab) == canonical_hash(ba)
    assert canonical_hash(ab) != canonical_hash(graph)


def test_sites_of_one_rule_in_either_order() -> None:
    graph = archgraph.load("vit", depth=4).graph(at={"image": [1, 3, 224, 224]})
    a, b = ["blocks.0.attn", "blocks.3.attn"], ["blocks.1.attn", "blocks.2.attn"]
    one = rewrite(rewrite(graph, "softmax_to_linear", where=a).after, "softmax_to_linear", where=b).after
    other = rewrite(rewrite(graph, "softmax_to_linear", where=b).after, "softmax_to_linear", where=a).after
    whole = rewrite(graph, "softmax_to_linear").after
    assert canonical_hash(one) == canonical_hash(other) == canonical_hash(whole)
