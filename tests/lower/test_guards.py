"""Checks of inputs on request."""

from __future__ import annotations

import pytest
import torch
from torch.fx import GraphModule

from archgraph.ir.diagnostics import Span
from archgraph.ir.dim import Cond, divides, sym
from archgraph.ir.graph import Guard
from archgraph.lower.fx import build
from tests.lower.graphs import Draft


def model(checked: bool = True) -> GraphModule:
    inner = Draft("inner")
    graph = inner.done(inner.op("act", "relu", inner.input("x", "B 3 H W")))
    cond = divides(4, sym("H"))
    assert isinstance(cond, Cond)
    graph = graph.replace(guards=(Guard(cond, "windows must tile the image", Span("spec.yaml", 7, 5)),))
    g = Draft("root")
    x = g.input("image", "B 3 H W")
    n = sym("B") * 2 + 1
    y = g.input("pairs.0", type(x.type)("float", (n, sym("L"))))
    return build(g.done(a=g.call("inner", graph, x), b=y), checked=checked)


def test_what_fits_passes() -> None:
    found = model()(torch.randn(2, 3, 8, 5), pairs=[torch.randn(5, 1)])
    assert found["b"].shape == (5, 1)


@pytest.mark.parametrize(
    ("image", "pair", "message"),
    [
        ((2, 4, 8, 5), (5, 1), r"`image` is \[B, 3, H, W\]: axis 1 has size 4 instead of 3"),
        ((2, 3, 8), (5, 1), r"`image` is \[B, 3, H, W\], but what is given has 3 axes"),
        (
            (2, 3, 8, 5),
            (6, 1),
            r"`pairs.0` is \[2\*B \+ 1, L\]: axis 0 has size 6 instead of 5 \(2\*B \+ 1 with B = 2\)",
        ),
        ((2, 3, 6, 5), (5, 1), r"spec.yaml:7:5: H % 4 == 0 does not hold for H = 6: windows must tile the image"),
    ],
)
def test_what_does_not_fit_is_named(image: tuple[int, ...], pair: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model()(torch.randn(image), [torch.randn(pair)])


def test_unchecked_models_have_no_hook() -> None:
    assert not model(checked=False)._forward_pre_hooks
