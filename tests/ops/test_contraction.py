"""Contractions: matmul with vectors and broadcasting, einsum by pairs, and what torch's counter misses."""

from __future__ import annotations

from typing import Any

import einops
import pytest
import torch
from torch.nn import functional as F

from archgraph.ir.dim import sym
from archgraph.ir.types import Layout
from archgraph.ops.contraction import Einsum
from archgraph.ops.einsum_patterns import parse_einsum
from tests.ops.harness import check, error, infer, tensor_type


@pytest.mark.parametrize(
    ("left", "right"),
    [("4 5", "5 6"), ("2 4 5", "5 6"), ("2 1 4 5", "3 5 6"), ("4 5", "2 3 5 6"), ("2 4 5", "2 5 6"), ("5", "5 6")],
)
def test_matmul_is_torchs(left: str, right: str) -> None:
    check("matmul", {}, left, right, reference=torch.matmul)


@pytest.mark.parametrize(("left", "right", "macs"), [("5", "5", 5), ("4 5", "5", 20), ("2 4 5", "5", 40)])
def test_matmul_with_a_vector_has_the_same_count(left: str, right: str, macs: int) -> None:
    """torch's counter sees no multiplications in ``mv`` and ``dot``."""
    check("matmul", {}, left, right, reference=torch.matmul, macs=macs)


def test_matmul_with_symbols() -> None:
    env = {"B": 2, "h": 3, "N": 5, "S": 4, "d": 6}
    run = check("matmul", {}, "B h N d", "B h d S", env=env)
    assert run.typed.outs[0] == tensor_type("B h N S")
    assert infer("matmul", {}, "B N d", "e S").guards != ()


def test_matmul_keeps_layouts_of_rows_and_columns() -> None:
    grid, other = Layout(0, (2, 3)), Layout(1, (2, 2))
    left, right = tensor_type((2, 6, 4), {1: grid}), tensor_type((2, 4, 5), {2: other})
    assert infer("matmul", {}, left, right).outs[0].layout == ((1, grid), (2, other))
    assert infer("matmul", {}, tensor_type((3, 6), {1: grid}), "6 5").outs[0].layout == ()


@pytest.mark.parametrize(
    ("left", "right", "text"),
    [
        ("4 5", "4 6", "sizes that a matmul sums over must be equal: 5 and 4"),
        ("2 4 5", "3 5 6", "shapes don't broadcast"),
        ("", "5 6", "at least one axis"),
        ("4 5", "int64: 5 6", "different dtypes"),
    ],
)
def test_matmul_errors(left: str, right: str, text: str) -> None:
    assert text in str(error("matmul", {}, tensor_type(left), right))


@pytest.mark.parametrize(
    ("pattern", "types"),
    [
        ("b i d, b j d -> b i j", ["2 4 5", "2 3 5"]),
        ("b n c, c e -> b n e", ["2 4 5", "5 3"]),
        ("b h i k, b h k j -> b h i j", ["2 3 4 5", "2 3 5 6"]),
        ("b k t, b t k d h w -> b k d h w", ["2 3 4", "2 4 3 2 5 5"]),
        ("head row, row head out -> out head", ["3 4", "4 3 5"]),
        ("... i, ... j i -> ... j", ["2 3 5", "2 3 4 5"]),
        ("... i k, ... k j -> ... i j", ["2 1 4 5", "3 5 6"]),
        ("o i h w, o -> o i h w", ["4 3 2 2", "4"]),
        ("b n r, r d, m r -> b n m", ["2 4 3", "3 5", "6 3"]),
        ("b i -> i b", ["2 5"]),
        ("i i -> i", ["4 4"]),
    ],
)
def test_einsum_is_torchs(pattern: str, types: list[str]) -> None:
    """With a path from left to right; torch.einsum itself would take any."""

    def reference(*values: Any) -> Any:
        return torch.einsum(_letters(pattern), *values)

    check("einsum", {"pattern": pattern}, *types, reference=reference)


def _letters(pattern: str) -> str:
    names: dict[str, str] = {}
    words = pattern.replace(",", " , ").replace("->", " -> ").split()
    return "".join(w if w in (",", "->", "...") else names.setdefault(w, chr(97 + len(names))) for w in words)


def test_einsum_reads_einops_patterns() -> None:
    run = check("einsum", {"pattern": "batch n_head i d, batch n_head j d -> batch n_head i j"}, "2 3 4 5", "2 3 6 5")
    expected = einops.einsum(*run.inputs, "batch n_head i d, batch n_head j d -> batch n_head i j")
    torch.testing.assert_close(run.outputs[0], expected)


def test_einsum_cost() -> None:
    two = infer("einsum", {"pattern": "b i d, b j d -> b i j"}, "2 3 5", "2 4 5")
    assert two.cost == (2 * 3 * 4 * 5, 0)
    assert infer("einsum", {"pattern": "b i d, b j d -> b i j", "scale": 0.5}, "2 3 5", "2 4 5").cost == (120, 24)
    outer = infer("einsum", {"pattern": "i, j -> i j"}, "3", "4")
    assert outer.cost == (0, 12)
    total = infer("einsum", {"pattern": "b i -> b"}, "3 4")
    assert total.cost == (0, 12)
    summed_before = infer("einsum", {"pattern": "b i k, b j -> b i"}, "2 3 5", "2 4")
    assert summed_before.cost == (0, 2 * 3 * 5 + 2 * 4 + 2 * 3)


