"""Expected cost: Sparsifiner's law, and what each rule says of zeros."""

from fractions import Fraction

import pytest

import archgraph
from archgraph.analysis.cost import totals
from archgraph.analysis.expected import expected
from archgraph.analysis.symbolic import open_graph
from archgraph.ir.density import DENSE, EMPTY, Density, density_of, joined
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.dim import sym

# The predictor and the masked attention of Sparsifiner (arXiv 2303.13755), at the heads of one layer.
SPARSIFINER = """\
archgraph: 1
name: sparsifiner_attention
params: {n: 197, heads: 6, width: 64, c: width // 2, r: n // 6, budget: ceil(0.25 * n), kept: 8, rho: 1.0}
inputs: {q: [B, heads, n, width], k: [B, heads, n, width], v: [B, heads, n, width]}
graph:
  q_low:  {op: linear, in: q, out_features: c}
  k_low:  {op: linear, in: k, out_features: c}
  proj:   {op: parameter, shape: [n, r]}
  back:   {op: parameter, shape: [n, r]}
  k_rows: {op: einsum, in: [k_low, proj], pattern: "b h n c, n r -> b h c r"}
  score:  {op: einsum, in: [q_low, k_rows], pattern: "b h n c, b h c r -> b h n r"}
  patch:  {op: slice, dim: 2, start: 1}
  coef:   {op: keep_topk, k: kept}
  basis:  [{formula: "where(abs(back) > 0.02, abs(back), 0.0)"}, {op: expected_density, density: rho}]
  approx: {op: einsum, in: [coef, basis], pattern: "b h n r, m r -> b h n m"}
  chosen: {op: topk_mask, k: budget}
  mask:   {op: pad, pad: [0, 0, 1, 0], value: 1}
  out:    {op: scaled_dot_product_attention, in: {query: q, key: k, value: v, attn_mask: mask}}
outputs: {out: out}
"""


def law(n, heads, width, c, r, budget, kept, rho):
    """MACs of one layer by the paper's method, skipping what the masks leave out."""
    predictor = 2 * heads * n * width * c + heads * c * n * r + heads * n * c * r
    up = heads * (n - 1) * kept * rho * n
    return predictor + up + 2 * heads * ((n - 1) * budget + n) * width


def test_sparsifiner_layer_of_the_small_variant():
    graph = archgraph.loads(SPARSIFINER).graph(at={"q": (1, 6, 197, 64), "k": (1, 6, 197, 64), "v": (1, 6, 197, 64)})
    dense, sparse = totals(graph).macs, expected(graph).macs
    assert sparse == law(197, 6, 64, 32, 32, 50, 8, 1) == 7_262_208 + 1_853_376 + 7_677_696
    assert dense == 7_262_208 + 6 * 196 * 32 * 197 + 29_805_312
    # MHSA's quadratic part alone is 29,805,312 MACs: 43.7 % less at a budget of 0.25
    assert round(1 - sparse / 29_805_312, 3) == 0.437


@pytest.mark.parametrize(("keep", "saved"), [(0.25, 0.437), (0.10, 0.588), (0.05, 0.639)])
def test_sparsifiner_saves_what_its_sheet_says(keep, saved):
    import math

    spec = archgraph.loads(SPARSIFINER, budget=math.ceil(Fraction(str(keep)) * 197))
    graph = spec.graph(at=dict.fromkeys("qkv", (1, 6, 197, 64)))
    assert round(1 - expected(graph).macs / 29_805_312, 3) == saved


def test_sparsifiner_law_as_a_formula():
    spec = archgraph.loads(SPARSIFINER)
    names = ("n", "heads", "width", "c", "r", "budget", "kept")
    graph, _ = open_graph(spec, names, at={name: (1, sym("heads"), sym("n"), sym("width")) for name in "qkv"})
    values = {name: sym(name) for name in names}
    assert expected(graph).macs == law(**values, rho=1)


