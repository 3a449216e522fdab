"""Candidates: what values ask for, and the spec that is written for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archgraph.ir.canon import canonical_hash
from archgraph.search.candidate import Candidate, Candidates
from archgraph.search.draws import first_feasible
from archgraph.search.feasible import Feasibility
from archgraph.search.study_file import Study, load_study, read_study
from archgraph.spec.load import loads
from tests.search.studies import STUDY, write
from tests.shared_files import CHECKOUT

DERIVED = """archgraph: 1
spec: vit
set: {image_size: 32, num_classes: 10, dim: 48, depth: 3}
space:
  num_heads: [1, 2, 4]
  attention:
    at: blocks.*.attn
    rewrites: {softmax: null, linear: {rule: softmax_to_linear, set: {learn_scale: false}}}
objectives: {macs: minimize}
trials: 3
"""


def some(study: Study, count: int) -> list[Candidate]:
    rng, feasibility = np.random.RandomState(1), Feasibility(study)
    made = Candidates(study)
    space = study.space.distributions
    return [made.candidate(first_feasible(rng, space, feasibility.filter).values, k) for k in range(count)]


def written(candidate: Candidate) -> str:
    """The hash of what is written, read again."""
    spec = loads(candidate.to_yaml("again", "A candidate."))
    assert spec.name == "again"
    return canonical_hash(spec.graph(None, candidate.sizes))


def test_settings(tmp_path: Path) -> None:
    for candidate in some(load_study(write(tmp_path)), 5):
        assert written(candidate) == candidate.hash
        assert candidate.build()(*_inputs(candidate)).shape == (3, 10)


def test_rewrites_of_a_shipped_spec() -> None:
    study = read_study(DERIVED, str(CHECKOUT / "search" / "derived.yaml"))
    made = Candidates(study)
    soft, linear = (made.candidate({"num_heads": 2, "attention": kind}) for kind in ("softmax", "linear"))
    assert soft.hash != linear.hash
    assert soft.costs["params"] == linear.costs["params"]
    assert "base: vit" in linear.to_yaml()
    assert written(linear) == linear.hash
    assert written(soft) == soft.hash


def test_rewrites_of_a_spec_beside_the_study() -> None:
    study = load_study(CHECKOUT / "search" / "mixed_pyramid.yaml")
    candidates = some(study, 3)
    assert any(c.assignment.rewrites for c in candidates)
    for candidate in candidates:
        assert written(candidate) == candidate.hash


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, STUDY))
    made = Candidates(study)
    values = {p.name: p.first for p in study.space.parameters}
    weights = [made.candidate(values, seed).build().state_dict()["first.weight"] for seed in (1, 1, 2)]
    assert (weights[0] == weights[1]).all()
    assert not (weights[0] == weights[2]).all()
    assert made.candidate(values, 1).key == made.candidate(values, 2).key


def _inputs(candidate: Candidate) -> list[object]:
    import torch

    return [torch.zeros(3, *t.shape[1:]) for _, t in candidate.graph.inputs]


@pytest.mark.parametrize("kind", ["softmax", "linear", "agent", "routing", "lightning"])
def test_the_recall_model_runs_with_every_attention(kind: str) -> None:
    import torch

    from archgraph.ops.plugins import use

    use(str(CHECKOUT / "search" / "attention_state.py"))
    study = load_study(CHECKOUT / "search" / "attention_recall.yaml")
    candidate = Candidates(study).candidate({"attention": kind, "dim": 16})
    scores = candidate.build()(torch.zeros(2, 64, dtype=torch.long))
    assert scores.shape == (2, 64, 64)
