"""Compiled cost: equal to the integer analysis, guards included, and never wrapped around."""

import numpy as np
import pytest

import archgraph
from archgraph import cost_function
from archgraph.analysis.cost import totals
from archgraph.analysis.function import RESULTS
from archgraph.analysis.sizes import default_sizes, with_params
from archgraph.ir.diagnostics import SpecError

TOY = """\
archgraph: 1
name: toy
params: {dim: 8, depth: 2, heads: 2, kind: {one_of: [wide, narrow]}, bias: true, extra: 0, widths: [4, 6], ratio: 1.5}
inputs: {x: {shape: [B, N, dim], at: [1, 10, 8]}}
graph:
  split: {op: rearrange, pattern: b n (h d) -> b n h d, h: heads}
  back:  {op: rearrange, pattern: b n h d -> b n (h d)}
  more:  {op: linear, out_features: dim + extra, when: extra > 0}
  middle:
    switch: kind
    cases:
      wide:   {op: linear, out_features: 4 * dim, bias: bias}
      narrow: {op: linear, out_features: dim // 4, bias: bias}
  same:  {op: linear, out_features: dim}
  rows:  {for: {w: widths}, op: linear, out_features: w}
  last:  {op: linear, out_features: dim}
  deep:  {op: linear, repeat: depth, out_features: dim, when: depth < 4}
outputs: {y: deep}
"""


def integers(spec, values, at=None):
    """Costs by the integer analysis; None where elaboration refuses the values."""
    try:
        spec = with_params(spec, values)
        graph = spec.graph(None, default_sizes(spec, None, at))
    except SpecError:
        return None
    t = totals(graph)
    return {name: getattr(t, name) for name in RESULTS}


def agree(f, spec, columns, at=lambda point: None, params=None, rows=None):
    """Whether the compiled function, its scalar path and the integer analysis say the same, row by row."""
    found = f(**columns)
    kept = params if params is not None else list(columns)
    for k in range(len(found["valid"]) if rows is None else rows):
        point = {name: column[k] for name, column in columns.items()}
        plain = {name: tuple(map(int, v)) if np.ndim(v) else v.item() for name, v in point.items()}
        expected = integers(spec, {name: plain[name] for name in kept}, at(plain))
        one = f.scalar(**plain)
        assert found["valid"][k] == one["valid"] == (expected is not None), plain
        assert one["valid"] == (not f.why(**plain))
        if expected is not None:
            assert {n: int(found[n][k]) for n in RESULTS} == {n: one[n] for n in RESULTS} == expected, plain
    return found


def test_vit_in_six_hyperparameters():
    rng = np.random.default_rng(0)
    n = 40
    heads, patch = rng.integers(1, 17, n), rng.integers(4, 33, n)
    columns = {
        "dim": heads * rng.integers(1, 97, n) + (rng.random(n) < 0.2),
        "depth": rng.integers(1, 49, n),
        "num_heads": heads,
        "patch_size": patch,
        "image_size": patch * rng.integers(1, 33, n) + (rng.random(n) < 0.2),
        "mlp_ratio": rng.integers(1, 9, n),
    }
    f = cost_function("vit", over=list(columns))
    found = agree(f, archgraph.load("vit"), columns)
    assert 5 < found["valid"].sum() < n


def test_hornet_in_eight_hyperparameters():
    rng = np.random.default_rng(1)
    n = 12
    columns = {
        "dim": rng.integers(1, 24, n) * 8 + (rng.random(n) < 0.2),
        "depths": rng.integers(1, 5, (n, 4)),
        "H": rng.integers(20, 200, n),
        "W": rng.integers(20, 200, n),
        "num_classes": rng.integers(1, 1000, n),
    }
    f = cost_function("hornet", over=list(columns))
    assert len(f.columns) == 8
    found = agree(
        f,
        archgraph.load("hornet"),
        columns,
        lambda p: {"x": (1, 3, p["H"], p["W"])},
        ["dim", "depths", "num_classes"],
    )
    assert 0 < found["valid"].sum() < n


def test_choices_flags_and_values_that_decide_structure():
    rng = np.random.default_rng(2)
    n = 60
    columns = {
        "dim": rng.integers(1, 8, n) * 4,
        "depth": rng.integers(1, 7, n),
        "heads": rng.integers(1, 5, n),
        "kind": np.array(["wide", "narrow"])[rng.integers(0, 2, n)],
        "bias": rng.random(n) < 0.5,
        "extra": rng.integers(0, 3, n),
        "widths": rng.integers(1, 9, (n, 2)),
    }
    over = {**dict.fromkeys(columns), "depth": range(1, 7), "extra": range(3)}
    spec = archgraph.loads(TOY)
    f = cost_function(spec, over=over)
    assert f.choices == {
        "depth": (1, 2, 3, 4, 5, 6),
        "kind": ("wide", "narrow"),
        "bias": (False, True),
        "extra": (0, 1, 2),
    }
    agree(f, spec, columns)
    coded = {
        **columns,
        "kind": (columns["kind"] == "narrow") * 1,
        "bias": columns["bias"] * 1,
        "depth": columns["depth"] - 1,
    }
    one, other = f(**columns), f.by_code(**coded)
    assert all((one[name] == other[name]).all() for name in one)


