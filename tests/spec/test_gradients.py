"""`vjp`, `vmap` and given weights in specs, against autograd and `torch.func`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.func import functional_call, vmap
from torch.nn import functional as F

from archgraph.analysis.cost import totals
from archgraph.spec.load import loads
from tests.spec.language import data, model_of, run

Tensor = torch.Tensor


CASES: list[tuple[tuple[int, ...], str, Callable[[Tensor], Tensor]]] = [
    (
        (3, 4),
        "{formula: tanh(w) * exp(-w ** 2) / (1 + abs(w))}",
        lambda w: w.tanh() * (-(w**2)).exp() / (1 + w.abs()),
    ),
    ((3, 4), "{formula: sqrt(w ** 2 + 1) * log(w ** 2 + 2)}", lambda w: (w**2 + 1).sqrt() * (w**2 + 2).log()),
    (
        (3, 4),
        '{formula: "where(w > 0, sin(w), maximum(w, -0.5))"}',
        lambda w: torch.where(w > 0, w.sin(), w.clamp(min=-0.5)),
    ),
    ((2, 3, 4), "{op: softmax, in: w, dim: 1}", lambda w: w.softmax(1)),
    ((2, 3, 4), "{op: layer_norm, in: w, elementwise_affine: false}", lambda w: F.layer_norm(w, (4,))),
    ((2, 3, 4), '{op: einsum, in: [w, w], pattern: "b n c, b m c -> b n m"}', lambda w: w @ w.mT),
    (
        (2, 3, 4),
        "{op: rearrange, in: w, pattern: b n (h d) -> (b h) d n, h: 2}",
        lambda w: w.reshape(2, 3, 2, 2).permute(0, 2, 3, 1).reshape(4, 2, 3),
    ),
    ((2, 3, 4), "{op: reduce, in: w, pattern: b n c -> b c, reduction: mean}", lambda w: w.mean(1)),
    (
        (2, 6),
        "{graph: {p: {op: chunk, in: w, chunks: 3, dim: 1}, y: {op: cat, in: [p.2, p.0], dim: 1}}}",
        lambda w: torch.cat([w[:, 4:], w[:, :2]], 1),
    ),
    ((2, 4), "{op: gelu, in: w}", F.gelu),
    ((2, 4), "{op: silu, in: w}", F.silu),
    ((2, 4), "{op: sigmoid, in: w}", torch.sigmoid),
]


@pytest.mark.parametrize(("shape", "node", "function"), CASES)
def test_gradients_are_autograds(shape: tuple[int, ...], node: str, function: Callable[[Tensor], Tensor]) -> None:
    x = data(*shape)
    y = function(x.clone().requires_grad_())
    r = data(*y.shape, seed=1)
    axes = ", ".join(map(str, shape))
    body = f"""
inputs: {{x: [{axes}], r: [{", ".join(map(str, y.shape))}]}}
graph: {{g: {{op: vjp, inputs: {{w: x}}, wrt: w, cotangent: r, graph: {{y: {node}}}}}}}
"""
    (expected,) = torch.autograd.grad(function(leaf := x.clone().requires_grad_()), leaf, r)
    torch.testing.assert_close(run(body, x, r), expected)


LOSS = """
inputs: {x: [B, 4], y: [B, 3]}
graph:
  W: {op: parameter, shape: [3, 4], init: {normal: {std: 1.0}}}
  c: {op: parameter, shape: [3], init: {normal: {std: 1.0}}}
  g:
    op: vjp
    inputs: {w: W, v: c}
    wrt: [w, v]
    graph:
      f: {op: linear, in: x, out_features: 3, weights: {weight: w, bias: v}}
      e: {formula: (f - y) ** 2}
      loss: {op: reduce, pattern: b c -> b, reduction: sum}
outputs: {w: g.w, v: g.v}
"""


def test_gradients_by_weights_and_back_through_them() -> None:
    model: Any = model_of(LOSS)
    x, y = data(5, 4), data(5, 3, seed=1)
    weights = dict(model.named_parameters())
    w, v = weights["W"].detach().requires_grad_(), weights["c"].detach().requires_grad_()
    dw, dv = torch.autograd.grad(((F.linear(x, w, v) - y) ** 2).sum(), [w, v], create_graph=True)
    out = model(x, y)
    torch.testing.assert_close(out["w"], dw)
    torch.testing.assert_close(out["v"], dv)
    (out["w"] ** 2).sum().backward()
    (second,) = torch.autograd.grad((dw**2).sum(), w)
    torch.testing.assert_close(weights["W"].grad, second)


def test_gradients_export_and_compile() -> None:
    model = model_of(LOSS)
    args = data(5, 4), data(5, 3, seed=1)
    expected = model(*args)
    exported = torch.export.export(model, args).module()
    torch.testing.assert_close(exported(*args), expected)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*args), expected)


def test_the_cost_of_a_gradient_is_that_of_its_maps() -> None:
    graph = loads("archgraph: 1\n" + LOSS).graph(at={"x": [5, 4], "y": [5, 3]})
    found = totals(graph)
    assert found.params == 15
    assert found.macs == 2 * 5 * 4 * 3  # forward, and the transposed map to the weights; none to the data


MEMORY = """
blocks:
  mlp:
    inputs: {x: [N, C]}
    graph: {fc1: {op: linear, out_features: 6}, act: silu, fc2: {op: linear, out_features: C, bias: false}}
