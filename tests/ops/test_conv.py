"""Convolutions: shapes, costs and values as torch has them, and TensorFlow's `same` padding."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from archgraph.ir.dim import sym
from archgraph.ir.types import Layout
from tests.ops.harness import check, error, infer, tensor_type

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAPS = {1: "2 4 11", 2: "2 4 9 8", 3: "2 4 5 6 7"}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    "attrs",
    [
        {"kernel_size": 3},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "dilation": 2, "padding": 2, "groups": 2},
        {"kernel_size": 2, "groups": 4, "bias": False},
    ],
)
def test_conv_is_torchs(rank: int, attrs: dict[str, Any]) -> None:
    given = {k: v for k, v in attrs.items() if k not in ("kernel_size", "bias")}
    check(
        f"conv{rank}d",
        {"out_channels": 8, **attrs},
        MAPS[rank],
        reference=lambda x, w, bias=None: CONV[rank](x, w, bias, **given),
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    "attrs",
    [
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1, "groups": 2},
        {"kernel_size": 3, "dilation": 2, "bias": False},
    ],
)
def test_transposed_conv_is_torchs(rank: int, attrs: dict[str, Any]) -> None:
    given = {k: v for k, v in attrs.items() if k not in ("kernel_size", "bias")}
    check(
        f"conv_transpose{rank}d",
        {"out_channels": 6, **attrs},
        MAPS[rank],
        reference=lambda x, w, bias=None: TRANSPOSED[rank](x, w, bias, **given),
    )


def test_kernel_and_stride_may_differ_by_axis() -> None:
    run = check(
        "conv2d",
        {"out_channels": 5, "kernel_size": [1, 3], "stride": [2, 1], "padding": [0, 1]},
        "2 3 7 6",
        reference=lambda x, w, bias: F.conv2d(x, w, bias, stride=(2, 1), padding=(0, 1)),
    )
    assert run.outputs[0].shape == (2, 5, 4, 6)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes(mode: str) -> None:
    def reference(x: Any, w: Any, bias: Any) -> Any:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode=mode), w, bias)

    attrs = {"out_channels": 2, "kernel_size": 3, "padding": 1, "padding_mode": mode}
    check("conv2d", attrs, "2 3 5 6", reference=reference)


def tensorflow_same(x: Any, w: Any, bias: Any, stride: int, dilation: int = 1) -> Any:
    """Padding written out as TensorFlow's documentation of ``tf.nn.convolution`` has it."""
    amounts: list[int] = []
    for size, k in zip(reversed(x.shape[2:]), reversed(w.shape[2:]), strict=True):
        span = (k - 1) * dilation + 1
        total = max(span - stride, 0) if size % stride == 0 else max(span - size % stride, 0)
        amounts += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, amounts), w, bias, stride=stride, dilation=dilation)


@pytest.mark.parametrize("size", [6, 7, 8, 9])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 2, 1), (2, 1, 1), (3, 1, 2), (5, 3, 1), (1, 2, 1), (4, 2, 2)]
)
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int, dilation: int) -> None:
    attrs = {"out_channels": 2, "kernel_size": kernel, "stride": stride, "dilation": dilation, "padding": "same"}
    run = check(
        "conv2d",
        attrs,
        (2, 3, size, size + 2),
        reference=lambda x, w, bias: tensorflow_same(x, w, bias, stride, dilation),
    )
    assert run.outputs[0].shape[2:] == (math.ceil(size / stride), math.ceil((size + 2) / stride))


def test_same_padding_with_equal_ends_needs_no_extra_call() -> None:
    assert check("conv2d", {"out_channels": 2, "kernel_size": 3, "padding": "same"}, "2 3 5 5").used == ["module"]
    even = check("conv2d", {"out_channels": 2, "kernel_size": 2, "padding": "same"}, "2 3 5 5")
    assert even.used == ["torch.nn.functional.pad", "module"]


@pytest.mark.parametrize("env", [{"B": 2, "H": 7, "W": 8}, {"B": 3, "H": 10, "W": 9}])
@pytest.mark.parametrize("padding", [0, 1, "same", "valid"])
def test_sizes_stay_symbolic(env: dict[str, int], padding: int | str) -> None:
    attrs = {"out_channels": 4, "kernel_size": 3, "stride": 2, "padding": padding}
    check("conv2d", attrs, "B 3 H W", env=env)


