"""M-SFANet and M-SegNet for crowd counting, and their versions for UCF-QNRF (arXiv 2003.05586)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx import GraphModule
from torch.nn import functional as F

import archgraph
from archgraph.analysis.cost import totals
from tests.papers.common import (
    block,
    claims_hold,
    compiles,
    described,
    exports,
    lowers_loss,
    reached,
    small,
    uneven,
)

GRAPHS = ["m_sfanet", "m_segnet", "m_sfanet_qnrf", "m_segnet_qnrf"]
sides = st.integers(2, 9)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@given(sides, sides)
@settings(max_examples=15)
def test_unpooling_puts_maxima_back(height: int, width: int) -> None:
    unpooled = block(
        "m-sfanet", "unpooled", {"x": ["B", 3, "h", "w"], "at": ["B", 3, "h", "w"], "skip": ["B", 2, "H", "W"]}
    )
    x, skip = draw(2, 3, height, width).relu(), draw(2, 2, height, width)
    pooled, indices = F.max_pool2d(x, 2, return_indices=True)
    y, beside = unpooled(pooled, indices, skip).split([3, 2], 1)
    assert torch.equal(beside, skip)
    assert torch.equal(F.max_pool2d(y, 2), pooled)
    assert torch.equal(y, torch.where(y > 0, x, 0.0))  # each where it stood, zeros elsewhere
    assert (y > 0).sum() <= pooled.numel()


def context(channels: int = 4, **params: Any) -> tuple[GraphModule, GraphModule]:
    """The module with all weights drawn, and the same giving the weighted mean itself, 1000 above zero."""
    whole, mean = (block("m-sfanet", "context", {"x": ["B", channels, "H", "W"]}, **params) for _ in range(2))
    uneven(whole)
    mean.load_state_dict(whole.state_dict())
    with torch.no_grad():
        mean.bottleneck.weight.copy_(torch.eye(channels, 2 * channels)[..., None, None])
        mean.bottleneck.bias.fill_(1e3)
    return whole.double(), mean.double()


@given(sides, sides, st.sampled_from([[1, 2, 3, 6], [1, 4], [2]]))
@settings(max_examples=15)
def test_the_context_is_a_convex_combination_of_its_scales(height: int, width: int, grids: list[int]) -> None:
    _, mean = context(grids=grids)
    x = draw(2, 4, height, width)
    scales = []
    for k, grid in enumerate(grids):
        pooled = F.adaptive_avg_pool2d(x, grid)
        small_map = mean.get_submodule(f"scales.{k}.conv")(pooled)
        scales.append(F.interpolate(small_map, size=(height, width), mode="bilinear", align_corners=False))
    found = mean(x) - 1e3
    assert (found <= torch.stack(scales).amax(0) + 1e-9).all()
    assert (found >= torch.stack(scales).amin(0) - 1e-9).all()
    assert len({id(p) for p in mean.weights.parameters()}) == 2  # one convolution weighs all scales


def test_the_context_of_a_constant_map_is_constant() -> None:
    whole, _ = context()
    x = draw(1, 4, 1, 1).expand(1, 4, 7, 9)
    y = whole(x)
    torch.testing.assert_close(y, y[..., :1, :1].expand_as(y))


@given(sides, sides)
@settings(max_examples=10)
def test_the_mean_branch_of_the_pyramid_is_constant_in_space(height: int, width: int) -> None:
    pyramid = uneven(block("m-sfanet", "pyramid", {"x": ["B", 4, "H", "W"]}, out_channels=3)).double()
    x = draw(2, 4, height, width)
    assert pyramid(x).std((2, 3)).max() > 0
    with torch.no_grad():
        pyramid.merge.weight[:, :-3] = 0.0
    y = pyramid(x)
    torch.testing.assert_close(y, y[..., :1, :1].expand_as(y))


@pytest.mark.parametrize("graph", GRAPHS)
def test_outputs_have_half_the_size_and_their_ranges(graph: str) -> None:
    net = small("m-sfanet", graph=graph, width=4)
    uneven(net, 0.1)
    with torch.no_grad():
        out = net(torch.randn(2, 3, 64, 48))
    if graph.endswith("qnrf"):
        assert out.shape == (2, 1, 32, 24)
        assert out.min() >= 0
    else:
        assert out["density"].shape == out["attention"].shape == (2, 1, 32, 24)
        assert 0 < out["attention"].min() < out["attention"].max() < 1


def test_segnet_takes_any_size() -> None:
    net = small("m-sfanet", graph="m_segnet", width=4)
    with torch.no_grad():
        assert net(torch.randn(1, 3, 33, 47))["density"].shape == (1, 1, 16, 23)


def test_a_mask_of_ones_leaves_the_density_alone() -> None:
    heads = block("m-sfanet", "masked_density", {"density": ["B", 4, "H", "W"], "mask": ["B", 4, "H", "W"]})
    uneven(heads).double()
    with torch.no_grad():
        heads.bn_att.weight.zero_()
        heads.bn_att.bias.fill_(100.0)
    x, mask = draw(1, 4, 5, 6), draw(1, 4, 5, 6)
    torch.testing.assert_close(heads(x, mask)[0], heads.conv_out(x))


@given(st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=6)
def test_macs_grow_with_the_area_but_for_the_pooled_branches(rows: int, cols: int) -> None:
    once = {  # what does not depend on the size: the mean branch of the pyramid, the small grids of the context
        "m_sfanet": 512 * 256 + 512 * 512 * (1 + 4 + 9 + 36),
        "m_segnet": 0,
        "m_sfanet_qnrf": 512 * 256 + 512 * 512 * (1 + 4 + 9 + 36),
        "m_segnet_qnrf": 0,
    }
    for graph, constant in once.items():
        spec = archgraph.load("m-sfanet")
        one, many = (
            totals(spec.graph(graph, at={"image": (1, 3, 64 * y, 64 * x)})).macs - constant
            for y, x in ((1, 1), (rows, cols))
        )
        assert many == rows * cols * one


def test_the_plain_network_is_smaller_and_takes_less() -> None:
    at = {"image": (1, 3, 224, 224)}
    both = [totals(archgraph.load("m-sfanet", name).graph(at=at)) for name in ("m-segnet", "m-sfanet")]
    assert both[0].params / both[1].params == pytest.approx(0.43, abs=0.005)
    assert both[0].macs / both[1].macs == pytest.approx(0.83, abs=0.005)


def test_published_configurations() -> None:
    described("m-sfanet")
    claims_hold("m-sfanet")


@pytest.mark.parametrize("graph", GRAPHS)
def test_it_learns(graph: str) -> None:
    net = small("m-sfanet", graph=graph, width=4, dropout=0.0)
    x, truth = torch.randn(2, 3, 64, 32), torch.rand(2, 1, 32, 16)
    two = not graph.endswith("qnrf")

    def loss(out: Any) -> Tensor:
        if not two:
            return (out.sum((1, 2, 3)) - truth.sum((1, 2, 3))).abs().mean()
        mask = (truth > 0.5).float()
        return F.mse_loss(out["density"], truth) + 0.1 * F.binary_cross_entropy(out["attention"], mask)

    idle = {name for name, _ in net.named_parameters() if "idle_bn" in name}
    assert reached(net, [x]) == {name for name, _ in net.named_parameters()} - idle
    assert bool(idle) == two
    lowers_loss(net, [x], loss)


@pytest.mark.parametrize("graph", ["m_sfanet", "m_segnet_qnrf"])
def test_it_exports_and_compiles(graph: str) -> None:
    net, x = small("m-sfanet", graph=graph, width=4), torch.randn(1, 3, 32, 48)
    exports(net, [x])
    compiles(net, [x])
