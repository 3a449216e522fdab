"""HaloNet: blocked local attention with a halo, and the networks built of it (arXiv 2103.12731)."""

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

OPEN = {"x": ["B", 8, "H", "W"]}
TINY: dict[str, Any] = {
    "stem_widths": [8],
    "widths": [8, 8, 16, 16],
    "depths": [1, 1, 2, 1],
    "heads": [2, 4, 4, 4],
    "block": 2,
    "halo": 1,
    "d_f": 24,
    "num_classes": 5,
}


def attention(channels: int = 8, *, tables: float = 0.3, seed: int = 0, **params: Any) -> GraphModule:
    """Halo attention with every weight drawn, the position tables with deviation ``tables``."""
    model = block("blocks/halo_attention", "halo_attention", {"x": ["B", channels, "H", "W"]}, **params)
    uneven(model, seed=seed + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_rel"):
                parameter.mul_(tables / 0.3)
    return model.double()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


sizes = st.tuples(st.integers(2, 5), st.integers(0, 3), st.integers(1, 3), st.integers(1, 3))


@given(sizes, st.sampled_from([1, 2, 4]))
@settings(max_examples=15)
def test_a_pixel_reaches_the_blocks_whose_window_holds_it(size: tuple[int, int, int, int], heads: int) -> None:
    b, h, rows, cols = size
    model = attention(num_heads=heads, block=b, halo=h)
    x = draw(1, 8, rows * b, cols * b)
    i, j = rows * b // 2, cols * b - 1
    moved = x.clone()
    moved[:, :, i, j] += 1.0
    changed = (model(x) - model(moved)).abs().amax((0, 1)) > 1e-9
    for y in range(rows):
        for z in range(cols):
            sees = y * b - h <= i < y * b + b + h and z * b - h <= j < z * b + b + h
            assert bool(changed[y * b : y * b + b, z * b : z * b + b].any()) == sees


def test_moving_the_map_by_whole_blocks_moves_the_output() -> None:
    model = attention(num_heads=2, block=3, halo=2)
    x = draw(1, 8, 15, 15)
    inner = (..., slice(6, 9), slice(6, 9))  # its window stays inside the map, moved or not
    whole = model(x.roll((3, -3), (2, 3)))
    torch.testing.assert_close(whole[inner], model(x)[..., 3:6, 9:12])
    part = model(x.roll((1, 0), (2, 3)))
    assert (part[..., 6:9, 6:9] - model(x)[..., 5:8, 6:9]).abs().max() > 1e-3


def test_one_block_without_halo_is_global_attention_with_relative_positions() -> None:
    n, heads, d = 4, 2, 4
    model = attention(num_heads=heads, block=n, halo=0)
    x = draw(2, 8, n, n)
    q = model.q(x).reshape(2, heads, d, n * n).transpose(2, 3)
    k, v = model.kv(x).reshape(2, heads, 2 * d, n * n).transpose(2, 3).split(d, -1)
    at = torch.arange(n * n)
    rows, cols = at // n, at % n
    vertical = model.pos_embed.height_rel[rows - rows[:, None] + n - 1]
    horizontal = model.pos_embed.width_rel[cols - cols[:, None] + n - 1]
    bias = torch.einsum("bhqd,qkd->bhqk", q, vertical + horizontal)
    weights = (q @ k.transpose(2, 3) * d**-0.5 + bias).softmax(-1)
    torch.testing.assert_close(model(x), (weights @ v).transpose(2, 3).reshape(2, 8, n, n))


@given(sizes)
@settings(max_examples=15)
def test_beyond_the_map_are_zeros_that_share_the_softmax(size: tuple[int, int, int, int]) -> None:
    """On a constant map without positions each head's output is its value, times the weight of what is really there.

    The weights of a window sum to one: where it lies inside the map the output is the value itself.
    """
    b, h, rows, cols = size
    model = attention(num_heads=2, block=b, halo=h, tables=0.0)
    x = draw(1, 8, 1, 1).expand(1, 8, rows * b, cols * b)
    k, v = model.kv(x[..., :1, :1]).reshape(2, 8).split(4, -1)
    score = (model.q(x[..., :1, :1]).reshape(2, 4) * k).sum(-1) / 2.0
    got = model(x)
    for y in range(rows):
        for z in range(cols):
            tall = min(rows * b, y * b + b + h) - max(0, y * b - h)
            wide = min(cols * b, z * b + b + h) - max(0, z * b - h)
            there = tall * wide * score.exp()
            share = there / (there + (b + 2 * h) ** 2 - tall * wide)
            expected = (share[:, None] * v).reshape(1, 8, 1, 1).expand(1, 8, b, b)
            torch.testing.assert_close(got[..., y * b : y * b + b, z * b : z * b + b], expected)


def test_images_and_heads_do_not_meet() -> None:
    model = attention(num_heads=2, block=2, halo=1)
    x = draw(3, 8, 4, 6)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]))
    whole = model(x)
    with torch.no_grad():
        model.kv.weight[:8] = 0.0  # keys and values of the first head
    torch.testing.assert_close(model(x)[:, 4:], whole[:, 4:])
    assert (model(x)[:, :4] - whole[:, :4]).abs().max() > 1e-3


