"""BiFormer (arXiv 2303.08810): bi-level routing attention in both of its forms, and the networks made by a rule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
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

LIBRARY = "blocks/bi_level_routing"


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bra(channels: int = 8, std: float = 0.5, **params: Any) -> GraphModule:
    return uneven(block(LIBRARY, "bra", {"x": ["B", "H", "W", channels]}, **params), std).double()


def heads(x: Tensor, n: int) -> Tensor:
    return x.unflatten(-1, (n, -1)).transpose(-3, -2)


def told(
    model: GraphModule, x: Tensor, n: int, k: int, m: int, *, qk: int, pool: nn.Module | None = None, soft: bool = False
) -> Tensor:
    """The definition, region by region and in loops; maps that regions tile."""
    b, h, w, c = x.shape
    q, key, v = model.qkv(x).split([qk, qk, c], -1)
    tall, wide = h // n, w // n
    scale = qk**-0.5

    def region(t: Tensor, r: int) -> Tensor:
        y, z = divmod(r, n)
        return t[:, y * tall : (y + 1) * tall, z * wide : (z + 1) * wide]

    def tokens(t: Tensor, r: int) -> Tensor:
        part = region(t, r).permute(0, 3, 1, 2)
        return (part if pool is None else pool(part)).flatten(2).mT

    means = [torch.stack([region(t, r).mean((1, 2)) for r in range(n * n)], 1) for t in (q, key)]
    if hasattr(model, "emb"):
        means = [model.emb(t) for t in means]
    score = means[0] @ means[1].mT * scale
    out = torch.zeros_like(x)
    for i in range(b):
        for r in range(n * n):
            best = score[i, r].topk(k)
            share = best.values.softmax(0) if soft else torch.ones(k, dtype=x.dtype)
            ks = torch.cat([s * tokens(key[i : i + 1], int(a))[0] for s, a in zip(share, best.indices, strict=True)])
            vs = torch.cat([s * tokens(v[i : i + 1], int(a))[0] for s, a in zip(share, best.indices, strict=True)])
            qs = region(q[i : i + 1], r).reshape(-1, qk)
            mixed = (heads(qs, m) @ heads(ks, m).mT * scale).softmax(-1) @ heads(vs, m)
            region(out[i : i + 1], r)[:] = mixed.transpose(0, 1).reshape(1, tall, wide, c)
    if hasattr(model, "lepe"):
        out = out + model.lepe(v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return model.wo(out) if hasattr(model, "wo") else out


POOLS = {
    "ada_avgpool": nn.AdaptiveAvgPool2d(2),
    "ada_maxpool": nn.AdaptiveMaxPool2d(2),
    "avgpool": nn.AvgPool2d(2),
    "maxpool": nn.MaxPool2d(2),
}


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 2, 4]), st.data())
@settings(max_examples=12)
def test_it_is_what_its_definition_says(n: int, tall: int, wide: int, m: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n * n))
    qk = data.draw(st.sampled_from([8, 4, 12]))
    model = bra(num_heads=m, n_win=n, topk=k, qk_dim=qk, kernel_size=data.draw(st.sampled_from([0, 3, 5])))
    x = draw(2, n * tall, n * wide, 8)
    with torch.no_grad():
        torch.testing.assert_close(model(x), told(model, x, n, k, m, qk=qk))


@pytest.mark.parametrize("pool", POOLS)
def test_keys_and_values_may_be_pooled_in_their_region(pool: str) -> None:
    model, x = bra(num_heads=2, n_win=2, topk=3, kv_pool=pool, kv_size=2), draw(1, 8, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(model(x), told(model, x, 2, 3, 2, qk=8, pool=POOLS[pool]))


def test_soft_routing_weighs_regions_and_trains_the_router() -> None:
    model = bra(num_heads=2, n_win=2, topk=2, soft_routing=True, diff_routing=True, routing_proj=True, proj=False)
    x = draw(1, 6, 4, 8)
    with torch.no_grad():
        torch.testing.assert_close(model(x), told(model, x, 2, 2, 2, qk=8, soft=True))
    assert {"emb.weight", "emb.bias"} <= reached(model, [x])


@pytest.mark.parametrize(("n", "k"), [(3, 9), (1, 1)])
def test_all_regions_are_softmax_attention_of_the_map(n: int, k: int) -> None:
    model, x = bra(num_heads=2, n_win=n, topk=k, kernel_size=0), draw(2, 6, 9, 8)
    q, key, v = (heads(t, 2) for t in model.qkv(x.flatten(1, 2)).chunk(3, -1))
    want = ((q @ key.mT * 8**-0.5).softmax(-1) @ v).transpose(1, 2).reshape(2, 6, 9, 8)
    torch.testing.assert_close(model(x), model.wo(want))


def test_a_region_that_chooses_itself_alone_is_a_window() -> None:
    """Keys that are the queries, of regions far apart: the largest logit is a region's own."""
    model = bra(num_heads=2, n_win=2, topk=1, kernel_size=0)
    with torch.no_grad():
        model.qkv.weight[8:16] = model.qkv.weight[:8]
        model.qkv.bias[8:16] = model.qkv.bias[:8] = 0
        model.qkv.weight[:4] = 8 * torch.eye(4, 8)
        model.qkv.weight[8:12] = 8 * torch.eye(4, 8)
    x = 0.1 * draw(1, 6, 6, 8)
    for r in range(4):
        y, z = divmod(r, 2)
        x[:, 3 * y : 3 * y + 3, 3 * z : 3 * z + 3, r] += 1.0
    for r in range(4):
        y, z = divmod(r, 2)
        part = x[:, 3 * y : 3 * y + 3, 3 * z : 3 * z + 3]
        alone = bra(num_heads=2, n_win=1, topk=1, kernel_size=0)
        alone.load_state_dict(model.state_dict())
        torch.testing.assert_close(model(x)[:, 3 * y : 3 * y + 3, 3 * z : 3 * z + 3], alone(part))


