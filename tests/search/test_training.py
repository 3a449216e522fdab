"""The trained score: the same for the same seed, ended by NaN, pruned on one metric among several objectives."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from archgraph.ir.diagnostics import SpecError
from archgraph.search.data.base import IGNORED, Dataset
from archgraph.search.objectives.failures import Diverged, is_out_of_memory
from archgraph.search.objectives.latency import latency
from archgraph.search.objectives.training import loss_of, prepared, train
from archgraph.search.results import Results, replay
from archgraph.search.run import Stop, prepare, run_here
from archgraph.search.sections import TRAIN
from archgraph.search.study_file import load_study
from archgraph.search.worker import record_of
from tests.search.studies import write


def blobs(n: int = 120) -> Dataset:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    x = torch.randn(n, 6, generator=g) * 0.3 + torch.eye(3).repeat(1, 2)[y] * 2
    return Dataset(x[30:], y[30:], x[:30], y[:30], 3)


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))


def settings(**changes: Any) -> dict[str, Any]:
    return {**TRAIN.defaults(), "batch_size": 16, "epochs": 10, "lr": 0.05, **changes}


def nothing(epoch: int, found: Any) -> None:
    pass


def test_it_learns_and_repeats_itself() -> None:
    first, again = (train(net(), blobs(), settings(), 3, nothing) for _ in range(2))
    other = train(net(), blobs(), settings(), 4, nothing)
    assert first["accuracy"] > 0.9
    for name in ("accuracy", "loss", "train_loss"):
        assert first[name] == again[name]
    assert first["loss"] != other["loss"]


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_accumulation_is_a_larger_batch(optimizer: str) -> None:
    """Without dropout, two half batches take the same step as a whole one."""
    found = []
    for batch, accumulate in ((24, 1), (12, 2)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        given = settings(batch_size=batch, accumulate=accumulate, epochs=2, optimizer=optimizer)
        found.append(train(model, blobs(102), given, 3, nothing))
    whole, halves = found
    assert whole["loss"] == pytest.approx(halves["loss"], rel=1e-4)


def test_it_ends_early() -> None:
    assert train(net(), blobs(), settings(epochs=50, target=0.9), 3, nothing)["epochs"] < 50
    assert train(net(), blobs(), settings(epochs=50, patience=1, lr=0.0), 3, nothing)["epochs"] == 2
    seen: list[int] = []
    train(net(), blobs(), settings(epochs=5, evaluate_every=2), 3, lambda epoch, _: seen.append(epoch))
    assert seen == [2, 4, 5]


def test_a_nan_ends_it() -> None:
    data = blobs()
    data.x[5] = float("nan")
    with pytest.raises(Diverged, match="training loss is nan"):
        train(net(), data, settings(), 3, nothing)


def test_mixed_precision() -> None:
    assert train(net(), blobs(), settings(precision="bf16-mixed"), 3, nothing)["accuracy"] > 0.9


def test_a_model_that_does_not_fit_the_data_is_refused() -> None:
    with pytest.raises(SpecError, match="3 classes"):
        prepared(nn.Linear(6, 2), blobs())
    with pytest.raises(SpecError, match="does not take samples"):
        prepared(nn.Linear(5, 3), blobs())


def test_positions_that_do_not_count() -> None:
    scores = torch.randn(2, 3, 5)
    y = torch.tensor([[1, IGNORED, IGNORED], [IGNORED, 4, IGNORED]])
    expected = -(scores[0, 0].log_softmax(0)[1] + scores[1, 1].log_softmax(0)[4]) / 2
    assert loss_of(scores, y) == pytest.approx(expected.item())


def test_what_counts_as_out_of_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))


def test_latency_is_the_median_after_the_warm_up() -> None:
    calls: list[int] = []

    class Slow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(len(calls))
            return x

    found = latency(Slow(), {"x": torch.zeros(1)}, {"warmup": 3, "repeats": 5, "device": "cpu", "threads": 1})
    assert len(calls) == 8
    assert 0 < found < 1


TRAINED = """archgraph: 1
name: small
spec: tiny.yaml
space: {dim: [8, 32], depth: {range: [1, 2]}, train.lr: {range: [1.0e-4, 1.0e-2], log: true}}
objectives: {accuracy: maximize, macs: minimize}
pruner: {kind: median, n_startup_trials: 3, n_warmup_steps: 1}
trials: 10
data: digits
train: {epochs: 4, batch_size: 256}
"""


def test_a_study_of_two_objectives_is_pruned_on_one(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, TRAINED))
    folder = tmp_path / "run"
    prepare(study, folder, 1, resume=False, changes={})
    run_here(study, folder, Stop(), lambda _: None)
    results = Results(folder)
    counts = results.counts()
    assert counts["complete"] + counts["pruned"] == 10
    assert counts["pruned"] > 0
    cut = next(t for t in results.trials if "pruned" in record_of(t))
    assert 1 < len(cut.intermediate_values) <= 4
    found = replay(results, results.front()[0].number)
    assert found.equal, (found.before, found.after)
    assert dataclasses.replace(study).trained