@pytest.mark.parametrize("tables", [0.0, 0.3])
def test_strided_queries_are_every_second_one_where_positions_do_not_count(tables: float) -> None:
    one = attention(num_heads=2, block=4, halo=1, tables=tables)
    two = attention(num_heads=2, block=4, halo=1, tables=tables, stride=2)
    x = draw(1, 8, 8, 12)
    equal = torch.allclose(one(x)[..., ::2, ::2], two(x))
    assert equal == (tables == 0.0)  # the tables of strided queries count in steps of the smaller map


@pytest.mark.parametrize(("b", "avg_down"), [(3, False), (4, True)])
def test_where_the_block_is_odd_the_output_is_pooled(b: int, avg_down: bool) -> None:
    one = attention(num_heads=2, block=b, halo=1)
    two = attention(num_heads=2, block=b, halo=1, stride=2, avg_down=avg_down)
    x = draw(1, 8, 2 * b, 4 * b)
    torch.testing.assert_close(two(x), torch.nn.functional.avg_pool2d(one(x), 2))


@given(st.integers(1, 3), st.integers(2, 6), st.integers(0, 4), st.sampled_from([1, 2, 4]))
def test_cost_laws(tiles: int, b: int, h: int, heads: int) -> None:
    c, n, w = 8, tiles * b, b + 2 * h
    text = f"""
archgraph: 1
name: lab
uses: [blocks/halo_attention]
inputs: {{x: [1, {c}, {n}, {n}]}}
graph: {{y: {{op: halo_attention, num_heads: {heads}, block: {b}, halo: {h}}}}}
"""
    found = totals(archgraph.loads(text).graph())
    assert found.macs == n * n * (3 * c * c + 2 * w * w * c + 2 * (2 * w - 1) * c)
    assert found.params == 3 * c * c + 2 * (2 * w - 1) * (c // heads)


def test_macs_grow_with_the_area_alone() -> None:
    spec = archgraph.load("halonet", "H1")
    one, two = (totals(spec.graph(at={"x": (1, 3, 256, width)})).macs - 512 * 1000 for width in (256, 512))
    assert two == 2 * one


def test_published_configurations() -> None:
    described("halonet")
    claims_hold("halonet")


def model(**changes: Any) -> GraphModule:
    return small("halonet", **{**TINY, **changes})


HYBRID = {"attention": [[False], [False], [False, True], [True]], "squeeze": {"op": "squeeze_excite"}}


@pytest.mark.parametrize("changes", [{}, {**HYBRID, "post_norm": True, "act": {"op": "relu"}}], ids=["paper", "hybrid"])
def test_it_learns(changes: dict[str, Any]) -> None:
    net = model(**changes)
    x = torch.randn(4, 3, 64, 64)
    assert reached(net, [x]) == {name for name, _ in net.named_parameters()}
    lowers_loss(net, [x], cross_entropy(torch.tensor([0, 1, 2, 3])))


def test_it_exports_and_compiles() -> None:
    net, x = model(), torch.randn(2, 3, 64, 64)
    exports(net, [x])
    compiles(net, [x])


def test_a_map_that_blocks_do_not_tile_is_refused() -> None:
    with pytest.raises(archgraph.SpecError, match="the blocks tile the map"):
        archgraph.load("halonet", "H7").graph(at={"x": (1, 3, 600, 600)})


def test_timm_agrees_with_open_sizes(timm: Any) -> None:
    from timm.layers.halo_attn import HaloAttn

    theirs = HaloAttn(8, 16, num_heads=2, block_size=4, halo_size=2, scale_pos_embed=True).eval()
    ours = block(
        "blocks/halo_attention",
        "halo_attention",
        OPEN,
        out_channels=16,
        num_heads=2,
        block=4,
        halo=2,
        scale_positions=True,
    )
    ours.load_state_dict(uneven(theirs).state_dict())
    for height, width in ((4, 8), (8, 4), (12, 8)):
        x = torch.randn(2, 8, height, width)
        agrees(ours(x), theirs(x))
