"""Patterns: binding, wildcards, alternatives, optional nodes, commutative operands, formulas, misses."""

from __future__ import annotations

import pytest

from archgraph.ir.diagnostics import SpecError
from archgraph.ir.graph import Graph
from archgraph.rewrite.api import find
from archgraph.rewrite.match import Match, Matcher
from archgraph.spec.frame import Session
from tests.rewrite.rules import rule, spec

CONV = "{c: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}}"


def matches(graph: Graph, match: str) -> list[Match]:
    return Matcher(rule(match).pattern, Session()).find(graph)


def test_an_unknown_name_binds_and_a_known_one_must_be_equal() -> None:
    graph = spec(
        "c: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}\nd: {op: conv2d, out_channels: 4, kernel_size: 1}"
    )
    square = "{inputs: {x: [B, C, H, W]}, graph: {c: {op: conv2d, out_channels: C, kernel_size: k, _: _}}}"
    (found,) = matches(graph, square)
    assert found.root == 0
    assert {n: found.env[n] for n in "BCHWk"} == {"B": 2, "C": 8, "H": 6, "W": 6, "k": (3, 3)}


def test_an_attribute_left_out_must_have_its_default() -> None:
    graph = spec("c: {op: conv2d, out_channels: 8, kernel_size: 3, padding: 1}")
    bare = "{graph: {c: {op: conv2d, out_channels: _, kernel_size: _}}}"
    assert not matches(graph, bare)
    assert find(graph, rule(bare)).miss.notes[1][1] == "`c`: its padding is [1, 1], wanted [0, 0]"  # type: ignore[union-attr]
    assert len(matches(graph, "{graph: {c: {op: conv2d, out_channels: _, kernel_size: _, padding: 1}}}")) == 1


def test_an_initialiser_left_out_does_not_matter() -> None:
    graph = spec("y: {op: linear, out_features: 5, init: zeros}")
    assert matches(graph, "{graph: {y: {op: linear, out_features: n}}}")


def test_an_expression_is_compared_or_solved() -> None:
    graph = spec("y: {op: linear, out_features: 18}")
    assert matches(graph, "{inputs: {x: [..., C]}, graph: {y: {op: linear, out_features: 3 * C}}}")
    (found,) = matches(graph, "{inputs: {x: [..., C]}, graph: {y: {op: linear, out_features: m * C}}}")
    assert found.env["m"] == 3
    assert not matches(graph, "{inputs: {x: [..., C]}, graph: {y: {op: linear, out_features: 4 * C}}}")
    assert not matches(graph, "{graph: {y: {op: linear, out_features: 4 * m}}}")


@pytest.mark.parametrize(("word", "n"), [("relu", 1), ("[relu, gelu]", 2), ("_", 3), ("[relu, tanh]", 1)])
def test_one_of_several_ops(word: str, n: int) -> None:
    graph = spec("a: relu\nb: gelu\nc: sigmoid")
    assert len(matches(graph, f"{{graph: {{y: {{op: {word}, _: _}}}}}}")) == n


def test_operands_of_a_sum_in_either_order() -> None:
    graph = spec("a: relu\nb: {op: gelu, in: x}\ns: {op: add, in: [b, a]}")
    assert matches(
        graph, "{inputs: {x: [...]}, graph: {p: {op: relu, in: x}, q: {op: gelu, in: x}, s: {op: add, in: [p, q]}}}"
    )
    assert not matches(
        graph, "{inputs: {x: [...]}, graph: {p: {op: relu, in: x}, q: {op: gelu, in: x}, s: {op: sub, in: [p, q]}}}"
    )


def test_a_formula_of_one_operation_is_its_op() -> None:
    graph = spec("a: relu\ns: {formula: a + x}")
    assert matches(graph, "{inputs: {x: [...]}, graph: {a: {op: relu, in: x}, s: {op: add, in: [x, a]}}}")


def test_formulas_match_by_tree_and_bind_numbers() -> None:
    graph = spec("a: relu\ns: {formula: '3 * a / maximum(x, 0.5)'}")
    (found,) = matches(graph, "{inputs: {x: [...], a: [...]}, graph: {s: {formula: 'a * t / maximum(x, floor)'}}}")
    assert found.env["t"] == 3
    assert found.env["floor"] == 0.5
    assert not matches(graph, "{inputs: {x: [...], a: [...]}, graph: {s: {formula: 'a * t / minimum(x, floor)'}}}")


