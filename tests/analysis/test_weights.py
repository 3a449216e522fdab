"""The list of weights made without torch is that of the built module."""

from __future__ import annotations

import pytest
import torch

from archgraph.analysis.weights import weight_table
from archgraph.ir.dim import sym
from archgraph.ir.graph import Graph
from archgraph.lower.fx import build
from archgraph.ops.binding import SymbolicTurns
from tests.lower.graphs import Draft, mlp


def graph() -> Graph:
    block = Draft("block")
    y = block.op("norm", "layer_norm", block.input("x", "B 9 4"))
    block_graph = block.done(block.call("mlp", mlp("B 9 4", 8), y))
    g = Draft("root")
    x = g.input("x", "B 3 3 3")
    y = g.op("conv", "conv2d", x, out_channels=4, kernel_size=1)
    y = g.op("bn", "batch_norm2d", y)
    y = g.op("scale", "layer_scale", g.op("flat", "rearrange", y, pattern="b c h w -> b (h w) c"))
    y = g.call("blocks", block_graph, y, count=2)
    y = g.call("again", mlp("B 9 4", 8), y, share=("blocks", "1", "mlp"))
    w = g.op("table", "get_weight", path="conv.bias", shape=[4])
    y = g.op("fc", "linear", y, out_features=4, node={"weights": {"bias": w}})
    g.op("aux", "linear", y, out_features=3, node={"flags": frozenset({"unused"})})
    return g.done(y)


def test_keys_shapes_dtypes_and_kinds_are_those_of_the_module() -> None:
    table = weight_table(graph())
    model = build(graph())
    assert sorted(table) == sorted(model.state_dict())
    for key, tensor in model.state_dict().items():
        weight = table[key]
        assert weight.shape == tuple(tensor.shape)
        assert (weight.dtype == "int64") == (tensor.dtype == torch.int64)
        assert weight.buffer == (key in dict(model.named_buffers()))


def test_path_order() -> None:
    keys = list(weight_table(graph()))
    assert keys[:3] == ["conv.weight", "conv.bias", "bn.weight"]
    assert keys.index("scale") < keys.index("blocks.0.norm.weight") < keys.index("blocks.1.norm.weight")


def test_symbolic_chains_have_no_list() -> None:
    g = Draft("root")
    with pytest.raises(SymbolicTurns, match="`blocks` has depth turns"):
        weight_table(g.done(g.call("blocks", mlp("B 9 4", 8), g.input("x", "B 9 4"), count=sym("depth"))))
