"""MaxViT: convolution, block attention and grid attention in every block (arXiv 2204.01697)."""

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
    "image_size": 64,
    "stem_widths": [8, 8],
    "dims": [8, 16, 16, 16],
    "depths": [1, 1, 2, 1],
    "window": [2, 2],
    "head_dim": 8,
    "mlp_ratio": 2,
    "num_classes": 5,
}
parts = st.tuples(st.integers(2, 3), st.integers(1, 3), st.integers(1, 3))


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def attention(partition: str, p: int, *, tables: bool = True, **params: Any) -> GraphModule:
    model = block(
        "blocks/partition_attention",
        "partition_attention",
        {"x": ["B", "H", "W", 8]},
        partition=partition,
        h=p,
        head_dim=4,
        **params,
    )
    uneven(model)
    if not tables:
        with torch.no_grad():
            model.rel_pos.relative_position_bias_table.zero_()
    return model.double()


def touched(model: GraphModule, x: Tensor, i: int, j: int) -> Tensor:
    """Which pixels change with the pixel (i, j)."""
    moved = x.clone()
    moved[:, i, j] += 1.0
    return (model(x) - model(moved)).abs().amax((0, 3)) > 1e-9


@given(parts, st.data())
@settings(max_examples=12)
def test_block_attention_stays_in_its_window_and_grid_attention_on_its_grid(
    size: tuple[int, int, int], data: st.DataObject
) -> None:
    p, rows, cols = size
    x = draw(1, p * rows, p * cols, 8)
    i, j = data.draw(st.integers(0, p * rows - 1)), data.draw(st.integers(0, p * cols - 1))
    y, z = torch.arange(p * rows)[:, None], torch.arange(p * cols)
    assert torch.equal(touched(attention("block", p), x, i, j), (y // p == i // p) & (z // p == j // p))
    assert torch.equal(touched(attention("grid", p), x, i, j), (y % rows == i % rows) & (z % cols == j % cols))


@given(parts)
@settings(max_examples=10)
def test_grid_attention_is_block_attention_of_the_sampled_map(size: tuple[int, int, int]) -> None:
    """Pixels sampled at a stride, gathered in windows: the permutation there and back is the identity."""
    p, rows, cols = size
    block_, grid = attention("block", p), attention("grid", p)
    grid.load_state_dict(block_.state_dict())
    x = draw(2, p * rows, p * cols, 8)
    windows = x.reshape(2, p, rows, p, cols, 8).permute(0, 2, 1, 4, 3, 5).reshape(x.shape)
    y = block_(windows)
    back = y.reshape(2, rows, p, cols, p, 8).permute(0, 2, 1, 4, 3, 5).reshape(x.shape)
    torch.testing.assert_close(grid(x), back)
    if rows == cols == 1:
        torch.testing.assert_close(grid(x), block_(x))


@pytest.mark.parametrize("partition", ["block", "grid"])
@given(parts)
@settings(max_examples=6)
def test_rows_of_attention_sum_to_one(partition: str, size: tuple[int, int, int]) -> None:
    p, rows, cols = size
    model = attention(partition, p)
    with torch.no_grad():
        model.qkv.weight[16:].zero_()
    x = draw(2, p * rows, p * cols, 8)
    torch.testing.assert_close(model(x), model.proj(model.qkv.bias[16:]).expand_as(x))


@given(st.permutations(range(9)))
@settings(max_examples=8)
def test_without_bias_the_order_inside_a_window_does_not_count(order: list[int]) -> None:
    x = draw(1, 3, 3, 8)
    moved = x.reshape(1, 9, 8)[:, order].reshape(x.shape)
    plain, placed = attention("block", 3, tables=False), attention("block", 3)
    torch.testing.assert_close(plain(moved), plain(x).reshape(1, 9, 8)[:, order].reshape(x.shape))
    if order != list(range(9)):
        assert not torch.allclose(placed(moved), placed(x).reshape(1, 9, 8)[:, order].reshape(x.shape))


@given(parts, st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=10)
def test_block_attention_commutes_with_shifts_by_whole_windows(
    size: tuple[int, int, int], down: int, right: int
) -> None:
    p, rows, cols = size
    model, x = attention("block", p), draw(1, p * rows, p * cols, 8)
    shift = (p * down, p * right)
    torch.testing.assert_close(model(x.roll(shift, (1, 2))), model(x).roll(shift, (1, 2)))
    if rows > 1:
        assert not torch.allclose(model(x.roll(1, 1)), model(x).roll(1, 1))


def test_the_bias_is_that_of_key_minus_query() -> None:
    model = attention("block", 3)
    x = draw(1, 3, 3, 8)
    q, k, v = model.qkv(x).reshape(9, 3, 2, 4).unbind(1)
    at = torch.arange(9)
    rows = at // 3 - (at // 3)[:, None] + 2
    cols = at % 3 - (at % 3)[:, None] + 2
    bias = model.rel_pos.relative_position_bias_table[:, rows, cols]
    weights = (torch.einsum("qnd,knd->nqk", q, k) / 2.0 + bias).softmax(-1)
    out = torch.einsum("nqk,knd->qnd", weights, v).reshape(1, 3, 3, 8)
    torch.testing.assert_close(model(x), model.proj(out))


@pytest.mark.parametrize("lookup", ["index", "one_hot"])
def test_both_ways_to_look_the_bias_up_agree(lookup: str) -> None:
    one, other = attention("grid", 3), attention("grid", 3, lookup=lookup)
    other.load_state_dict(one.state_dict())
    x = draw(1, 6, 9, 8)
    torch.testing.assert_close(other(x), one(x))


@pytest.mark.parametrize(("stride", "dim"), [(1, 8), (2, 8), (2, 12)])
def test_an_mbconv_is_its_shortcut_when_its_last_convolution_is_zero(stride: int, dim: int) -> None:
    model = block("maxvit", "mbconv", {"x": ["B", 8, "H", "W"]}, dim=dim, stride=stride)
    uneven(model).double()
    with torch.no_grad():
        model.conv3_1x1.weight.zero_()
        model.conv3_1x1.bias.zero_()
    x = draw(2, 8, 6, 10)
    expected = torch.nn.functional.avg_pool2d(x, 2) if stride == 2 else x
    if dim != 8:
        expected = model.shortcut.expand(expected)
    torch.testing.assert_close(model(x), expected)


@given(st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=5)
def test_cost_is_linear_in_the_pixels_for_a_window_of_one_size(rows: int, cols: int) -> None:
    spec = archgraph.load("maxvit", window=[7, 7], lookup="index")
    head = 512 * 512 + 512 * 1000
    one, many = (
        totals(spec.graph(at={"x": (1, 3, 224 * y, 224 * x)})).macs - head - squeeze(spec)
        for y, x in ((1, 1), (rows, cols))
    )
    assert many == rows * cols * one


def squeeze(spec: archgraph.spec.load.Spec) -> int:
    """MACs of squeeze-and-excitation, once per block whatever the size."""
    params = spec.params()
    return sum(depth * 2 * (4 * dim) * (dim // 4) for dim, depth in zip(params["dims"], params["depths"], strict=True))


def test_attention_products_cost_what_the_paper_says() -> None:
    costs = []
    for p in (2, 4):
        text = f"""
archgraph: 1
name: lab
uses: [blocks/partition_attention]
inputs: {{x: [1, 8, 12, 16]}}
graph: {{y: {{op: partition_attention, partition: grid, h: {p}, head_dim: 4}}}}
"""
        costs.append(totals(archgraph.loads(text).graph()).macs - 8 * 12 * 4 * 16 * 16)
    assert costs == [2 * 8 * 12 * p * p * 16 for p in (2, 4)]


def test_published_configurations() -> None:
    described("maxvit")
    claims_hold("maxvit")


def test_it_learns() -> None:
    net = small("maxvit", **TINY, at={"x": (4, 3, 64, 64)})
    x = torch.randn(4, 3, 64, 64)
    assert reached(net, [x]) == {name for name, _ in net.named_parameters()}
    lowers_loss(net, [x], cross_entropy(torch.tensor([0, 1, 2, 3])))


def test_it_exports_and_compiles() -> None:
    net, x = (
        small("maxvit", **{**TINY, "dims": [8, 16], "depths": [1, 1]}, at={"x": (2, 3, 64, 64)}),
        torch.randn(2, 3, 64, 64),
    )
    exports(net, [x])
    compiles(net, [x])