def test_the_same_input_is_the_same_value() -> None:
    graph = spec("a: relu\ns: {op: add, in: [a, a]}\nt: {op: add, in: [s, a]}")
    found = matches(graph, "{inputs: {x: [...]}, graph: {s: {op: add, in: [x, x]}}}")
    assert [m.root for m in found] == [1]


def test_an_optional_node_is_there_or_passed_by() -> None:
    match = "{inputs: {x: [...]}, graph: {a: relu, d: {op: dropout, p: _, when: has}, y: {op: tanh}}}"
    with_it = matches(spec("a: relu\nd: {op: dropout, p: 0.5}\ny: tanh"), match)
    without = matches(spec("a: relu\ny: tanh"), match)
    assert [m.env["has"] for m in (*with_it, *without)] == [True, False]
    assert without[0].nodes["d"] is None


def test_further_operands_as_a_list() -> None:
    graph = spec("a: relu\nb: gelu\nc: {op: cat, in: [x, a, b], dim: 1}")
    (found,) = matches(graph, "{inputs: {x: [...]}, graph: {c: {op: cat, in: [x, rest...], dim: 1}}}")
    assert found.rest["rest"] == ((0, 0), (1, 0))


def test_a_block_is_matched_by_definition() -> None:
    vit = "blocks: {mhsa: {params: {num_heads: 1}, inputs: {x: [...]}, graph: {y: relu}}}"
    other = spec("a: {op: mhsa, num_heads: 2}", vit)
    real = spec("a: {op: mhsa, num_heads: 2}", "uses: [blocks/transformer]", "{x: [2, 5, 8]}")
    text = "{graph: {a: {op: mhsa, num_heads: h}}}"
    pattern = rule(text, "", "relation: exact\nuses: [blocks/transformer]")
    assert len(find(real, pattern)) == 1
    miss = find(other, pattern).miss
    assert miss is not None
    assert "calls another `mhsa`" in miss.notes[1][1]


def test_a_copy_of_a_block_is_the_same_block() -> None:
    copy = (
        "blocks: {conv_bn: {params: {out_channels: int, kernel_size: 1, stride: 1, dilation: 1, padding: dilation * "
        "(kernel_size - 1) // 2, groups: 1, norm: {op: batch_norm2d}}, inputs: {x: [B, _, _, _]}, "
        "graph: {conv: {op: conv2d, "
        "out_channels: out_channels, kernel_size: kernel_size, stride: stride, padding: padding, dilation: dilation, "
        "groups: groups, bias: false, init: {kaiming_normal: {fan: 1}}}, bn: norm}}}"
    )
    pattern = rule("{graph: {a: {op: conv_bn, out_channels: n, _: _}}}", "", "relation: exact\nuses: [blocks/conv]")
    assert len(find(spec("a: {op: conv_bn, out_channels: 3}", copy), pattern)) == 1


def test_a_token_grid_binds() -> None:
    graph = spec("t: {op: rearrange, pattern: b c h w -> b (h w) c}\ny: {op: linear, out_features: 3}")
    (found,) = matches(graph, "{inputs: {x: [B, P + (H W), C]}, graph: {y: {op: linear, out_features: _}}}")
    assert [found.env[n] for n in "PHW"] == [0, 6, 6]
    lost = spec(
        "t: {op: rearrange, pattern: b c h w -> b (w h) c}\nu: {op: roll, shifts: 1, dims: 1}\n"
        "y: {op: linear, out_features: 3}"
    )
    miss = find(lost, rule("{inputs: {x: [B, P + (A D E), C]}, graph: {y: {op: linear, out_features: _}}}")).miss
    assert miss is not None
    assert "the grid on axis 1" in miss.notes[1][1] or "no known token grid" in miss.notes[1][1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{graph: {a: {op: conv3x3}}}", "there is no op or block called `conv3x3`"),
        ("{graph: {a: {op: relu, slope: 1}}}", "`relu` has no attribute `slope`"),
        ("{graph: {a: {op: add, in: [x, y]}}}", "`x` is no input and no node above"),
        ("{graph: {}}", "`match` has a `graph`"),
        ("{inputs: {x: [...]}, graph: {a: {op: relu}, d: {op: dropout, p: _, when: has}}}", "can't be optional"),
        ("{graph: {a: 3}}", "a node of a pattern is a word"),
    ],
)
def test_mistakes_in_patterns(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        rule(text)
    assert message in str(caught.value)
