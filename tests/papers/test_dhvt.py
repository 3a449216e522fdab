"""DHVT: a vision transformer for small data sets, with head tokens and convolutions (arXiv 2210.05958)."""

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
    cross_entropy,
    described,
    exports,
    lowers_loss,
    reached,
    small,
    uneven,
)

TINY: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 4,
    "dim": 16,
    "depth": 2,
    "num_heads": 4,
    "mlp_ratio": 2,
    "num_classes": 5,
}
C = 12


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def attention(num_heads: int = 3) -> GraphModule:
    made = block("dhvt", "hi_attention", {"x": ["B", "N", C]}, num_heads=num_heads)
    uneven(made)
    return made.double()


def daff(height: int = 3, width: int = 4) -> GraphModule:
    made = block("dhvt", "daff", {"x": ["B", f"1 + ({height} {width})", C]}, hidden_features=2 * C)
    uneven(made)
    return made.double()


@given(st.permutations(range(1, 8)), st.sampled_from([1, 2, 3, 4, 6]))
@settings(max_examples=10)
def test_attention_does_not_see_the_order_of_patches(order: list[int], heads: int) -> None:
    model, x = attention(heads), draw(2, 8, C)
    moved = [0, *order]
    torch.testing.assert_close(model(x[:, moved]), model(x)[:, moved])


@given(st.integers(1, 9), st.sampled_from([1, 2, 3, 4, 6]))
@settings(max_examples=10)
def test_rows_of_attention_sum_to_one(patches: int, heads: int) -> None:
    """Over tokens and head tokens: with values of one constant, every token gets it; the class token twice."""
    model, x = attention(heads), draw(2, 1 + patches, C)
    with torch.no_grad():
        model.qkv.weight[2 * C :].zero_()
    constant = model.proj(model.qkv.bias[2 * C :])
    y = model(x)
    torch.testing.assert_close(y[:, 1:], constant.expand(2, patches, C))
    torch.testing.assert_close(y[:, 0], 2 * constant.expand(2, C))


def test_head_tokens_join_the_softmax() -> None:
    """Plain attention is what remains when they are kept out and not averaged in; nought for them is another thing."""
    heads, d = 3, C // 3
    model, x = attention(heads), draw(2, 5, C)

    def attend(tokens: Tensor) -> Tensor:
        q, k, v = model.qkv(tokens).unflatten(2, (3, heads, d)).permute(2, 0, 3, 1, 4)
        return model.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    means = x.unflatten(2, (heads, d)).mean(1)
    tokens = F.gelu(model.ht_norm(model.ht_proj(means).unflatten(2, (heads, d)))).flatten(2) + model.pos_embed
    whole = attend(torch.cat([x, tokens], 1))
    expected = whole[:, :5].clone()
    expected[:, 0] += whole[:, 5:].mean(1)
    torch.testing.assert_close(model(x), expected)
    with torch.no_grad():
        for name in ("ht_norm.weight", "ht_norm.bias", "pos_embed"):
            model.get_parameter(name).zero_()
    assert not torch.allclose(model(x)[:, 1:], attend(x)[:, 1:])


@given(st.integers(1, 5), st.integers(1, 5), st.floats(-3, 3))
@settings(max_examples=10)
def test_the_class_token_is_scaled_by_what_the_patches_say(height: int, width: int, factor: float) -> None:
    model, x = daff(height, width), draw(2, 1 + height * width, C)
    scaled = x.clone()
    scaled[:, 0] *= factor
    one, other = model(x), model(scaled)
    torch.testing.assert_close(other[:, 0], factor * one[:, 0])
    torch.testing.assert_close(other[:, 1:], one[:, 1:])  # patches do not see it
    patches = one[:, 1:].mean(1)
    weight = model.excitation(F.gelu(model.compress(patches)))
    torch.testing.assert_close(one[:, 0], x[:, 0] * weight)


def test_parameters_do_not_depend_on_the_grid() -> None:
    counts = {
        totals(archgraph.load("dhvt", "tiny_cifar_patch4", image_size=size).graph()).params for size in (32, 48, 64)
    }
    assert len(counts) == 1
    one, other = (small("dhvt", **{**TINY, "image_size": size}) for size in (32, 48))
    other.load_state_dict(one.state_dict())
    assert other(torch.randn(1, 3, 48, 48)).shape == (1, 5)


@pytest.mark.parametrize(("patch", "size"), [(2, 16), (4, 32), (16, 64)])
def test_images_do_not_meet(patch: int, size: int) -> None:
    net = small("dhvt", **{**TINY, "patch_size": patch, "image_size": size})
    uneven(net)
    x = torch.randn(3, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(net(x)[1:2], net(x[1:2]), rtol=1e-4, atol=1e-5)
        assert (net(x)[0] - net(x)[1]).abs().max() > 1e-3


def test_cost_of_attention() -> None:
    n, heads, d = 1 + 64, 4, 48
    text = f"""
archgraph: 1
name: lab
uses: [dhvt]
inputs: {{x: [1, {n}, {heads * d}]}}
graph: {{y: {{op: hi_attention, num_heads: {heads}}}}}
"""
    c, all_tokens = heads * d, n + heads
    expected = 2 * all_tokens**2 * c + 4 * all_tokens * c**2 + heads * d * c
    assert totals(archgraph.loads(text).graph()).macs == expected


def test_published_configurations() -> None:
    described("dhvt")
    claims_hold("dhvt")


def test_other_patches_are_refused() -> None:
    with pytest.raises(archgraph.SpecError, match="patch"):
        archgraph.load("dhvt", patch_size=8).graph()


def test_it_learns() -> None:
    net = small("dhvt", **TINY)
    x = torch.randn(4, 3, 32, 32)
    assert reached(net, [x]) == {name for name, _ in net.named_parameters()}
    lowers_loss(net, [x], cross_entropy(torch.tensor([0, 1, 2, 3])))


def test_it_exports_and_compiles() -> None:
    net, x = small("dhvt", **TINY), torch.randn(2, 3, 32, 32)
    exports(net, [x])
    compiles(net, [x])
