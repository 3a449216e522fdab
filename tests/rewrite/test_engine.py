"""Rules on graphs: places, names, hierarchy, shared weights, weights plans, refusals."""

from __future__ import annotations

import pytest

import archgraph
from archgraph.analysis.cost import totals
from archgraph.ir.canon import canonical_hash
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.graph import Graph
from archgraph.ops.verify import verify
from archgraph.rewrite.api import Rewritten, apply_rule, find, rewrite
from tests.rewrite.rules import apply, rule, spec, words

RELU = "{inputs: {x: [...]}, graph: {a: relu}}"
GELU = "{graph: {a: gelu}}"
TWO = "{inputs: {x: [...]}, graph: {a: relu, b: relu}}"


def table(graph: Graph, match: str, replace: str, more: str) -> list[tuple[str, str, str]]:
    step = apply(graph, match, replace, more)
    return Rewritten(step.before, step.after, (step,)).weight_table()


def test_a_label_that_is_defined_anew_keeps_the_name() -> None:
    step = apply(spec("act: relu\ny: tanh"), RELU, GELU)
    assert words(step.after) == ["act: gelu", "y: tanh"]
    verify(step.after)


def test_a_label_that_is_named_stays() -> None:
    graph = spec("c: {op: conv2d, out_channels: 4, kernel_size: 1}\nbn: batch_norm2d\ny: relu")
    step = apply(
        graph, "{graph: {n: {op: batch_norm2d, _: _}}}", "{graph: {gate: {op: sigmoid, in: n}, y: {formula: n * gate}}}"
    )
    assert words(step.after) == ["c: conv2d", "bn: batch_norm2d", "gate: sigmoid", "y_2: formula", "y: relu"]
    assert [n.inputs for n in step.after.nodes[2:]] == [((1, 0),), ((1, 0), (2, 0)), ((3, 0),)]


def test_a_node_in_front_and_the_node_kept() -> None:
    graph = spec("y: {op: linear, out_features: 3}")
    step = apply(
        graph,
        "{inputs: {x: [..., C]}, graph: {fc: {op: linear, out_features: n}}}",
        "{graph: {norm: {op: layer_norm, in: x}, fc: {keep: fc, in: norm, bias: false}}}",
        "relation: approximate\nweights: {fc.weight: fc.weight, dropped: [fc.bias]}",
    )
    assert words(step.after) == ["norm: layer_norm", "y: linear"]
    assert step.after.nodes[1].op.attrs()["bias"] is False  # type: ignore[union-attr]


def test_a_node_goes() -> None:
    step = apply(
        spec("a: relu\nd: {op: dropout, p: 0.1}\ny: tanh"),
        "{inputs: {x: [...]}, graph: {d: {op: dropout, p: _}}}",
        "{outputs: {y: x}}",
    )
    assert words(step.after) == ["a: relu", "y: tanh"]


def test_adjacent_matches_do_not_overlap() -> None:
    step = apply(spec("a: relu\nb: relu\nc: relu\nd: relu\ne: relu"), TWO, "{graph: {b: relu6}}")
    assert [n.op.op_name for n in step.after.nodes] == ["relu6", "relu6", "relu"]  # type: ignore[union-attr]
    assert step.count == 2


def test_a_rule_that_repeats_goes_on_until_nothing_matches() -> None:
    step = apply(
        spec("a: relu\nb: relu\nc: relu\nd: relu\ne: relu"),
        TWO,
        "{graph: {b: relu}}",
        "relation: exact\nrepeat: fixpoint",
    )
    assert words(step.after) == ["e: relu"]


def test_values_used_outside_are_refused() -> None:
    graph = spec("a: relu\nb: tanh\ns: {op: add, in: [a, b]}")
    text = rule("{inputs: {x: [...]}, graph: {a: relu, b: tanh}}", "{graph: {b: sigmoid}}")
    found = find(graph, text)
    assert found.count == 0
    assert found.refused == ("host.b: `a` is also read by `s`",)
    kept = apply(graph, "{inputs: {x: [...]}, graph: {a: relu, b: tanh}}", "{graph: {b: {op: sigmoid, in: a}}}")
    assert words(kept.after) == ["a: relu", "b: sigmoid", "s: add"]