def test_einsum_of_three_goes_left_to_right() -> None:
    """(a·b) first, d summed at once: 2·4·3 products, then contraction over r."""
    typed = infer("einsum", {"pattern": "n r, r d, m r -> n m"}, "2 3", "3 5", "4 3")
    steps = parse_einsum("n r, r d, m r -> n m").steps
    assert [step.equation for step in steps] == ["nr,rd->nr", "nr,mr->nm"]
    assert typed.cost == (2 * 4 * 3, 3 * 5 + 2 * 3)


def test_einsum_counts_what_the_counter_misses() -> None:
    """A contracted axis of size 1 is a product of elements for torch."""
    check("einsum", {"pattern": "b i j, b k j -> b i k"}, "2 3 1", "2 4 1", macs=24)


def test_plain_products_become_matmul() -> None:
    def used(pattern: str, *types: str) -> list[str]:
        return check("einsum", {"pattern": pattern}, *types).used

    assert used("b n d, b d e -> b n e", "2 3 4", "2 4 5") == ["torch.matmul"]
    assert used("b n c, c d -> b n d", "2 3 4", "4 5") == ["torch.matmul"]
    assert used("b n d, b e d -> b n e", "2 3 4", "2 5 4") == ["torch.einsum"]
    assert used("n d, b d e -> b n e", "3 4", "2 4 5") == ["torch.einsum"]


def test_scale_multiplies_the_result() -> None:
    check(
        "einsum",
        {"pattern": "i d, j d -> i j", "scale": 0.25},
        "3 4",
        "5 4",
        reference=lambda q, k: 0.25 * (q @ k.T),
    )


def test_einsum_with_symbols() -> None:
    env = {"B": 2, "N": 3, "M": 4, "d": 5}
    run = check("einsum", {"pattern": "b n d, b m d -> b n m"}, "B N d", "B M d", env=env)
    assert run.typed.cost.macs == sym("B") * sym("N") * sym("M") * sym("d")
    assert [str(c) for c, _ in infer("einsum", {"pattern": "n d, m d -> n m"}, "N d", "M e").guards] == ["d == e"]


def test_einsum_keeps_layouts_by_name() -> None:
    grid = Layout(1, (2, 2))
    q = tensor_type((2, 5, 3), {1: grid})
    assert infer("einsum", {"pattern": "b i d, b j d -> b j i"}, q, "2 4 3").outs[0].layout == ((2, grid),)


@pytest.mark.parametrize(
    ("pattern", "types", "text"),
    [
        ("b i", ["2 3"], "it needs one `->`"),
        ("b i, b j -> b i j", ["2 3"], "does not fit"),
        ("b i -> b i", ["2 3 4"], "operand 0 does not fit"),
        ("b ... i -> b ... i", ["2"], "operand 0 does not fit"),
        ("b i -> b j", ["2 3"], "no operand has the axis `j` of the output"),
        ("b i -> b b", ["2 3"], "`b` stands twice in the output"),
        ("b (i j) -> b", ["2 3"], "`(i` is no axis name"),
        ("... i -> i", ["2 3"], "`...` can't be summed"),
        ("i d, j d -> i j", ["2 3", "2 4"], "axes named `d` must be equal: 3 and 4"),
    ],
)
def test_einsum_errors(pattern: str, types: list[str], text: str) -> None:
    assert text in str(error("einsum", {"pattern": pattern}, *types))


def test_einsum_values_are_kept_as_written() -> None:
    assert Einsum.make(pattern="b i -> b").attrs() == {"pattern": "b i -> b"}


def test_outer() -> None:
    check("outer", {}, "3", "4", reference=torch.outer)
    check("outer", {}, "3", "int64: 4", reference=torch.outer)
    assert infer("outer", {}, "N", "M").cost.elementwise == sym("N") * sym("M")


@pytest.mark.parametrize("bias", [True, False])
def test_bilinear(bias: bool) -> None:
    """torch's counter sees no multiplications in ``bilinear``."""
    run = check(
        "bilinear",
        {"out_features": 3, "bias": bias},
        "2 4 5",
        "2 4 6",
        reference=F.bilinear,
        macs=2 * 4 * 3 * 6 * (5 + 1),
    )
    bound = dict(run.typed.weights[0].init[1])["b"]
    module = torch.nn.Bilinear(5, 6, 3)
    assert module.weight.abs().max() <= bound
    assert module.weight.abs().max() > 0.9 * bound


def test_bilinear_errors() -> None:
    assert "axes 0 of the operands" in str(error("bilinear", {"out_features": 3}, "2 5", "3 6"))
    assert "agree but in the last axis" in str(error("bilinear", {"out_features": 3}, "2 5", "3 2 6"))
