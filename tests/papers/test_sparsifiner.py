"""Sparsifiner: masks of a fixed budget, what the predictor can and can't change, dropped tokens, expected cost."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import archgraph
from tests.papers.common import (
    agrees,
    block,
    claims_hold,
    compiles,
    cross_entropy,
    described,
    exports,
    lowers_loss,
    small,
    uneven,
)

N, HEADS, WIDTH = 10, 3, 8
SMALL: dict[str, Any] = {"image_size": 48, "dim": 24, "depth": 3, "num_heads": 3, "num_classes": 5, "reduce_n": 2}
SMALL |= {"coef_topk": 3}


def predictor(**params: Any) -> nn.Module:
    shapes = {name: ["B", HEADS, N, WIDTH] for name in ("q", "k")}
    return uneven(block("sparsifiner", "mask_predictor", shapes, **{"reduce_n": 2, "coef_topk": 3, **params}), 0.5)


def attention(**params: Any) -> nn.Module:
    given_ = {"num_heads": HEADS, "reduce_n": 2, "coef_topk": 3, "maps": True, "written": True, **params}
    return uneven(block("sparsifiner", "sparse_attention", {"x": ["B", N, 24]}, **given_), 0.3)


def queries(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, HEADS, N, WIDTH, generator=generator), torch.randn(2, HEADS, N, WIDTH, generator=generator)


@settings(max_examples=10)
@given(keep=st.sampled_from([0.05, 0.2, 0.35, 0.6, 1.0]), seed=st.integers(0, 99))
def test_each_patch_has_its_budget_of_keys(keep: float, seed: int) -> None:
    mask, estimate, coefficients = predictor(keep_rate=keep)(*queries(seed))
    assert mask[:, :, 0].all()
    assert (mask[:, :, 1:].sum(-1) == math.ceil(keep * N)).all()
    assert ((coefficients > 0).sum(-1) <= 3).all()
    assert (coefficients >= 0).all()
    assert (coefficients.sum(-1) <= 1 + 1e-6).all()
    assert (estimate >= 0).all()


@settings(max_examples=8)
@given(seed=st.integers(0, 99), more=st.sampled_from([0.3, 0.5, 0.9]))
def test_a_larger_budget_keeps_what_a_smaller_one_has(seed: int, more: float) -> None:
    few, many = predictor(keep_rate=0.2), predictor(keep_rate=more)
    many.load_state_dict(few.state_dict())
    # ties at nought are broken by the budget: look where the estimate is positive
    mask, estimate, _ = few(*queries(seed))
    wider, *_ = many(*queries(seed))
    assert (wider[:, :, 1:] | ~mask[:, :, 1:] | (estimate == 0)).all()


@settings(max_examples=6)
@given(seed=st.integers(0, 99))
def test_the_sign_of_the_basis_is_lost(seed: int) -> None:
    model = predictor()
    before = model(*queries(seed))
    with torch.no_grad():
        model.proj_back_n.neg_()
    after = model(*queries(seed))
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@settings(max_examples=8)
@given(seed=st.integers(0, 99), keep=st.sampled_from([0.2, 0.5, 1.0]))
def test_weights_are_nought_where_the_mask_is(seed: int, keep: float) -> None:
    model = attention(keep_rate=keep)
    _, weights, dense, mask, _ = model(torch.randn(2, N, 24, generator=torch.Generator().manual_seed(seed)))
    assert (weights[~mask] == 0).all()
    agrees(weights.sum(-1), torch.ones(2, HEADS, N))
    if keep == 1.0:
        assert torch.equal(weights, dense)


def test_with_all_keys_the_predictor_changes_nothing() -> None:
    model = attention(keep_rate=1.0)
    x = torch.randn(2, N, 24)
    before = model(x)[0]
    uneven(model.mask_predictor, 2.0, 5)
    agrees(model(x)[0], before, 0.0)


@settings(max_examples=5)
@given(seed=st.integers(0, 99))
def test_fused_and_written_out_attention_agree(seed: int) -> None:
    written, fused = attention(keep_rate=0.3), attention(keep_rate=0.3, written=False)
    x = torch.randn(2, N, 24, generator=torch.Generator().manual_seed(seed))
    agrees(fused(x)[0], written(x)[0])


def test_dropped_patches_are_nought_and_stay_so() -> None:
    pruned = {"prune": [False, True, False], "token_keep_rates": [1.0, 0.4, 1.0], "keep_rates": [0.6] * 3}
    model = uneven(small("sparsifiner", "sparsifiner-s", **SMALL, **pruned), 0.2)
    seen: list[Tensor] = []
    model.norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(torch.randn(2, 3, 48, 48))
    (last,) = seen
    assert ((last[:, 1:] != 0).any(-1).sum(-1) == math.ceil(0.4 * 9)).all()
    assert (last[:, 0] != 0).any(-1).all()


def test_expected_cost_follows_the_law() -> None:
    n, heads, d, depth, c, r = 197, 6, 64, 12, 32, 32
    host = 4598882304 - depth * 2 * heads * n * n * d
    for variant, keep in (("sparsifiner-s", 0.25), ("sparsifiner-s-keep10", 0.1), ("sparsifiner-s-keep5", 0.05)):
        budget = math.ceil(keep * n)
        predicted = 2 * heads * n * d * c + 2 * heads * c * n * r + heads * (n - 1) * 8 * n
        attended = 2 * heads * ((n - 1) * budget + n) * d
        report = archgraph.report(archgraph.load("sparsifiner", variant))
        assert report.expected_macs == host + depth * (predicted + attended)
        assert report.macs == 4774990848


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(4, 3, 48, 48, generator=generator), torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("variant", ["sparsifiner-s", "sparsifiner-lvvit-s"])
def test_training_lowers_the_loss(variant: str) -> None:
    x, target = images()
    lowers_loss(small("sparsifiner", variant, **SMALL), [x], cross_entropy(target, "logits"))


def test_the_predictor_learns_the_dense_attention() -> None:
    x, _ = images()
    model = small("sparsifiner", "sparsifiner-s", **SMALL, distill=True)

    def loss(found: dict[str, Any]) -> Tensor:
        pairs = zip(found["estimates"], found["attentions"], strict=True)
        total = sum(((estimate - dense[:, :, 1:].detach()) ** 2).sum() for estimate, dense in pairs)
        assert isinstance(total, Tensor)
        return total

    lowers_loss(model, [x], loss)


@pytest.mark.parametrize("variant", ["sparsifiner-s", "sparsifiner-lvvit-s", "sparsifiner-s-pruned"])
def test_exports_and_compiles(variant: str) -> None:
    pruned = {"prune": [False, True, False], "token_keep_rates": [0.5] * 3} if "pruned" in variant else {}
    model = uneven(small("sparsifiner", variant, **SMALL, **pruned), 0.2)
    x = torch.randn(2, 3, 48, 48)
    exports(model, [x])
    compiles(model, [x])


def test_summary_and_claims() -> None:
    described("sparsifiner")
    claims_hold("sparsifiner")
