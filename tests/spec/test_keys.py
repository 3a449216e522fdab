"""Renaming of state_dict keys: patterns, targets, changed values, and everything that can be left wrong."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgraph.spec.key_patterns import KeyPattern, KeyTemplate, PatternError
from archgraph.spec.keys import KeyPlan, Shape, plan_keys
from archgraph.spec.load import loads
from archgraph.spec.reference import Reference
from archgraph.spec.reference_parse import references

HEAD = """
archgraph: 1
name: host
graph: {y: relu}
inputs: {x: [B, 4]}
"""


def entry(rename: str, more: str = "") -> Reference:
    """An entry `other` with these renames, in block style, and an entry `block` to use."""
    indented = "".join(f"      {line}\n" for line in rename.strip().splitlines())
    text = f"{HEAD}\nreference:\n  other:\n    to: graph\n{more}    rename:\n{indented}"
    text += "  lib.py::Attn:\n    to: graph\n    rename: {q: query, ^0: first, out: {to: proj, when: bias}}\n"
    text += "    args: {bias: true}\n"
    return references(loads(text).file)["other"]


def plan(
    rename: str,
    theirs: Mapping[str, Shape],
    ours: Mapping[str, Shape],
    env: Mapping[str, Any] | None = None,
    more: str = "",
    aliases: Mapping[str, str] | None = None,
) -> KeyPlan:
    return plan_keys(entry(rename, more).rules, theirs, ours, env, aliases)


def renamed(rename: str, *keys: str, env: Mapping[str, Any] | None = None, more: str = "") -> dict[str, str]:
    """Where keys go, whatever ours are: read off the failures and drops."""
    found = plan(rename, dict.fromkeys(keys, (1,)), {}, env, more)
    moves = dict.fromkeys(found.dropped, "")
    for failure in found.failures:
        assert failure.kind == "left over", failure
        went = str(failure).partition(": not ours")[0].partition(", renamed to ")[2]
        moves[failure.key] = went or failure.key
    return moves


@pytest.mark.parametrize(
    ("rename", "key", "expected"),
    [
        ("mlp.0: mlp.fc1", "blocks.3.mlp.0.weight", "blocks.3.mlp.fc1.weight"),
        ("mlp.0: mlp.fc1", "blocks.3.mlp.01.weight", "blocks.3.mlp.01.weight"),
        ("mlp.0: mlp.fc1", "blocks.3.xmlp.0.weight", "blocks.3.xmlp.0.weight"),
        ("norm: n", "norm.norm.weight", "n.norm.weight"),  # once per key, the leftmost
        ("^head: fc", "head.weight", "fc.weight"),
        ("^head: fc", "aux.head.weight", "aux.head.weight"),
        ("norm.weight$: norm.gamma", "a.norm.weight", "a.norm.gamma"),
        ("norm.weight$: norm.gamma", "norm.weight.orig", "norm.weight.orig"),
        ("^layer$i.$j: layers.${i - 1}.blocks.$j", "layer3.2.conv1.weight", "layers.2.blocks.2.conv1.weight"),
        ("^stages.$i.$j: stages.$i.blocks.$j", "stages.1.down.weight", "stages.1.down.weight"),
        ("a.$i.b.$i: same.$i", "a.2.b.2.w", "same.2.w"),
        ("a.$i.b.$i: same.$i", "a.2.b.3.w", "a.2.b.3.w"),
        ("conv$i_bn: bns.$i", "conv12_bn.weight", "bns.12.weight"),
        ("$X_proj: proj.$X", "attn.key_proj.weight", "attn.proj.key.weight"),
        ("^$X.$i: $X.at$i", "enc.4.w", "enc.at4.w"),
        ("^fpn.$level.c$NAME: p$level.$NAME", "fpn.12.cat.w", "p12.at.w"),
        ("b${i}x$j: x.$i.${j + 1}", "b1x2.w", "x.1.3.w"),
        ('^model: ""', "model.conv.weight", "conv.weight"),
        ("^: backbone", "conv.weight", "backbone.conv.weight"),
        ('"0": first', "0.weight", "first.weight"),
        ("buffer: null", "attn.buffer", ""),
        ("{x: null, ^a: b}", "a.w", "b.w"),
        ("^f.$k: {to: 's.${starts[k]}', when: k < len(starts)}", "f.1.w", "s.7.w"),
        ("^f.$k: {to: 's.${starts[k]}', when: k < len(starts)}", "f.2.w", "f.2.w"),
        ("^f.$k: {to: null, when: k == 1}", "f.1.w", ""),
        ("^f.$k: ${'even' if k % 2 == 0 else 'odd'}.${k // 2}", "f.5.w", "odd.2.w"),
        ("a: b\nb: c", "a.w", "c.w"),  # later rules see the result so far
        ("b: c\na: b", "a.w", "b.w"),
    ],
)
def test_names(rename: str, key: str, expected: str) -> None:
    env = {"starts": (5, 7)}
    assert renamed(rename, key, env=env, more="    args: {starts: [5, 7]}\n") == {key: expected}


def test_a_used_entry_comes_first_and_reads_the_surroundings() -> None:
    more = "    use: [Attn]\n"
    keys = ("b.q.weight", "0.w", "out.weight")
    assert renamed("query: Q", *keys, env={"bias": True}, more=more) == {
        "b.q.weight": "b.Q.weight",
        "0.w": "first.w",
        "out.weight": "proj.weight",
    }
    assert renamed("query: Q", "out.weight", env={"bias": False}, more=more) == {"out.weight": "out.weight"}


def test_a_used_entry_at_a_path_holds_below_it_only() -> None:
    more = "    use: [{of: lib.py::Attn, at: layers.$i.attn}]\n"
    keys = ("q.weight", "layers.3.attn.q.weight", "layers.3.attn.0.weight", "layers.3.attn.mlp.0.weight", "x.attn.q.w")
    assert renamed("unused: y", *keys, env={"bias": True}, more=more) == {
        "q.weight": "q.weight",
        "layers.3.attn.q.weight": "layers.3.attn.query.weight",
        "layers.3.attn.0.weight": "layers.3.attn.first.weight",  # `^` is the path there
        "layers.3.attn.mlp.0.weight": "layers.3.attn.mlp.0.weight",
        "x.attn.q.w": "x.attn.q.w",
    }


def test_values_change_by_any_op_on_one_tensor() -> None:
    found = plan(
        "fc1.weight: {op: rearrange, pattern: o i 1 1 -> o i}\n"
        "table: {to: bias, pattern: 1 m (h w) n -> m n h w, h: side}\n"
        "both: {do: [{op: flip, dims: 0}, {op: slice, dim: 0, start: i_0}]}",
        {"fc1.weight": (6, 3, 1, 1), "fc1.bias": (6,), "table": (1, 2, 12, 5), "both": (4, 2)},
        {"fc1.weight": (6, 3), "fc1.bias": (6,), "bias": (2, 5, 3, 4), "both": (3, 2)},
        {"side": 3, "i_0": 1},
        "    args: {side: 3, i_0: 1}\n",
    )
    assert found.fits, found.failures
    assert len(found.entries["both"].pieces[0].steps) == 1
    assert found.entries["fc1.bias"].pieces[0].steps == ()


def test_pieces_are_concatenated_in_order() -> None:
    rename = "to_k: {to: qkv, part: 1}\nto_q: {to: qkv, part: 0}\nto_v: {to: qkv, part: 2}"
    theirs = {"a.to_v.weight": (4, 3), "a.to_q.weight": (2, 3), "a.to_k.weight": (2, 3)}
    found = plan(rename, theirs, {"a.qkv.weight": (8, 3)})
    assert found.fits, found.failures
    assert [piece.key for piece in found.entries["a.qkv.weight"].pieces] == [
        "a.to_q.weight",
        "a.to_k.weight",
        "a.to_v.weight",
    ]


def test_pieces_along_another_axis_with_an_op_of_its_own() -> None:
    rename = "a: {to: w, part: 0, dim: 1}\nb: {to: w, part: 1, dim: 1, do: [{op: slice, dim: 0, stop: 3}]}"
    assert plan(rename, {"a": (3, 1), "b": (5, 2)}, {"w": (3, 3)}).fits


@pytest.mark.parametrize(
    ("target", "shapes"),
    [
        ("{to: [q, kv], op: split}", {"q.weight": (2, 3), "kv.weight": (6, 3)}),
        ("{to: [q, kv], op: split, split_size: [n, 8 - n]}", {"q.weight": (2, 3), "kv.weight": (6, 3)}),
        ("{to: [q, kv], op: chunk}", {"q.weight": (4, 3), "kv.weight": (4, 3)}),
        ("{to: [q, kv], op: split, dim: 1}", {"q.weight": (8, 1), "kv.weight": (8, 2)}),
    ],
)
def test_one_tensor_becomes_several(target: str, shapes: dict[str, Shape]) -> None:
    found = plan(f"qkv: {target}", {"qkv.weight": (8, 3)}, shapes, {"n": 2}, "    args: {n: 2}\n")
    assert found.fits, found.failures
    assert {key: entry.pieces[0].key for key, entry in found.entries.items()} == dict.fromkeys(shapes, "qkv.weight")


def test_unbind_gives_each_slice_a_key() -> None:
    found = plan("stack: {to: [a, b], op: unbind}", {"stack": (2, 5)}, {"a": (5,), "b": (5,)})
    assert found.fits, found.failures


@pytest.mark.parametrize(
    ("rename", "theirs", "ours", "expected"),
    [
        ("", {"a": (1,)}, {"a": (2,)}, [("shape", "a", "a has shape [2], a [1]")]),
        ("", {"a": (1,)}, {}, [("left over", "a", "a [1]: not ours")]),
        ("", {}, {"a": (1,)}, [("missing", "a", "a [1]: nothing becomes it")]),
        ("x: y", {"x": (1,), "y": (1,)}, {"y": (1,)}, [("collision", "y", "x, y meet here")]),
        ("x: y", {"x": (1,)}, {"x": (1,)}, [("left over", "x", "renamed to y"), ("missing", "x", "nothing")]),
        ("x: {to: w, part: 1}", {"x": (1,)}, {"w": (1,)}, [("collision", "w", "the parts are 1 (x)")]),
        ("x: {to: w, part: 0}\ny: w", {"x": (1,), "y": (1,)}, {"w": (2,)}, [("collision", "w", "meet here")]),
        (
            "x: {to: w, part: 0}\ny: {to: w, part: 1}",
            {"x": (1, 2), "y": (1, 3)},
            {"w": (2, 2)},
            [("shape", "w", "don't join on axis 0")],
        ),
        (
            "x: {op: rearrange, pattern: a b -> b a}",
            {"x": (1,)},
            {"x": (1,)},
            [("rule", "x", ""), ("missing", "x", "")],
        ),
        ("x$i: y.${1 // i}", {"x0": (1,)}, {}, [("rule", "x0", "division by zero")]),
        ("x$i: y.${i / 2}", {"x1": (1,)}, {}, [("rule", "x1", "can't stand in a key")]),
    ],
)
def test_failures(
    rename: str, theirs: dict[str, Shape], ours: dict[str, Shape], expected: list[tuple[str, str, str]]
) -> None:
    found = plan(rename or "never: matched", theirs, ours)
    assert not found.fits
    assert [(failure.kind, failure.key) for failure in found.failures] == [(kind, key) for kind, key, _ in expected]
    for failure, (_, _, words) in zip(found.failures, expected, strict=True):
        assert words in str(failure)


def test_failures_name_the_last_rule_and_a_key_alike() -> None:
    found = plan("a: b\nb: blk", {"a.weight": (3,)}, {"block.weight": (3,)})
    left = found.failures[0]
    assert left.rule is not None
    assert left.rule.text == "b: blk"
    assert "is it block.weight?" in str(left)
    assert "(last rule: `b: blk`, <text>:" in str(left)


def test_rules_that_never_fire_are_known() -> None:
    reference = entry("a: b\nc: d\nb: {to: e, when: false}")
    found = plan_keys(reference.rules, {"a": (1,)}, {"b": (1,)})
    assert found.fits
    assert [rule.text for rule in found.idle(reference.rules)] == ["c: d", "b: e"]


def test_counters_may_be_missing_altogether_but_not_in_part() -> None:
    ours = {"bn.weight": (2,), "bn.num_batches_tracked": (), "bn2.weight": (2,), "bn2.num_batches_tracked": ()}
    old = plan("a: b", {"bn.weight": (2,), "bn2.weight": (2,)}, ours)
    assert old.fits
    assert old.fresh == ["bn.num_batches_tracked", "bn2.num_batches_tracked"]
    half = plan("a: b", {"bn.weight": (2,), "bn2.weight": (2,), "bn.num_batches_tracked": ()}, ours)
    assert [(f.kind, f.key) for f in half.failures] == [("missing", "bn2.num_batches_tracked")]
    more = plan("a: b", {"w": (2,), "num_batches_tracked": ()}, {"w": (2,)})
    assert [(f.kind, f.key) for f in more.failures] == [("left over", "num_batches_tracked")]


def test_a_shared_tensor_needs_one_key_or_takes_all() -> None:
    ours, aliases = {"embed.weight": (9, 4), "head.weight": (9, 4)}, {"head.weight": "embed.weight"}
    for keys in (["embed.weight"], ["head.weight"], ["embed.weight", "head.weight"]):
        assert plan("a: b", dict.fromkeys(keys, (9, 4)), ours, aliases=aliases).fits, keys
    assert not plan("a: b", {}, ours, aliases=aliases).fits


@pytest.mark.parametrize(
    "text", ["", "a..b", "a b", "a.$", "$", "$$i", "$_", "$iX", "${i", "a{", "a$.b", "a^b", ".a", "a.", "$1"]
)
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(PatternError):
        KeyPattern(text)


@pytest.mark.parametrize("text", ["a..b", ".a", "a.", "a b", "$", "${1 +}", "^a", "${i"])
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(PatternError):
        KeyTemplate(text)


SEGMENTS = st.text("ab01_", min_size=1, max_size=3)
KEYS = st.lists(SEGMENTS, min_size=1, max_size=5)


@given(KEYS, KEYS)
def test_a_literal_pattern_finds_the_leftmost_run(key: list[str], run: list[str]) -> None:
    hits = KeyPattern(".".join(run)).matches(key, 0, {})
    starts = [k for k in range(len(key) - len(run) + 1) if key[k : k + len(run)] == run]
    assert [hit.start for hit in hits] == starts


@given(st.dictionaries(KEYS.map(".".join), st.just((2,)), min_size=1, max_size=6))
def test_putting_a_segment_in_front_and_taking_it_off_is_the_identity(keys: dict[str, Shape]) -> None:
    rules = entry('^: zz\n^zz: ""').rules
    found = plan_keys(rules, keys, keys)
    assert found.fits
    assert {key: entry.pieces[0].key for key, entry in found.entries.items()} == {key: key for key in keys}
