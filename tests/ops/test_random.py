"""Dropout, stochastic depth and random values: what they zero, and that they leave evaluation alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import archgraph.ops.random  # noqa: F401
from archgraph.ir.real import Late
from tests.ops.harness import check, error

DROPOUTS = [("dropout", 3, 3), ("dropout1d", 3, 2), ("dropout2d", 4, 2), ("dropout3d", 5, 2)]
DROPOUTS += [("drop_path", rank, 1) for rank in range(1, 8)]


def ones(rank: int) -> Tensor:
    return torch.ones([32, 8, 2, 3, 1, 2, 2][:rank])


@pytest.mark.parametrize(("op", "rank", "units"), DROPOUTS)
def test_whole_units_are_zeroed_and_the_rest_scaled(op: str, rank: int, units: int) -> None:
    """``units``: how many leading axes number what is zeroed as one."""
    x = ones(rank)
    (y,) = check(op, {"p": 0.25}, list(x.shape), inputs=[x], training=True).outputs
    rows = y.reshape(x.shape[:units].numel(), -1)
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    found = rows[:, 0]
    kept = found > 0
    torch.testing.assert_close(found[kept], torch.full_like(found[kept], 1 / 0.75))
    assert 0 < kept.float().mean() < 1


@pytest.mark.parametrize(("op", "rank", "units"), DROPOUTS)
def test_evaluation_and_rate_zero_change_nothing(op: str, rank: int, units: int) -> None:
    x = torch.randn_like(ones(rank))
    shape = list(x.shape)
    check(op, {"p": 0.25}, shape, inputs=[x], reference=lambda x: x)
    assert check(op, {"p": 0.0}, shape, inputs=[x], training=True, reference=lambda x: x).used == []


def test_the_rate_may_be_bound_late() -> None:
    i = Late("i")
    assert check("drop_path", {"p": 0.2 * i / 11}, "2 3 4", env={"i": 0}).used == []
    assert check("drop_path", {"p": 0.2 * i / 11}, "2 3 4", env={"i": 3}).used == ["unsqueeze", "module", "squeeze"]


def test_the_batch_is_not_baked() -> None:
    check("drop_path", {"p": 0.1}, "B C D H W", env={"B": 2, "C": 3, "D": 2, "H": 3, "W": 4}, reference=lambda x: x)


def test_rates_are_probabilities() -> None:
    raised = error("dropout", {"p": 1.5}, "2 3")
    assert (str(raised), raised.expected, raised.found) == ("`dropout` takes a probability", "0 to 1", "1.5")
    assert str(error("drop_path", {"p": 0.5}, "")) == "`drop_path` takes a batch of samples"


def test_random_values() -> None:
    (normal,) = check("randn_like", {}, "100 100").outputs
    assert abs(normal.mean()) < 0.05
    assert abs(normal.std() - 1) < 0.05
    (uniform,) = check("rand_like", {}, "100 100").outputs
    assert 0 <= uniform.min() < 0.01
    assert 0.99 < uniform.max() < 1
    run = check("bernoulli", {}, "100 100", inputs=[torch.full((100, 100), 0.3)])
    assert run.typed.cost == (0, 10_000)
    assert set(run.outputs[0].unique().tolist()) == {0.0, 1.0}
    assert abs(run.outputs[0].mean() - 0.3) < 0.03
