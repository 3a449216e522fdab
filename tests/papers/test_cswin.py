"""CSWin (arXiv 2107.00652): attention in crossing stripes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

import archgraph
from archgraph.analysis.cost import totals
from tests.papers.common import block, claims_hold, cross_entropy, described, lowers_loss, reached, small, uneven


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def attention(split: int, side: int = 4, **params: Any) -> GraphModule:
    shape = {"x": ["B", f"({side} {side})", 8]}
    made = block(
        "blocks/cross_window_attention", "cross_window_attention", shape, num_heads=2, split_size=split, **params
    )
    return uneven(made).double()


def test_a_pixel_is_seen_by_its_column_stripe_and_its_row_stripe() -> None:
    model, x = attention(2), draw(1, 16, 8)
    model.proj.weight.data.copy_(torch.eye(8))
    moved = x.clone()
    moved[:, 5] += draw(1, 8)[0]  # row 1, column 1
    changed = (model(x) - model(moved)).abs()[0].reshape(4, 4, 8) > 1e-9
    vertical, horizontal = changed[..., :4].any(-1), changed[..., 4:].any(-1)
    assert vertical[:, :2].all()
    assert not vertical[:, 2:].any()
    assert horizontal[:2].all()
    assert not horizontal[2:].any()


def test_one_stripe_is_attention_of_the_whole_with_a_convolution_of_the_values() -> None:
    model, x = attention(4), draw(2, 16, 8)
    q, k, v = model.qkv(x).chunk(3, -1)
    h = [t.unflatten(-1, (2, 4)).transpose(1, 2) for t in (q, k, v)]
    mixed = ((h[0] @ h[1].mT * 0.5).softmax(-1) @ h[2]).transpose(1, 2).flatten(2)
    (branch,) = model.attns.children()
    near = branch.get_v(v.mT.reshape(2, 8, 4, 4)).flatten(2).mT
    torch.testing.assert_close(model(x), model.proj(mixed + near))


@pytest.mark.parametrize("split", [1, 2, 4])
def test_cost_law(split: int) -> None:
    call = f"{{op: cross_window_attention, num_heads: 2, split_size: {split}}}"
    body = f"inputs: {{x: [1, (8 8), 8]}}\ngraph: {{y: {call}}}\n"
    found = totals(archgraph.loads(f"archgraph: 1\nname: lab\nuses: [blocks/cross_window_attention]\n{body}").graph())
    assert found.macs == 4 * 64 * 64 + 2 * 64 * 8 * split * 8 + 9 * 64 * 8


def test_published_configurations() -> None:
    described("cswin")
    claims_hold("cswin")


def test_it_learns() -> None:
    net = small(
        "cswin", image_size=64, dim=8, depths=[1, 1, 1, 1], num_heads=[2] * 4, split_sizes=[1, 2, 2, 2], num_classes=3
    )
    x = torch.randn(2, 3, 64, 64)
    assert reached(net, [x]) == {name for name, _ in net.named_parameters()}
    lowers_loss(net, [x], cross_entropy(torch.tensor([0, 1])))
