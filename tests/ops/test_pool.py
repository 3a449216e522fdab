"""Pooling: torch's sizes in both rounding modes, TensorFlow's `same` padding, indices and their inverse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from archgraph.ir.dim import evaluate, sym
from tests.ops.harness import check, error, infer, tensor_type

MAPS = {1: "2 3 11", 2: "2 3 9 8", 3: "2 3 5 6 7"}
RANKS = pytest.mark.parametrize("rank", [1, 2, 3])


@RANKS
@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize(
    "attrs",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True},
        {"kernel_size": 3, "stride": 3, "ceil_mode": True},
    ],
)
def test_pooling_is_torchs(rank: int, kind: str, attrs: dict[str, Any]) -> None:
    torchs = getattr(F, f"{kind}_pool{rank}d")
    run = check(f"{kind}_pool{rank}d", attrs, MAPS[rank], reference=lambda x: torchs(x, **attrs))
    assert run.typed.cost == (0, run.outputs[0].numel() * attrs["kernel_size"] ** rank)


def test_attributes_of_one_kind() -> None:
    x = "2 3 9 8"
    check("max_pool2d", {"kernel_size": 2, "dilation": 3}, x, reference=lambda x: F.max_pool2d(x, 2, dilation=3))
    attrs = {"kernel_size": 3, "padding": 1, "count_include_pad": False}
    check("avg_pool2d", attrs, x, reference=lambda x: F.avg_pool2d(x, 3, padding=1, count_include_pad=False))
    check(
        "avg_pool2d",
        {"kernel_size": 2, "divisor_override": 3},
        x,
        reference=lambda x: F.avg_pool2d(x, 2, divisor_override=3),
    )
    check(
        "max_pool2d",
        {"kernel_size": [3, 1], "stride": [1, 2], "padding": [1, 0]},
        x,
        reference=lambda x: F.max_pool2d(x, (3, 1), (1, 2), (1, 0)),
    )


@RANKS
@pytest.mark.parametrize("kind", ["max", "avg"])
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2), st.integers(1, 2), st.booleans())
def test_sizes_follow_torchs_rule(
    rank: int, kind: str, n: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool
) -> None:
    """Rounded up, the last window still starts inside; with symbols the same expression gives the same number."""
    attrs = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil}
    if kind == "max":
        attrs["dilation"] = dilation
    name = f"{kind}_pool{rank}d"
    shape = (1, 1, *(n,) * rank)
    try:
        expected = getattr(F, name)(torch.empty(shape, device="meta"), **attrs).shape
    except RuntimeError:
        error(name, attrs, shape)
        return
    assert infer(name, attrs, shape).outs[0].shape == expected
    symbolic = infer(name, attrs, (1, 1, *(sym("n"),) * rank)).outs[0].shape
    assert tuple(evaluate(size, {"n": n}) for size in symbolic) == expected


@pytest.mark.parametrize("padding", [0, 1, "same"])
@pytest.mark.parametrize("ceil", [False, True])
def test_sizes_stay_symbolic(padding: int | str, ceil: bool) -> None:
    attrs = {"kernel_size": 3, "stride": 2, "padding": padding, "ceil_mode": ceil}
    for env in ({"B": 2, "H": 7, "W": 8}, {"B": 1, "H": 10, "W": 9}):
        check("max_pool2d", attrs, "B 3 H W", env=env)
        if padding != "same":
            check("avg_pool2d", attrs, "B 3 H W", env=env)
    assert infer("max_pool2d", {"kernel_size": 2, "stride": 2, "ceil_mode": True}, "B 3 H W").outs == (
        tensor_type((sym("B"), 3, (sym("H") + 1) // 2, (sym("W") + 1) // 2)),
    )


@pytest.mark.parametrize("size", [6, 7, 8])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(2, 2, 1), (3, 2, 1), (2, 1, 1), (3, 1, 2), (4, 3, 1)])
@pytest.mark.parametrize("rank", [1, 2])
def test_same_padding_is_tensorflows(rank: int, size: int, kernel: int, stride: int, dilation: int) -> None:
    torchs = F.max_pool1d if rank == 1 else F.max_pool2d

    def reference(x: Any) -> Any:
        total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
        ends = (total // 2, total - total // 2) * rank
        return torchs(F.pad(x, ends, value=float("-inf")), kernel, stride, dilation=dilation)

    attrs = {"kernel_size": kernel, "stride": stride, "padding": "same", "dilation": dilation}
    check(f"max_pool{rank}d", attrs, (2, 3, *(size,) * rank), reference=reference)


@RANKS
def test_adaptive_pooling_is_torchs(rank: int) -> None:
    for kind, divisions in (("avg", True), ("max", False)):
        torchs = getattr(F, f"adaptive_{kind}_pool{rank}d")
        for size in (1, 3, [4, None, 2][:rank] if rank > 1 else 4):
            run = check(
                f"adaptive_{kind}_pool{rank}d",
                {"output_size": size},
                MAPS[rank],
                reference=lambda x, torchs=torchs, size=size: torchs(x, size),
            )
            expected = run.inputs[0].numel() + divisions * run.outputs[0].numel()
            assert run.typed.cost.elementwise == expected


def test_adaptive_pooling_to_another_size() -> None:
    attrs = {"output_size": [sym("H") // 2, sym("W")]}
    check("adaptive_avg_pool2d", attrs, "B 3 H W", env={"B": 2, "H": 6, "W": 5})


@RANKS
@pytest.mark.parametrize("window", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}])
def test_unpooling_is_torchs(rank: int, window: dict[str, int]) -> None:
    pooled = check(f"max_pool{rank}d", {**window, "return_indices": True}, MAPS[rank])
    assert pooled.typed.outs[1].dtype == "int64"
    types = [tuple(t.shape) for t in pooled.outputs]
    size = list(pooled.inputs[0].shape[2:])
    unpool = getattr(F, f"max_unpool{rank}d")
    operands = (types[0], tensor_type(types[1]).with_dtype("int64"))
    # without the size of the input, the positions may lie outside of what is assumed
    check(
        f"max_unpool{rank}d",
        {**window, "output_size": size},
        *operands,
        inputs=pooled.outputs,
        reference=lambda x, i: unpool(x, i, **window, output_size=size),
    )


def test_unpooling_without_a_size() -> None:
    pooled = check("max_pool2d", {"kernel_size": 2, "return_indices": True}, "2 3 8 6")
    check(
        "max_unpool2d",
        {"kernel_size": 2},
        "2 3 4 3",
        "int64: 2 3 4 3",
        inputs=pooled.outputs,
        reference=lambda x, i: F.max_unpool2d(x, i, 2),
    )
    symbolic = infer("max_unpool2d", {"kernel_size": 2}, "B C H W", "int64: B C H W")
    assert symbolic.outs[0].shape[2:] == (2 * sym("H"), 2 * sym("W"))


@pytest.mark.parametrize(
    ("name", "attrs", "types", "text"),
    [
        (
            "max_pool2d",
            {"kernel_size": 2, "padding": 2},
            ["2 3 8 8"],
            "a padding of 2 must be at most half the kernel_size 2",
        ),
        ("avg_pool2d", {"kernel_size": 9}, ["2 3 8 9"], "a window of 9 must fit into the 8 elements of axis 2"),
        ("max_pool2d", {"kernel_size": 2}, ["2 3 8"], "takes 4 axes for `x`"),
        (
            "max_pool2d",
            {"kernel_size": 3, "padding": "same", "return_indices": True},
            ["2 3 8 8"],
            "return_indices excludes",
        ),
        (
            "max_unpool2d",
            {"kernel_size": 2, "output_size": [8, 11]},
            ["2 3 4 4", "int64: 2 3 4 4"],
            "output_size 11 must be less than a stride of 2 from 8",
        ),
        ("max_unpool2d", {"kernel_size": 2}, ["2 3 4 4", "int64: 2 3 4 5"], "must agree on axis 3"),
        ("max_unpool2d", {"kernel_size": 2}, ["2 3 4 4", "2 3 4 4"], "takes int values for `indices`"),
    ],
)
def test_errors(name: str, attrs: dict[str, Any], types: list[str], text: str) -> None:
    assert text in str(error(name, attrs, *types))
