"""SDANet: pyramid levels that attend to all levels (arXiv 2108.07020)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.papers.common import block, claims_hold, described, exports, lowers_loss, small, uneven

TINY: dict[str, Any] = {
    "planes": [4, 4, 8, 8],
    "depths": [1, 1, 1, 1],
    "width": 32,
    "reduced": 8,
    "hidden": 12,
    "num_classes": 4,
    "cascade": 2,
}
C = 32
SIZES = [(9, 7), (5, 4), (3, 2), (2, 1), (1, 1)]


def levels() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, C, *size, generator=generator, dtype=torch.float64) for size in SIZES]


def run(index: int, maps: list[Tensor]) -> Tensor:
    net = uneven(small("sdanet", graph="sda", at={"levels": [tuple(m.shape) for m in maps]}, width=C, reduced=8))
    return net.double()(maps)[index]


@pytest.mark.parametrize(("name", "axes"), [("channel_weights", (1, 1)), ("spatial_weights", (4, 3))])
def test_weights_sum_to_one_over_levels(name: str, axes: tuple[int, int]) -> None:
    net = uneven(block("sdanet", name, {"x": ["B", 5, 16, 4, 3]})).double()
    weights = net(torch.randn(2, 5, 16, 4, 3, dtype=torch.float64))
    assert weights.shape[-2:] == axes
    torch.testing.assert_close(weights.sum(1), torch.ones_like(weights[:, 0]))


def test_equal_levels_come_back_twice_before_the_context() -> None:
    same = torch.ones(1, C, 4, 4, dtype=torch.float64) * torch.arange(C)[:, None, None]
    net = small("sdanet", graph="sda", at={"levels": [(1, C, 4, 4)] * 5}, width=C, reduced=8)
    for at in range(5):  # the context adds nothing as long as its last layer is zero
        torch.testing.assert_close(net.double()([same] * 5)[at], 3 * same)


@pytest.mark.parametrize("index", range(5))
def test_shapes_are_kept_and_all_levels_are_read(index: int) -> None:
    maps = levels()
    for m in maps:
        m.requires_grad_()
    out = run(index, maps)
    assert out.shape == maps[index].shape
    for gradient in torch.autograd.grad(out.square().sum(), maps):
        assert gradient.abs().sum() > 0


def test_the_context_is_the_same_everywhere() -> None:
    net = uneven(block("sdanet", "global_context", {"x": ["B", C, 5, 4]})).double()
    x = torch.randn(2, C, 5, 4, dtype=torch.float64)
    added = net(x) - x
    torch.testing.assert_close(added, added[..., :1, :1].expand_as(added))


def test_stages_of_the_cascade_share_nothing_and_levels_share_the_proposals() -> None:
    keys = set(small("sdanet", **TINY).state_dict())
    assert {f"boxes.{k}.cls.weight" for k in range(2)} < keys
    assert {f"masks.{k}.logits.weight" for k in range(2)} < keys
    assert [key for key in keys if key.endswith("rpn.conv.weight")] == ["features.rpn.conv.weight"]


def test_published_configurations() -> None:
    described("sdanet")
    claims_hold("sdanet")


def test_it_learns() -> None:
    net = small("sdanet", **TINY)
    inputs = [torch.rand(2, 3, 64, 64), torch.rand(2, C, 7, 7), torch.rand(2, C, 14, 14)]

    def loss(out: Any) -> Tensor:
        maps = [*out["objectness"], *out["anchors"], *out["classes"], *out["deltas"], *out["masks"]]
        return sum(((m - 1).square().mean() for m in maps), torch.zeros(()))

    lowers_loss(net, inputs, loss)


def test_it_exports() -> None:
    net = small("sdanet", graph="dense", at={"image": (1, 3, 64, 64)}, **TINY)
    exports(net, [torch.rand(1, 3, 64, 64)])
