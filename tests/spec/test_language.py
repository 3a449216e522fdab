"""Every construct of the language, in a spec of a few lines that is loaded, inferred, built and run."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from archgraph.analysis.cost import totals
from archgraph.ir.diagnostics import SpecError
from archgraph.lower.fx import build
from archgraph.spec.dump import dump
from archgraph.spec.load import load, loads
from tests.spec.language import data, model_of, run

# ---- params, locals, variants ------------------------------------------------------------------------------------


PARAMS = """
params: {dim: 6, ratio: 2, hidden: dim * ratio, act: {one_of: [relu, gelu]}, dims: [3, 5]}
let: {half_dim: hidden // 2, sizes: "[half_dim + d for d in dims]"}
variants: {wide: {ratio: 3}, other: {act: gelu}}
inputs: {x: [B, dim]}
graph:
  fc: {op: linear, out_features: hidden}
  half_fc: {op: linear, out_features: half_dim}
  y: {op: linear, out_features: sizes.1}
  z: {op: $act}
"""


@pytest.mark.parametrize(
    ("variant", "settings", "widths"),
    [
        (None, {}, (12, 6, 11)),
        ("wide", {}, (18, 9, 14)),
        ("wide", {"hidden": 8}, (8, 4, 9)),
        (None, {"dim": 2}, (4, 2, 7)),
    ],
)
def test_params_and_locals(variant: str | None, settings: dict[str, int], widths: tuple[int, ...]) -> None:
    model: Any = model_of(PARAMS, variant, **settings)
    assert (model.fc.out_features, model.half_fc.out_features, model.y.out_features) == widths


def test_text_params_choose_ops() -> None:
    x = data(2, 6)
    one, other = model_of(PARAMS), model_of(PARAMS, "other")
    other.load_state_dict(one.state_dict())
    assert (one(x) >= 0).all()
    assert (other(x) < 0).any()


def test_op_valued_params_are_filled_by_the_caller() -> None:
    body = """
params: {norm: {op: layer_norm, eps: 0.1}}
inputs: {x: [B, N, 4]}
graph:
  a: {op: b, norm: {op: $norm, elementwise_affine: false}}
  c: {op: b}
  d: {op: b, norm: identity}
outputs: {a: a, c: c, d: d}
blocks:
  b:
    params: {norm: {op: rms_norm}}
    inputs: {x: [B, N, C]}
    graph: {n: {op: $norm}}
"""
    x = data(2, 3, 4)
    # In a chain of three: each takes the value above.
    out = loads("archgraph: 1\n" + body).graph()
    assert [n for n, _ in out.outputs] == ["a", "c", "d"]
    found = run(body, x)
    first = F.layer_norm(x, (4,), eps=0.1)
    torch.testing.assert_close(found["a"], first)
    torch.testing.assert_close(found["d"], found["c"])


def test_patterns_bind_solve_and_agree() -> None:
    body = """
inputs: {clip: [B, 3 * L, H, W], flow: [B, 2 * L, _]}
graph:
  frames: {op: rearrange, in: clip, pattern: b (l c) h w -> b l c h w, l: L}
  n: {formula: it * L}
outputs: {n: n, flow: flow}
"""
    clip, flow = data(1, 12, 2, 2), data(1, 8, 5)
    torch.testing.assert_close(run(body, clip, flow)["n"], clip.reshape(1, 4, 3, 2, 2) * 4)
    spec = loads("archgraph: 1\n" + body)
    with pytest.raises(SpecError, match=r"13 is not of the form 3 \* L"):
        spec.graph(at={"clip": [1, 13, 2, 2], "flow": [1, 8, 5]})
    with pytest.raises(SpecError, match="not 10"):
        spec.graph(at={"clip": [1, 12, 2, 2], "flow": [1, 10, 5]})


def test_a_token_grid_travels() -> None:
    body = """
params: {pad: 1}
inputs: {image: [B, 3, H, W]}
graph:
  embed: {op: conv2d, out_channels: 4, kernel_size: 2, stride: 2}
  tokens: {op: rearrange, pattern: b c h w -> b (h w) c}
  cls: {op: parameter, shape: [1, 1, 4]}
  seq: {op: prepend, in: [tokens, cls], dim: 1}
  mix: {op: mixed}
blocks:
  mixed:
    inputs: {x: [B, P + (h w), C]}
    graph:
      grid: {op: slice, in: x, dim: 1, start: P}
      map: {op: rearrange, pattern: b (h w) c -> b c h w}
      dw: {op: conv2d, out_channels: C, kernel_size: 3, padding: 1, groups: C}
      back: {op: rearrange, pattern: b c h w -> b (h w) c}
      first: {op: slice, in: x, dim: 1, stop: P}
      all: {op: cat, in: [first, back], dim: 1, shape: [B, P + (h w), C]}
"""
    out = run(body, data(2, 3, 6, 8))
    assert out.shape == (2, 1 + 3 * 4, 4)


def test_shape_checks_and_binds_inner_sizes() -> None:
    body = """
inputs: {x: [B, C, H, W]}
graph:
  pool: {op: max_pool2d, kernel_size: 2, shape: [_, C, h, w]}
  y: {formula: it * (h + 10 * w)}
"""
    x = data(1, 2, 4, 6)
    torch.testing.assert_close(run(body, x), F.max_pool2d(x, 2) * 32)


# ---- references, chains, groups ----------------------------------------------------------------------------------


def test_in_takes_names_parts_lists_splices_and_nodes() -> None:
    body = """
inputs: {x: [B, 6]}
graph:
  parts: {op: chunk, chunks: 3, dim: 1}
  two: {op: cat, in: [parts.0, parts.-1], dim: 1}
  all: {op: cat, in: [two, parts...], dim: 1}
  top: {op: topk, in: x, k: 2, dim: 1, as: [best, _]}
  inner: {op: add, in: [{op: relu, in: best}, {op: rearrange, in: parts.1, pattern: b n -> b n}]}
outputs: {all: all, inner: inner}
"""
    x = data(2, 6)
    out = run(body, x)
    torch.testing.assert_close(out["all"], torch.cat([x[:, :2], x[:, 4:], x], 1))
    torch.testing.assert_close(out["inner"], x.topk(2, 1).values.relu() + x[:, 2:4])


def test_chains_name_what_has_weights() -> None:
    body = """
inputs: {x: [B, 5]}
graph:
  y: [fc: {op: linear, out_features: 4}, relu, {formula: it * 2}, out: {op: linear, out_features: 3, bias: false}]
"""
    model = model_of(body)
    assert sorted(dict(model.named_parameters())) == ["fc.bias", "fc.weight", "out.weight"] or sorted(
        dict(model.named_parameters())
    ) == ["y.fc.bias", "y.fc.weight", "y.out.weight"]


def test_residuals_and_shortcuts() -> None:
    body = """
inputs: {x: [B, 5]}
graph:
  plain: {residual: [fc: {op: linear, out_features: 5}]}
  wide: {residual: [fc1: {op: linear, out_features: 7}], shortcut: {op: linear, out_features: 7}}
  kept: {residual: {a: {op: linear, out_features: 7}, b: relu}}
  same:
    in: kept
    residual: [fc3: {op: linear, out_features: 7}]
    shortcut: {op: linear, out_features: 7, when: false}
"""
    model: Any = model_of(body)
    x = data(3, 5)
    y = x + model.fc(x)
    y = model.shortcut(y) + model.fc1(y)
    y = y + model.a(y).relu()
    torch.testing.assert_close(model(x), y + model.fc3(y))


def test_grouping_adds_no_path_and_a_region_does() -> None:
    body = """
inputs: {x: [B, 5]}
graph:
  region: {graph: {fc: {op: linear, out_features: 5}, act: relu}}
  call: {op: b}
blocks: {b: {inputs: {x: [B, C]}, graph: {fc: {op: linear, out_features: C}}}}
"""
    names = {name.rpartition(".")[0] for name, _ in model_of(body).named_parameters()}
    assert "call.fc" in names
    assert len(names) == 2


# ---- choice ------------------------------------------------------------------------------------------------------


def test_static_choice_is_made_before_typing() -> None:
    body = """
params: {pool: {one_of: [cls, mean, none]}, deep: false, norm: null}
inputs: {x: [B, N, 4]}
graph:
  feature:
    switch: pool
    cases:
      cls: {op: select, dim: 1, index: 0}
      mean: {op: reduce, pattern: b n c -> b c, reduction: mean}
      none: {op: linear, out_features: 9 // (N - N)}
  extra: {op: linear, out_features: 2, when: deep}
  y: {formula: extra * 2, in: feature, when: deep}
"""
    x = data(2, 3, 4)
    torch.testing.assert_close(run(body, x), x[:, 0])
    torch.testing.assert_close(run(body, x, pool="mean"), x.mean(1))
    assert run(body, x, deep=True).shape == (2, 2)


def test_else_names_what_stands_in() -> None:
    body = """
params: {both: true}
inputs: {x: [B, C], y: [B, C]}
graph: {sum: {op: add, in: [x, y], when: both, else: y}}
"""
    x, y = data(2, 3), data(2, 3, seed=1)
    torch.testing.assert_close(run(body, x, y), x + y)
    model = model_of(body, both=False)
    torch.testing.assert_close(model(x, y), y)


def test_training_chooses_at_run_time() -> None:
    body = """
inputs: {x: [B, 3]}
graph:
  mean: {op: buffer, shape: [3], init: ones}
  y:
    switch: training
    in: x
    cases:
      true: {graph: {m: {op: reduce, in: x, pattern: b c -> c, reduction: mean}, out: {formula: x - m}}}
      false: {formula: x - mean}
"""
    model = model_of(body)
    x = data(4, 3)
    torch.testing.assert_close(model.eval()(x), x - 1)
    torch.testing.assert_close(model.train()(x), x - x.mean(0))


def test_training_updates_buffers() -> None:
    body = """
inputs: {x: [B, 3]}
graph:
  mean: {op: buffer, shape: [3], init: zeros}
  count: {op: buffer, shape: [], init: zeros}
  y:
    switch: training
    in: x
    cases:
      true:
        graph:
          m: {op: reduce, in: x, pattern: b c -> c, reduction: mean}
          n: {formula: count + 1}
          fresh: {formula: mean + (m - mean) / n}
          out: {formula: x - m}
        updates: {mean: fresh, count: n}
      false: {formula: x - mean}
"""
    graph = loads("archgraph: 1\n" + body).graph(at={"x": [4, 3]})
    assert loads(dump(graph)).graph() == graph
    model: Any = pickle.loads(pickle.dumps(model_of(body)))
    x, z = data(4, 3), data(4, 3, seed=1)
    torch.testing.assert_close(model.eval()(x), x)
    assert model.count == 0
    torch.testing.assert_close(model.train()(x), x - x.mean(0))
    model(z)
    assert model.count == 2
    torch.testing.assert_close(model.mean, (x.mean(0) + z.mean(0)) / 2)
    torch.testing.assert_close(model.eval()(x), x - (x.mean(0) + z.mean(0)) / 2)
    exported: Any = torch.export.export(model.train(), (x,)).module()
    exported(x)
    assert exported.count == 3
    torch.testing.assert_close(exported.mean, (2 * x.mean(0) + z.mean(0)) / 3)


def test_optional_inputs_and_conditional_outputs() -> None:
    body = """
params: {with_map: false}
inputs: {x: [B, N], mask: {shape: [B, N], dtype: bool, optional: true}, bias: {shape: [N], when: with_map}}
graph:
  kept: {formula: x * mask, in: x, when: given(mask)}
  side: {formula: kept + bias, in: kept, when: with_map}
outputs: {y: side, extra: {value: kept, when: with_map}}
"""
    spec = loads("archgraph: 1\n" + body)
    assert [n for n, _ in spec.graph().inputs] == ["x"]
    assert [n for n, _ in spec.graph().outputs] == ["y"]
    graph = spec.graph(at={"x": [2, 3], "mask": [2, 3]})
    assert [n for n, _ in graph.inputs] == ["x", "mask"]
    x = data(2, 3)
    mask = x > 0
    out = build(graph)(x, mask)
    torch.testing.assert_close(out["y"] if isinstance(out, dict) else out, x * mask)
    assert [n for n, _ in spec.with_settings(with_map=True).graph().outputs] == ["y", "extra"]


# ---- values ------------------------------------------------------------------------------------------------------


def test_formulas() -> None:
    body = """
params: {a: 2}
inputs: {x: [B, N], y: [B, N]}
graph:
  p: {formula: "where((x > 0) & (y > 0), sqrt(abs(x)) ** a, -y) if a == 2 else x"}
  q: {formula: "maximum(it, 0.1) + sigmoid(y) / N"}
"""
    x, y = data(2, 3), data(2, 3, seed=1)
    p = torch.where((x > 0) & (y > 0), x.abs().sqrt() ** 2, -y)
    torch.testing.assert_close(run(body, x, y), p.clamp(min=0.1) + y.sigmoid() / 3)


def test_sums_of_lists_in_formulas() -> None:
    body = """
inputs: {x: [B, 6]}
graph: {parts: {op: chunk, chunks: 3, dim: 1}, y: {formula: sum(parts...)}}
"""
    x = data(2, 6)
    torch.testing.assert_close(run(body, x), x[:, :2] + x[:, 2:4] + x[:, 4:])


def test_lists_of_values_feed_list_inputs() -> None:
    body = """
inputs: {x: [B, 4, H, W]}
graph:
  down: {op: max_pool2d, kernel_size: 2}
  levels: {list: [x, down]}
  y: {op: heads, in: {maps: levels}}
blocks:
  heads:
    inputs: {maps: {list: [B, C, _, _]}}
    graph: {y: {op: conv2d, map: {m: maps}, in: m, out_channels: 2, kernel_size: 1}}
    outputs: {y: y}
"""
    out = run(body, data(1, 4, 4, 4))
    assert [t.shape[-1] for t in (out["y"] if isinstance(out, dict) else out)] == [4, 2]


def test_constants_parameters_and_weights_as_values() -> None:
    body = """
inputs: {x: [B, N, 3]}
graph:
  table: {op: constant, over: {i: 3, j: 3}, value: i - j}
  w: {op: parameter, shape: [3, 3], init: {normal: {std: 1.0}}}
  fc: {op: linear, in: x, out_features: 3, bias: false}
  y: {op: linear, in: x, out_features: 3, weights: {weight: fc.weight, bias: null}}
  z: {formula: fc + y}
  m: {formula: w + table}
  out: {op: matmul, in: [z, m]}
"""
    model: Any = model_of(body)
    x = data(2, 4, 3)
    table = torch.arange(3)[:, None] - torch.arange(3)
    torch.testing.assert_close(model(x), 2 * model.fc(x) @ (dict(model.named_parameters())["w"] + table))


def test_gather_and_its_pattern() -> None:
    body = """
inputs: {x: [B, N, C], i: {shape: [B, K], dtype: int64}}
graph: {y: {op: gather, in: [x, i], pattern: "b [n] c, b k -> b k c"}}
"""
    x, i = data(2, 5, 3), torch.tensor([[0, 4], [2, 2]])
    torch.testing.assert_close(run(body, x, i), torch.stack([x[0, i[0]], x[1, i[1]]]))


# ---- regions and higher-order ops --------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
def test_scans(reverse: bool) -> None:
    body = f"""
inputs: {{x: [B, L, C]}}
graph:
  zero: {{op: zeros, shape: [B, C]}}
  walk:
    op: scan
    dim: 1
    reverse: {str(reverse).lower()}
    xs: {{t: x}}
    init: {{s: zero}}
    graph: {{n: {{formula: 0.5 * s + t}}, o: {{formula: n * n}}}}
    carry: {{s: n}}
    ys: {{o: o}}
outputs: {{s: walk.s, o: walk.o}}
"""
    x = data(2, 5, 3)
    s, o = torch.zeros(2, 3, dtype=torch.float64), [torch.empty(0)] * 5
    for k in reversed(range(5)) if reverse else range(5):
        s = 0.5 * s + x[:, k]
        o[k] = s * s
    out = run(body, x)
    torch.testing.assert_close(out["s"], s)
    torch.testing.assert_close(out["o"], torch.stack(o, 1))


def test_regions_see_outward_and_blocks_do_not() -> None:
    body = """
params: {k: 3}
inputs: {x: [B, C], y: [B, C]}
graph: {inner: {graph: {s: {formula: x * k + y}, t: {formula: s + C}}}}
"""
    x, y = data(1, 4), data(1, 4, seed=1)
    torch.testing.assert_close(run(body, x, y), 3 * x + y + 4)


# ---- graphs, libraries, flags ------------------------------------------------------------------------------------


GRAPHS = """
params: {dim: 4}
graphs:
  net: {inputs: {x: [B, dim]}, graph: {fc: {op: linear, out_features: dim}}}
  twice: {inputs: {x: [B, dim]}, graph: {a: {op: net}, b: {op: net, in: a}}}
"""


def test_a_graph_called_twice_is_one_instance() -> None:
    graph = loads("archgraph: 1\n" + GRAPHS).graph("twice")
    assert totals(graph).params == 20
    model: Any = model_of(GRAPHS, graph="twice")
    x = data(2, 4)
    (fc,) = {m for m in model.modules() if isinstance(m, torch.nn.Linear)}
    torch.testing.assert_close(model(x), fc(fc(x)))


def test_libraries_beside_the_file_and_packaged(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "archgraph: 1\nblocks: {twice: {inputs: {x: [B, C]}, graph: {y: {formula: 2 * x}}}}\n"
    )
    path = tmp_path / "spec.yaml"
    path.write_text(
        "archgraph: 1\nuses: [mine, blocks/transformer]\ninputs: {x: [B, N, 8]}\n"
        "graph: {a: {op: mhsa, num_heads: 2}, f: {op: rearrange, pattern: b n c -> (b n) c}, y: {op: twice}}\n"
    )
    model = build(load(path).graph())
    assert model(torch.randn(2, 3, 8)).shape == (6, 8)


def test_unused_nodes_are_registered_and_never_run() -> None:
    body = """
inputs: {x: [B, 4]}
graph:
  dead: {op: linear, in: x, out_features: 5, unused: true}
  y: {op: relu, in: x}
"""
    graph = loads("archgraph: 1\n" + body).graph(at={"x": [2, 4]})
    assert totals(graph).params == 25
    assert totals(graph).macs == 0
    assert "dead.weight" in model_of(body).state_dict()


def test_frozen_weights_get_no_gradient() -> None:
    body = """
inputs: {x: [B, 3]}
graph: {a: {op: linear, out_features: 3, frozen: true}, b: {op: linear, out_features: 3}}
"""
    model: Any = model_of(body)
    model(data(2, 3)).sum().backward()
    assert not any(p.requires_grad for p in model.a.parameters())
    assert model.b.weight.grad is not None


def test_requirements_are_decided_or_kept_as_guards() -> None:
    body = """
params: {heads: 3}
requires: [{that: heads > 0, why: there are heads}]
inputs: {x: [B, N, C]}
graph: {a: {op: b, heads: heads}}
blocks:
  b:
    params: {heads: 1}
    inputs: {x: [B, N, C]}
    requires: [{that: C % heads == 0, why: heads share the channels}, {that: N > 1, why: few tokens, warn: true}]
    graph: {y: {op: rearrange, pattern: b n (h d) -> b h n d, h: heads}}
"""
    spec = loads("archgraph: 1\n" + body)
    assert spec.graph(at={"x": [1, 4, 6]}) is not None
    with pytest.raises(SpecError, match="heads share the channels"):
        spec.graph(at={"x": [1, 4, 5]})
    with pytest.raises(SpecError, match="there are heads"):
        spec.with_settings(heads=0).graph()
    assert any(
        re.search("heads share|divide", guard.why)
        for node in spec.graph().nodes
        for g in node.callees
        for guard in g.guards
    )


def test_block_defaults_see_the_files_params_and_the_blocks_sizes() -> None:
    body = """
params: {ratio: 3}
inputs: {x: [B, 4]}
graph: {a: {op: b}, c: {op: b, hidden: 5}}
blocks:
  b:
    params: {ratio: ratio, hidden: C * ratio}
    inputs: {x: [B, C]}
    let: {out: hidden + 1}
    graph: {fc: {op: linear, out_features: out}}
"""
    model: Any = model_of(body)
    assert (model.a.fc.out_features, model.c.fc.out_features) == (13, 6)
