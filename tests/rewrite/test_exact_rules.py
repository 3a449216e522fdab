"""Every exact rule on random instances of its own pattern: outputs and gradients stay equal, in both precisions."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx import GraphModule

from archgraph.ir.diagnostics import SpecError
from archgraph.ir.graph import Graph
from archgraph.lower.fx import build
from archgraph.lower.rewriting import carry
from archgraph.ops.verify import verify
from archgraph.rewrite.api import Rewritten, apply_rule
from archgraph.rewrite.checked import check_rule
from archgraph.rewrite.draw import Instance, Undrawable, draw
from archgraph.rewrite.rule import Rule, load_rule, loads_rule, shipped_rules

RULES = [load_rule(path) for path in shipped_rules().values()]
EXACT = [rule for rule in RULES if rule.relation == "exact"]
APPROXIMATE = [rule for rule in RULES if rule.relation == "approximate"]
BOUND = {torch.float32: 1e-5, torch.float64: 1e-10}


def rewritten(rule: Rule, instance: Instance) -> Rewritten:
    step = apply_rule(instance.graph, rule, settings=instance.settings)
    return Rewritten(instance.graph, step.after, (step,))


def filled(graph: Graph, dtype: torch.dtype, generator: torch.Generator) -> GraphModule:
    """A model with weights that are no special numbers, running statistics included."""
    model = build(graph, dtype=dtype)
    with torch.no_grad():
        for name, t in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("running_var"):
                t.uniform_(0.5, 2.0, generator=generator)
            elif t.is_floating_point():
                t.normal_(0.0, 0.7, generator=generator)
    return model


def inputs(graph: Graph, dtype: torch.dtype, generator: torch.Generator) -> list[Tensor]:
    shapes: list[tuple[Any, ...]] = [t.shape for _, t in graph.inputs]
    return [torch.randn(s, dtype=dtype, generator=generator, requires_grad=True) for s in shapes]


def values(result: Any) -> list[Tensor]:
    return list(result.values()) if isinstance(result, dict) else [result]


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    scale = max(1.0, float(a.detach().abs().max())) if a.numel() else 1.0
    return float((a - b).detach().abs().max()) / scale if a.numel() else 0.0


@pytest.mark.parametrize("rule", EXACT, ids=lambda r: r.name)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_exact_rules_keep_outputs_and_gradients(rule: Rule, seed: int) -> None:
    instance = draw(rule, Random(seed))
    done = rewritten(rule, instance)
    verify(done.after)
    for dtype, bound in BOUND.items():
        generator = torch.Generator().manual_seed(seed)
        before = filled(instance.graph, dtype, generator)
        before.train(rule.mode != "eval")
        after = carry(done, before)
        assert after.training == before.training
        given_values = inputs(instance.graph, dtype, generator)
        results = [values(m(*given_values)) for m in (before, after)]
        weights = [torch.randn(r.shape, dtype=dtype, generator=generator) for r in results[0]]
        for a, b in zip(*results, strict=True):
            assert distance(a, b) <= bound
        grads = [
            torch.autograd.grad(
                sum((r * w).sum() for r, w in zip(each, weights, strict=True)), given_values, allow_unused=True
            )
            for each in results
        ]
        for g, h in zip(*grads, strict=True):
            g, h = (torch.zeros(1, dtype=dtype) if t is None else t for t in (g, h))
            assert distance(g, h) <= 10 * bound


@pytest.mark.parametrize("rule", APPROXIMATE, ids=lambda r: r.name)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_approximate_rules_keep_the_interface(rule: Rule, seed: int) -> None:
    try:
        instance = draw(rule, Random(seed))
        done = rewritten(rule, instance)
    except (Undrawable, SpecError):
        return  # sizes that the replacement does not take; places in shipped specs are tested there
    verify(done.after)
    assert done.after.input_types == instance.graph.input_types
    assert done.after.output_types == instance.graph.output_types
    generator = torch.Generator().manual_seed(seed)
    before = build(instance.graph, dtype=torch.float64).eval()
    after = carry(done, before)
    given_values = inputs(instance.graph, torch.float64, generator)
    for a, b in zip(values(before(*given_values)), values(after(*given_values)), strict=True):
        assert a.shape == b.shape


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_shipped_rules_have_the_types_of_what_they_replace(rule: Rule) -> None:
    check_rule(rule)


def test_all_exact_rules_can_be_drawn() -> None:
    assert len(EXACT) >= 16
    for rule in EXACT:
        for seed in range(5):
            assert draw(rule, Random(seed)).graph.nodes


def test_a_wrong_rule_would_be_noticed() -> None:
    text = """
archgraph: 1
rule: wrong
match: {inputs: {x: [..., C]}, graph: {fc: {op: linear, out_features: n}}}
replace: {graph: {fc: {op: linear, out_features: n}}}
relation: exact
weights:
  graph: {weight: {formula: 1.01 * w, in: {w: fc.weight}}}
  fc.weight: weight
  fc.bias: fc.bias
"""
    with pytest.raises(AssertionError):
        test_exact_rules_keep_outputs_and_gradients.hypothesis.inner_test(loads_rule(text), 3)  # type: ignore[attr-defined]


def test_enough_approximate_rules_can_be_drawn() -> None:
    drawn = 0
    for rule in APPROXIMATE:
        for seed in range(5):
            try:
                rewritten(rule, draw(rule, Random(seed)))
            except (Undrawable, SpecError):
                continue
            drawn += 1
            break
    assert drawn >= len(APPROXIMATE) // 2, drawn