def test_a_match_that_is_not_convex_is_refused() -> None:
    graph = spec("a: relu\nt: tanh\ns: {op: add, in: [a, t]}")
    match = (
        "{inputs: {x: [B, C, H, W], o: [B, C, H, W]}, outputs: {p: a, q: s}, "
        "graph: {a: {op: relu, in: x}, s: {op: add, in: [a, o]}}}"
    )
    replace = "{graph: {a: {op: gelu, in: x}, s: {op: mul, in: [a, o]}}, outputs: {p: a, q: s}}"
    assert words(apply(graph, match, replace).after) == ["a: gelu", "t: tanh", "s: mul"]
    tied = "{graph: {m: {op: add, in: [x, o]}, s: {op: mul, in: [m, o]}}, outputs: {p: m, q: s}}"
    assert find(graph, rule(match, tied)).refused == ("host.a: a value leaves the match and comes back into it",)


def test_types_must_agree() -> None:
    graph = spec("y: {op: linear, out_features: 6}")
    with pytest.raises(SpecError) as caught:
        apply(
            graph,
            "{inputs: {x: [..., C]}, graph: {y: {op: linear, out_features: n}}}",
            "{graph: {y: {op: linear, out_features: 2 * n}}}",
            "relation: approximate\nweights: {dropped: [y]}",
        )
    assert "rule/type" in str(caught.value)


def test_a_chain_stays_rolled_where_all_turns_are_alike() -> None:
    vit = archgraph.load("vit", "tiny")
    graph = vit.graph(at={"image": [1, 3, 224, 224]})
    done = rewrite(graph, "softmax_to_linear", expect=12)
    assert done.after.node("blocks").count == 12
    assert totals(done.after).params == totals(graph).params + 12 * 3
    verify(done.after)


def test_a_choice_of_turns_unrolls_the_chain() -> None:
    graph = archgraph.load("vit", "tiny", depth=4).graph(at={"image": [1, 3, 224, 224]})
    done = rewrite(graph, "softmax_to_linear", where=["blocks.0.attn", "blocks.2.attn"], expect=2)
    loop = done.after.node("blocks").callee
    assert [n.callee.node("attn").callee.name for n in loop.nodes] == ["linear_attention", "mhsa"] * 2
    assert loop.nodes[0].callee is loop.nodes[2].callee
    all_of_them = rewrite(graph, "softmax_to_linear", where="blocks.$j.attn", expect=4)
    assert canonical_hash(all_of_them.after) == canonical_hash(rewrite(graph, "softmax_to_linear").after)
    assert all_of_them.after.node("blocks").count == 4


def test_params_may_depend_on_the_numbers_of_a_path() -> None:
    graph = archgraph.load("resnet", "resnet18").graph(at={"x": [1, 3, 64, 64]})
    done = rewrite(graph, "add_eca", where="layers.$s.blocks.*.bn2", k_size="[3, 5, 7, 9][s]", expect=8)
    sizes = [
        n.callee.node("attention").callee.node("conv").op.kernel_size  # type: ignore[union-attr]
        for stage in done.after.node("layers").callee.nodes
        for n in stage.callee.node("blocks").callee.nodes
    ]
    assert sizes == [(k,) for k in (3, 3, 5, 5, 7, 7, 9, 9)]


def test_turns_themselves_are_sites() -> None:
    body = (
        "blocks: {step: {params: {k: 3}, inputs: {x: [B, C, H, W]}, "
        "graph: {c: {op: conv2d, out_channels: C, kernel_size: k, padding: k // 2}}}}"
    )
    graph = spec("y: {op: step, repeat: 5}", body)
    text = rule(
        "{inputs: {x: [...]}, graph: {b: {op: step, k: 3}}}",
        "{graph: {b: relu}}",
        f"relation: approximate\n{body}\nweights: {{dropped: [b]}}",
    )
    step = apply_rule(graph, text, expect=5)
    assert words(step.after.node("y").callee) == [f"{k}: relu" for k in range(5)]
    from archgraph.rewrite.api import where_of

    some = apply_rule(graph, text, where=where_of("y.1"), expect=1)
    assert words(some.after.node("y").callee) == ["0: step", "1: relu", "2: step", "3: step", "4: step"]


