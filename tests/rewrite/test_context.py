"""`context:` brings values of the root graph to every site."""

from __future__ import annotations

import pytest
import torch

import archgraph
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.graph import Graph
from archgraph.lower.fx import build
from archgraph.ops.verify import verify
from archgraph.rewrite.api import apply_rule, where_of
from tests.rewrite.rules import rule, spec

BLOCKS = (
    "blocks: {step: {inputs: {x: [B, C, H, W]}, graph: {c: {op: conv2d, out_channels: C, kernel_size: 1}, a: relu}}}"
)
MATCH = "{inputs: {x: [B, C, H, W]}, graph: {a: relu}}"
ADD = "{graph: {a: {op: relu, in: x}, y: {formula: a + first}}}"


def host() -> Graph:
    return spec("first: {op: tanh, in: x}\nsteps: {op: step, repeat: 3}\nlast: {op: step}\nz: sigmoid", BLOCKS)


def test_a_value_reaches_every_turn_of_a_chain() -> None:
    graph = host()
    step = apply_rule(graph, rule(MATCH, ADD, "relation: approximate\ncontext: {first: first}"), expect=4)
    verify(step.after)
    assert step.after.node("steps").count == 3
    assert [n for n, _ in step.after.node("steps").callee.inputs] == ["x", "context_first"]
    x = torch.randn(2, 8, 6, 6)
    model = build(step.after)
    first = torch.tanh(x)
    y = first
    for part in (*model.steps.children(), model.last):
        y = torch.relu(part.c(y)) + first
    assert torch.allclose(model(x), torch.sigmoid(y), atol=1e-6)
    assert {s.kind for s in step.weights[0].sources.values()} == {"carried"}


def test_inputs_that_nobody_reads_go_again() -> None:
    text = rule(MATCH, ADD, "relation: approximate\ncontext: {first: /x}")
    step = apply_rule(host(), text, where=where_of("last.a"), expect=1)
    verify(step.after)
    assert [n for n, _ in step.after.node("steps").callee.inputs] == ["x"]
    assert [n for n, _ in step.after.node("last").callee.inputs] == ["x", "context_first"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/image", "has no input `image`"),
        ("nothing", "has no node `nothing`"),
        ("z", "`first` is not known yet at `steps`"),
        ("steps.c", "only values of the root graph"),
    ],
)
def test_values_that_are_not_there(path: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        apply_rule(host(), rule(MATCH, ADD, f"relation: approximate\ncontext: {{first: {path}}}"))
    assert message in str(caught.value)


def test_turns_with_different_sites() -> None:
    graph = archgraph.load("vit", depth=3, dim=48).graph(at={"image": [1, 3, 224, 224]})
    text = rule(
        "{inputs: {x: [B, N, C]}, graph: {attn: {op: mhsa, num_heads: _}}}",
        "{graph: {y: {formula: attn + seq}}}",
        "relation: approximate\nuses: [blocks/transformer]\ncontext: {seq: x}",
    )
    step = apply_rule(graph, text, where=where_of("blocks.1.attn"), expect=1)
    verify(step.after)
    turns = step.after.node("blocks").callee.nodes
    assert [len(n.inputs) for n in turns] == [1, 2, 1]


def test_a_value_reaches_the_turns_of_a_scan() -> None:
    graph = spec(
        "first: {op: tanh, in: x}\nwalk:\n  op: scan\n  dim: 1\n  xs: {t: first}\n  init: {h: start}\n"
        "  graph: {a: {op: relu, in: t}, n: {formula: a + h}}\n  carry: {h: n}\n  ys: {y: n}",
        inputs="{x: [2, 5, 3], start: [2, 3]}",
        outputs="outputs: {y: walk.y}\n",
    )
    text = rule(
        "{inputs: {x: [...]}, graph: {a: relu}}",
        "{graph: {a: {op: relu, in: x}, more: {op: reduce, in: first, pattern: b t c -> b c, reduction: mean}, "
        "y: {formula: a + more}}}",
        "relation: approximate\ncontext: {first: first}",
    )
    step = apply_rule(graph, text, expect=1)
    verify(step.after)
    x, start = torch.randn(2, 5, 3), torch.randn(2, 3)
    state, found = start, []
    for t in range(5):
        state = torch.relu(torch.tanh(x)[:, t]) + torch.tanh(x).mean(1) + state
        found.append(state)
    assert torch.allclose(build(step.after)(x, start), torch.stack(found, 1), atol=1e-6)


def test_a_value_reaches_one_case_of_a_switch_by_mode() -> None:
    graph = spec(
        "first: {op: tanh, in: x}\nmode: {switch: training, in: first, cases: {true: [relu], false: [gelu]}}",
        inputs="{x: [2, 5]}",
    )
    text = rule(
        "{inputs: {x: [B, C]}, graph: {a: relu}}",
        "{graph: {a: {op: relu, in: x}, y: {formula: a + first}}}",
        "relation: approximate\ncontext: {first: first}",
    )
    step = apply_rule(graph, text, expect=1)
    verify(step.after)
    x = torch.randn(2, 5)
    model = build(step.after)
    assert torch.allclose(model.eval()(x), torch.nn.functional.gelu(torch.tanh(x)), atol=1e-6)
    assert torch.allclose(model.train()(x), torch.relu(torch.tanh(x)) + torch.tanh(x), atol=1e-6)
