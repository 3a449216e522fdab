"""SMT: scale-aware modulation in the first stages, self-attention in the last (arXiv 2307.08579)."""

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
    "dims": [8, 8, 16, 16],
    "depths": [1, 1, 2, 1],
    "ca_num_heads": [4, 4, 4, -1],
    "sa_num_heads": [-1, -1, 2, 4],
    "mlp_ratios": [2, 2, 2, 2],
    "num_classes": 5,
}
H, W, C = 7, 6, 8


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def on_tokens(name: str, channels: int = C, **params: Any) -> GraphModule:
    """A block of tokens on a grid of 7 x 6, every weight drawn."""
    made = block("smt", name, {"x": ["B", f"({H} {W})", channels]}, **params)
    uneven(made)
    return made.double()


def modulation(num_heads: int = 4, **params: Any) -> GraphModule:
    return on_tokens("modulation", num_heads=num_heads, **params)


def shifted(x: Tensor, down: int, right: int) -> Tensor:
    return x.unflatten(1, (H, W)).roll((down, right), (1, 2)).flatten(1, 2)


def test_modulation_is_equivariant_under_translation_away_from_borders() -> None:
    model = block("smt", "modulation", {"x": ["B", "(13 13)", C]}, num_heads=2)
    uneven(model).double()
    x = draw(1, 13 * 13, C)
    moved = x.unflatten(1, (13, 13)).roll((2, -1), (1, 2)).flatten(1, 2)
    one, other = (model(t).unflatten(1, (13, 13)) for t in (x, moved))
    inner = slice(5, 8)  # the largest kernel here reaches 2 pixels; the moved map is torn at its edges
    torch.testing.assert_close(other[:, inner, inner], one[:, slice(3, 6), slice(6, 9)])


@given(st.floats(-3, 3))
@settings(max_examples=8)
def test_the_product_is_linear_in_the_values(factor: float) -> None:
    model, x = modulation(), draw(2, H * W, C)
    with torch.no_grad():
        before = model(x) - model.proj.bias
        model.v.weight.mul_(factor)
        model.v.bias.mul_(factor)
        torch.testing.assert_close(model(x) - model.proj.bias, factor * before)


def test_a_modulator_of_ones_leaves_a_linear_layer() -> None:
    model, x = modulation(), draw(2, H * W, C)
    with torch.no_grad():
        model.proj1.weight.zero_()
        model.proj1.bias.fill_(1.0)
        torch.testing.assert_close(model(x), model.proj(model.v(x)))


@given(st.sampled_from([1, 2, 4, 8]))
@settings(max_examples=4)
def test_scales_are_woven_channel_by_channel(heads: int) -> None:
    """Channel c of head i becomes channel c * heads + i, which the grouped convolution mixes by c."""
    model, x = modulation(heads), draw(1, H * W, C)
    g = C // heads
    s = model.s(x).transpose(1, 2).unflatten(2, (H, W))
    woven = torch.zeros_like(s)
    for i, part in enumerate(s.split(g, 1)):
        woven[:, i::heads] = model.local_conv.get_submodule(str(i))(part)
    m = model.proj1(torch.nn.functional.gelu(model.bn(model.proj0(woven)))).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model(x), model.proj(m * model.v(x)))
    assert [tuple(model.local_conv.get_submodule(str(i)).kernel_size) for i in range(heads)] == [
        (3 + 2 * i, 3 + 2 * i) for i in range(heads)
    ]


@given(st.permutations(range(H * W)))
@settings(max_examples=6)
def test_attention_without_its_convolution_does_not_see_the_order(order: list[int]) -> None:
    attention, mixing = on_tokens("attention", num_heads=2), modulation()
    x = draw(1, H * W, C)
    with torch.no_grad():
        attention.local_conv.weight.zero_()
    torch.testing.assert_close(attention(x[:, order]), attention(x)[:, order])
    if order != list(range(H * W)):
        assert not torch.allclose(mixing(x[:, order]), mixing(x)[:, order])


def test_rows_of_attention_sum_to_one() -> None:
    model, x = on_tokens("attention", num_heads=2), draw(2, H * W, C)
    with torch.no_grad():
        model.kv.weight[C:].zero_()
        model.local_conv.weight.zero_()
    expected = model.proj(model.kv.bias[C:] + model.local_conv.bias)
    torch.testing.assert_close(model(x), expected.expand_as(x))


@given(st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=5)
def test_only_attention_is_quadratic_in_the_pixels(rows: int, cols: int) -> None:
    spec = archgraph.load("smt", "tiny")
    attending = [
        (14 * 14, 256, 4),
        (7 * 7, 512, 1),
    ]  # pixels at 224, width, and blocks: the odd ones of stage 3, stage 4
    head = 512 * 1000

    def linear(y: int, x: int) -> int:
        macs = totals(spec.graph(at={"x": (1, 3, 224 * y, 224 * x)})).macs
        return macs - head - sum(2 * (n * y * x) ** 2 * c * depth for n, c, depth in attending)

    assert linear(rows, cols) == rows * cols * linear(1, 1)


def test_images_do_not_meet() -> None:
    net = small("smt", **TINY)
    uneven(net)
    x = torch.randn(3, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(net(x)[1:2], net(x[1:2]))
        assert (net(x)[0] - net(x)[1]).abs().max() > 1e-3


def test_published_configurations() -> None:
    described("smt")
    claims_hold("smt")


@pytest.mark.parametrize("changes", [{}, {"layer_scale": 1e-4, "head_conv": 7}], ids=["plain", "layer-scale"])
def test_it_learns(changes: dict[str, Any]) -> None:
    net = small("smt", **TINY, **changes)
    x = torch.randn(4, 3, 64, 64)
    assert reached(net, [x]) == {name for name, _ in net.named_parameters()}
    lowers_loss(net, [x], cross_entropy(torch.tensor([0, 1, 2, 3])))


def test_it_exports_and_compiles() -> None:
    net, x = small("smt", **TINY, at={"x": (2, 3, 64, 64)}), torch.randn(2, 3, 64, 64)
    exports(net, [x])
    compiles(net, [x])
