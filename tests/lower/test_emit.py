"""What is emitted is a PyTorch module like any other: keys, code, and everything that torch does with modules."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from archgraph.ir.dim import sym
from archgraph.ir.graph import Graph
from archgraph.ir.real import Late
from archgraph.lower.fx import build, emit
from archgraph.lower.plan import LoweringError
from archgraph.lower.provenance import annotate, provenance
from tests.lower.graphs import Draft, mlp


def encoder(depth: int = 3) -> Graph:
    """A convolution, a chain of composites two deep, a norm, a head; one parameter of its own."""
    block = Draft("encoder_block")
    x = block.input("x", "B 16 8")
    y = block.op("norm", "layer_norm", x, eps=1e-6)
    block = block.done(block.call("mlp", mlp("B 16 8", 16), y))
    g = Draft("encoder")
    image = g.input("image", "B 3 16 16")
    y = g.op("patch_embed", "conv2d", image, out_channels=8, kernel_size=4, stride=4)
    y = g.op("tokens", "rearrange", y, pattern="b c h w -> b (h w) c")
    y = g.op("scale", "layer_scale", y, init_value=0.5)
    y = g.call("blocks", block, y, count=depth)
    y = g.op("norm", "batch_norm1d", g.op("swap", "rearrange", y, pattern="b n c -> b c n"))
    return g.done(g.op("head", "linear", y, out_features=5))


IMAGE = torch.randn(2, 3, 16, 16)


@pytest.fixture(scope="module")
def model() -> GraphModule:
    return build(encoder()).eval()


def same(a: nn.Module, b: nn.Module, x: Tensor = IMAGE) -> bool:
    return torch.equal(a(x), b(x)) and list(a.state_dict()) == list(b.state_dict())


def test_keys_are_node_paths(model: GraphModule) -> None:
    block = ["norm.weight", "norm.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"]
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert list(model.state_dict()) == [
        "scale",  # as in every module, own parameters first
        "patch_embed.weight",
        "patch_embed.bias",
        *[f"blocks.{turn}.{key}" for turn in range(3) for key in block],
        *[f"norm.{key}" for key in norm],
        "head.weight",
        "head.bias",
    ]


def test_structure(model: GraphModule) -> None:
    assert type(model.blocks) is nn.Sequential
    assert len(model.blocks) == 3
    assert isinstance(model.blocks[1].mlp, GraphModule)
    assert type(model.blocks[1].mlp).__name__ == "Mlp"
    assert type(model).__name__ == "Encoder"
    assert isinstance(model.scale, nn.Parameter)
    for part in model.modules():
        if isinstance(part, GraphModule):
            part.graph.lint()
            assert part.graph.owning_module is part


def test_code_reads_like_the_spec(model: GraphModule) -> None:
    lines = [line.strip() for line in model.blocks[0].mlp.code.strip().splitlines()]
    assert lines == [
        "def forward(self, x):",
        "fc1 = self.fc1(x);  x = None",
        "act = torch._C._nn.gelu(fc1);  fc1 = None",
        "fc2 = self.fc2(act);  act = None",
        "return fc2",
    ]
    assert "self.blocks(" in model.code


def test_composites_are_edited_apart(model: GraphModule) -> None:
    edited = copy.deepcopy(model)
    part = edited.blocks[0].mlp
    for node in part.graph.nodes:
        if node.op == "call_function":
            node.target = torch.relu
    part.recompile()
    assert "torch.relu" in part.code
    assert "gelu" in edited.blocks[1].mlp.code
    hidden = torch.randn(2, 16, 8)
    assert torch.equal(edited.blocks[1](hidden), model.blocks[1](hidden))
    assert not torch.equal(edited.blocks[0](hidden), model.blocks[0](hidden))


def test_instances_of_a_block_share_text_but_no_function(model: GraphModule) -> None:
    first, second = model.blocks[0], model.blocks[1]
    assert first.code == second.code
    assert type(first) is not type(second)
    assert type(first).forward is not type(second).forward
    assert type(first).forward.__code__ is not type(second).forward.__code__
    assert inspect.getsource(type(second).forward) == inspect.getsource(type(first).forward)
    before = second.code
    second.recompile()
    assert second.code == before
    other = pickle.loads(pickle.dumps(second))
    x = torch.randn(2, 4, 8)
    torch.testing.assert_close(other(x), second(x))


def test_emission_allocates_nothing() -> None:
    emitted = emit(encoder())
    tensors = [*emitted.parameters(), *emitted.buffers()]
    assert {t.device.type for t in tensors} == {"meta"}
    assert emitted(IMAGE.to("meta")).shape == (2, 8, 5)


# -- what torch does with modules --------------------------------------------------------------------------------------


def test_trains() -> None:
    model = build(encoder())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    target = torch.randn(2, 8, 5)
    losses = []
    for _ in range(5):
        loss = (model(IMAGE) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(p.grad is not None for p in model.parameters())
    assert model.norm.num_batches_tracked.item() == 5


def roundtrip_pickle(model: nn.Module) -> nn.Module:
    found: nn.Module = pickle.loads(pickle.dumps(model))
    return found


def roundtrip_save(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    found: nn.Module = torch.load(buffer, weights_only=False)
    return found


@pytest.mark.parametrize("copied", [copy.deepcopy, roundtrip_pickle, roundtrip_save])
def test_copies(model: GraphModule, copied: Callable[[nn.Module], nn.Module]) -> None:
    other = copied(model)
    assert same(other, model)
    assert type(other.blocks) is nn.Sequential
    with torch.no_grad():
        next(other.parameters()).add_(1)
    assert not same(other, model)


@pytest.mark.parametrize("strict", [False, True])
def test_exports_with_a_free_batch(model: GraphModule, strict: bool) -> None:
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (IMAGE,), dynamic_shapes=shapes, strict=strict)
    five = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(program.module()(five), model(five))
    assert sorted(program.state_dict) == sorted(model.state_dict())


def test_compiles_whole(model: GraphModule) -> None:
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    for batch in (2, 3):
        x = torch.randn(batch, 3, 16, 16)
        torch.testing.assert_close(compiled(x), model(x))


def test_autocasts(model: GraphModule) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert model(IMAGE).dtype == torch.bfloat16


def test_checkpoints(model: GraphModule) -> None:
    hidden = torch.randn(2, 16, 8, requires_grad=True)
    expected = model.blocks(hidden)
    assert torch.equal(checkpoint_sequential(model.blocks, 2, hidden, use_reentrant=False), expected)
    assert torch.equal(checkpoint(model.blocks[0], hidden, use_reentrant=False), model.blocks[0](hidden))


def test_retraces(model: GraphModule) -> None:
    assert same(torch.fx.symbolic_trace(model), model)


def test_trains_in_parallel(tmp_path: Path) -> None:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = build(encoder())
        parallel = nn.parallel.DistributedDataParallel(model)
        parallel(IMAGE).sum().backward()
        assert all(p.grad is not None for p in model.parameters())
    finally:
        torch.distributed.destroy_process_group()


def test_moves() -> None:
    model = build(encoder(), dtype=torch.float64)
    assert model(IMAGE.double()).dtype == torch.float64
    assert model.norm.num_batches_tracked.dtype == torch.int64


# -- inputs, outputs ---------------------------------------------------------------------------------------------------


def test_several_outputs_are_tuples_inside_and_a_dict_outside() -> None:
    inner = Draft("two")
    x = inner.input("x", "B 4")
    inner_graph = inner.done(a=inner.op("a", "linear", x, out_features=2), b=inner.op("b", "linear", x, out_features=3))
    g = Draft("root")
    a, b = g.call("two", inner_graph, g.input("x", "B 4"))
    model = build(g.done(first=g.op("act", "relu", b), second=a))
    x = torch.randn(2, 4)
    assert isinstance(model.two(x), tuple)
    assert {k: tuple(v.shape) for k, v in model(x).items()} == {"first": (2, 3), "second": (2, 2)}
    assert torch.equal(model(x)["second"], model.two.a(x))


def test_lists_are_lists_at_the_root_only() -> None:
    inner = Draft("swap")
    p, q = inner.input("x.0", "B 4"), inner.input("x.1", "B 5")
    swap = inner.done(y__0=q, y__1=p)
    g = Draft("root")
    p, q = g.input("x.0", "B 4"), g.input("x.1", "B 5")
    a, b = g.call("swap", swap, p, q)
    model = build(g.done(y__0=g.op("fc", "linear", a, out_features=2), y__1=b, z=a))
    x = [torch.randn(2, 4), torch.randn(2, 5)]
    found = model(x)
    assert list(found) == ["y", "z"]
    assert isinstance(found["y"], list)
    assert [tuple(t.shape) for t in found["y"]] == [(2, 2), (2, 4)]
    assert torch.equal(model(x=x)["z"], x[1])
    assert model.swap.code.split("\n")[3].startswith("def forward(self, x_0, x_1)")
    exported = torch.export.export(model, (x,)).module()(x)
    torch.testing.assert_close(exported, found)
    assert same_tree(roundtrip_pickle(model)(x), found)


def same_tree(a: object, b: object) -> bool:
    torch.testing.assert_close(a, b)
    return True


def test_a_single_list_output_is_a_list() -> None:
    g = Draft("root")
    x = g.input("x", "B 4")
    model = build(g.done(y__0=g.op("a", "relu", x), y__1=x))
    assert isinstance(model(torch.randn(2, 4)), list)


@pytest.mark.parametrize("name", ["input", "max", "x1", "lambda_"])
def test_input_names_are_argument_names(name: str) -> None:
    g = Draft("root")
    model = build(g.done(g.op("act", "relu", g.input(name, "B 4"))))
    x = torch.randn(2, 4)
    assert torch.equal(model(**{name: x}), x.relu())


# -- chains ------------------------------------------------------------------------------------------------------------


def scheduled(depth: int) -> Graph:
    """A chain whose blocks have their own slope, 0.1 more each turn."""
    block = Draft("block", late=("slope",))
    x = block.input("x", "B 4")
    block_graph = block.done(block.op("act", "leaky_relu", x, negative_slope=Late("slope")))
    g = Draft("root")
    x = g.input("x", "B 4")
    y = g.call("blocks", block_graph, x, count=depth, late=(("slope", 0.1 * (Late("turn") + 1)),))
    return g.done(y)


def test_late_values_are_bound_turn_by_turn() -> None:
    model = build(scheduled(3))
    found = model(torch.tensor([[-1.0, 1.0, 0.0, -2.0]]))
    torch.testing.assert_close(found, torch.tensor([[-0.006, 1.0, 0.0, -0.012]]))
    assert "0.1" in model.blocks[0].code
    assert "0.2" in model.blocks[1].code


def test_a_chain_with_held_inputs() -> None:
    block = Draft("block")
    x, held = block.input("x", "B 4"), block.input("held", "B 4")
    graph = block.done(block.op("fc", "bilinear", x, held, out_features=4))
    g = Draft("root")
    x, held = g.input("x", "B 4"), g.input("held", "B 4")
    model = build(g.done(g.call("blocks", graph, x, held, count=3)))
    a, b = torch.randn(2, 4), torch.randn(2, 4)
    expected = a
    for turn in range(3):
        expected = getattr(model.blocks, str(turn))(expected, b)
    assert torch.equal(model(a, b), expected)
    assert "blocks.2.fc.weight" in model.state_dict()
    assert same_tree(copy.deepcopy(model)(a, b), expected)
    assert same_tree(roundtrip_pickle(model)(a, b), expected)


def test_a_chain_that_carries_two_values() -> None:
    block = Draft("block")
    x, y = block.input("x", "B 4"), block.input("y", "B 4")
    graph = block.done(x=block.op("fc", "linear", y, out_features=4), y=x)
    g = Draft("root")
    x, y = g.input("x", "B 4"), g.input("y", "B 4")
    a, b = g.call("blocks", graph, x, y, count=2)
    model = build(g.done(a=a, b=b))
    x, y = torch.randn(2, 4), torch.randn(2, 4)
    first = getattr(model.blocks, "0").fc(y)
    found = model(x, y)
    assert torch.equal(found["a"], getattr(model.blocks, "1").fc(x))
    assert torch.equal(found["b"], first)


def test_loop_graphs_are_sequential_where_they_can_be() -> None:
    def loop(reads_input_again: bool) -> nn.Module:
        g = Draft("turns")
        x = g.input("x", "B 4")
        y = g.call("0", mlp("B 4", 6), x)
        y = g.call("1", mlp("B 4", 8), x if reads_input_again else y)
        y = g.op("2", "linear", y, out_features=3)
        root = Draft("root")
        return build(root.done(root.call("stages", g.done(y), root.input("x", "B 4")))).stages

    assert type(loop(False)) is nn.Sequential
    stages = loop(True)
    assert isinstance(stages, GraphModule)
    assert list(stages._modules) == ["0", "1", "2"]
    assert stages(torch.randn(2, 4)).shape == (2, 3)


def test_a_symbolic_number_of_turns_is_refused() -> None:
    g = Draft("root")
    x = g.input("x", "B 4")
    with pytest.raises(LoweringError, match=r"spec.yaml:1:3: blocks: `blocks` has depth turns"):
        emit(g.done(g.call("blocks", mlp("B 4", 6), x, count=sym("depth"))))


# -- sizes across composites -------------------------------------------------------------------------------------------


def grid_model() -> Graph:
    """A block deep inside that needs H and W apart, though its input only tells their product."""
    inner = Draft("inner")
    g = Draft("root")
    tokens = g.op("tokens", "rearrange", g.input("image", "B 3 H W"), pattern="b c h w -> b (h w) c")
    inner_graph = inner.done(
        inner.op("grid", "rearrange", inner.input("x", tokens.type), pattern="b (h w) c -> b c h w")
    )
    middle = Draft("middle")
    middle_graph = middle.done(middle.call("inner", inner_graph, middle.input("x", tokens.type)))
    return g.done(g.call("middle", middle_graph, tokens))


def test_sizes_are_handed_down_where_values_do_not_tell_them() -> None:
    model = build(grid_model())
    image = torch.randn(2, 3, 5, 7)
    assert torch.equal(model(image), image)
    assert "def forward(self, x, w)" in model.middle.code
    assert "(-1, w)" in model.middle.inner.code
    dims = {2: torch.export.Dim("h", min=2, max=64), 3: torch.export.Dim("w", min=2, max=64)}
    program = torch.export.export(model, (image,), dynamic_shapes=(dims,))
    other = torch.randn(2, 3, 4, 9)
    assert torch.equal(program.module()(other), other)
    assert torch.equal(torch.compile(model, fullgraph=True, backend="eager", dynamic=True)(other), other)
    assert torch.equal(roundtrip_pickle(model)(other), other)


def test_sizes_that_no_input_tells_are_refused() -> None:
    g = Draft("root")
    x = g.input("x", "B 1")
    with pytest.raises(LoweringError, match=r"spec.yaml:1:3: big: the size M can't be computed"):
        emit(g.done(g.op("big", "expand", x, size=[sym("B"), sym("M")])))


def test_weights_of_symbolic_size_are_refused() -> None:
    g = Draft("root")
    with pytest.raises(LoweringError, match=r"fc: `in_features` of `linear` is C: give its symbols values"):
        emit(g.done(g.op("fc", "linear", g.input("x", "B C"), out_features=4)))


def test_errors_name_the_path() -> None:
    inner = Draft("inner")
    graph = inner.done(inner.op("fc", "linear", inner.input("x", "B C"), out_features=4))
    g = Draft("root")
    with pytest.raises(LoweringError) as caught:
        emit(g.done(g.call("stem", graph, g.input("x", "B C"))))
    assert caught.value.path == ("stem", "fc")


# -- provenance --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [lambda m: m, copy.deepcopy, roundtrip_pickle, roundtrip_save])
def test_provenance_survives(model: GraphModule, copied: Callable[[nn.Module], nn.Module]) -> None:
    other = copied(model)
    part = other.blocks[2].mlp
    assert provenance(part)["fc1"] == ("spec.yaml:1:3", "[B, 16, 16]")
    annotate(other)
    by_name = {node.name: node for node in part.graph.nodes}
    assert by_name["fc1"].meta["archgraph"] == ("spec.yaml:1:3", "[B, 16, 16]")
    assert provenance(nn.Linear(1, 1)) == {}
