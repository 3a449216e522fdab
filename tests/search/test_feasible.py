"""Compiled limits agree with elaboration, candidate by candidate, whatever varies."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import archgraph
from archgraph.search.draws import draw
from archgraph.search.feasible import Feasibility
from archgraph.search.study_file import Constraint, Study, load_study
from tests.search.studies import STUDY, write
from tests.shared_files import CHECKOUT


def agree(study: Study, rows: int) -> tuple[Feasibility, np.ndarray]:
    rng = np.random.RandomState(0)
    block = {name: draw(rng, d, rows) for name, d in study.space.distributions.items()}
    compiled, plain = Feasibility(study), Feasibility(study)
    plain.compiled = False
    found = compiled(block)
    assert (found == plain(block)).all()
    assert 0 < found.sum() < rows
    first = compiled(block, 1)
    assert first.argmax() == found.argmax()
    return compiled, found


def test_numbers_choices_and_conditions(tmp_path: Path) -> None:
    text = STUDY.replace(
        "  act:", "  wide: [false, true]\n  widths.1: {range: [8, 16], when: wide and dim > 8}\n  act:"
    )
    feasibility, _ = agree(load_study(write(tmp_path, text)), 200)
    assert feasibility.compiled
    assert feasibility.elaborated == 0


def test_limits_that_are_not_compiled(tmp_path: Path) -> None:
    study = load_study(write(tmp_path))
    limits = (Constraint("params", None, 4000), Constraint("weight_bytes", 3000, None))
    feasibility, _ = agree(dataclasses.replace(study, constraints=limits), 100)
    assert feasibility.compiled
    assert feasibility.elaborated > 0


@pytest.mark.parametrize(("name", "rows"), [("vit_digits", 200), ("mixed_pyramid", 24), ("hornet_width_depth", 24)])
def test_shipped_studies(name: str, rows: int) -> None:
    feasibility, _ = agree(load_study(CHECKOUT / "search" / f"{name}.yaml"), rows)
    assert feasibility.compiled


def test_times_and_energy_are_compiled(tmp_path: Path) -> None:
    """Also that a candidate's costs are those of the compiled function, and of a report."""
    text = STUDY.replace(
        "{params: {max: 4000}}",
        "{roofline: {max: 1.2e-7}, roofline_op_by_op: {max: 2.2e-6, min: 2.0e-7}, energy: {max: 3.0e-8}}",
    )
    study = load_study(write(tmp_path, text + "machine: {device: raspberry-pi-5}\n"))
    feasibility, _ = agree(study, 200)
    assert feasibility.compiled
    assert feasibility.elaborated == 0
    found = feasibility.candidates.candidate({"dim": 16, "depth": 2, "heads": 2, "act": "gelu"})
    assert study.machine is not None
    times = archgraph.report(found.spec, device=study.machine.device).roofline
    assert times is not None
    assert found.costs["roofline"] == times.bound
    assert found.costs["roofline_op_by_op"] == times.op_by_op
    assert found.costs["energy"] == times.energy