def test_weights_are_carried_computed_new_and_dropped() -> None:
    graph = spec("c: {op: conv2d, out_channels: 4, kernel_size: 1, bias: false}\nbn: batch_norm2d")
    rows = table(
        graph,
        "{inputs: {x: [...]}, graph: {conv: {op: conv2d, bias: false, _: _}, bn: {op: batch_norm2d, eps: eps, _: _}}}",
        "{graph: {conv: {keep: conv, bias: true}, extra: {op: linear, out_features: 6}}}",
        """relation: approximate
weights:
  graph: {bias: {formula: b - m, in: {b: bn.bias, m: bn.running_mean}}}
  conv.weight: conv.weight
  conv.bias: bias
  dropped: [bn.weight, bn.running_var, bn.num_batches_tracked]""",
    )
    assert rows == [
        ("c.weight", "carried", "c.weight"),
        ("c.bias", "computed", "bn.bias, bn.running_mean"),
        ("extra.weight", "new", ""),
        ("extra.bias", "new", ""),
        ("bn.weight", "dropped", ""),
        ("bn.running_var", "dropped", ""),
        ("bn.num_batches_tracked", "dropped", ""),
    ]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("weights: {}", "does not say what becomes of y.weight, y.bias"),
        ("weights: {y.weight: y.weight, dropped: y}", ", 1], `y.weight` ["),
        ("weights: {y.wait: y.weight, dropped: y}", ""),
        ("weights: {z: y, dropped: y}", "`z` is no node of `replace`"),
        ("weights: {y: q}", "`q` is no parameter of a node of `match`"),
        ("weights: {y.weight: {init: ones_like}, dropped: y}", "expected: an initialiser"),
    ],
)
def test_mistakes_about_weights(weights: str, message: str) -> None:
    graph = spec("y: {op: linear, out_features: 3}", inputs="{x: [2, 5, 6]}")
    match = "{inputs: {x: [B, N, C]}, graph: {y: {op: linear, out_features: n}}}"
    replace = (
        "{graph: {s: {op: rearrange, in: x, pattern: b n c -> b c n}, "
        "y: {op: conv1d, out_channels: n, kernel_size: 1}, "
        "t: {op: rearrange, pattern: b c n -> b n c}}}"
    )
    if not message:
        apply(graph, match, replace, f"relation: approximate\n{weights}")
        return
    with pytest.raises(SpecError) as caught:
        apply(graph, match, replace, f"relation: approximate\n{weights}")
    assert message in str(caught.value)


def test_shared_weights_go_together() -> None:
    graph = spec("a: {op: linear, out_features: 6}\nb: {share: a}\ny: {op: linear, out_features: 3}")
    match = "{inputs: {x: [..., C]}, graph: {l: {op: linear, out_features: C}}}"
    replace = "{graph: {l: {op: linear, out_features: C, bias: false}}}"
    more = "relation: approximate\nweights: {l.weight: l.weight, dropped: [l.bias]}"
    step = apply(graph, match, replace, more)
    verify(step.after)
    assert step.after.node("b").share == ("a",)
    assert totals(step.after).params == totals(graph).params - 6
    from archgraph.rewrite.api import where_of

    with pytest.raises(SpecError) as caught:
        apply(graph, match, replace, more, where=where_of("a"))
    assert "`b`, which is not replaced, uses its weights" in str(caught.value)


def test_requirements_refuse_or_warn() -> None:
    graph = spec("a: relu")
    need = "relation: approximate\nrequires: [{that: H % 4 == 0, why: windows must tile the map}]"
    with pytest.raises(SpecError) as caught:
        apply(graph, "{inputs: {x: [B, C, H, W]}, graph: {a: relu}}", GELU, need)
    assert "requires: windows must tile the map (H % 4 == 0; H = 6)" in str(caught.value)
    step = apply(graph, "{inputs: {x: [B, C, H, W]}, graph: {a: relu}}", GELU, need.replace("map}", "map, warn: true}"))
    assert step.warnings == ("windows must tile the map (H % 4 == 0; H = 6)",)


def test_what_sizes_do_not_decide_becomes_a_guard() -> None:
    graph = archgraph.loads("archgraph: 1\ninputs: {x: [B, C, H, W]}\ngraph: {a: relu}\n").graph()
    need = "relation: approximate\nrequires: [{that: H % 4 == 0, why: windows must tile the map}]"
    step = apply(graph, "{inputs: {x: [B, C, H, W]}, graph: {a: relu}}", GELU, need)
    assert [g.why for g in step.after.guards] == ["windows must tile the map"]


def test_nothing_found_tells_the_nearest_miss() -> None:
    with pytest.raises(SpecError) as caught:
        apply(spec("a: gelu\nb: tanh"), "{inputs: {x: [...]}, graph: {a: relu, b: tanh}}", "{graph: {b: sigmoid}}")
    text = str(caught.value)
    assert "nearest miss: `host.b`" in text
    assert "it is `gelu`, not `relu`" in text
    with pytest.raises(SpecError) as caught:
        apply(spec("a: gelu"), "{graph: {a: relu}}", GELU)
    assert "no node is a `relu`" in str(caught.value)


