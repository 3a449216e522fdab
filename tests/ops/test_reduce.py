"""Reductions: values, dtypes and the count of operations (the patterns are tested with `rearrange`)."""

from __future__ import annotations

import pytest

import archgraph.ops.reduce  # noqa: F401
from archgraph.ir.types import Layout
from tests.ops.harness import check, error, infer, tensor_type

REFERENCES = {
    "mean": lambda x: x.mean(1),
    "sum": lambda x: x.sum(1),
    "max": lambda x: x.amax(1),
    "min": lambda x: x.amin(1),
    "prod": lambda x: x.prod(1),
    "var": lambda x: x.var(1, unbiased=False),
    "std": lambda x: x.std(1, unbiased=False),
    "logsumexp": lambda x: x.logsumexp(1),
    "any": lambda x: x.any(1),
    "all": lambda x: x.all(1),
}


@pytest.mark.parametrize("reduction", REFERENCES)
def test_values(reduction: str) -> None:
    attrs = {"pattern": "b n c -> b c", "reduction": reduction}
    run = check("reduce", attrs, "B N 4", env={"B": 2, "N": 3}, reference=REFERENCES[reduction])
    assert len(run.used) == 1


@pytest.mark.parametrize(("dtype", "sum_dtype"), [("bool", "int64"), ("int32", "int64"), ("float16", "float16")])
def test_dtypes(dtype: str, sum_dtype: str) -> None:
    attrs = {"pattern": "b n -> b", "reduction": "sum"}
    assert check("reduce", attrs, f"{dtype}: 2 3").typed.outs[0].dtype == sum_dtype
    assert check("reduce", {**attrs, "reduction": "any"}, f"{dtype}: 2 3").typed.outs[0].dtype == "bool"
    assert check("reduce", {**attrs, "reduction": "max"}, f"{dtype}: 2 3").typed.outs[0].dtype == dtype


def test_the_unbiased_variance() -> None:
    attrs = {"pattern": "b c h w -> 1 c 1 1", "reduction": "var", "unbiased": True}
    run = check("reduce", attrs, "2 3 4 5", reference=lambda x: x.var((0, 2, 3), keepdim=True))
    assert run.used == ["var"]


@pytest.mark.parametrize("reduction", ["mean", "prod", "logsumexp"])
def test_several_axes(reduction: str) -> None:
    attrs = {"pattern": "b (h 2) (w 2) c -> b c h w", "reduction": reduction}
    check("reduce", attrs, "B 4 6 3", env={"B": 2})
    assert check("reduce", {"pattern": "b c h w ->", "reduction": reduction}, "2 3 4 5").outputs[0].shape == ()


def test_operations_are_counted_on_both_sides() -> None:
    def work(reduction: str) -> int:
        return infer("reduce", {"pattern": "b n c -> b c", "reduction": reduction}, "2 5 3").cost.elementwise

    assert [work(r) for r in REFERENCES] == [36, 30, 30, 30, 30, 132, 138, 132, 30, 30]


def test_an_axis_of_any_number_may_be_none() -> None:
    assert infer("reduce", {"pattern": "b ... c -> b c", "reduction": "mean"}, "2 3").cost == (0, 0)
    check("reduce", {"pattern": "b ... c -> b c", "reduction": "mean"}, "2 3", reference=lambda x: x)
    raised = error("reduce", {"pattern": "b ... c -> b c", "reduction": "var"}, "2 3")
    assert str(raised) == '"b ... c -> b c" reduces no axis of [2, 3], which is no var'


def test_layouts_stay_on_axes_that_stay() -> None:
    grid = {1: Layout(1, (4, 5))}
    found = infer("reduce", {"pattern": "b n c -> b n", "reduction": "mean"}, tensor_type("2 21 3", grid))
    assert str(found.outs[0]) == "[2, 1 + (4 5)]"


def test_mistakes() -> None:
    raised = error("reduce", {"pattern": "b c -> b c d", "reduction": "mean"}, "2 3")
    assert str(raised) == '`d` stands only after the arrow of "b c -> b c d"'
    raised = error("reduce", {"pattern": "b c -> b", "reduction": "mean"}, "int64: 2 3")
    assert (str(raised), raised.expected, raised.found) == ("mean takes float values", "float", "int64[2, 3]")
