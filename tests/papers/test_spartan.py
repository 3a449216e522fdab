"""SpaRTAN: two receptive fields in space, waves in the channels (arXiv 2507.10999)."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx import GraphModule

from tests.papers.common import (
    block,
    claims_hold,
    compiles,
    cross_entropy,
    described,
    exports,
    lowers_loss,
    reached,
    small,
    uneven,
)

TINY: dict[str, Any] = {"dim": 16, "dims": [24, 32, 32], "depths": [1, 1, 2, 1], "num_classes": 5}
C, H, W = 16, 6, 5


def part(name: str, **params: Any) -> GraphModule:
    """A block of maps of 16 channels, every weight drawn."""
    return uneven(block("spartan", name, {"x": ["B", C, H, W]}, **params)).double()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value(model: GraphModule, name: str, x: Tensor) -> Tensor:
    """What a node of the graph gives."""
    found: dict[str, Tensor] = {}

    class Keep(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            found[n.name] = super().run_node(n)
            return found[n.name]

    Keep(model).run(x)
    return found[name]


def test_scales_of_zero_leave_the_identity() -> None:
    model, x = part("block"), draw(2, C, H, W)
    with torch.no_grad():
        model.scale1.zero_()
        model.scale2.zero_()
    torch.testing.assert_close(model(x), x)


@given(st.sampled_from([-1.0, 0.0, 0.7]))
@settings(max_examples=3)
def test_spreading_keeps_the_mean(gamma: float) -> None:
    model, x = part("smixer"), draw(2, C, H, W)
    with torch.no_grad():
        model.gamma.fill_(gamma)
    before, after = value(model, "proj_in", x), value(model, "spread", x)
    mean = before.mean((2, 3), keepdim=True)
    torch.testing.assert_close(after.mean((2, 3), keepdim=True), mean)
    torch.testing.assert_close(after, before + gamma * (before - mean))


def test_the_complex_factor_scales_each_pair() -> None:
    model, x = part("cmixer"), draw(2, C, H, W)
    size = value(model, "gated", x).unflatten(1, (-1, 2)).square().sum(2)
    factor = model.complex.square().sum(-1).flatten()
    waved = value(model, "real", x).unflatten(1, (-1, 2)).square().sum(2)
    torch.testing.assert_close(waved, factor[:, None, None] * size)
    with torch.no_grad():
        model.complex.copy_(torch.tensor([1.0, 0.0]).expand_as(model.complex))
    torch.testing.assert_close(value(model, "real", x), value(model, "gated", x))


@given(st.permutations(range(H * W)))
@settings(max_examples=5)
def test_waves_are_pointwise(order: list[int]) -> None:
    model, x = part("cmixer"), draw(1, C, H, W)
    mixed = x.flatten(2)[..., order].unflatten(2, (H, W))
    moved = value(model, "real", x).flatten(2)[..., order].unflatten(2, (H, W))
    torch.testing.assert_close(value(model, "real", mixed), moved)


def test_each_pixel_is_gated_by_its_largest_channel() -> None:
    model, x = part("cmixer"), draw(1, C, H, W)
    t, w = value(model, "t", x), value(model, "w", x)
    at = x.argmax(1, keepdim=True)
    torch.testing.assert_close(value(model, "gated", x), w * t + w.gather(1, at) * t.gather(1, at))
    assert torch.equal((x + 3 * torch.rand(1, 1, H, W)).argmax(1, keepdim=True), at)


def test_published_configurations() -> None:
    described("spartan")
    claims_hold("spartan")


def test_a_stage_without_blocks_is_passed_by() -> None:
    net = small("spartan", **{**TINY, "depths": [1, 0, 1, 1], "dims": [24, 99, 32]})
    assert net(torch.randn(1, 3, 64, 64)).shape == (1, 5)


def test_it_learns() -> None:
    net, x = small("spartan", **TINY), torch.randn(4, 3, 64, 64)
    assert reached(net, [x]) == {name for name, _ in net.named_parameters()}
    lowers_loss(net, [x], cross_entropy(torch.tensor([0, 1, 2, 3])))


def test_it_exports_and_compiles() -> None:
    net, x = small("spartan", **TINY, at={"x": (2, 3, 64, 64)}), torch.randn(2, 3, 64, 64)
    exports(net, [x])
    compiles(net, [x])
