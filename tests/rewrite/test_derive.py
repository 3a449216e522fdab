"""Derived specs and blocks: params, variants, settings, references, faults, and files written by the command."""

from __future__ import annotations

from pathlib import Path

import pytest

import archgraph
from archgraph.analysis.cost import totals
from archgraph.ir.diagnostics import SpecError
from archgraph.report.check import check_file
from archgraph.spec.load import loads

AT = {"image": [1, 3, 224, 224]}
LINEAR = """
archgraph: 1
name: linear_vit
base: vit
params: {depth: 6, pool: mean}
rewrite:
  - {rule: softmax_to_linear, where: "blocks.$j.attn", expect: depth, set: {feature_map: elu_plus_one}}
"""


def fault(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        loads(text, file="<derived>").graph()
    return str(caught.value)


def test_params_of_base_and_rules_live_on() -> None:
    spec = loads(LINEAR)
    params = spec.params()
    assert (params["depth"], params["dim"], params["pool"], params["floor"]) == (6, 192, "mean", 1e-6)
    assert "feature_map" not in params
    wide = spec.with_settings(dim=96, depth=2)
    assert (
        totals(wide.graph(at=AT)).params
        == totals(archgraph.load("vit", dim=96, depth=2, pool="mean").graph(at=AT)).params + 2 * 3
    )


def test_variants_are_those_of_the_base_unless_it_says() -> None:
    assert loads(LINEAR).variants == ["tiny", "small", "base", "large"]
    own = LINEAR + "variants: {small: {base: small, depth: 3, floor: 1}}\n"
    spec = loads(own, "small")
    assert spec.variants == ["small"]
    assert {k: spec.params()[k] for k in ("dim", "num_heads", "depth", "floor")} == {
        "dim": 384,
        "num_heads": 6,
        "depth": 3,
        "floor": 1,
    }


def test_an_entry_may_depend_on_params() -> None:
    text = "archgraph: 1\nname: either\nbase: vit\nparams: {linear: true}\n"
    text += "rewrite: [{rule: softmax_to_linear, when: linear}]\n"
    plain = archgraph.load("vit").graph(at=AT)
    assert loads(text, linear=False).graph(at=AT).nodes == plain.nodes
    assert totals(loads(text).graph(at=AT)).params == totals(plain).params + 36


def test_symbols_pass_through() -> None:
    n = totals(loads(LINEAR).graph()).macs
    assert "B" in str(n)


def test_a_derived_block_is_a_block() -> None:
    text = """
archgraph: 1
name: pair
uses: [blocks/resnet, blocks/eca]
inputs: {x: [2, 8, 6, 6]}
graph:
  a: {op: gated, planes: 8, k_size: 5}
  b: {op: gated, planes: 16, stride: 2}
blocks:
  gated: {base: basic_block, params: {k_size: 3}, rewrite: [add_eca_to_branches]}
"""
    graph = loads(text).graph()
    convs = [n.callee.node("attention").callee.node("conv").op.kernel_size for n in graph.nodes]  # type: ignore[union-attr]
    assert convs == [(5,), (3,)]
    assert [n.callee.name for n in graph.nodes] == ["gated", "gated"]


def test_eca_resnet_is_what_its_blocks_with_attention_are() -> None:
    ours = archgraph.load("eca-net/resnet", "resnet50_k3557").graph(at={"x": [1, 3, 64, 64]})
    plain = archgraph.load("resnet", "resnet50").graph(at={"x": [1, 3, 64, 64]})
    assert totals(ours).params == totals(plain).params + 3 * 3 + 4 * 5 + 6 * 5 + 3 * 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("archgraph: 1\nbase: vitt\n", "there is no library `vitt`"),
        ("archgraph: 1\nname: a\nbase: vit\ngraph: {y: relu}\n", "a derived spec has no `graph` of its own"),
        ("archgraph: 1\nname: a\nbase: vit\nrewrite: [softmax_to_liner]\n", "did you mean `softmax_to_linear`?"),
        ("archgraph: 1\nname: a\nbase: vit\nrewrite: [{rule: softmax_to_linear, sett: {}}]\n", "has no key `sett`"),
        (
            "archgraph: 1\nname: a\nbase: vit\nrewrite: [{rule: softmax_to_linear, set: {flor: 1}}]\n",
            "the rule `softmax_to_linear` has no param `flor`",
        ),
        (
            "archgraph: 1\nname: a\nbase: vit\nrewrite: [{rule: softmax_to_linear, expect: depth + 1}]\n",
            "has 12 sites in `a`",
        ),
        ("archgraph: 1\nname: a\nbase: vit\nrewrite: [add_eca]\n", "no node is a `batch_norm2d`"),
        ("archgraph: 1\nname: a\nbase: vit\nvariants: {t: {base: tini}}\n", "`vit` has no variant `tini`"),
        ("archgraph: 1\nname: a\nbase: vit\nvariants: {t: {dimm: 3}}\n", "variant `t` sets `dimm`, which is no param"),
        ("archgraph: 1\nname: a\nbase: vit\nparams: {pool: men}\n", "`pool` can't be `men`"),
        ("archgraph: 1\nname: a\nbase: vit\nrewrite: {rule: add_eca}\n", "`rewrite` is a list"),
        ("archgraph: 1\nblocks: {b: {base: nothing}}\ngraph: {y: b}\n", "a derived block names the block"),
    ],
)
def test_mistakes_in_derived_specs(text: str, message: str) -> None:
    assert message in fault(text)


def test_a_base_that_derives_from_itself(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("archgraph: 1\nname: a\nbase: b\n")
    (tmp_path / "b.yaml").write_text("archgraph: 1\nname: b\nbase: a\n")
    faults = check_file(tmp_path / "a.yaml").faults
    assert any("`base` goes in a circle" in d.message for d in faults)


def test_derived_from_derived(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "archgraph: 1\nname: one\nbase: vit\nparams: {depth: 2}\nrewrite: [softmax_to_linear]\n"
    )
    (tmp_path / "act.yaml").write_text(
        "archgraph: 1\nrule: act\nmatch: {graph: {a: {op: gelu, _: _}}}\n"
        "replace: {graph: {a: relu}}\nrelation: approximate\n"
    )
    (tmp_path / "two.yaml").write_text("archgraph: 1\nname: two\nbase: one\nrewrite: [act.yaml]\n")
    graph = archgraph.load(tmp_path / "two.yaml", dim=48).graph(at=AT)
    block = graph.node("blocks").callee
    assert block.node("attn").callee.name == "linear_attention"
    assert block.node("mlp").callee.node("act1").op.op_name == "relu"  # type: ignore[union-attr]
