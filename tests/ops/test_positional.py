"""Position encodings against the formulas of the papers, and constants against what is computed at run time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from archgraph.ir.dim import sym
from archgraph.ir.types import Layout
from tests.ops.harness import check, error, infer


def transformer(length: int, d: int, start: float = 0.0) -> Tensor:
    """PE(p, 2i) = sin(p / 10000^(2i/d)), PE(p, 2i+1) = cos(…)."""
    table = torch.zeros(length, d)
    for p in range(length):
        for i in range(d // 2):
            angle = (p + start) / 10000 ** (2 * i / d)
            table[p, 2 * i], table[p, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return table


def mae(height: int, width: int, d: int) -> Tensor:
    """As in MAE's ``get_2d_sincos_pos_embed``: the halves of x, then those of y."""
    y, x = np.meshgrid(np.arange(height, dtype=float), np.arange(width, dtype=float), indexing="ij")

    def one(positions: Any) -> Any:
        omega = 1 / 10000 ** (np.arange(d // 4) / (d / 4))
        angles = positions.reshape(-1)[:, None] * omega
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    return torch.from_numpy(np.concatenate([one(x), one(y)], axis=1)).float()


def detr(height: int, width: int, d: int) -> Tensor:
    """As in DETR's ``PositionEmbeddingSine(normalize=True)`` without padding: y, then x, from 1 on."""
    mask = torch.ones(1, height, width)
    features = d // 2
    y = mask.cumsum(1) / (height + 1e-6) * 2 * math.pi
    x = mask.cumsum(2) / (width + 1e-6) * 2 * math.pi
    t = torch.arange(features, dtype=torch.float32)
    t = 10000 ** (2 * torch.div(t, 2, rounding_mode="floor") / features)

    def one(positions: Tensor) -> Tensor:
        angles = positions[..., None] / t
        return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), dim=4).flatten(3)

    return torch.cat((one(y), one(x)), dim=3)[0].flatten(0, 1)


def test_1d_tables() -> None:
    attrs = {"length": 7, "embed_dim": 6}
    expected = transformer(7, 6)
    check("sincos_position_1d", {**attrs, "interleaved": True}, reference=lambda: expected)
    check("sincos_position_1d", attrs, reference=lambda: torch.cat([expected[:, 0::2], expected[:, 1::2]], 1))
    check(
        "sincos_position_1d", {**attrs, "interleaved": True, "offset": 1}, reference=lambda: transformer(7, 6, start=1)
    )


def test_2d_tables() -> None:
    attrs = {"height": 3, "width": 5, "embed_dim": 8}
    run = check("sincos_position_2d", attrs, reference=lambda: mae(3, 5, 8))
    assert run.typed.outs[0].layout == ((0, Layout(0, (3, 5))),)
    check(
        "sincos_position_2d",
        {**attrs, "order": "hw", "interleaved": True, "normalize": True, "offset": 1},
        reference=lambda: detr(3, 5, 8),
    )


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"interleaved": True, "order": "hw"},
        {"normalize": True, "offset": 0.5, "scale": 3.0, "temperature": 20},
        {"normalize": True},
    ],
)
def test_tables_of_unknown_size_are_computed_at_run_time(attrs: dict[str, Any]) -> None:
    given = {"embed_dim": 8, **attrs}
    constant = check("sincos_position_2d", {"height": 3, "width": 5, **given}).outputs[0]
    symbolic = check(
        "sincos_position_2d",
        {"height": sym("H"), "width": 5, **given},
        env={"H": 3},
        reference=lambda: constant,
    )
    assert "torch.arange" in symbolic.used
    given.pop("order", None)
    constant = check("sincos_position_1d", {"length": 6, **given}).outputs[0]
    check("sincos_position_1d", {"length": sym("N"), **given}, env={"N": 6}, reference=lambda: constant)