def test_a_stated_density_is_exact():
    spec = archgraph.loads(SPARSIFINER, rho=0.35)
    graph = spec.graph(at=dict.fromkeys("qkv", (1, 6, 197, 64)))
    assert expected(graph).macs == int(law(197, 6, 64, 32, 32, 50, 8, Fraction("0.35")))


def test_a_share_is_between_0_and_1():
    with pytest.raises(SpecError, match="a number from 0 to 1"):
        archgraph.loads(SPARSIFINER, rho=1.5).graph(at=dict.fromkeys("qkv", (1, 6, 197, 64)))


def test_densities():
    n, k = sym("n"), sym("k")
    assert density_of(0.7) == Density(7, 10)
    assert density_of(k / n) == Density(k, n)
    assert density_of("x") is None
    assert Density(k, n).share(n * 5) == 5 * k
    assert Density(1, 4).both(Density(1, 2)) == Density(1, 8)
    assert Density(1, 4).either(Density(1, 2)) == Density(5, 8)
    assert Density(1, 4).rest() == Density(3, 4)
    assert joined([(Density(1, 4), 8), (EMPTY, 8)]) == Density(1, 8)
    assert joined([(DENSE, 8), (DENSE, n)]) == DENSE


@pytest.mark.parametrize(
    ("formula", "share"),
    [
        ("x * m", 0.5),
        ("where(m, x, 0)", 0.5),
        ("where(m, x, 1)", 1.0),
        ("relu(x * m) + 0", 0.5),
        ("exp(x * m)", 1.0),
        ("-(x * m) / 2", 0.5),
    ],
)
def test_formulas_pass_zeros_on(formula, share):
    text = f"""\
archgraph: 1
name: gated
inputs: {{x: [4, 8]}}
graph:
  m: {{op: topk_mask, k: 4}}
  y: {{formula: "{formula}"}}
  z: {{op: linear, out_features: 10, bias: false}}
outputs: {{z: z}}
"""
    graph = archgraph.loads(text).graph()
    assert totals(graph).macs == 320
    assert expected(graph).macs == 320 * share


def test_nothing_sparse_costs_what_it_costs():
    graph = archgraph.load("vit").graph(at={"image": (1, 3, 224, 224)})
    assert expected(graph) == (totals(graph).macs, totals(graph).elementwise)


LAYER = """\
archgraph: 1
name: layer
uses: [sparsifiner]
params: {keep_rate: 0.25}
inputs: {x: [B, N, 384]}
graph: {y: {op: sparse_attention, num_heads: 6, keep_rate: keep_rate}}
outputs: {y: y}
"""


def test_sparsifiner_law_of_the_fact_sheet_with_the_keep_rate_as_a_symbol():
    """One layer at 6 heads of width 64: projections, the predictor, and attention to ceil(keep·n) keys a row."""
    graph, _ = open_graph(archgraph.loads(LAYER), ["N", "keep_rate"], at={"x": (1, 197, 384)})
    n, keep = sym("N"), sym("keep_rate")
    budget = (keep * n + 99) // 100
    layer = law(n, 6, 64, 32, n // 6, budget, 8, 1) + 4 * n * 384**2
    assert expected(graph).macs == layer
    dense = totals(graph).macs
    assert dense == 4 * n * 384**2 + law(n, 6, 64, 32, n // 6, n, n // 6, 1)
    assert archgraph.law(archgraph.loads(LAYER), "expected_macs", "keep_rate", at={"x": (1, 197, 384)}).degree == 1


def test_a_ratio_is_a_symbol_of_reports():
    from archgraph.report.symbolic import closed_forms

    spec = archgraph.load("sparsifiner")
    found = archgraph.law(spec, "expected_macs", {"keep_rates": "keep"})
    for keep in (5, 10, 25):
        numbers = archgraph.report(spec.with_settings(keep_rates=(keep / 100,) * 12), depth=0)
        assert found(keep) == numbers.expected_macs
    (forms,) = closed_forms(spec, ["keep_rates.0", "dim"])
    assert "expected_macs" in forms.totals
    assert "keep_rates.0 in per cent" in forms.tried()
    assert "where zeros are skipped" in forms.to_markdown()
