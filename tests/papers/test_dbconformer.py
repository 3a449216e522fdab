"""DBConformer for EEG and its baseline, EEG Conformer (arXiv 2506.21140)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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
    "channels": 5,
    "samples": 61,
    "patch_size": 20,
    "dim": 10,
    "spatial_dim": 4,
    "temporal_depth": 1,
    "spatial_depth": 1,
}


def model(**changes: Any) -> GraphModule:
    net = small("dbconformer", graph="model", **{**TINY, **changes})
    uneven(net)
    return net.double()


def trials(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@given(st.integers(1, 4), st.integers(1, 9), st.integers(2, 12))
@settings(max_examples=10)
def test_weights_of_electrodes_are_a_convex_combination(batch: int, electrodes: int, dim: int) -> None:
    pool = uneven(block("dbconformer", "attention_pool", {"x": ["B", "N", dim]})).double()
    x = trials(batch, electrodes, dim)
    out = pool(x)
    assert (out <= x.amax(1) + 1e-12).all()
    assert (out >= x.amin(1) - 1e-12).all()
    same = x[:, :1].expand_as(x)
    torch.testing.assert_close(pool(same), x[:, 0])  # the weights sum to one


def test_zero_weights_of_the_pool_are_the_mean() -> None:
    attended, mean = model(), model(channel_attention=False)
    mean.load_state_dict({k: v for k, v in attended.state_dict().items() if not k.startswith("spatial_attn_pool")})
    x = trials(2, 1, 5, 61)
    assert not torch.allclose(attended(x)["out"], mean(x)["out"])
    with torch.no_grad():
        for parameter in attended.spatial_attn_pool.parameters():
            parameter.zero_()
    torch.testing.assert_close(attended(x), mean(x))


@given(st.permutations(range(5)))
@settings(max_examples=10)
def test_the_order_of_electrodes_does_not_count_for_the_spatial_branch(order: list[int]) -> None:
    net, placed = model(positions=False), model()
    x = trials(2, 1, 5, 61)
    one, other = net(x)["x_fused"], net(x[:, :, order])["x_fused"]
    torch.testing.assert_close(one[:, 10:], other[:, 10:])
    if order != list(range(5)):
        assert not torch.allclose(one[:, :10], other[:, :10])
        assert not torch.allclose(placed(x)["x_fused"][:, 10:], placed(x[:, :, order])["x_fused"][:, 10:])


def test_the_token_of_an_electrode_is_made_of_its_series_alone() -> None:
    embed = uneven(block("dbconformer", "spatial_embedding", {"x": ["B", "C", "T"]}, dim=6)).double()
    x = trials(2, 4, 50)
    moved = x.clone()
    moved[:, 1] += 1.0
    changed = (embed(x) - embed(moved)).abs().amax((0, 2)) > 1e-9
    assert changed.tolist() == [False, True, False, False]


@given(st.integers(1, 8), st.sampled_from([1, 2, 5, 10]))
@settings(max_examples=10)
def test_rows_of_attention_sum_to_one(tokens: int, heads: int) -> None:
    attention = uneven(block("dbconformer", "attention", {"x": ["B", "N", 10]}, num_heads=heads)).double()
    with torch.no_grad():
        attention.values.weight.zero_()
    x = trials(2, tokens, 10)
    expected = attention.projection(attention.values.bias)
    torch.testing.assert_close(attention(x), expected.expand(2, tokens, 10))


def test_scores_are_divided_by_the_root_of_the_whole_width() -> None:
    attention = uneven(block("dbconformer", "attention", {"x": ["B", "N", 10]}, num_heads=5)).double()
    x = trials(1, 3, 10)
    q, k, v = (getattr(attention, name)(x).reshape(3, 5, 2).transpose(0, 1) for name in ("queries", "keys", "values"))
    out = (q @ k.transpose(1, 2) / 10**0.5).softmax(-1) @ v
    torch.testing.assert_close(attention(x), attention.projection(out.transpose(0, 1).reshape(1, 3, 10)))


@pytest.mark.parametrize(("kernel", "drop", "acts"), [(1, True, False), (1, False, True), (63, True, True)])
def test_the_last_sample_is_dropped_after_the_convolution(kernel: int, drop: bool, acts: bool) -> None:
    """It still acts through the 63 taps on the samples before it."""
    embed = block(
        "dbconformer",
        "temporal_embedding",
        {"x": ["B", 3, "T"]},
        dim=6,
        patch_size=20,
        kernel_sizes=[kernel],
        drop_last_sample=drop,
    )
    uneven(embed).double()
    x = trials(2, 3, 80 if not drop else 81)
    moved = x.clone()
    moved[..., -1] += 1.0
    assert torch.allclose(embed(x), embed(moved)) != acts


@pytest.mark.parametrize("branch", ["temporal", "spatial"])
def test_a_single_branch_does_not_depend_on_the_other(branch: str) -> None:
    net = model(branch=branch)
    other = "s" if branch == "temporal" else "t"
    weights = reached(net, [trials(2, 1, 5, 61)])
    kept = {name for name, _ in net.named_parameters()} - weights
    assert any(name.startswith(f"tokens_{other}.") for name in kept)
    assert not any(name.startswith((f"tokens_{other}.", "idle_gate")) for name in weights)


def test_the_gate_mixes_both_branches() -> None:
    net = model(gate=True)
    x = trials(2, 1, 5, 61)
    with torch.no_grad():
        net.gate_fc.weight.zero_()
        for value, branch in ((50.0, "spatial"), (-50.0, "temporal")):
            net.gate_fc.bias.fill_(value)
            alone = model(branch=branch)
            theirs = {k: v for k, v in net.state_dict().items() if not k.startswith("gate_fc")}
            alone.load_state_dict(theirs, strict=False)
            torch.testing.assert_close(net(x)["x_fused"], alone(x)["x_fused"])


def test_eight_times_fewer_parameters_than_the_baseline() -> None:
    ours = totals(archgraph.load("dbconformer", "co_bnci2014001").graph())
    theirs = totals(archgraph.load("dbconformer", "eeg-conformer").graph(at={"x": (1, 1, 22, 1000)}))
    unused = 244  # the baseline's second head, which never runs
    assert (theirs.params - unused) / ours.params == pytest.approx(8.42, abs=0.005)


def test_published_configurations() -> None:
    described("dbconformer")
    claims_hold("dbconformer")


def test_patches_without_positions_are_refused() -> None:
    with pytest.raises(archgraph.SpecError, match="each patch of time has its position"):
        archgraph.load("dbconformer", samples=1000).graph()


@pytest.mark.parametrize("changes", [{}, {"gate": True}, {"branch": "temporal"}], ids=["all", "gate", "temporal"])
def test_it_learns(changes: dict[str, Any]) -> None:
    net = small("dbconformer", **TINY, **changes)
    lowers_loss(net, [torch.randn(4, 1, 5, 61)], cross_entropy(torch.tensor([0, 1, 1, 0]), "out"))


def test_the_baseline_learns() -> None:
    settings = {"channels": 5, "dim": 10, "depth": 1, "num_classes": 3}
    net = archgraph.build(archgraph.load("dbconformer", **settings), graph="eeg_conformer", at={"x": (4, 1, 5, 161)})
    lowers_loss(net, [torch.randn(4, 1, 5, 161)], cross_entropy(torch.tensor([0, 1, 2, 0]), "out"))


def test_it_exports_and_compiles() -> None:
    net, x = small("dbconformer", **TINY), torch.randn(2, 1, 5, 61)
    exports(net, [x])
    compiles(net, [x])
