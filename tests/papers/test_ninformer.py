"""NiNformer: a gate that an inner Mixer makes, in place of attention (arXiv 2403.02411)."""

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

TINY: dict[str, Any] = {"image_size": 16, "dim": 12, "hidden": 20, "depth": 2, "num_classes": 5, "dropout": 0.0}
N, C = 6, 8


def part(name: str, **params: Any) -> GraphModule:
    return uneven(block("ninformer", name, {"x": ["B", N, C]}, **params)).double()


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def silence(model: GraphModule, *layers: str) -> None:
    with torch.no_grad():
        for layer in layers:
            for p in model.get_submodule(layer).parameters():
                p.zero_()


def test_a_silent_block_is_the_identity() -> None:
    model, x = part("block", hidden=10), draw(2, N, C)
    silence(model, "mgu.proj", "ffn.fc2")
    torch.testing.assert_close(model(x), x)


def test_a_silent_mixer_gates_with_its_input() -> None:
    model, x = part("gating_unit", tokens=5, channels=7), draw(2, N, C)
    silence(model, "mixer.token_mlp.fc2", "mixer.channel_mlp.fc2")
    torch.testing.assert_close(model(x), model.proj(x) * x)


@given(st.floats(-3, 3))
@settings(max_examples=5)
def test_the_gate_is_linear_in_its_projection(factor: float) -> None:
    model, x = part("gating_unit", tokens=5, channels=7), draw(2, N, C)
    before = model(x)
    with torch.no_grad():
        model.proj.weight.mul_(factor)
        model.proj.bias.mul_(factor)
    torch.testing.assert_close(model(x), factor * before)


def test_both_branches_share_one_norm() -> None:
    model = part("block", hidden=10)
    assert sum("norm" in key for key in model.state_dict()) == 2 + 4  # its own, and two within the Mixer
    x = draw(2, N, C)
    gated = x + model.mgu(model.norm(x))
    torch.testing.assert_close(model(x), gated + model.ffn(model.norm(gated)))


def test_the_order_of_tokens_is_seen() -> None:
    model, x = part("block", hidden=10), draw(1, N, C)
    assert not torch.allclose(model(x.flip(1)), model(x).flip(1))


@pytest.mark.parametrize("tokens", [16, 49, 64])
def test_macs_follow_the_law(tokens: int) -> None:
    d, h = 32, 48
    spec = archgraph.load("ninformer", seq_len=tokens, dim=d, hidden=h, depth=3)
    law = tokens * d * d + 6 * tokens * d * h
    assert totals(spec.graph("encoder", {"x": (1, tokens, d)})).macs == 3 * law


def test_published_configurations() -> None:
    described("ninformer")
    claims_hold("ninformer")


def test_it_learns() -> None:
    net, x = small("ninformer", **TINY), torch.randn(4, 3, 16, 16)
    assert reached(net, [x]) == {name for name, _ in net.named_parameters()}
    lowers_loss(net, [x], cross_entropy(torch.tensor([0, 1, 2, 3])))


def test_it_exports_and_compiles() -> None:
    net, x = small("ninformer", **TINY, at={"x": (2, 3, 16, 16)}), torch.randn(2, 3, 16, 16)
    exports(net, [x])
    compiles(net, [x])
