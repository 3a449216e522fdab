"""Three hard shapes of paper: routing with gathered keys, a memory with carried state, a head over levels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from archgraph.analysis.cost import totals
from archgraph.lower.fx import build
from archgraph.spec.load import Spec, load

HERE = Path(__file__).parent


def example(spec: Spec) -> list[torch.Tensor] | torch.Tensor:
    (shape,) = spec.example().values()
    torch.manual_seed(0)
    return [torch.randn(*s) for s in shape] if isinstance(shape[0], tuple) else torch.randn(*shape)


@pytest.mark.parametrize("name", ["region_routing", "chunked_memory", "shared_head"])
@pytest.mark.parametrize("sized", [True, False])
def test_runs_with_known_and_open_sizes(name: str, sized: bool) -> None:
    spec = load(HERE / f"{name}.yaml")
    graph = spec.graph(at=spec.example() if sized else None)
    model = build(graph, seed=1)
    assert sum(p.numel() for p in model.parameters()) == totals(graph).params
    x = example(spec)
    out = model(x)
    loss = sum(t.float().square().mean() for v in out.values() for t in (v if isinstance(v, list) else [v]))
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_routing_to_every_region_is_full_attention() -> None:
    spec = load(HERE / "region_routing.yaml", topk=16)
    model = build(spec.graph(), seed=2).double()
    x = example(spec).double()
    attn = model.attn
    b, h, w, c = x.shape
    q, k, v = attn.qkv(x).split(c, -1)
    heads = [t.reshape(b, h * w, 2, c // 2).transpose(1, 2) for t in (q, k, v)]
    mixed = torch.nn.functional.scaled_dot_product_attention(*heads, scale=c**-0.5).transpose(1, 2).reshape(b, h, w, c)
    local = attn.lepe(v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(model(x)["y"], attn.proj(mixed + local))


def test_memory_equals_the_recurrence_by_hand() -> None:
    spec = load(HERE / "chunked_memory.yaml")
    model = build(spec.graph(), seed=3).double()
    x = example(spec).double()
    b, n, _ = x.shape
    heads, d, c = 2, 4, 4
    s = model.s(x)

    def split(t: torch.Tensor) -> torch.Tensor:
        return t.reshape(b, n // c, c, heads, -1).permute(0, 3, 1, 2, 4)

    q, k, v = (split(getattr(model, f"to_{name}")(s)) for name in "qkv")
    theta = split(model.to_theta(s)).sigmoid()
    pooled = s.reshape(b, n // c, c, -1).mean(2)
    alpha, eta = (getattr(model, f"to_{name}")(pooled).sigmoid() for name in ("alpha", "eta"))
    memory = model.W.expand(b, heads, d, d).clone()
    momentum = torch.zeros_like(memory)
    reads = []
    for t in range(n // c):
        weights = memory.detach().requires_grad_()
        loss = (theta[:, :, t].squeeze(-1) * ((k[:, :, t] @ weights - v[:, :, t]) ** 2).mean(-1)).sum()
        (gradient,) = torch.autograd.grad(loss, weights)
        momentum = eta[:, t, :, None, None] * momentum - gradient
        memory = (1 - alpha[:, t, :, None, None]) * memory + momentum
        reads.append(q[:, :, t] @ memory)
    read = torch.stack(reads, 2).permute(0, 2, 3, 1, 4).reshape(b, n, heads * d)
    out = model(x)
    torch.testing.assert_close(out["memory"], memory)
    torch.testing.assert_close(out["momentum"], momentum)
    torch.testing.assert_close(out["y"], model.out(read))


def test_one_set_of_weights_for_every_level() -> None:
    spec = load(HERE / "shared_head.yaml")
    model = build(spec.graph(), seed=4)
    keys = set(model.state_dict())
    assert "cls.convs.0.conv.weight" in keys
    assert not any(key.startswith("cls_") for key in keys)
    one = load(HERE / "shared_head.yaml", strides=[8], num_keys=4)
    assert totals(one.graph(at={"fpn": [(2, 8, 12, 8)]})).params == totals(spec.graph()).params


def test_keys_come_from_all_levels_and_serve_all() -> None:
    spec = load(HERE / "shared_head.yaml")
    model = build(spec.graph(), seed=5)
    out = model(example(spec))
    assert out["key_pos"].shape == (2, 6, 2)
    assert [t.shape[-2:] for t in out["logits"]] == [(12, 8), (6, 4), (3, 2)]
