"""First values: as declared, from one seed, the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from archgraph.ir.graph import Graph
from archgraph.ir.real import Late
from archgraph.lower.fx import build, emit
from archgraph.lower.init import fill_, initialise
from archgraph.lower.plan import LoweringError
from archgraph.ops.base import Weight
from archgraph.ops.kinds import INITIALISERS, InitKind
from tests.lower.graphs import Draft, mlp


def small() -> Graph:
    g = Draft("small")
    y = g.op("conv", "conv2d", g.input("x", "B 3 8 8"), out_channels=4, kernel_size=3)
    y = g.op("norm", "batch_norm2d", y)
    y = g.op("flat", "rearrange", y, pattern="b c h w -> b h w c")
    y = g.call("blocks", mlp("B 6 6 4", 8), y, count=2)
    return g.done(g.op("head", "linear", y, out_features=5, init={"trunc_normal": {"std": 0.02}}, bias_init="zeros"))


def states_equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_one_seed_one_model() -> None:
    torch.manual_seed(1)
    first = build(small(), seed=3)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert states_equal(first, build(small(), seed=3))
    assert torch.equal(torch.get_rng_state(), before), "torch's global generator is left alone"
    assert not states_equal(first, build(small(), seed=4))


def test_without_a_seed_the_global_generator_draws() -> None:
    torch.manual_seed(5)
    first = build(small(), seed=None)
    torch.manual_seed(5)
    assert states_equal(first, build(small(), seed=None))
    assert not states_equal(first, build(small(), seed=None))


def test_dtypes_round_the_same_draw() -> None:
    half = build(small(), dtype=torch.bfloat16)
    for key, value in build(small()).state_dict().items():
        cast = half.state_dict()[key]
        assert cast.dtype == (torch.bfloat16 if value.is_floating_point() else value.dtype)
        assert torch.equal(value.to(cast.dtype), cast)


def test_turns_of_a_chain_differ() -> None:
    model = build(small())
    assert not torch.equal(model.blocks[0].fc1.weight, model.blocks[1].fc1.weight)


def test_defaults_are_those_of_torch() -> None:
    model = build(small())
    bound = 1 / math.sqrt(27)
    for tensor in (model.conv.weight, model.conv.bias):
        assert tensor.abs().max() <= bound
        assert tensor.abs().max() > bound / 2
    assert torch.equal(model.norm.weight, torch.ones(4))
    assert torch.equal(model.norm.running_var, torch.ones(4))
    assert model.norm.num_batches_tracked == 0
    assert model.norm.num_batches_tracked.dtype == torch.int64


def test_declared_laws_are_used() -> None:
    model = build(small())
    assert torch.equal(model.head.bias, torch.zeros(5))
    assert 0 < model.head.weight.abs().max() < 0.1


def test_laws_may_depend_on_the_turn() -> None:
    block = Draft("block", late=("value",))
    graph = block.done(block.op("scale", "layer_scale", block.input("x", "B 4"), init_value=Late("value")))
    g = Draft("root")
    model = build(
        g.done(g.call("blocks", graph, g.input("x", "B 4"), count=3, late=(("value", 10**-1 * Late("turn")),)))
    )
    assert [round(block.scale[0].item(), 6) for block in model.blocks] == [0.0, 0.1, 0.2]


# -- laws --------------------------------------------------------------------------------------------------------------

TORCH: dict[str, Callable[[Tensor], object]] = {
    "zeros": nn.init.zeros_,
    "ones": nn.init.ones_,
    "constant": lambda t: nn.init.constant_(t, 0.3),
    "normal": lambda t: nn.init.normal_(t, 0.0, 1.0),
    "trunc_normal": lambda t: nn.init.trunc_normal_(t),
    "uniform": nn.init.uniform_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "kaiming_uniform": lambda t: nn.init.kaiming_uniform_(t),
    "kaiming_normal": lambda t: nn.init.kaiming_normal_(t),
    "orthogonal": nn.init.orthogonal_,
    "eye": nn.init.eye_,
    "dirac": nn.init.dirac_,
}


@pytest.mark.parametrize("law", [law for law in INITIALISERS if law != "geometric"])
def test_laws_are_those_of_torch(law: str) -> None:
    shape = (4, 3, 3, 3) if law == "dirac" else (6, 4)
    _, args = InitKind().convert({law: 0.3} if law == "constant" else law)
    ours, theirs = torch.empty(shape), torch.empty(shape)
    fill_(ours, law, dict(args), torch.Generator().manual_seed(7))
    torch.manual_seed(7)
    TORCH[law](theirs)
    torch.testing.assert_close(ours, theirs)


def test_a_geometric_sequence_runs_over_all_elements() -> None:
    law, args = InitKind().convert({"geometric": {"start": 2, "ratio": 0.5}})
    tensor = torch.empty(2, 1, 3)
    fill_(tensor, law, dict(args))
    assert tensor.flatten().tolist() == [2, 1, 0.5, 0.25, 0.125, 0.0625]


def test_fan_out_and_slope() -> None:
    ours, theirs = torch.empty(8, 4, 3, 3), torch.empty(8, 4, 3, 3)
    fill_(ours, "kaiming_normal", {"a": 0.2, "fan": 1.0}, torch.Generator().manual_seed(7))
    nn.init.kaiming_normal_(theirs, 0.2, mode="fan_out", generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(ours, theirs)


def test_bounds_out_of_reach_draw_a_plain_normal() -> None:
    def drawn(law: str, **args: float) -> Tensor:
        tensor = torch.empty(1000)
        fill_(tensor, law, args, torch.Generator().manual_seed(1))
        return tensor

    plain = drawn("normal", mean=0.0, std=0.02)
    assert torch.equal(drawn("trunc_normal", mean=0.0, std=0.02, a=-2.0, b=2.0), plain)
    assert not torch.equal(drawn("trunc_normal", mean=0.0, std=0.02, a=-0.04, b=0.04), plain)
    assert drawn("trunc_normal", mean=0.0, std=1.0, a=-2.0, b=2.0).abs().max() <= 2


def test_a_law_that_does_not_fit_names_the_weight() -> None:
    with pytest.raises(LoweringError, match="w: initialiser xavier_normal: Fan in and fan out"):
        initialise({"w": torch.zeros(4)}, [("w", Weight("w", (4,), ("xavier_normal", (("gain", 1.0),))))])


def test_a_module_unlike_its_declaration_is_refused() -> None:
    with pytest.raises(LoweringError, match=r"w: declared with shape \(3,\), made with \(4,\)"):
        initialise({"w": torch.zeros(4)}, [("w", Weight("w", (3,)))])


def test_emission_on_a_device_allocates_there() -> None:
    assert {p.device.type for p in emit(small(), device="cpu").parameters()} == {"cpu"}