def test_symbolic_sizes_are_canonical() -> None:
    """A 7×7 convolution with padding 3 keeps the map, else no residual around it would type."""
    x = tensor_type("B C H W")
    attrs = {"out_channels": sym("C"), "kernel_size": 7, "padding": 3, "groups": sym("C")}
    typed = infer("conv2d", attrs, x)
    assert typed.outs == (x,)
    assert typed.cost.macs == sym("B") * sym("C") * sym("H") * sym("W") * 49
    assert typed.weights[0].shape == (sym("C"), 1, 7, 7)
    assert infer("conv2d", {**attrs, "padding": "same"}, x).outs == (x,)


def test_undecided_conditions_become_guards() -> None:
    typed = infer("conv2d", {"out_channels": 8, "kernel_size": 16, "stride": 16, "groups": 2}, "B C H W")
    assert [str(cond) for cond, _ in typed.guards] == ["C % 2 == 0", "16 <= H", "16 <= W"]


def test_channels_drop_no_layout() -> None:
    x = tensor_type((2, 4, 13), {2: Layout(1, (3, 4))})
    kept = infer("conv1d", {"out_channels": 4, "kernel_size": 3, "padding": 1}, x).outs[0]
    assert kept.layout_of(2) == Layout(1, (3, 4))
    assert infer("conv1d", {"out_channels": 4, "kernel_size": 3}, x).outs[0].layout == ()


def test_default_laws_are_torchs() -> None:
    """U(±1/sqrt(fan_in)) for the bias, fan-in as torch takes it (from the second axis, transposed or not)."""
    for name, module in (
        ("conv2d", torch.nn.Conv2d(6, 4, 3, groups=2)),
        ("conv_transpose2d", torch.nn.ConvTranspose2d(6, 4, 3, groups=2)),
    ):
        weight, bias = infer(name, {"out_channels": 4, "kernel_size": 3, "groups": 2}, "1 6 5 5").weights
        fan_in, _ = torch.nn.init._calculate_fan_in_and_fan_out(module.weight)
        assert weight.shape == tuple(module.weight.shape)
        assert weight.init == ("kaiming_uniform", (("a", math.sqrt(5)), ("fan", 0.0)))
        assert dict(bias.init[1])["b"] == pytest.approx(1 / math.sqrt(fan_in))


def test_declared_laws() -> None:
    attrs = {"out_channels": 4, "kernel_size": 3, "init": {"normal": {"std": 0.1}}, "bias_init": "zeros"}
    weight, bias = infer("conv1d", attrs, "1 6 5").weights
    assert weight.init == ("normal", (("mean", 0.0), ("std", 0.1)))
    assert bias.init == ("zeros", ())


@pytest.mark.parametrize(
    ("name", "attrs", "x", "text"),
    [
        ("conv2d", {"kernel_size": 3, "groups": 3}, "2 4 8 8", "3 groups must divide the 4 channels of the input"),
        ("conv2d", {"kernel_size": 3, "groups": 2}, "2 4 8 8", "2 groups must divide the 5 channels of the output"),
        (
            "conv2d",
            {"kernel_size": 9, "padding": 0},
            "2 4 8 12",
            "a window of 9 must fit into the 8 elements of axis 2",
        ),
        ("conv2d", {"kernel_size": 3}, "2 4 8", "`conv2d` takes 4 axes for `x`"),
        ("conv2d", {"kernel_size": 3}, "int64: 2 4 8 8", "`conv2d` takes float values for `x`"),
        (
            "conv1d",
            {"kernel_size": 3, "padding": 4, "padding_mode": "reflect"},
            "2 4 4",
            "reflect padding of 4 needs more than 4 elements",
        ),
        ("conv_transpose2d", {"kernel_size": 3, "output_padding": 1}, "2 4 8 8", "must be less than the stride 1"),
        ("conv_transpose1d", {"kernel_size": 1, "padding": 1}, "2 4 2", "a padding of 1 leaves 0 elements of axis 2"),
    ],
)
def test_errors(name: str, attrs: dict[str, Any], x: str, text: str) -> None:
    assert text in str(error(name, {"out_channels": 5, **attrs}, x))
