"""The benchmarks' own arithmetic, and that what is timed computes the same."""

from __future__ import annotations

import pytest
import torch

import archgraph
from tools.bench.__main__ import benchmarks
from tools.bench.common import Gate, Section, in_turns, number, ratio
from tools.bench.hornet_module import HorNet


def test_every_benchmark_is_found() -> None:
    assert {"attention", "build", "cost", "rewrite", "runtime"} <= set(benchmarks())
    assert "common" not in benchmarks()


def test_ratio_of_pairs() -> None:
    middle, low, high = ratio([2.0, 4.0, 6.0, 9.0], [2.0, 2.0, 3.0, 3.0])
    assert middle == 2
    assert 1 <= low <= middle <= high <= 3


def test_turns() -> None:
    calls: list[str] = []
    ticks = iter(range(100))
    found = in_turns(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 4, clock=lambda: float(next(ticks)), warm=1
    )
    assert found == {"a": [1.0] * 4, "b": [1.0] * 4}
    assert [sorted(calls[k : k + 2]) for k in range(0, 10, 2)] == [["a", "b"]] * 5


def test_a_section_as_markdown() -> None:
    rows = [["x", 1234567], ["y", 0.01234]]
    text = Section("T", ("a", "b"), rows, [Gate("g", 2.0, 1.0, " ms")], ("note",)).markdown()
    assert "| x | 1,234,567 |" in text
    assert "| y | 0.0123 |" in text
    assert "FAILS: g: 2 ms, at most 1 ms" in text
    assert number(True) == "True"


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_module_written_by_hand_is_ours(mode: str) -> None:
    torch.manual_seed(0)
    ours = archgraph.build("hornet", "tiny_7x7", dim=16, depths=[1, 1, 2, 1], num_classes=5, drop_path=0.0)
    theirs = HorNet(16, (1, 1, 2, 1), 5)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 64, 96)
    getattr(ours, mode)()
    getattr(theirs, mode)()
    torch.testing.assert_close(ours(x), theirs(x))
