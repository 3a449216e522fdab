"""Zero-cost proxies against their papers' definitions, worked out independently on small networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from archgraph.search.objectives import proxies


def convnet(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


def batch(seed: int = 1, n: int = 5) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, 6, 6, generator=g), torch.randint(0, 3, (n,), generator=g)


def gradients(model: nn.Module, x: Tensor, y: Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and gradients of convolutions and linear layers, by backward()."""
    model.zero_grad()
    functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return [(m.weight.detach().numpy().copy(), m.weight.grad.numpy().copy()) for m in layers]  # type: ignore[union-attr]


def test_grad_norm_sums_the_norms_of_layers() -> None:
    x, y = batch()
    expected = sum(np.sqrt((g**2).sum()) for _, g in gradients(convnet(), x, y))
    assert proxies.grad_norm(convnet(), x, y) == pytest.approx(expected, rel=1e-5)


def test_snip_sums_the_sensitivities_of_connections() -> None:
    x, y = batch()
    expected = sum(np.abs(w * g).sum() for w, g in gradients(convnet(), x, y))
    assert proxies.snip(convnet(), x, y) == pytest.approx(expected, rel=1e-5)


def test_snip_is_what_removing_a_connection_changes() -> None:
    """∂L/∂c at c = 1 of a mask on one weight, by finite differences."""
    torch.manual_seed(0)
    model, (x, y) = nn.Sequential(nn.Flatten(), nn.Linear(72, 3, bias=False)).double(), batch()
    weight = model[1].weight
    total, h = 0.0, 1e-6
    with torch.no_grad():
        for i in range(3):
            for j in range(72):
                kept = weight[i, j].item()
                sides = []
                for c in (1 + h, 1 - h):
                    weight[i, j] = kept * c
                    sides.append(functional.cross_entropy(model(x.double()), y).item())
                weight[i, j] = kept
                total += abs(sides[0] - sides[1]) / (2 * h)
    assert proxies.snip(model, x.double(), y) == pytest.approx(total, rel=1e-5)


def test_synflow_of_linear_layers_counts_every_path_once_per_layer() -> None:
    """For layers in a row, R is the sum over paths of products of |w|, and Σ w ∂R/∂w = layers · R."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(72, 5, bias=False), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 3, bias=False)
    )
    a, b = (m.weight.detach().abs().double() for m in (model[1], model[4]))
    paths = float((b @ a).sum())
    x, _ = batch()
    before = [p.clone() for p in model.parameters()]
    assert proxies.synflow(model, x) == pytest.approx(2 * paths, rel=1e-9)
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))


def test_naswot_is_the_log_determinant_of_agreements() -> None:
    model, (x, _) = convnet(), batch()
    codes = []
    reference = convnet()
    reference.train()
    value = x
    for module in reference:
        if isinstance(module, nn.ReLU):
            codes.append((value > 0).flatten(1))
        value = module(value)
    bits = torch.cat(codes, dim=1).numpy()
    kernel = np.array([[bits.shape[1] - (p != q).sum() for q in bits] for p in bits], dtype=float)
    sign, expected = np.linalg.slogdet(kernel)
    assert sign > 0
    assert proxies.naswot(model, x) == pytest.approx(expected, rel=1e-9)


def test_naswot_tells_that_samples_look_alike() -> None:
    x, _ = batch()
    x[1] = x[0]
    assert proxies.naswot(convnet(), x) == -math.inf


def test_jacob_cov_scores_the_correlations_of_jacobians() -> None:
    x, _ = batch()
    model = convnet().train()
    rows = []
    whole = torch.autograd.functional.jacobian(lambda v: model(v).sum(1), x)
    rows = whole.sum(0).flatten(1).double().numpy()  # batch norm couples samples; the score sums over outputs
    values = np.linalg.eigvalsh(np.corrcoef(rows))
    expected = -(np.log(values + 1e-5) + 1 / (values + 1e-5)).sum()
    assert proxies.jacob_cov(convnet(), x) == pytest.approx(expected, rel=1e-3)


def test_zen_is_the_log_of_the_mean_change_with_the_batch_norm_correction() -> None:
    x, _ = batch()
    found = proxies.zen(convnet(), x, torch.Generator().manual_seed(5), repeats=1, alpha=0.01)

    generator = torch.Generator().manual_seed(5)
    model = convnet()
    with torch.no_grad():
        for m in model:
            if isinstance(m, nn.Conv2d | nn.Linear):
                m.weight.copy_(torch.randn(m.weight.shape, generator=generator))
                m.bias.zero_()
        one = torch.randn(x.shape, generator=generator)
        two = one + 0.01 * torch.randn(x.shape, generator=generator)
        body = model[:5].train()
        change = (body(one) - body(two)).double().abs().sum((1, 2, 3)).mean()
        variance = model[0](one).double().var((0, 2, 3), unbiased=False).mean()
    assert found == pytest.approx(float(torch.log(change) + torch.log(variance.sqrt())), rel=1e-6)


def test_zico_sums_the_logs_of_mean_over_deviation() -> None:
    batches = [batch(seed) for seed in (1, 2, 3)]
    every = [gradients(convnet(), x, y) for x, y in batches]
    expected = 0.0
    for layer in range(3):
        g = np.abs(np.stack([gradient[layer][1] for gradient in every]).astype(float))
        mean, deviation = g.mean(0), g.std(0)
        expected += math.log((mean[deviation > 0] / deviation[deviation > 0]).sum())
    assert proxies.zico(convnet(), batches) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="two batches"):
        proxies.zico(convnet(), batches[:1])


def test_tokens_have_no_zen_score() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    with pytest.raises(ValueError, match="tokens"):
        proxies.zen(model, torch.zeros(2, 3, dtype=torch.long), torch.Generator())
