"""What elaborations of one session share must not depend on which came before."""

from __future__ import annotations

import pytest

from archgraph.analysis.cost import totals
from archgraph.spec.frame import Session
from archgraph.spec.load import Spec, load, loads

NESTED = """\
archgraph: 1
name: nested
params: {width: 4, deep: 2}
inputs: {x: [B, 8]}
graph:
  outer: {op: outer, inner: {op: inner}}
  chain: {repeat: deep, graph: {y: {op: outer}}}
blocks:
  outer:
    params: {inner: {op: inner}}
    inputs: {x: [B, C]}
    graph: {y: inner}
  inner:
    params: {width: width}
    inputs: {x: [B, C]}
    graph: {up: {op: linear, out_features: width}, down: {op: linear, out_features: C}}
"""


def params(spec: Spec) -> int:
    return int(totals(spec.graph()).params)


@pytest.mark.parametrize("widths", [(4, 6, 4), (6, 4, 6)])
def test_params_of_the_file_that_only_blocks_below_read(widths: tuple[int, ...]) -> None:
    base = loads(NESTED)
    for width in widths:
        spec = Spec(base.file, None, {"width": width}, base.session)
        assert params(spec) == 3 * ((8 + 1) * width + (width + 1) * 8)


def test_a_shipped_spec_with_changing_sizes() -> None:
    base = load("maxvit")
    for size in (96, 224, 64, 224, 96):
        settings = {**base.settings, "image_size": size}
        shared, alone = (Spec(base.file, base.variant, settings, s) for s in (base.session, Session()))
        assert params(shared) == params(alone)
