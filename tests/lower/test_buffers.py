"""Parameters, buffers and constants of composites themselves."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn

from archgraph.analysis.weights import weight_table
from archgraph.ir.graph import Graph
from archgraph.lower.fx import build, emit
from tests.lower.graphs import Draft


def graph() -> Graph:
    g = Draft("root")
    x = g.input("x", "B 3")
    y = g.op(
        "sum",
        "einsum",
        x,
        g.op("learned", "parameter", shape=[3], init={"normal": {"std": 1.0}}),
        pattern="b c, c -> b c",
    )
    y = g.op("b", "einsum", y, g.op("saved", "buffer", value=(1.0, 2.0, 4.0)), pattern="b c, c -> b c")
    t = g.op("temporary", "buffer", shape=[3], init={"constant": 0.5}, persistent=False)
    y = g.op("c", "einsum", y, t, pattern="b c, c -> b c")
    y = g.op("d", "einsum", y, g.op("fixed", "constant", value=(3.0, 0.0, 1.0)), pattern="b c, c -> b c")
    return g.done(y)


@pytest.mark.parametrize("copied", [lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_only_persistent_tensors_are_saved(copied: Callable[[nn.Module], nn.Module]) -> None:
    model = copied(copied(build(graph())))
    assert sorted(model.state_dict()) == ["learned", "saved"]
    assert {name for name, _ in model.named_parameters()} == {"learned"}
    expected = torch.ones(2, 3) * model.learned * torch.tensor([1.0, 2.0, 4.0]) * 0.5 * torch.tensor([3.0, 0.0, 1.0])
    torch.testing.assert_close(model(torch.ones(2, 3)), expected)
    assert {b.dtype for b in copy.deepcopy(model).to(torch.float64).buffers()} == {torch.float64}


def test_the_table_lists_them() -> None:
    assert list(weight_table(graph())) == ["learned", "saved", "temporary.value"]


def test_without_init_only_what_no_checkpoint_holds_is_filled() -> None:
    model = build(graph(), init=False)
    model.load_state_dict({"learned": torch.ones(3), "saved": torch.ones(3)})
    torch.testing.assert_close(model(torch.ones(1, 3)), torch.tensor([[1.5, 0.0, 0.5]]))


def test_constants_lie_on_the_device_of_emission() -> None:
    assert {b.device.type for b in emit(graph()).buffers()} == {"meta"}


def test_exports() -> None:
    model = build(graph())
    x = torch.randn(2, 3)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))


def test_equal_constants_are_made_once() -> None:
    block = Draft("block")
    x = block.input("x", "B 3")
    block_graph = block.done(
        block.op("out", "einsum", x, block.op("fixed", "constant", value=(3.0, 0.0, 1.0)), pattern="b c, c -> b c")
    )
    g = Draft("root")
    model = build(g.done(g.call("blocks", block_graph, g.input("x", "B 3"), count=3)))
    assert len({b.data_ptr() for _, b in model.named_buffers(remove_duplicate=False)}) == 1
    assert len(list(model.named_buffers(remove_duplicate=False))) == 3