def test_a_shift_of_all_keys_changes_nothing() -> None:
    model, x = bra(num_heads=2, n_win=2, topk=2), draw(2, 4, 6, 8)
    there = model(x)
    with torch.no_grad():
        model.qkv.bias[8:16] += draw(8, seed=3)
    torch.testing.assert_close(model(x), there)


def test_routes_differ_are_in_range_and_carry_no_gradient() -> None:
    model, x = bra(num_heads=2, n_win=3, topk=4, with_weights=True), draw(2, 6, 6, 8).requires_grad_()
    y, weight, index, attention = model(x)
    assert index.dtype == torch.int64
    assert index.min() >= 0
    assert index.max() < 9
    assert all(len(set(row.tolist())) == 4 for row in index.flatten(0, 1))
    for rows in (weight, attention):
        torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:-1], dtype=rows.dtype))
    assert not weight.requires_grad
    torch.testing.assert_close(y, bra(num_heads=2, n_win=3, topk=4)(x))  # the fused form, with equal weights
    torch.testing.assert_close(model(x)[0][1:], model(x[1:])[0])


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=8)
def test_both_forms_agree_on_maps_that_regions_tile(n: int, tall: int, wide: int) -> None:
    one = bra(num_heads=2, n_win=n, topk=n)
    two = block(LIBRARY, "nchw_bra", {"x": ["B", 8, n * tall, n * wide]}, num_heads=2, n_win=n, topk=n).double()
    state = one.state_dict()
    names = {"qkv": "qkv", "wo": "proj"}
    for name, tensor in state.items():
        head, _, rest = name.partition(".")
        other = two.get_parameter(f"{names.get(head, head)}.{rest}")
        other.data.copy_(tensor.reshape(other.shape))
    x = draw(2, n * tall, n * wide, 8)
    torch.testing.assert_close(two(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), one(x))


def test_padding_is_part_of_the_map_before_the_projection() -> None:
    padded, tiled = bra(num_heads=2, n_win=4, topk=3, auto_pad=True), bra(num_heads=2, n_win=4, topk=3)
    x = draw(1, 6, 7, 8)
    want = tiled(nn.functional.pad(x, (0, 0, 0, 1, 0, 2)))[:, :6, :7]
    torch.testing.assert_close(padded(x), want)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.data())
def test_cost_law(n: int, tall: int, wide: int, data: st.DataObject) -> None:
    k, c, d, size = data.draw(st.integers(1, n * n)), 8, data.draw(st.sampled_from([4, 8])), n * n * tall * wide
    call = f"{{op: bra, num_heads: 2, n_win: {n}, topk: {k}, qk_dim: {d}, kernel_size: 5}}"
    body = f"inputs: {{x: [1, {n * tall}, {n * wide}, {c}]}}\ngraph: {{y: {call}}}\n"
    found = totals(archgraph.loads(f"archgraph: 1\nname: lab\nuses: [{LIBRARY}]\n{body}").graph())
    pairs = size * (k * size // (n * n))
    assert found.macs == size * c * (2 * d + c) + size * c * c + size * c * 25 + n**4 * d + pairs * (d + c)


TINY: dict[str, Any] = {
    "dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "n_wins": [2, 2, 2, 2], "topks": [1, 2, 3, -2], "head_dim": 4,
    "mlp_ratios": [2, 2, 2, 2], "num_classes": 3, "image_size": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pre_norm": False, "layer_scale": 0.5, "mlp_conv": True, "topks": [0, -1, 3, -2]},
        {"stem": "patch", "layout": "nchw", "pos_kernel": 0, "topks": [1, 2, 3, -1]},
    ],
    ids=["published", "options", "nchw"],
)
def test_it_learns(changes: dict[str, Any]) -> None:
    net, x = small("biformer", **{**TINY, **changes}), torch.randn(2, 3, 64, 64)
    assert reached(net.train(), [x]) == {name for name, _ in net.named_parameters()}
    lowers_loss(net, [x], cross_entropy(torch.tensor([0, 1])))


def test_it_exports_and_compiles() -> None:
    net, x = small("biformer", **TINY), torch.randn(2, 3, 64, 64)
    exports(net, [x])
    compiles(net, [x])


def test_published_configurations() -> None:
    described("biformer")
    claims_hold("biformer")


def test_where_no_stage_routes_it_is_its_trunk() -> None:
    same = {key: value for key, value in TINY.items() if key not in ("n_wins", "head_dim")} | {"topks": [-2] * 4}
    net, trunk, x = small("biformer", **same), small("biformer_trunk", **same), torch.randn(1, 3, 64, 64)
    trunk.load_state_dict(net.state_dict())
    agrees(net(x), trunk(x))
