"""Resizing: torch's sizes and values for every mode, exact fractions, and nothing where the size stays."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from archgraph.ir.dim import sym
from archgraph.ir.real import NeedsValue, Real
from archgraph.ops.kinds import AttributeValueError
from archgraph.ops.resize import RatioKind
from tests.ops.harness import check, error, infer

CASES = [
    ("2 3 7", "nearest", {}, 0),
    ("2 3 7", "linear", {"align_corners": True}, 3),
    ("2 3 7 6", "nearest-exact", {}, 0),
    ("2 3 7 6", "bilinear", {"align_corners": False}, 9),
    ("2 3 7 6", "bilinear", {"antialias": True}, 9),
    ("2 3 7 6", "bicubic", {"align_corners": True}, 35),
    ("2 3 4 5 6", "trilinear", {}, 21),
    ("2 3 4 5 6", "nearest", {}, 0),
]


@pytest.mark.parametrize(("x", "mode", "options", "work"), CASES)
@pytest.mark.parametrize("new", [{"size": 5}, {"scale_factor": 1.5}, {"scale_factor": 2}])
def test_interpolate_is_torchs(x: str, mode: str, options: dict[str, Any], work: int, new: dict[str, Any]) -> None:
    run = check(
        "interpolate",
        {"mode": mode, **new, **options},
        x,
        reference=lambda x: F.interpolate(x, **new, mode=mode, **options),
    )
    assert run.typed.cost == (0, work * run.outputs[0].numel())


def test_area_is_adaptive_pooling() -> None:
    run = check(
        "interpolate", {"mode": "area", "size": [3, 2]}, "2 3 7 6", reference=lambda x: F.adaptive_avg_pool2d(x, (3, 2))
    )
    assert run.typed.cost.elementwise == 2 * 3 * 7 * 6 + 2 * 3 * 3 * 2


def test_size_by_axis_and_of_another_value() -> None:
    check(
        "interpolate",
        {"scale_factor": [0.5, 2]},
        "2 3 7 6",
        reference=lambda x: F.interpolate(x, scale_factor=[0.5, 2.0]),
    )
    check(
        "interpolate",
        {"mode": "bilinear"},
        "B 3 H W",
        "B 8 K L",
        env={"B": 2, "H": 4, "W": 5, "K": 7, "L": 3},
        reference=lambda x, like: F.interpolate(x, like.shape[2:], mode="bilinear"),
    )


@pytest.mark.parametrize("factor", [0.7, 1.1, 0.3, 2.5])
def test_fractions_are_exact(factor: float) -> None:
    """torch multiplies in floating point: 90 · 0.7 falls short of 63."""
    for n in (*range(4, 20), 90, 170):
        run = check("interpolate", {"scale_factor": factor}, (1, 1, n))
        assert run.outputs[0].shape[-1] == int(n * Fraction(str(factor)))
    assert F.interpolate(torch.zeros(1, 1, 90), scale_factor=0.7).shape[-1] == 62


def test_scaling_keeps_symbols() -> None:
    env = {"B": 2, "H": 5, "W": 6}
    run = check("interpolate", {"scale_factor": 2}, "B 3 H W", env=env)
    assert run.typed.outs[0].shape[2:] == (2 * sym("H"), 2 * sym("W"))
    check("interpolate", {"scale_factor": 0.5}, "B 3 H W", env=env)
    exact = (sym("B"), 3, 10 * sym("H"))
    run = check("interpolate", {"scale_factor": 0.7}, exact, env=env)
    assert run.typed.outs[0].shape[2] == 7 * sym("H")


def test_interpolation_to_the_same_size_is_left_out() -> None:
    for new in ({"size": [sym("H"), 6]}, {"scale_factor": 1}):
        assert check("interpolate", {"mode": "bilinear", **new}, "B 3 H 6", env={"B": 2, "H": 4}).used == []
    for mode in ("nearest", "bilinear", "bicubic", "area", "nearest-exact"):
        for options in ({}, {"align_corners": True}) if mode.startswith("bi") else ({},):
            x = torch.randn(1, 2, 5, 13)
            assert torch.equal(F.interpolate(x, (5, 13), mode=mode, **options), x)


def test_ratios() -> None:
    kind = RatioKind()
    assert kind.convert(0.7) == Fraction(7, 10)
    assert kind.convert(3) == 3
    assert kind.convert(Fraction(1, 3)) == kind.convert(Real("/", (1, 3))) == Fraction(1, 3)
    assert float(kind.convert(Real("sqrt", (2,)))) == 2**0.5
    with pytest.raises(NeedsValue):
        kind.convert(sym("H") / 3)
    for wrong in (0, -1.0, True, "2", float("inf"), None):
        with pytest.raises(AttributeValueError, match="a positive number"):
            kind.convert(wrong)


@pytest.mark.parametrize(
    ("attrs", "types", "text"),
    [
        ({}, ["2 3 7 6"], "needs a new size"),
        ({"size": 3, "scale_factor": 2}, ["2 3 7 6"], "needs a new size"),
        ({"size": [3, 4, 5]}, ["2 3 7 6"], "size has 3 values for 2 spatial axes"),
        ({"size": 3, "mode": "linear"}, ["2 3 7 6"], "mode linear is not for 2 spatial axes"),
        ({"size": 3, "align_corners": True}, ["2 3 7 6"], "align_corners means nothing to mode nearest"),
        ({"size": 3, "antialias": True}, ["2 3 7 6"], "antialias is not for mode nearest"),
        ({"scale_factor": 0.1}, ["2 3 7 6"], "scale_factor 1/10 must leave an element of the 7"),
        ({}, ["2 3 7 6", "5"], "`like` lacks the 2 spatial axes"),
        ({"size": 3}, ["2 3"], "takes one to three spatial axes"),
    ],
)
def test_interpolate_errors(attrs: dict[str, Any], types: list[str], text: str) -> None:
    assert text in str(error("interpolate", attrs, *types))


def test_pixel_shuffle_and_back() -> None:
    check("pixel_shuffle", {"upscale_factor": 2}, "2 12 3 5", reference=lambda x: F.pixel_shuffle(x, 2))
    check("pixel_unshuffle", {"downscale_factor": 3}, "2 2 6 9", reference=lambda x: F.pixel_unshuffle(x, 3))
    up = check("pixel_shuffle", {"upscale_factor": 2}, "B 8 H W", env={"B": 2, "H": 3, "W": 5})
    assert up.typed.outs[0].shape == (sym("B"), 2, 2 * sym("H"), 2 * sym("W"))
    down = infer("pixel_unshuffle", {"downscale_factor": 2}, up.typed.outs[0])
    assert down.outs[0].shape == (sym("B"), 8, sym("H"), sym("W"))
    assert down.guards == ()


def test_pixel_shuffle_errors() -> None:
    assert "must divide the 6 channels" in str(error("pixel_shuffle", {"upscale_factor": 2}, "2 6 3 5"))
    assert "must divide the spatial axes" in str(error("pixel_unshuffle", {"downscale_factor": 2}, "2 6 4 5"))
    assert "takes maps" in str(error("pixel_shuffle", {"upscale_factor": 2}, "4 4"))


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_grid_sample_is_torchs(mode: str, padding_mode: str, align_corners: bool) -> None:
    attrs = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    run = check("grid_sample", attrs, "2 3 7 6", "2 4 5 2", reference=lambda x, grid: F.grid_sample(x, grid, **attrs))
    work = {"bilinear": 7, "nearest": 0, "bicubic": 35}[mode]
    assert run.typed.cost.elementwise == 4 * 2 * 4 * 5 * 2 + work * 2 * 3 * 4 * 5


def test_grid_sample_of_volumes() -> None:
    check(
        "grid_sample",
        {},
        "B 3 4 5 6",
        "B L 2 2 3",
        env={"B": 2, "L": 3},
        reference=lambda x, grid: F.grid_sample(x, grid, align_corners=False),
    )


@pytest.mark.parametrize(
    ("attrs", "types", "text"),
    [
        ({}, ["2 3 7 6", "2 4 5 3"], "must have 2 coordinates"),
        ({}, ["2 3 7 6", "1 4 5 2"], "need one batch size"),
        ({}, ["2 3 7 6", "2 5 2"], "as many axes of points"),
        ({"mode": "bicubic"}, ["2 3 7 6 5", "2 4 5 2 3"], "bicubic is not for volumes"),
    ],
)
def test_grid_sample_errors(attrs: dict[str, Any], types: list[str], text: str) -> None:
    assert text in str(error("grid_sample", attrs, *types))
