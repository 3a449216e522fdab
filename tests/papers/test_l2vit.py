"""L2ViT: clamped linear attention in turn with windows (arXiv 2501.16182)."""

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
    described,
    exports,
    lowers_loss,
    reached,
    small,
    uneven,
)

TINY: dict[str, Any] = {
    "dims": [8, 16],
    "depths": [2, 2],
    "num_heads": [2, 4],
    "mlp_ratios": [2, 2],
    "window_size": 4,
    "num_classes": 5,
}
C, HEADS = 8, 2


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def attention(floor: float = 100.0) -> GraphModule:
    made = block("blocks/linear_attention", "linear_attention", {"x": ["B", "N", C]}, num_heads=HEADS, floor=floor)
    uneven(made)
    return made.double()


@given(st.integers(1, 12), st.sampled_from([1e-6, 1.0, 100.0]))
@settings(max_examples=15)
def test_keys_first_and_queries_first_are_equal(length: int, floor: float) -> None:
    model, x = attention(floor), draw(2, length, C)
    q, k, v = model.qkv(x).unflatten(2, (3, HEADS, C // HEADS)).permute(2, 0, 3, 1, 4)
    scores = q.relu() @ k.relu().transpose(2, 3)
    sums = scores.sum(-1, keepdim=True)
    weights = model.temperature * scores / sums.clamp(min=floor)
    agrees(model(x), model.proj((weights @ v).transpose(1, 2).flatten(2)), 1e-9)
    assert (weights / model.temperature >= 0).all()
    expected = model.temperature * (sums / floor).clamp(max=1.0)  # an unclamped row sums to the temperature
    torch.testing.assert_close(weights.sum(-1, keepdim=True), expected)


@given(st.floats(0.5, 4.0))
@settings(max_examples=8)
def test_scaling_queries_counts_only_where_the_denominator_is_clamped(factor: float) -> None:
    for floor, power in ((1e-9, 0), (1e9, 1)):
        model, x = attention(floor), draw(1, 6, C)
        with torch.no_grad():
            before = model(x) - model.proj.bias
            model.qkv.weight[:C].mul_(factor)
            model.qkv.bias[:C].mul_(factor)
            after = model(x) - model.proj.bias
            agrees(after, before * factor**power, 1e-7)
            model.qkv.weight[C : 2 * C].mul_(factor)
            model.qkv.bias[C : 2 * C].mul_(factor)
            agrees(model(x) - model.proj.bias, after * factor**power, 1e-7)


def test_the_temperature_scales_its_head() -> None:
    model, x = attention(), draw(1, 6, C)
    with torch.no_grad():
        model.proj.weight.copy_(torch.eye(C))
        model.proj.bias.zero_()
        before = model(x)
        model.temperature[1] *= 3.0
        after = model(x)
    torch.testing.assert_close(after[..., :4], before[..., :4])
    torch.testing.assert_close(after[..., 4:], 3.0 * before[..., 4:])


@given(st.permutations(range(12)))
@settings(max_examples=8)
def test_linear_attention_does_not_see_the_order_but_its_block_does(order: list[int]) -> None:
    model, x = attention(), draw(1, 12, C)
    torch.testing.assert_close(model(x[:, order]), model(x)[:, order])
    whole = uneven(block("l2vit", "linear_block", {"x": ["B", "(3 4)", C]}, num_heads=HEADS)).double()
    if order != list(range(12)):
        assert not torch.allclose(whole(x[:, order]), whole(x)[:, order])


@pytest.mark.parametrize(("window", "equal"), [(4, True), (5, False)])
def test_one_window_is_global_attention(window: int, equal: bool) -> None:
    """A larger one is padded with tokens that are attended to."""
    model = block("l2vit", "window_block", {"x": ["B", "(4 4)", C]}, num_heads=HEADS, window_size=window)
    uneven(model).double()
    x = draw(1, 16, C)
    y = model.cpe1(x)
    q, k, v = model.attn.qkv(model.norm1(y)).unflatten(2, (3, HEADS, C // HEADS)).permute(2, 0, 3, 1, 4)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    y = model.cpe2(y + model.attn.proj(out))
    y = y + model.mlp(model.norm2(y))
    assert torch.allclose(model(x), y) == equal


def test_costs_of_the_layers() -> None:
    n, c, d = 14 * 14, 96, 32
    grid = {"x": [1, "(14 14)", c]}

    def macs(library: str, name: str, **params: Any) -> int:
        text = {
            "archgraph": 1,
            "name": "lab",
            "uses": [library],
            "inputs": grid,
            "graph": {"y": {"op": name, **params}},
        }
        from archgraph.spec.yaml import dump_yaml

        return int(totals(archgraph.loads(dump_yaml(text)).graph()).macs)

    assert (
        macs("blocks/linear_attention", "linear_attention", num_heads=3, floor=100)
        == 4 * n * c * c + 2 * n * c * d + n * c
    )
    assert macs("l2vit", "local_concentration") == 98 * n * c
    assert macs("l2vit", "cpe") == 9 * n * c
    window = macs("l2vit", "window_block", num_heads=3, window_size=7, feed_forward=False)
    assert window == 4 * n * c * c + 2 * n * 49 * c + 2 * 9 * n * c


@given(st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=4)
def test_macs_are_linear_in_the_pixels(rows: int, cols: int) -> None:
    spec = archgraph.load("l2vit", "tiny")
    head = 768 * 1000
    one, many = (totals(spec.graph(at={"x": (1, 3, 224 * y, 224 * x)})) for y, x in ((1, 1), (rows, cols)))
    assert many.macs - head == rows * cols * (one.macs - head)
    assert many.params == one.params


def test_images_do_not_meet() -> None:
    net = small("l2vit", **TINY, at={"x": (3, 3, 32, 40)})
    uneven(net)
    alone = small("l2vit", **TINY, at={"x": (1, 3, 32, 40)})
    alone.load_state_dict(net.state_dict())
    x = torch.randn(3, 3, 32, 40)
    with torch.no_grad():
        agrees(net(x)[1:2], alone(x[1:2]))
        assert (net(x)[0] - net(x)[1]).abs().max() > 1e-3


def test_published_configurations() -> None:
    described("l2vit")
    claims_hold("l2vit")


@pytest.mark.parametrize("changes", [{}, {"stem": "deep", "overlapped": True, "last_dim": 12, "cpe_act": True}])
def test_it_learns(changes: dict[str, Any]) -> None:
    x = torch.randn(4, 3, 32, 32)
    net = small("l2vit", **TINY, **changes, at={"x": (4, 3, 32, 32)})
    assert reached(net, [x]) == {name for name, _ in net.named_parameters()}
    lowers_loss(net, [x], cross_entropy(torch.tensor([0, 1, 2, 3])))


def test_it_exports_and_compiles() -> None:
    net, x = small("l2vit", **TINY, at={"x": (2, 3, 32, 32)}), torch.randn(2, 3, 32, 32)
    exports(net, [x])
    compiles(net, [x])
