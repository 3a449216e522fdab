"""Differences of two architectures."""

import json

import archgraph
from archgraph.report.diff import diff
from archgraph.rewrite.api import rewrite
from tests.cli.running import run

AT = {"image": [1, 3, 224, 224]}


def test_equal_graphs_do_not_differ() -> None:
    a = archgraph.load("vit").graph(at=AT)
    assert diff(a, archgraph.load("vit", "tiny").graph(at=AT)).changes == ()
    assert run("diff", "vit", "vit:tiny").exit_code == 0


def test_a_rewritten_block_is_the_only_difference() -> None:
    a = archgraph.load("vit").graph(at=AT)
    found = diff(a, rewrite(a, "softmax_to_linear").after)
    (change,) = found.changes
    assert (change.path, change.kind) == ("blocks.*.attn", "changed")
    assert (change.before, change.after) == ("mhsa", "linear_attention")
    before, after = change.costs
    assert before is not None
    assert after is not None
    assert after.params - before.params == 36
    assert after.macs - before.macs == found.totals[1].macs - found.totals[0].macs


def test_turns_that_differ_are_told_one_by_one() -> None:
    a = archgraph.load("vit", depth=4).graph(at=AT)
    b = rewrite(a, "softmax_to_linear", where=["blocks.1.attn", "blocks.3.attn"]).after
    assert [c.path for c in diff(a, b).changes] == ["blocks.1.attn", "blocks.3.attn"]
    assert [c.path for c in diff(b, a).changes] == ["blocks.1.attn", "blocks.3.attn"]


def test_what_is_only_on_one_side() -> None:
    a = archgraph.load("resnet").graph(at={"x": [1, 3, 64, 64]})
    b = rewrite(a, "add_eca", where="stem.bn1").after
    kinds = {(c.path, c.kind, c.before, c.after) for c in diff(a, b).changes}
    assert kinds == {("stem.attention", "only after", "", "eca"), ("stem.act", "changed", "relu", "relu")}


def test_the_command_prints_costs_and_exits_with_1() -> None:
    found = run("diff", "vit:tiny", "vit:small", "--set", "depth=2", "--json")
    assert found.exit_code == 1
    tree = json.loads(found.output)
    assert not tree["same"]
    assert tree["totals"]["params"] == [
        archgraph.report(archgraph.load("vit", variant, depth=2)).params for variant in ("tiny", "small")
    ]
    assert "blocks.*.attn.qkv" in run("diff", "vit:tiny", "vit:small").output