def test_the_number_expected() -> None:
    graph = spec("a: relu\nb: relu")
    assert apply(graph, RELU, GELU, expect=2).count == 2
    with pytest.raises(SpecError) as caught:
        apply(graph, RELU, GELU, expect=3)
    assert "has 2 sites" in str(caught.value)
    assert apply(spec("a: gelu"), RELU, GELU, expect=0).count == 0


def test_late_values_pass_through() -> None:
    graph = archgraph.load("vit", "tiny", drop_path=0.1, depth=3).graph(at={"image": [1, 3, 224, 224]})
    done = rewrite(graph, "softmax_to_linear", expect=3)
    verify(done.after)
    assert done.after.node("blocks").late == graph.node("blocks").late


INLINED = """
qkv: {op: linear, out_features: 36}
split: {op: rearrange, pattern: b n (three h d) -> three b h n d, three: 3, h: 4}
heads: {op: unbind, dim: 0, as: [q, k, v]}
core: {op: scaled_dot_product_attention, in: [q, k, v]}
merge: {op: rearrange, pattern: b h n d -> b n (h d)}
out: {op: linear, out_features: 12}
y: relu
"""


def test_a_block_that_nobody_wrote_is_found_by_what_is_inside() -> None:
    graph = spec(INLINED, inputs="{x: [2, 7, 12]}")
    done = rewrite(graph, "softmax_to_linear", expect=1)
    assert words(done.after) == ["attn: linear_attention", "y: relu"]
    assert done.after.nodes[0].callee.args[0] == ("num_heads", 4)
    rows = {new: (kind, old) for new, kind, old in done.weight_table()}
    assert rows["attn.qkv.weight"] == ("carried", "qkv.weight")
    assert rows["attn.proj.bias"] == ("carried", "out.bias")
    bare = spec(INLINED.replace("out_features: 36", "out_features: 36, bias: false"), inputs="{x: [2, 7, 12]}")
    assert ("qkv_bias", False) in rewrite(bare, "softmax_to_linear").after.node("attn").callee.args
    masked = INLINED.replace("[q, k, v]}\nmerge", "[q, k, v], is_causal: true}\nmerge")
    assert find(spec(masked, inputs="{x: [2, 7, 12]}"), "softmax_to_linear").count == 0


PRODUCT = "a: {op: matmul, in: [q, k]}\ny: {op: matmul, in: [a, v]}"


def product(n: object) -> Graph:
    return spec(PRODUCT, inputs=f"{{q: [8, {n}, 64], k: [8, 64, {n}], v: [8, {n}, 64]}}")


def test_a_product_is_reassociated_where_that_is_cheaper() -> None:
    assert find(product(64), "associate_kv_first").count == 0
    done = rewrite(product(65), "associate_kv_first")
    assert totals(done.after).macs < totals(done.before).macs
    assert find(done.after, "associate_qk_first").count == 0
    law = rewrite(product("N"), "associate_kv_first")
    assert [g.why for g in law.after.guards] == ["fewer multiply-adds in this order"]
    assert (str(totals(law.before).macs), str(totals(law.after).macs)) == ("1024*N**2", "65536*N")


def test_frozen_weights_stay_frozen() -> None:
    graph = spec("a: {op: linear, out_features: 6, frozen: true}\nb: {op: linear, out_features: 6}")
    match = "{inputs: {x: [..., C]}, graph: {l: {op: linear, out_features: n}}}"
    more = "relation: approximate\nweights: {l.weight: l.weight, dropped: [l.bias]}"
    step = apply(graph, match, "{graph: {l: {op: linear, out_features: n, bias: false}}}", more)
    assert [n.flags for n in step.after.nodes] == [frozenset({"frozen"}), frozenset()]
    assert totals(step.after).frozen_params == 36


def test_a_match_in_a_region_is_replaced_there() -> None:
    graph = spec("y: {switch: training, cases: {true: {op: relu}, false: {op: gelu}}}")
    step = apply(graph, "{inputs: {x: [...]}, graph: {a: relu}}", "{graph: {a: tanh}}")
    verify(step.after)
    assert [c.nodes[0].op.op_name for c in step.after.nodes[0].callees] == ["tanh", "gelu"]  # type: ignore[union-attr]
    assert step.count == 1
