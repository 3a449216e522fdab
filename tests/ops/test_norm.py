"""Normalisations against torch's modules and functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from archgraph.ir.dim import evaluate
from archgraph.ir.types import Layout, TensorType
from archgraph.ops import norm
from tests.ops.harness import Run, check, error, infer

ENV = {"B": 3, "C": 6, "H": 4, "W": 5, "N": 7}


def per_element(run: Run) -> float:
    work = run.typed.cost.elementwise
    assert run.typed.cost.macs == 0
    n = run.outputs[0].numel()
    return evaluate(work, ENV) / n


def layer_norm(dims: int, **options: Any) -> Callable[..., Tensor]:
    return lambda x, *weights: functional.layer_norm(x, x.shape[-dims:], *weights, **options)


@pytest.mark.parametrize(
    ("attrs", "operand", "reference", "work"),
    [
        ({}, "B N 6", layer_norm(1), 7),
        ({"eps": 0.1}, "B 6", layer_norm(1, eps=0.1), 7),
        ({"bias": False}, "B N 6", layer_norm(1), 6),
        ({"elementwise_affine": False}, "B N 6", layer_norm(1), 5),
        ({"elementwise_affine": False}, "B 5 N", layer_norm(1), 5),
        ({"dim": [-2, -1]}, "B 6 5", layer_norm(2), 7),
        ({"dim": [1, 2], "elementwise_affine": False}, "B H W", layer_norm(2), 5),
    ],
)
def test_layer_norm(attrs: dict[str, Any], operand: str, reference: Callable[..., Tensor], work: float) -> None:
    run = check("layer_norm", attrs, operand, env=ENV, reference=reference)
    assert per_element(run) == work
    assert (run.used == ["module"]) == ("N" not in operand.split()[-1:] and "W" not in operand)


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize(("operand", "dim"), [("B 6 N", 1), ("B 6 H W", 1), ("B 6 H W N", 1), ("B 6 H 5", (1, 3))])
def test_norm_over_inner_axes(name: str, operand: str, dim: int | tuple[int, ...]) -> None:
    """Channels-first norms, written out with mean and variance."""
    dims = (dim,) if isinstance(dim, int) else dim

    def written_out(x: Tensor, weight: Tensor, bias: Tensor | float = 0.0) -> Tensor:
        shape = [n if a in dims else 1 for a, n in enumerate(x.shape)]
        if name == "layer_norm":
            x = x - x.mean(dims, keepdim=True)
        x = x / (x.square().mean(dims, keepdim=True) + 1e-3).sqrt()
        return x * weight.reshape(shape) + (bias.reshape(shape) if isinstance(bias, Tensor) else bias)

    run = check(name, {"dim": dim, "eps": 1e-3}, operand, env=ENV, reference=written_out)
    assert [u for u in run.used if u != "permute"] == [f"torch.nn.functional.{name}"]
    assert per_element(run) == {"layer_norm": 7, "rms_norm": 4}[name]


def test_rms_norm() -> None:
    run = check("rms_norm", {}, "B N 6", env=ENV, reference=lambda x, w: functional.rms_norm(x, [6], w))
    assert per_element(run) == 4
    plain = {"elementwise_affine": False, "eps": 1e-6}
    run = check("rms_norm", plain, "B N 6", env=ENV, reference=lambda x: functional.rms_norm(x, [6], eps=1e-6))
    assert per_element(run) == 3
    assert run.used == ["module"]


def batch_norm(training: bool = False, **options: Any) -> Callable[..., Tensor]:
    def reference(x: Tensor, w: Tensor, b: Tensor, mean: Tensor, var: Tensor, count: Tensor) -> Tensor:
        return functional.batch_norm(x, mean.clone(), var.clone(), w, b, training, **options)

    return reference


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("name", "operand"),
    [("batch_norm1d", "B 6"), ("batch_norm1d", "B 6 N"), ("batch_norm2d", "B 6 H W"), ("batch_norm3d", "B 6 2 H W")],
)
def test_batch_norm(name: str, operand: str, training: bool) -> None:
    attrs = {"eps": 1e-3, "momentum": 0.2}
    run = check(name, attrs, operand, env=ENV, training=training, reference=batch_norm(training, eps=1e-3))
    assert list(run.weights) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert [w.buffer for w in run.typed.weights] == [False, False, True, True, True]
    assert per_element(run) == 4


def test_batch_norm_variants() -> None:
    bare = check("batch_norm2d", {"affine": False, "momentum": None}, "B 6 H W", env=ENV)
    assert list(bare.weights) == ["running_mean", "running_var", "num_batches_tracked"]
    assert per_element(bare) == 2
    untracked = check(
        "batch_norm2d",
        {"track_running_stats": False},
        "B 6 H W",
        env=ENV,
        reference=lambda x, w, b: functional.batch_norm(x, None, None, w, b, training=True),
    )
    assert per_element(untracked) == 7


@pytest.mark.parametrize(
    ("name", "operand"),
    [("instance_norm1d", "B 6 N"), ("instance_norm2d", "B 6 H W"), ("instance_norm3d", "B 6 2 H W")],
)
def test_instance_norm(name: str, operand: str) -> None:
    run = check(name, {}, operand, env=ENV, reference=functional.instance_norm)
    assert (list(run.weights), per_element(run)) == ([], 5)
    affine = check(
        name,
        {"affine": True, "eps": 0.1},
        operand,
        env=ENV,
        reference=lambda x, w, b: functional.instance_norm(x, weight=w, bias=b, eps=0.1),
    )
    assert (list(affine.weights), per_element(affine)) == (["weight", "bias"], 7)
    tracked = check(
        name,
        {"track_running_stats": True},
        operand,
        env=ENV,
        reference=lambda x, m, v, n: functional.instance_norm(x, m, v, use_input_stats=False),
    )
    assert per_element(tracked) == 2


@pytest.mark.parametrize("operand", ["B 6 N", "B 6", "B 6 H W"])
def test_group_norm(operand: str) -> None:
    run = check(
        "group_norm", {"num_groups": 3}, operand, env=ENV, reference=lambda x, w, b: functional.group_norm(x, 3, w, b)
    )
    assert per_element(run) == 7
    bare = {"num_groups": 2, "affine": False, "eps": 0.1}
    run = check("group_norm", bare, operand, env=ENV, reference=lambda x: functional.group_norm(x, 2, eps=0.1))
    assert per_element(run) == 5


def test_functions() -> None:
    run = check("normalize", {"dim": -1}, "B N C", env=ENV, reference=lambda x: functional.normalize(x, dim=-1))
    assert per_element(run) == 3
    check("normalize", {"p": 1, "eps": 3}, "B N C", env=ENV, reference=lambda x: functional.normalize(x, 1.0, eps=3.0))
    attrs = {"size": 3, "alpha": 0.5, "k": 2}
    run = check(
        "local_response_norm",
        attrs,
        "B C H W",
        env=ENV,
        reference=lambda x: functional.local_response_norm(x, 3, alpha=0.5, k=2.0),
    )
    assert per_element(run) == 8


def test_initial_values_are_torch_s() -> None:
    for name, attrs, operand, module in [
        ("layer_norm", {}, "2 6", torch.nn.LayerNorm(6)),
        ("batch_norm2d", {}, "2 6 4 4", torch.nn.BatchNorm2d(6)),
        ("group_norm", {"num_groups": 2}, "2 6", torch.nn.GroupNorm(2, 6)),
        (
            "instance_norm1d",
            {"affine": True, "track_running_stats": True},
            "2 6 4",
            torch.nn.InstanceNorm1d(6, affine=True, track_running_stats=True),
        ),
        ("rms_norm", {}, "2 6", torch.nn.RMSNorm(6)),
    ]:
        ours = {
            w.name: (tuple(w.shape), {"zeros": 0.0, "ones": 1.0}[w.init[0]])
            for w in infer(name, attrs, operand).weights
        }
        theirs = {k: (tuple(v.shape), float(v.flatten()[0])) for k, v in module.state_dict().items()}
        assert ours == theirs
    zeros = infer("batch_norm2d", {"init": "zeros"}, "2 6 4 4").weights[0]
    assert (zeros.name, zeros.init) == ("weight", ("zeros", ()))


def test_symbols_and_layouts_pass() -> None:
    layout = Layout(1, (4, 4))
    tokens = TensorType("float", (2, 17, 8), ((1, layout),))
    for name in ("layer_norm", "rms_norm", "normalize"):
        assert infer(name, {}, tokens).outs[0].layout_of(1) == layout
    ((cond, why),) = infer("group_norm", {"num_groups": 4}, "B C").guards
    assert (str(cond), why) == ("C % 4 == 0", "4 groups must divide the C channels")
    ((cond, _),) = infer("instance_norm2d", {}, "B C H W").guards
    assert str(cond) == "2 <= H*W"


def test_errors() -> None:
    assert str(error("group_norm", {"num_groups": 4}, "2 6 5")) == "4 groups must divide the 6 channels"
    assert str(error("layer_norm", {"dim": 3}, "2 6 5")) == "there is no axis 3"
    assert str(error("layer_norm", {"dim": [2, 1]}, "2 6 5")) == "`dim` must name axes in ascending order"
    assert str(error("layer_norm", {"dim": []}, "2 6 5")) == "`dim` must name axes in ascending order"
    assert str(error("batch_norm1d", {}, "2 6 5 5")) == "`batch_norm1d` takes two or three axes"
    assert str(error("batch_norm2d", {}, "2 6 5")) == "`batch_norm2d` takes 4 axes for `x`"
    assert error("batch_norm2d", {}, "2 6 5").expected == "[B, C, H, W]"
    assert str(error("local_response_norm", {"size": 3}, "2 6")) == "`local_response_norm` takes at least 3 axes"
    assert str(error("instance_norm2d", {}, "2 6 1 1")).startswith("one element per channel has no variance")


def test_class_names_are_torch_s() -> None:
    for each in vars(norm).values():
        if isinstance(each, type) and issubclass(each, norm.PerChannel) and each.op_name:
            assert hasattr(torch.nn, each.__name__)
