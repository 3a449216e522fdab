"""Views, windows and casts against torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import archgraph.ops.shape  # noqa: F401
from archgraph.ir.dim import sym
from archgraph.ir.types import Layout
from tests.ops.harness import TORCH_DTYPE, check, error, infer, tensor_type


def test_flatten_makes_a_grid() -> None:
    run = check("flatten", {"start_dim": 2}, "B 3 H W", env={"B": 2, "H": 4, "W": 5}, reference=lambda x: x.flatten(2))
    assert str(run.typed.outs[0]) == "[B, 3, (H W)]"
    assert check("flatten", {}, "2 3 4 5", reference=lambda x: x.flatten(1)).used == ["flatten"]
    check("flatten", {"start_dim": 0, "end_dim": 1}, "2 3 4 5", reference=lambda x: x.flatten(0, 1))
    assert check("flatten", {}, "2 3").used == []
    assert str(error("flatten", {"start_dim": 2, "end_dim": 1}, "2 3 4")) == "start_dim 2 comes after end_dim 1"


def test_flatten_moves_the_layouts_behind_it() -> None:
    found = infer("flatten", {"start_dim": 0, "end_dim": 1}, tensor_type("2 3 20 5", {2: Layout(0, (4, 5))}))
    assert str(found.outs[0]) == "[(2 3), (4 5), 5]"


def test_expand() -> None:
    check("expand", {"size": [5, -1, 3]}, "1 2 3", reference=lambda x: x.expand(5, 2, 3))
    check("expand", {"size": [2, 5, -1]}, "1 3", reference=lambda x: x.expand(2, 5, 3))
    assert str(infer("expand", {"size": [sym("B"), -1, 4]}, "1 N 4").outs[0]) == "[B, N, 4]"
    raised = error("expand", {"size": [5, 3]}, "2 3")
    assert str(raised) == "only an axis of length 1 can be expanded: axis 0 of [2, 3] to 5"
    assert str(error("expand", {"size": [-1, 3, 3]}, "1 3")) == "a new axis needs a length"
    assert str(error("expand", {"size": [3]}, "1 3")) == "`size` names 1 axes"


@pytest.mark.parametrize(
    "attrs",
    [
        {"kernel_size": 3},
        {"kernel_size": [2, 3], "stride": 2},
        {"kernel_size": 3, "padding": 1, "dilation": 2},
        {"kernel_size": 4, "stride": 2, "padding": [1, 2]},
    ],
)
def test_unfold_and_fold(attrs: dict) -> None:
    run = check("unfold", attrs, "B 3 H 9", env={"B": 2, "H": 8}, reference=lambda x: F.unfold(x, **attrs))
    grid = run.typed.outs[0].layout_of(2)
    assert grid is not None
    assert grid.length == run.typed.outs[0].shape[2]
    columns = run.outputs[0].shape
    folded = check(
        "fold",
        {"output_size": [8, 9], **attrs},
        f"2 {columns[1]} {columns[2]}",
        reference=lambda x: F.fold(x, (8, 9), **attrs),
    )
    assert folded.typed.cost == (0, run.outputs[0].numel())


def test_fold_checks_the_number_of_windows() -> None:
    raised = error("fold", {"output_size": 8, "kernel_size": 2, "stride": 2}, "2 12 15")
    assert str(raised) == "[2, 3, 8, 8] has 4 × 4 windows, but [2, 12, 15] has 15 columns"
    raised = error("fold", {"output_size": 8, "kernel_size": 2, "stride": 2}, "2 13 16")
    assert str(raised) == "a window of 4 elements must divide axis 1 of [2, 13, 16]"


def test_windows_are_views() -> None:
    attrs = {"dim": 1, "size": 3, "step": 2}
    check("windows", attrs, "B N 4", env={"B": 2, "N": 8}, reference=lambda x: x.unfold(1, 3, 2))
    assert str(error("windows", {"dim": 1, "size": 9}, "2 8")) == "a window of 9 must fit into axis 1 of [2, 8]"


@pytest.mark.parametrize("dtype", TORCH_DTYPE)
def test_casts(dtype: str) -> None:
    check("to", {"dtype": dtype}, "int64: 2 3", high=2, reference=lambda x: x.to(TORCH_DTYPE[dtype]))
    assert check("to", {"dtype": dtype}, f"{dtype}: 2 3").used == []


def test_values_that_pass() -> None:
    check("detach", {}, "2 3", reference=lambda x: x)
    assert check("identity", {}, "bool: 2 3", reference=lambda x: x).used == []
    detached = check("detach", {}, "2 3", inputs=[torch.randn(2, 3, requires_grad=True)]).outputs[0]
    assert not detached.requires_grad