def test_sincos_errors() -> None:
    assert "must be a multiple of 2" in str(error("sincos_position_1d", {"length": 3, "embed_dim": 5}))
    assert "must be a multiple of 4" in str(error("sincos_position_2d", {"height": 3, "width": 3, "embed_dim": 6}))


def complex_rotation(x: Tensor, interleaved: bool, base: float = 10000.0, offset: float = 0.0) -> Tensor:
    """Pairs as complex numbers, multiplied by e^{i p θ}."""
    n, d = x.shape[-2:]
    theta = base ** (-torch.arange(0, d, 2).double() / d)
    turn = torch.polar(torch.ones(n, d // 2).double(), torch.outer(torch.arange(n).double() + offset, theta))
    pairs = x.double().unflatten(-1, (-1, 2) if interleaved else (2, -1))
    if not interleaved:
        pairs = pairs.transpose(-1, -2)
    turned = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * turn)
    return (turned if interleaved else turned.transpose(-1, -2)).flatten(-2).float()


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("x", ["2 3 5 8", "5 8"])
def test_rotary_is_a_complex_product(interleaved: bool, x: str) -> None:
    attrs = {"interleaved": interleaved}
    check("rotary", attrs, x, reference=lambda x: complex_rotation(x, interleaved))
    check(
        "rotary",
        {**attrs, "base": 100, "offset": 3},
        x,
        reference=lambda x: complex_rotation(x, interleaved, 100.0, 3.0),
    )


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_of_leading_channels(interleaved: bool) -> None:
    def reference(x: Tensor) -> Tensor:
        return torch.cat([complex_rotation(x[..., :4], interleaved), x[..., 4:]], -1)

    run = check("rotary", {"rotary_dim": 4, "interleaved": interleaved}, "2 5 7", reference=reference)
    assert run.typed.cost == (0, 3 * 2 * 5 * 4)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_of_unknown_length_is_computed_at_run_time(interleaved: bool) -> None:
    run = check(
        "rotary",
        {"interleaved": interleaved, "offset": 2},
        "B N 8",
        env={"B": 2, "N": 5},
        reference=lambda x: complex_rotation(x, interleaved, offset=2.0),
    )
    assert "torch.arange" in run.used


def test_rotary_with_given_frequencies() -> None:
    """The frequencies of titans' reference implementation are a parameter."""
    theta = 10000.0 ** (-torch.arange(0, 8, 2) / 8)
    x = torch.randn(2, 5, 8)
    run = check(
        "rotary",
        {"interleaved": True},
        "2 5 8",
        "4",
        inputs=(x, theta),
        reference=lambda x, f: complex_rotation(x, True),
    )
    assert run.typed.cost.elementwise == 3 * 2 * 5 * 8 + 3 * 5 * 4


def test_rotary_leaves_scores_to_the_distance() -> None:
    q, k = torch.randn(1, 8).expand(6, 8), torch.randn(1, 8).expand(6, 8)
    turned = [check("rotary", {}, "6 8", inputs=(v,)).outputs[0] for v in (q, k)]
    scores = turned[0] @ turned[1].T
    torch.testing.assert_close(scores[1:, 1:], scores[:-1, :-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("attrs", "types", "text"),
    [
        ({}, ("5 7",), "the 7 channels that turn must be even"),
        ({"rotary_dim": 10}, ("5 8",), "rotary_dim 10 must not exceed the channels"),
        ({}, ("8",), "positions and channels"),
        ({}, ("5 8", "3"), "half as many as the 8 channels"),
    ],
)
def test_rotary_errors(attrs: dict[str, Any], types: tuple[str, ...], text: str) -> None:
    assert text in str(error("rotary", attrs, *types))


def test_costs_do_not_depend_on_what_is_known() -> None:
    known, unknown = infer("rotary", {}, "2 5 8"), infer("rotary", {}, "2 N 8")
    assert known.cost.elementwise == 3 * 2 * 5 * 8
    assert str(unknown.cost.elementwise) == "48*N"
