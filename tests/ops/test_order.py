"""Largest elements, sorting, running sums and triangles against torch."""

from __future__ import annotations

import pytest
import torch

import archgraph.ops.order  # noqa: F401
from archgraph.ir.dim import sym
from archgraph.ir.types import Layout
from tests.ops.harness import check, error, infer, tensor_type


@pytest.mark.parametrize("dim", [1, -1])
def test_topk(dim: int) -> None:
    def reference(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(x.topk(2, dim))

    run = check("topk", {"k": 2, "dim": dim}, "B 5 4", env={"B": 3}, reference=reference)
    assert run.typed.cost.elementwise == sym("B") * 20
    smallest = {"k": 2, "dim": dim, "largest": False, "sorted": False}
    values, indices = check("topk", smallest, "3 5 4").outputs
    assert values.shape == indices.shape
    check("topk", {"k": sym("N") // 2}, [2, sym("N")], env={"N": 5}, reference=lambda x: tuple(x.topk(2)))


def test_selected_elements_are_on_the_axis() -> None:
    N = sym("N")
    for op in ("topk", "topk_mask", "keep_topk"):
        assert str(error(op, {"k": 6}, "2 5")) == "k = 6 elements must be on axis 1 of [2, 5]"
        assert [str(c) for c, _ in infer(op, {"k": 6}, [2, N]).guards] == ["6 <= N"]


@pytest.mark.parametrize("largest", [True, False])
def test_topk_mask_has_k_per_row_even_with_ties(largest: bool) -> None:
    x = torch.tensor([[1.0, 1, 1, 1, 0], [2, 2, 3, 3, 3]])
    attrs = {"k": 2, "largest": largest}
    (mask,) = check("topk_mask", attrs, "2 5", inputs=[x]).outputs
    assert mask.sum(1).tolist() == [2, 2]
    assert torch.equal(x[mask].sort().values, x.topk(2, largest=largest).values.flatten().sort().values)
    (kept,) = check("keep_topk", {**attrs, "value": -7.0}, "2 5", inputs=[x]).outputs
    assert (kept == -7).sum(1).tolist() == [3, 3]


def test_keep_topk_passes_gradients_to_what_it_keeps() -> None:
    x = torch.randn(2, 5, 3, requires_grad=True)
    (kept,) = check("keep_topk", {"k": 2, "dim": 1}, "2 5 3", inputs=[x]).outputs
    kept.sum().backward()
    assert torch.equal(x.grad, (kept != 0).float())
    check("keep_topk", {"k": 2}, "B N", env={"B": 2, "N": 4}, reference=lambda x: x * (x >= x.topk(2).values[:, 1:]))


def test_sorting() -> None:
    check("sort", {"dim": 1}, "2 5 3", reference=lambda x: tuple(x.sort(1)))
    check(
        "sort",
        {"descending": True, "stable": True},
        "int64: 2 5",
        reference=lambda x: tuple(x.sort(stable=True, dim=-1, descending=True)),
    )
    check("argsort", {"dim": 0}, "5 2", reference=lambda x: x.argsort(0))
    check(
        "argsort",
        {"descending": True, "stable": True},
        "int64: 5 9",
        reference=lambda x: x.argsort(stable=True, dim=-1, descending=True),
    )
    grid = tensor_type("2 20 3", {1: Layout(0, (4, 5))})
    assert str(infer("sort", {"dim": 1}, grid).outs[0]) == "[2, 20, 3]"
    assert str(infer("argsort", {"dim": 2}, grid).outs[0]) == "int64[2, (4 5), 3]"


@pytest.mark.parametrize("op", ["argmax", "argmin"])
@pytest.mark.parametrize("attrs", [{}, {"dim": 1}, {"dim": -1, "keepdim": True}, {"keepdim": True}])
def test_argmax_and_argmin(op: str, attrs: dict) -> None:
    run = check(op, attrs, "B 5 3", env={"B": 2}, reference=lambda x: getattr(torch, op)(x, **attrs))
    assert run.typed.cost.elementwise == sym("B") * 15


@pytest.mark.parametrize("op", ["cumsum", "cumprod"])
@pytest.mark.parametrize("dtype", ["float", "bool", "int32", "float16"])
def test_running(op: str, dtype: str) -> None:
    check(op, {"dim": 1}, f"{dtype}: 2 5", reference=lambda x: getattr(torch, op)(x, 1))


@pytest.mark.parametrize("op", ["tril", "triu"])
def test_triangles(op: str) -> None:
    check(op, {}, "B 5 4", env={"B": 2}, reference=getattr(torch, op))
    check(op, {"diagonal": -1}, "bool: 5 4", reference=lambda x: getattr(torch, op)(x, -1))
    check(op, {"diagonal": 1 - sym("N")}, [5, sym("N")], env={"N": 3}, reference=lambda x: getattr(torch, op)(x, -2))
    assert str(error(op, {}, "5")) == f"`{op}` takes matrices"
