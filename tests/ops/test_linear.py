"""Linear layers, embeddings and learned factors per channel."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from archgraph.ir.dim import sym
from archgraph.ir.types import Layout
from tests.ops.harness import check, error, infer, tensor_type


@pytest.mark.parametrize("x", ["5", "2 5", "2 3 4 5"])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_torchs(x: str, bias: bool) -> None:
    check("linear", {"out_features": 7, "bias": bias}, x, reference=F.linear)


def test_linear_with_symbols() -> None:
    run = check("linear", {"out_features": 7}, "B N C", env={"B": 2, "N": 3, "C": 5})
    assert run.typed.cost == (7 * sym("B") * sym("C") * sym("N"), 7 * sym("B") * sym("N"))


def test_linear_laws_are_torchs() -> None:
    weight, bias = infer("linear", {"out_features": 7}, "2 16").weights
    assert weight.init == ("kaiming_uniform", (("a", math.sqrt(5)), ("fan", 0.0)))
    assert bias.init == ("uniform", (("a", -0.25), ("b", 0.25)))
    assert infer("linear", {"out_features": 7, "bias_init": "zeros"}, "2 16").weights[1].init == ("zeros", ())


def test_linear_keeps_the_token_grid() -> None:
    grid = Layout(1, (2, 2))
    x = tensor_type((2, 5, 3), {1: grid})
    assert infer("linear", {"out_features": 7}, x).outs[0].layout == ((1, grid),)


@pytest.mark.parametrize("padding_idx", [None, 0, -1])
def test_embedding_is_torchs(padding_idx: int | None) -> None:
    attrs = {"num_embeddings": 11, "embedding_dim": 4, "padding_idx": padding_idx}
    check("embedding", attrs, "int64: 2 5", high=11, reference=F.embedding)
    run = check("embedding", {"num_embeddings": 11, "embedding_dim": 4}, "int64: B N", env={"B": 2, "N": 3})
    assert run.typed.weights[0].init == ("normal", (("mean", 0.0), ("std", 1.0)))


def test_embedding_errors() -> None:
    attrs = {"num_embeddings": 3, "embedding_dim": 4}
    assert "there is no row 3" in str(error("embedding", {**attrs, "padding_idx": 3}, "int64: 2"))
    assert "takes int values" in str(error("embedding", attrs, "2"))


@pytest.mark.parametrize(("dim", "view"), [(-1, (4,)), (1, (5, 1, 1)), (-3, (5, 1, 1)), (2, (3, 1))])
def test_layer_scale(dim: int, view: tuple[int, ...]) -> None:
    run = check("layer_scale", {"dim": dim}, "2 5 3 4", reference=lambda x, gamma: x * gamma.view(view))
    (weight,) = run.typed.weights
    assert weight.name == ""
    assert weight.init == ("constant", (("val", 1e-5),))


def test_layer_scale_with_symbols() -> None:
    run = check("layer_scale", {"dim": 1, "init_value": 1}, "B 4 H W", env={"B": 2, "H": 3, "W": 5})
    assert run.typed.cost.elementwise == 4 * sym("B") * sym("H") * sym("W")
    assert "there is no axis 3" in str(error("layer_scale", {"dim": 3}, "2 3 4"))


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("x", ["2 3", "2 3 4 5"])
def test_prelu_is_torchs(n: int, x: str) -> None:
    run = check("prelu", {"num_parameters": n}, x, reference=F.prelu)
    assert run.typed.weights[0].init == ("constant", (("val", 0.25),))
    assert torch.nn.PReLU().weight.item() == 0.25


@pytest.mark.parametrize(
    ("attrs", "x", "text"),
    [
        ({"num_parameters": 2}, "2 3 4", "num_parameters 2 must be 1 or the 3 channels"),
        ({"num_parameters": 2}, "2", "needs an axis of channels"),
    ],
)
def test_prelu_errors(attrs: dict[str, Any], x: str, text: str) -> None:
    assert text in str(error("prelu", attrs, x))
