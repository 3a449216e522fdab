"""Weights used twice, given as values, registered only, or frozen."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from archgraph.ir.dim import sym
from archgraph.ir.graph import Graph
from archgraph.ir.real import Late
from archgraph.lower.fx import build, emit
from archgraph.lower.plan import LoweringError
from archgraph.nn import FrozenBatchNorm2d
from tests.lower.graphs import Draft, mlp


def shared_keys(model: nn.Module) -> list[str]:
    """The state_dict keys, which must hold no tensor twice."""
    state = model.state_dict()
    assert len({t.data_ptr() for t in state.values()}) == len(state)
    return list(state)


def copies(model: nn.Module) -> list[nn.Module]:
    return [model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))]


# -- ops ---------------------------------------------------------------------------------------------------------------


def test_an_op_is_called_twice() -> None:
    g = Draft("root")
    x = g.input("x", "B 4")
    y = g.op("fc", "linear", x, out_features=4)
    model = build(g.done(g.op("again", "linear", g.op("act", "relu", y), out_features=4, node={"share": ("fc",)})))
    x = torch.randn(2, 4)
    for each in copies(model):
        assert shared_keys(each) == ["fc.weight", "fc.bias"]
        assert torch.equal(each(x), model.fc(model.fc(x).relu()))
    assert model.code.count("self.fc(") == 2


def test_an_op_with_other_attributes_takes_the_weights() -> None:
    g = Draft("root")
    x = g.input("x", "B 3 8 8")
    a = g.op("conv", "conv2d", x, out_channels=4, kernel_size=3)
    b = g.op("strided", "conv2d", x, out_channels=4, kernel_size=3, stride=2, node={"share": ("conv",)})
    model = build(g.done(a=a, b=b))
    x = torch.randn(2, 3, 8, 8)
    for each in copies(model):
        assert shared_keys(each) == ["conv.weight", "conv.bias"]
        expected = functional.conv2d(x, each.conv.weight, each.conv.bias, stride=2)
        torch.testing.assert_close(each(x)["b"], expected)
        each(x)["b"].sum().backward()
        assert each.conv.weight.grad is not None


def test_a_tensor_of_its_own_is_shared() -> None:
    g = Draft("root")
    x = g.input("x", "B 4")
    y = g.op("scale", "layer_scale", x, init_value=3.0)
    model = build(g.done(g.op("again", "layer_scale", y, node={"share": ("scale",)})))
    assert shared_keys(model) == ["scale"]
    assert torch.equal(model(torch.ones(1, 4)), torch.full((1, 4), 9.0))


def test_an_op_inside_a_composite_is_shared() -> None:
    g = Draft("root")
    x = g.input("x", "B 4")
    y = g.call("blocks", mlp("B 4", 6), x, count=2)
    again = g.op("again", "linear", y, out_features=6, node={"share": ("blocks", "1", "fc1")})
    model = build(g.done(again))
    x = torch.randn(2, 4)
    for each in copies(model):
        assert len(shared_keys(each)) == 8
        assert type(each.blocks) is nn.Sequential
        assert torch.equal(each(x), each.blocks[1].fc1(each.blocks(x)))


def test_a_share_of_a_share_uses_the_owner() -> None:
    g = Draft("root")
    x = g.input("x", "B 4")
    y = g.op("fc", "linear", x, out_features=4)
    y = g.op("second", "linear", y, out_features=4, node={"share": ("fc",)})
    model = build(g.done(g.op("third", "linear", y, out_features=4, node={"share": ("second",)})))
    assert shared_keys(model) == ["fc.weight", "fc.bias"]
    assert model.code.count("self.fc(") == 3


def test_an_owner_that_is_not_there_is_an_error() -> None:
    g = Draft("root")
    y = g.op("fc", "linear", g.input("x", "B 4"), out_features=4, node={"share": ("nobody",)})
    with pytest.raises(LoweringError, match="there is no `nobody` whose weights could be shared"):
        emit(g.done(y))


# -- composites --------------------------------------------------------------------------------------------------------


def test_a_composite_is_called_twice() -> None:
    g = Draft("root")
    x = g.input("x", "B 4")
    y = g.call("mlp", mlp("B 4", 6), x)
    model = build(g.done(g.call("again", mlp("B 4", 6), y, share=("mlp",))))
    x = torch.randn(2, 4)
    for each in copies(model):
        assert shared_keys(each) == ["mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"]
        assert torch.equal(each(x), each.mlp(each.mlp(x)))
    assert model.code.count("self.mlp(") == 2


def pool_block(size: int) -> Graph:
    """Weights that do not depend on the size, numbers that do, and a composite inside that is the same for all."""
    g = Draft("block")
    x = g.input("x", f"B 4 {size} {size}")
    y = g.op("conv", "conv2d", x, out_channels=4, kernel_size=3, padding=1)
    y = g.op("flat", "rearrange", y, pattern="b c h w -> b (h w) c")
    y = g.op("mean", "rearrange", y, pattern="b (h w) c -> b c h w", h=size)
    return g.done(g.op("norm", "group_norm", y, num_groups=2))


def test_a_composite_of_other_sizes_uses_the_modules_inside() -> None:
    g = Draft("root")
    x, y = g.input("x", "B 4 6 6"), g.input("y", "B 4 8 8")
    a = g.call("block", pool_block(6), x)
    b = g.call("other", pool_block(8), y, share=("block",))
    model = build(g.done(a=a, b=b))
    x, y = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 8, 8)
    for each in copies(model):
        assert shared_keys(each) == ["block.conv.weight", "block.conv.bias", "block.norm.weight", "block.norm.bias"]
        found = each(x, y)
        torch.testing.assert_close(found["b"], each.block.norm(each.block.conv(y)))
        torch.testing.assert_close(found["a"], each.block(x))
    assert "self.block.conv(y)" in model.code
    torch.testing.assert_close(torch.export.export(model, (x, y)).module()(x, y), model(x, y))


def test_chains_of_other_sizes_share_turn_by_turn() -> None:
    def chain(size: int) -> Graph:
        outer = Draft("outer")
        return outer.done(outer.call("blocks", pool_block(size), outer.input("x", f"B 4 {size} {size}"), count=2))

    g = Draft("root")
    x, y = g.input("x", "B 4 6 6"), g.input("y", "B 4 8 8")
    model = build(g.done(a=g.call("stage", chain(6), x), b=g.call("other", chain(8), y, share=("stage",))))
    y = torch.randn(2, 4, 8, 8)
    expected = y
    for block in model.stage.blocks:
        expected = block.norm(block.conv(expected))
    torch.testing.assert_close(model(torch.randn(2, 4, 6, 6), y)["b"], expected)
    assert len(shared_keys(model)) == 8


def test_modules_without_weights_are_no_reason_to_refuse() -> None:
    block = Draft("block", late=("rate",))
    y = block.op("fc", "linear", block.input("x", "B 4"), out_features=4)
    graph = block.done(block.op("drop", "dropout", y, p=Late("rate")))
    g = Draft("root")
    x = g.input("x", "B 4")
    y = g.call("block", graph, x, late=(("rate", 0.25),))
    model = build(g.done(g.call("other", graph, y, share=("block",), late=(("rate", 0.5),))))
    assert shared_keys(model) == ["block.fc.weight", "block.fc.bias"]
    assert (model.block.drop.p, model.other.drop.p) == (0.25, 0.5)
    for each in copies(model.eval()):
        x = torch.randn(2, 4)
        assert torch.equal(each(x), each.block.fc(each.block.fc(x)))


# -- weights as values -------------------------------------------------------------------------------------------------


def test_weights_given_to_an_op() -> None:
    g = Draft("root")
    x, w = g.input("x", "B 4"), g.input("w", "5 4")
    y = g.op("fc", "linear", x, out_features=5, node={"weights": {"weight": w, "bias": None}}, bias=False)
    model = build(g.done(y))
    x, w = torch.randn(2, 4), torch.randn(5, 4)
    assert shared_keys(model) == []
    assert torch.equal(model(x, w), x @ w.T)


def test_what_is_not_given_stays_its_own() -> None:
    g = Draft("root")
    x, w = g.input("x", "B 4"), g.input("w", "5 4")
    model = build(g.done(g.op("fc", "linear", x, out_features=5, node={"weights": {"weight": w}})))
    assert shared_keys(model) == ["fc.bias"]
    x, w = torch.randn(2, 4), torch.randn(5, 4)
    for each in copies(model):
        torch.testing.assert_close(each(x, w), x @ w.T + each.fc.bias)


def test_weights_given_to_a_composite() -> None:
    g = Draft("root")
    x, w = g.input("x", "B 4"), g.input("w", "6 4")
    model = build(g.done(g.call("mlp", mlp("B 4", 6), x, weights={"fc1.weight": w})))
    assert sorted(shared_keys(model)) == ["mlp.fc1.bias", "mlp.fc2.bias", "mlp.fc2.weight"]
    x, w = torch.randn(2, 4), torch.randn(6, 4)
    for each in copies(model):
        hidden = functional.gelu(functional.linear(x, w, each.mlp.fc1.bias))
        torch.testing.assert_close(each(x, w), each.mlp.fc2(hidden))


def test_a_weight_as_a_value_ties_head_and_embedding() -> None:
    g = Draft("root")
    h = g.op("embed", "embedding", g.input("ids", "B N", "int64"), num_embeddings=7, embedding_dim=4)
    w = g.op("table", "get_weight", path="embed.weight", shape=[7, 4])
    y = g.op("head", "linear", h, out_features=7, bias=False, node={"weights": {"weight": w}})
    model = build(g.done(y))
    ids = torch.randint(0, 7, (2, 3))
    for each in copies(model):
        assert shared_keys(each) == ["embed.weight"]
        torch.testing.assert_close(each(ids), each.embed(ids) @ each.embed.weight.T)
    torch.testing.assert_close(torch.export.export(model, (ids,)).module()(ids), model(ids))


# -- flags -------------------------------------------------------------------------------------------------------------


def with_unused() -> Graph:
    g = Draft("root")
    x = g.input("x", "B 4")
    y = g.op("fc", "linear", x, out_features=4)
    g.op("aux", "linear", x, out_features=3, node={"flags": frozenset({"unused"})})
    g.call("teacher", mlp("B 4", 6), x, flags=frozenset({"unused"}))
    g.op("scale", "layer_scale", x, node={"flags": frozenset({"unused"})})
    return g.done(y)


def test_unused_modules_are_registered_and_never_run() -> None:
    model = build(with_unused())
    keys = {"fc", "aux", "teacher.fc1", "teacher.fc2"}
    expected = {f"{key}.{name}" for key in keys for name in ("weight", "bias")} | {"scale"}
    x = torch.randn(2, 4)
    for each in copies(model):
        assert set(shared_keys(each)) == expected
        assert torch.equal(each(x), each.fc(x))
    assert "aux" not in model.code
    assert "teacher" not in model.code
    assert "scale" not in model.code


def frozen_graph() -> Graph:
    block = Draft("block")
    y = block.op("conv", "conv2d", block.input("x", "B 3 4 4"), out_channels=3, kernel_size=1)
    graph = block.done(block.op("norm", "batch_norm2d", block.op("scale", "layer_scale", y, dim=1)))
    g = Draft("root")
    y = g.call("stem", graph, g.input("x", "B 3 4 4"), flags=frozenset({"frozen"}))
    return g.done(g.call("body", graph, y))


def test_frozen_parts_take_no_gradient_and_keep_their_statistics() -> None:
    model = build(frozen_graph()).train()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    stem = {"stem.conv.weight", "stem.conv.bias", "stem.scale", "stem.norm.weight", "stem.norm.bias"}
    assert frozen == stem
    x = torch.randn(2, 3, 4, 4) + 5
    for each in copies(model):
        assert isinstance(each.stem.norm, FrozenBatchNorm2d)
        before = {k: v.clone() for k, v in each.state_dict().items()}
        out = each.train()(x)
        moved = {k for k, v in each.state_dict().items() if not torch.equal(v, before[k])}
        assert moved == {"body.norm.running_mean", "body.norm.running_var", "body.norm.num_batches_tracked"}
        out.sum().backward()
        assert not each.stem.norm.training
        assert each.body.norm.training
        assert {name for name, p in each.named_parameters() if not p.requires_grad} == stem
    assert list(model.state_dict()) == [
        key.replace("body", "stem") for key in model.body.state_dict(prefix="body.")
    ] + [*model.body.state_dict(prefix="body.")]


def test_frozen_compiles() -> None:
    model = build(frozen_graph()).train()
    x = torch.randn(2, 3, 4, 4)
    other = copy.deepcopy(model)
    compiled = torch.compile(other, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))
    assert torch.equal(other.stem.norm.running_mean, torch.zeros(3))


def test_sizes_inside_shared_composites_come_from_the_caller() -> None:
    g = Draft("root")
    x, y = g.input("x", "B N 4"), g.input("y", "B M 4")
    a = g.call("mlp", mlp("B N 4", 6), x)
    b = g.call("other", mlp("B M 4", 6), y, share=("mlp",))
    assert a.type.shape[1] == sym("N")
    model = build(g.done(a=a, b=b))
    y = torch.randn(2, 7, 4)
    assert torch.equal(model(torch.randn(2, 3, 4), y)["b"], model.mlp(y))
