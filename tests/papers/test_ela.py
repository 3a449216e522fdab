"""Efficient local attention (arXiv 2403.01123): the module, and the networks that rules put it into."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx import GraphModule

import archgraph
from archgraph.analysis.cost import totals
from tests.papers.common import (
    agrees,
    block,
    claims_hold,
    compiles,
    cross_entropy,
    exports,
    lowers_loss,
    small,
    uneven,
)

#: Kernel, channels a group of the convolution, groups of the norm.
VERSIONS = {"tiny": (5, 1, 32), "base": (7, 1, 16), "small": (5, 8, 16), "large": (7, 8, 16)}
versions = st.sampled_from(sorted(VERSIONS))
sides = st.integers(1, 9)


def ela(channels: int = 64, **params: Any) -> GraphModule:
    return uneven(block("blocks/ela", "ela", {"x": ["B", channels, "H", "W"]}, **params)).double()


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@given(versions, sides, sides)
@settings(max_examples=20)
def test_a_gate_between_nought_and_one_is_a_product_of_rows_and_columns(version: str, h: int, w: int) -> None:
    x = draw(2, 64, h, w)
    gate = ela(version=version)(x) / x
    assert gate.min() > 0
    assert gate.max() < 1
    torch.testing.assert_close(gate * gate[..., :1, :1], gate[..., :1] * gate[..., :1, :])  # rank one


@given(versions, sides, sides)
@settings(max_examples=10)
def test_rows_and_columns_may_change_places_where_they_share_weights(version: str, h: int, w: int) -> None:
    x = draw(1, 64, h, w)
    shared, apart = ela(version=version), ela(version=version, shared=False)
    torch.testing.assert_close(shared(x.mT), shared(x).mT)
    if max(h, w) > 1:
        assert not torch.allclose(apart(x.mT), apart(x).mT)
    assert totals_of(version, 64, shared=False).params == 2 * totals_of(version, 64).params


def test_turning_the_map_over_turns_the_kernel_of_its_rows() -> None:
    x, model = draw(1, 64, 7, 5), ela(shared=False)
    there = model(x)
    with torch.no_grad():
        model.conv.weight.copy_(model.conv.weight.flip(-1).clone())
    torch.testing.assert_close(model(x.flip(2)), there.flip(2))


def test_without_convolution_the_gate_is_the_norms_bias() -> None:
    x, model = draw(2, 64, 5, 6), ela()
    torch.nn.init.zeros_(model.conv.weight)
    torch.testing.assert_close(model(x), x * torch.sigmoid(model.gn.bias)[:, None, None] ** 2)


def test_the_gates_do_not_see_the_scale_of_the_map() -> None:
    x, model = 10 * draw(2, 64, 6, 5), ela()
    torch.testing.assert_close(model(3 * x), 3 * model(x), rtol=1e-4, atol=1e-4)  # but for eps


def totals_of(version: str, channels: int, h: int = 7, w: int = 9, **params: Any) -> Any:
    given_params = "".join(f", {key}: {str(value).lower()}" for key, value in params.items())
    return totals(
        archgraph.loads(
            f"archgraph: 1\nname: lab\nuses: [blocks/ela]\ninputs: {{x: [1, {channels}, {h}, {w}]}}\n"
            f"graph: {{y: {{op: ela, version: {version}{given_params}}}}}\n"
        ).graph()
    )


@given(versions, st.integers(1, 4), sides, sides)
def test_cost_laws(version: str, groups: int, h: int, w: int) -> None:
    kernel, width, _ = VERSIONS[version]
    c = 32 * groups
    found = totals_of(version, c, h, w)
    assert found.params == c * kernel * width + 2 * c
    assert found.macs == (h + w) * c * kernel * width


@pytest.mark.parametrize(("channels", "groups"), [(24, 12), (40, 10), (144, 16), (13, 13)])
def test_groups_of_the_norm_are_the_most_that_divide_the_channels(channels: int, groups: int) -> None:
    assert ela(channels).gn.num_groups == groups


TINY: dict[str, Any] = {"depths": [1, 1], "widths": [16, 32], "strides": [1, 2], "dilations": [1, 1], "num_classes": 3}


@pytest.mark.parametrize("version", sorted(VERSIONS))
def test_it_learns_in_a_resnet(version: str) -> None:
    net = small("ela/resnet", version=version, **TINY)
    lowers_loss(net, [torch.randn(4, 3, 32, 32)], cross_entropy(torch.tensor([0, 1, 2, 0])))


def test_it_exports_and_compiles() -> None:
    net, x = (
        small("ela/mobilenet_v2", settings=[[1, 16, 1, 1], [2, 16, 1, 1]], num_classes=3),
        torch.randn(2, 3, 16, 16),
    )
    exports(net, [x])
    compiles(net, [x])


def test_published_configurations() -> None:
    claims_hold("ela")


def test_a_resnet_without_its_attention_is_a_resnet() -> None:
    """With gates of one (a bias that saturates the sigmoid) the network is its host."""
    host, net = (
        small("resnet", **TINY),
        small("ela/resnet", **TINY),
    )
    uneven(net)
    host.load_state_dict({k: v for k, v in net.state_dict().items() if ".attention." not in k})
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if ".attention." in name:
                parameter.fill_(40.0 if name.endswith("gn.bias") else 0.0)
    x = torch.randn(2, 3, 32, 32)
    agrees(net(x), host(x))