def test_structure_that_hangs_on_a_number_comes_in_cases():
    spec = archgraph.loads(TOY)
    f = cost_function(spec, over=["depth", "dim"])
    agree(f, spec, {"depth": np.array([1, 2, 3, 4, 9, 3]), "dim": np.array([4, 8, 12, 8, 16, 6])})
    assert len(f.law().entries) == 2


def test_a_number_that_must_be_known_has_to_be_listed():
    text = TOY.replace("repeat: depth, out_features: dim", "for: {i: depth}, out_features: dim + i")
    spec = archgraph.loads(text)
    with pytest.raises(SpecError, match="must be alike"):
        cost_function(spec, over=["depth"])(depth=3)
    f = cost_function(spec, over={"depth": range(1, 6), "dim": None})
    agree(f, spec, {"depth": np.array([1, 5, 3]), "dim": np.array([8, 4, 12])})


def test_entries_of_lists_that_decide_structure_are_listed():
    """HorNet's orders are turns of unlike steps, so each value has its own law; depths and the width stay symbols."""
    orders = {f"orders.{k}": [2, 3] for k in (1, 3)}
    depths = {f"depths.{k}": [1, 2, 3] for k in (0, 2)}
    f = cost_function("hornet", over={"dim": [8, 16], **depths, **orders}, at={"x": [1, 3, 64, 64]})
    assert f.columns == ("dim", "depths.0", "depths.2", "orders.1", "orders.3")
    found = f(
        **{
            "dim": np.array([8, 16, 16]),
            "depths.0": np.array([1, 3, 2]),
            "depths.2": np.array([3, 1, 2]),
            "orders.1": np.array([2, 3, 3]),
            "orders.3": np.array([3, 3, 2]),
        }
    )
    assert len(f._laws) == 3
    spec = archgraph.load("hornet")
    for k, (dim, first, third, second, last) in enumerate([(8, 1, 3, 2, 3), (16, 3, 1, 3, 3), (16, 2, 2, 3, 2)]):
        settings = {"dim": dim, "depths": (first, 3, third, 2), "orders": (2, second, 4, last)}
        for name, value in integers(spec, settings, {"x": (1, 3, 64, 64)}).items():
            assert found[name][k] == value
    with pytest.raises(ValueError, match=r"orders\.1"):
        f(**{"dim": 8, "depths.0": 1, "depths.2": 1, "orders.1": 4, "orders.3": 2})


def test_entries_sizes_and_broadcasting():
    spec = archgraph.loads(TOY)
    f = cost_function(spec, over=["widths.1", "N"])
    found = f(**{"widths.1": np.array([[1], [2], [3]]), "N": np.array([5, 7])})
    assert found["macs"].shape == (3, 2)
    assert found["macs"][2, 1] == integers(spec, {"widths": (4, 3)}, {"x": (1, 7, 8)})["macs"]


def test_large_results_become_python_integers():
    f = cost_function("vit", over=["dim", "image_size"])
    dim, size = np.array([192, 96 * 10**4]), np.array([224, 16 * 10**6])
    found = f(dim=dim, image_size=size)
    assert found["macs"].dtype == object
    assert found["macs"][1] > 2**63
    for k in range(2):
        assert found["macs"][k] == f.scalar(dim=int(dim[k]), image_size=int(size[k]))["macs"]
    assert f(dim=dim[:1], image_size=size[:1])["macs"].dtype == np.int64
    huge = f(dim=np.array([3 * 10**30], dtype=object), image_size=224)
    assert huge["params"][0] == f.scalar(dim=3 * 10**30, image_size=224)["params"] > 10**60


def test_many_rows_with_few_that_need_python_integers():
    f = cost_function("vit", over=["dim", "image_size"])
    dim, size = np.full(70_000, 192), np.full(70_000, 224)
    dim[-1], size[-1] = 3 * 10**6, 16 * 10**6
    found = f(dim=dim, image_size=size)
    assert found["macs"][0] == 1_253_683_200
    assert found["macs"][-1] == f.scalar(dim=3 * 10**6, image_size=16 * 10**6)["macs"] > 2**63


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"dim": [3.5]}, "takes integers"),
        ({"dim": [0]}, "whole numbers from 1"),
        ({"dim": ["a"]}, "takes integers"),
        ({"dims": [3]}, "takes no `dims`, needs `dim`"),
    ],
)
def test_bad_columns_are_refused(columns, message):
    f = cost_function("vit", over=["dim"])
    with pytest.raises((TypeError, ValueError), match=message):
        f(**columns)
    with pytest.raises((TypeError, ValueError)):
        f.scalar(**{k: v[0] for k, v in columns.items()})


def test_values_outside_the_list_are_refused():
    f = cost_function("vit", over={"pool": None, "depth": [4, 8]})
    with pytest.raises(ValueError, match="one of cls, mean, max"):
        f(pool=np.array(["last"]), depth=4)
    with pytest.raises(ValueError, match="one of 4, 8"):
        f(pool="cls", depth=[5])
    with pytest.raises(ValueError, match="numbered from 0"):
        f.by_code(pool=[3], depth=[0])


def test_unknown_names_are_faults():
    with pytest.raises(SpecError, match="did you mean `depth`"):
        cost_function("vit", over=["dept"])
    with pytest.raises(SpecError, match="must be listed"):
        cost_function("hornet", over=["fpn_filter"])


def test_no_rows():
    f = cost_function("vit", over=["dim"])
    assert f(dim=np.array([], dtype=np.int64))["valid"].shape == (0,)
