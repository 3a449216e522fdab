"""Scan and the switch by mode, as modules and as nodes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from archgraph.ir.graph import Graph, Node
from archgraph.ir.types import TensorType
from archgraph.lower.fx import build
from archgraph.nn import Scan, Switch
from archgraph.ops.base import get_op
from tests.lower.graphs import Draft, Value, tensor


def region(
    g: Draft, name: str, op_name: str, types: list[TensorType], args: list[Value], *callees: Graph, **attrs: object
) -> tuple[Value, ...]:
    """Add a node with regions."""
    cls = get_op(op_name)
    assert cls is not None
    refs = tuple(a.ref for a in args)
    g.nodes.append(Node(name, cls.from_mapping(attrs), refs, tuple(types), callees=callees))
    return tuple(Value((len(g.nodes) - 1, k), t) for k, t in enumerate(types))


def recurrent(reverse: bool = False, length: str = "T") -> Graph:
    """h ← tanh(W x + U h), collected along axis 1."""
    cell = Draft("cell")
    x, h = cell.input("x", "B 3"), cell.input("h", "B 4")
    y = cell.op("from_x", "linear", x, out_features=4)
    z = cell.op("from_h", "linear", h, out_features=4, bias=False)
    h = cell.op("next", "tanh", cell.op("mix", "matmul", y, cell.op("eye", "einsum", z, z, pattern="b i, b j -> i j")))
    body = cell.done(h=h, y=h)
    g = Draft("rnn")
    xs, h0 = g.input("xs", f"B {length} 3"), g.input("h0", "B 4")
    types = [tensor("B 4"), tensor(f"B {length} 4")]
    last, ys = region(g, "walk", "scan", types, [xs, h0], body, dim=1, reverse=reverse, xs=1, carry=1)
    return g.done(last=last, ys=ys)


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_walks_carries_and_collects(reverse: bool) -> None:
    model = build(recurrent(reverse))
    assert list(model.state_dict()) == ["walk.from_x.weight", "walk.from_x.bias", "walk.from_h.weight"]
    xs, h = torch.randn(2, 5, 3), torch.randn(2, 4)
    expected: list[torch.Tensor] = []
    state = h
    for t in reversed(range(5)) if reverse else range(5):
        state, y = model.walk(xs[:, t], state)
        expected.append(y)
    if reverse:
        expected.reverse()
    for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        found = each(xs, h)
        torch.testing.assert_close(found["ys"], torch.stack(expected, 1))
        torch.testing.assert_close(found["last"], state)


def test_scan_exports_and_compiles() -> None:
    model = build(recurrent(length="5"))
    args = torch.randn(2, 5, 3), torch.randn(2, 4)
    expected = model(*args)
    torch.testing.assert_close(torch.export.export(model, args).module()(*args), expected)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(*args), expected)
    sum(v.sum() for v in expected.values()).backward()
    assert model.walk.from_h.weight.grad is not None


class Total(nn.Module):
    def forward(self, x: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        return x + total


def test_scan_with_one_result_is_a_tensor() -> None:
    total = Scan(xs=1, carry=1)(Total(), torch.arange(4.0), torch.tensor(0.0))
    assert torch.equal(total, torch.tensor(6.0))


def switched() -> Graph:
    train, evaluation = Draft("train"), Draft("eval")
    a = train.op("aux", "linear", train.input("x", "B 4"), out_features=4)
    b = evaluation.op("act", "relu", evaluation.input("x", "B 4"))
    g = Draft("root")
    x = g.input("x", "B 4")
    (y,) = region(g, "choice", "switch_training", [x.type], [x], train.done(a), evaluation.done(b))
    return g.done(y)


def test_switch_follows_the_mode() -> None:
    model = build(switched())
    assert isinstance(model.choice, Switch)
    assert list(model.state_dict()) == ["choice.in_training.aux.weight", "choice.in_training.aux.bias"]
    x = torch.randn(2, 4)
    for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(each.eval()(x), x.relu())
        assert torch.equal(each.train()(x), each.choice.in_training.aux(x))
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x), model(x))
    assert torch.equal(model.eval()(x), compiled(x))
    assert torch.equal(torch.export.export(model, (x,)).module()(x), x.relu())


def test_regions_are_handed_sizes_they_cannot_tell() -> None:
    g = Draft("root")
    tokens = g.op("tokens", "rearrange", g.input("image", "B 3 H W"), pattern="b c h w -> b (h w) c")
    train, evaluation = Draft("train"), Draft("eval")
    a = train.op("grid", "rearrange", train.input("x", tokens.type), pattern="b (h w) c -> b c h w")
    b = evaluation.op("grid", "rearrange", evaluation.input("x", tokens.type), pattern="b (h w) c -> b c w h")
    b = evaluation.op("back", "rearrange", b, pattern="b c w h -> b c h w")
    (y,) = region(g, "choice", "switch_training", [a.type], [tokens], train.done(a), evaluation.done(b))
    model = build(g.done(y))
    image = torch.randn(2, 3, 5, 7)
    assert torch.equal(model.train()(image), image)
    assert model.eval()(image).shape == image.shape
