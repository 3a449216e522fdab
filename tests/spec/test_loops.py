"""The three loops: chains, turns side by side, one module on every element."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from archgraph.analysis.cost import totals
from archgraph.spec.load import loads
from tests.spec.language import data, model_of, run


def test_repeat_is_a_chain_with_weights_per_turn() -> None:
    body = """
inputs: {x: [B, 4]}
graph: {body: {op: linear, out_features: 4, repeat: 3}, last: {op: identity, in: body.0}, all: {list: [body, last]}}
outputs: {y: body, first: last, all: all}
"""
    model: Any = model_of(body.replace(", all: {list: [body, last]}", "").replace(", all: all", ""))
    x = data(2, 4)
    a = model.body.get_submodule("0")(x)
    out = model(x)
    torch.testing.assert_close(out["first"], a)
    torch.testing.assert_close(out["y"], model.body.get_submodule("2")(model.body.get_submodule("1")(a)))


def test_for_runs_names_in_lock_step() -> None:
    body = """
params: {dims: [3, 5], depths: [1, 2]}
inputs: {x: [B, 4]}
graph:
  stages:
    for: {i: len(dims), dim: dims, depth: depths}
    graph:
      fc: {op: linear, out_features: dim, when: i > 0, else: it}
      more: {op: linear, out_features: dim, repeat: depth}
"""
    names = [name for name, _ in model_of(body).named_parameters() if name.endswith("weight")]
    assert names == ["stages.0.more.0.weight", "stages.1.fc.weight", "stages.1.more.0.weight", "stages.1.more.1.weight"]


def test_for_carries_values_by_name() -> None:
    body = """
inputs: {x: [B, C], h: [B, C]}
graph:
  walk: {op: step, for: {j: 3}, in: {x: x, h: h}}
outputs: {y: walk.x, h: walk.h}
blocks:
  step:
    inputs: {x: [B, C], h: [B, C]}
    graph: {sum: {formula: x + h}, half_sum: {formula: 0.5 * sum}}
    outputs: {x: sum, h: half_sum}
"""
    x, h = data(1, 2), data(1, 2, seed=1)
    a, b = x, h
    for _ in range(3):
        a = a + b
        b = 0.5 * a
    out = run(body, x, h)
    torch.testing.assert_close(out["y"], a)
    torch.testing.assert_close(out["h"], b)


@pytest.mark.parametrize("given", ["{x: a, total: b}", "[a, b]"])
@pytest.mark.parametrize("index", ["0", "j"])
def test_a_chain_feeds_outputs_to_the_inputs_that_they_are_named_like(given: str, index: str) -> None:
    body = f"""
inputs: {{a: [B, C], b: [B, C]}}
graph:
  walk: {{op: step, for: {{j: 3}}, in: {given}, k: {index}}}
outputs: {{x: walk.x, total: walk.total}}
blocks:
  step:
    params: {{k: 0}}
    inputs: {{x: [B, C], total: [B, C]}}
    graph: {{y: {{formula: x + 1 + k}}, t: {{formula: total + y}}}}
    outputs: {{x: y, total: t}}
"""
    x, total = data(1, 2), data(1, 2, seed=1)
    out = run(body, x, total)
    for j in range(3):
        x = x + 1 + (j if index == "j" else 0)
        total = total + x
    torch.testing.assert_close(out["x"], x)
    torch.testing.assert_close(out["total"], total)


def test_a_chain_that_names_what_it_takes_may_stand_behind_a_constant() -> None:
    body = """
inputs: {x: [B, C]}
graph:
  zero: {op: constant, value: 0.0}
  walk: {op: step, for: {j: 3}, in: {x: x, total: zero}}
outputs: {total: walk.total}
blocks:
  step:
    inputs: {x: [B, C], total: []}
    graph: {sum: {op: reduce, in: x, pattern: b c ->, reduction: sum}, more: {formula: total + sum}}
    outputs: {x: x, total: more}
"""
    x = data(1, 2)
    torch.testing.assert_close(run(body, x), 3 * x.sum())


@pytest.mark.parametrize("loop", ["each: {k: 2}", "for: {k: 2}", "repeat: 2"])
def test_turns_that_never_run_are_registered(loop: str) -> None:
    body = f"""
inputs: {{x: [B, 4]}}
graph:
  y: {{op: linear, out_features: 3}}
  kept: {{{loop}, op: linear, in: x, out_features: 4, unused: true}}
outputs: {{y: y}}
"""
    model: Any = model_of(body)
    x = data(1, 4)
    assert {"kept.0.weight", "kept.1.weight"} < set(model.state_dict())
    torch.testing.assert_close(model(x), F.linear(x, model.y.weight, model.y.bias))


def test_each_runs_turns_side_by_side() -> None:
    body = """
inputs: {x: [B, 4]}
graph:
  arms: {each: {k: [2, 3]}, label: "k${k}", op: linear, in: x, out_features: k}
  y: {op: cat, in: [arms...], dim: 1}
"""
    model: Any = model_of(body)
    x = data(2, 4)
    torch.testing.assert_close(model(x), torch.cat([model.arms.k2(x), model.arms.k3(x)], 1))


def test_map_is_one_module_on_every_element() -> None:
    body = """
inputs: {maps: {list: [B, 4, _, _], len: 3}}
graph:
  head: {op: conv2d, map: {m: maps}, in: m, out_channels: 2, kernel_size: 1}
outputs: {y: head}
"""
    model: Any = model_of(body)
    maps = [data(1, 4, n, n) for n in (4, 2, 1)]
    out = model(maps)
    for y, m in zip(out, maps, strict=True):
        torch.testing.assert_close(y, model.head(m))
    assert sum(p.numel() for p in model.parameters()) == 10


def test_sharing() -> None:
    body = """
inputs: {x: [B, 4]}
graph:
  fc: {op: linear, out_features: 4}
  again: {share: fc, in: fc}
  turns: {op: linear, out_features: 4, repeat: 3, share: turns}
outputs: {a: again, t: turns}
"""
    graph = loads("archgraph: 1\n" + body).graph(at={"x": [1, 4]})
    found = totals(graph)
    assert found.params == 2 * 20
    assert found.macs == (2 + 3) * 16
    model: Any = model_of(body)
    x = data(2, 4)
    y = model.fc(model.fc(x))
    torch.testing.assert_close(model(x)["a"], y)
    (turn,) = [m for n, m in model.named_modules() if n.startswith("turns") and isinstance(m, torch.nn.Linear)][:1]
    torch.testing.assert_close(model(x)["t"], turn(turn(turn(y))))
