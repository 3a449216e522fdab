"""DCEAC and its parent DCEC: autoencoders that cluster (arXiv 2106.13559)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx import GraphModule

from archgraph.analysis.cost import totals
from archgraph.spec.load import load
from tests.papers.common import block, claims_hold, compiles, described, exports, lowers_loss, reached, small, uneven

TINY: dict[str, Any] = {"filters": [8, 16, 16]}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assignment(clusters: int = 4, dim: int = 5, **params: Any) -> GraphModule:
    return uneven(block("dceac", "soft_assignment", {"z": ["B", dim]}, clusters=clusters, **params)).double()


@given(st.floats(0.5, 5), st.integers(2, 5))
@settings(max_examples=10)
def test_assignments_are_a_distribution(alpha: float, clusters: int) -> None:
    model, z = assignment(clusters, alpha=alpha), draw(7, 5)
    q = model(z)
    torch.testing.assert_close(q.sum(1), torch.ones(7, dtype=q.dtype))
    assert ((q > 0) & (q < 1)).all()
    t = (1 + (z[:, None] - model.centres).square().sum(2) / alpha) ** (-(alpha + 1) / 2)
    torch.testing.assert_close(q, t / t.sum(1, keepdim=True))


def test_assignments_see_only_distances() -> None:
    model, z = assignment(), draw(6, 5)
    turn, shift = torch.linalg.qr(draw(5, 5, seed=1))[0], draw(5, seed=2)
    before = model(z)
    with torch.no_grad():
        model.centres.copy_(model.centres @ turn + shift)
    torch.testing.assert_close(model(z @ turn + shift), before)


def test_a_point_on_a_centre_belongs_to_it() -> None:
    model = assignment()
    assert model(model.centres.detach()).argmax(1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["spatial", "channel"])
def test_attention_strengthens_at_most_twice(kind: str) -> None:
    model, x = uneven(block("dceac", f"{kind}_attention", {"x": ["B", 16, 5, 6]})).double(), draw(2, 16, 5, 6)
    y = model(x)
    assert (y.abs() >= x.abs()).all()
    assert (y.abs() <= 2 * x.abs()).all()
    with torch.no_grad():
        for p in model.fc3.parameters():
            p.zero_()
    torch.testing.assert_close(model(x), 1.5 * x)


def test_macs_are_linear_in_pixels_and_params_constant() -> None:
    spec = load("dceac")
    at = [totals(spec.graph("dceac", {"image": (1, 3, 64 * k, 64)})) for k in (1, 2, 3)]
    assert {t.params for t in at} == {264676}
    assert [t.macs for t in at] == [k * at[0].macs for k in (1, 2, 3)]


@pytest.mark.parametrize(("side", "back"), [(28, 28), (32, 32), (44, 44), (30, 26)])
def test_the_parent_computes_sizes_by_halving(side: int, back: int) -> None:
    """As its code does, which loses pixels where a half is odd."""
    net = small("dceac", graph="dcec", image_size=side, **TINY)
    out = net(torch.rand(2, 3, side, side))
    assert out["reconstruction"].shape == (2, 3, back, back)


def test_published_configurations() -> None:
    described("dceac")
    claims_hold("dceac")


@pytest.mark.parametrize("attention", ["spatial", "channel", "none"])
def test_it_learns_to_reconstruct(attention: str) -> None:
    net, x = small("dceac", attention=attention, **TINY), torch.rand(4, 3, 32, 32)
    assert reached(net, [x]) == {name for name, _ in net.named_parameters()}
    lowers_loss(net, [x], lambda out: (out["reconstruction"] - x).square().mean())


def test_it_exports_and_compiles() -> None:
    net, x = small("dceac", at={"image": (2, 3, 32, 32)}, **TINY), torch.rand(2, 3, 32, 32)
    exports(net, [x])
    compiles(net, [x])