graphs:
  main:
    inputs: {x: [B, N, 4]}
    graph:
      W: {op: weights, of: mlp, shape: [B], example: {x: [N, 4]}}
      y: {op: mlp, in: x, weights: W, vmap: 1}
"""


def test_weights_as_values_map_with_the_data() -> None:
    body = MEMORY.replace("shape: [B]", "shape: [3]").replace("[B, N, 4]", "[3, N, 4]")
    model: Any = model_of(body)
    x = data(3, 5, 4)
    named = dict(model.named_parameters())
    assert {n.split(".", 1)[1]: tuple(p.shape) for n, p in named.items()} == {
        "fc1.weight": (3, 6, 4),
        "fc1.bias": (3, 6),
        "fc2.weight": (3, 4, 6),
    }
    plain = torch.nn.Sequential()
    plain.add_module("fc1", torch.nn.Linear(4, 6))
    plain.add_module("act", torch.nn.SiLU())
    plain.add_module("fc2", torch.nn.Linear(6, 4, bias=False))
    weights = {n.split(".", 1)[1]: p for n, p in named.items()}
    expected = vmap(lambda w, t: functional_call(plain, w, (t,)))(weights, x)
    torch.testing.assert_close(model(x), expected)


def test_vmap_of_a_region_maps_what_is_listed() -> None:
    body = """
inputs: {x: [B, N, C], y: [N, C]}
graph:
  r:
    vmap: 1
    inputs: {t: x}
    graph: {yt: {op: rearrange, in: y, pattern: n c -> c n}, s: {op: matmul, in: [t, yt]}, z: {op: softmax, dim: 0}}
"""
    x, y = data(2, 3, 4), data(3, 4, seed=1)
    torch.testing.assert_close(run(body, x, y), (x @ y.T).softmax(1))


def test_a_memory_learns_by_gradients_inside_a_scan() -> None:
    body = """
params: {dim: 4, lr: 0.1}
blocks:
  model: {inputs: {x: [N, C]}, graph: {fc: {op: linear, out_features: C, bias: false}}}
graphs:
  main:
    inputs: {k: [B, T, 2, dim], v: [B, T, 2, dim]}
    graph:
      W0: {op: weights, of: model, example: {x: [2, dim]}}
      Wb: {op: repeat, in: W0, pattern: "... -> b ...", b: B}
      learn:
        op: scan
        vmap: 1
        xs: {k: k, v: v}
        init: {W: Wb}
        graph:
          g:
            op: vjp
            inputs: {w: W}
            wrt: w
            graph: {f: {op: model, in: k, weights: w}, e: {formula: (f - v) ** 2}}
          next: {formula: W - lr * g}
          out: {op: model, in: k, weights: next}
        carry: {W: next}
        ys: {o: out}
        dim: 0
    outputs: {o: learn.o}
"""
    model: Any = model_of(body)
    k, v = data(2, 3, 2, 4), data(2, 3, 2, 4, seed=1)
    ((_, start),) = model.named_parameters()
    expected = torch.empty(2, 3, 2, 4, dtype=torch.float64)
    for b in range(2):
        w = start.detach()
        for t in range(3):
            leaf = w.clone().requires_grad_()
            (g,) = torch.autograd.grad(((k[b, t] @ leaf.T - v[b, t]) ** 2).sum(), leaf)
            w = w - 0.1 * g
            expected[b, t] = k[b, t] @ w.T
    out = model(k, v)
    out = out["o"] if isinstance(out, dict) else out
    torch.testing.assert_close(out, expected)
    out.sum().backward()
    assert start.grad is not None
    assert torch.isfinite(start.grad).all()


def test_tied_heads_share_one_weight() -> None:
    body = """
inputs: {ids: {shape: [B, N], dtype: int64}}
graph:
  embed: {op: embedding, num_embeddings: 7, embedding_dim: 4}
  x: {formula: it * 2}
  head: {op: linear, out_features: 7, weights: {weight: embed.weight, bias: null}}
"""
    model: Any = model_of(body)
    ids = torch.tensor([[0, 3, 6]])
    assert [n for n, _ in model.named_parameters()] == ["embed.weight"]
    torch.testing.assert_close(model(ids), (model.embed.weight[ids] * 2) @ model.embed.weight.T)
