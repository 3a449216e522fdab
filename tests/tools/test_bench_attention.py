"""The benchmark of attention swaps, at sizes where it takes no time."""

from __future__ import annotations

import pytest
import torch

import tools.bench.rewrite
from tools.bench.attention import KINDS, Measured, Row, gates, kinds, line, main, measure, peak, rows
from tools.bench.common import Gate


def test_kinds_compute_what_their_names_say() -> None:
    these = kinds(64, heads=2, dim=8, agents=4)
    assert [kind.name for kind in these] == list(KINDS)
    q, k, v = these[0].inputs
    weights = (q @ k.transpose(-2, -1) / 8**0.5).softmax(-1)
    torch.testing.assert_close(these[0].model(q, k, v), weights @ v)
    relu = q.relu() @ k.relu().transpose(-2, -1)
    torch.testing.assert_close(these[2].model(q, k, v), relu @ v / relu.sum(-1, keepdim=True).clamp(min=1e-6))
    for kind in these:
        assert kind.model(*kind.inputs).shape == q.shape


def test_ratios_of_multiply_adds_are_the_closed_forms() -> None:
    n, d, agents = 96, 8, 4
    these = kinds(n, heads=2, dim=d, agents=agents)
    found = rows(these, [Measured(8.0, 0), *[Measured(2.0, 2**20)] * 3], n)
    assert [row.speed_up for row in found] == [1.0, 4.0, 4.0, 4.0]
    assert [row.macs for row in found] == [1.0, *[2 * n / (2 * d + 1)] * 2, n / (2 * agents)]
    assert found[3].share == 4 / 12
    assert found[3].held == 1.0
    assert "33 %" in line(found[3])


def test_times_are_the_least_of_the_counted_rounds() -> None:
    these = kinds(16, heads=1, dim=4, agents=2)[:2]
    # starts of a round that does not count, then starts and ends of two
    ticks = iter([0.0, 0.0, 0.0, 3.0, 0.0, 5.0, 0.0, 4.0, 0.0, 2.0])

    def clock() -> float:
        return next(ticks)

    assert [round(m.ms) for m in measure(these, 2, clock)] == [3000, 2000]


def test_peak_counts_what_is_held_at_once() -> None:
    kind = kinds(512, heads=2, dim=8, agents=4)[3]
    said = int(kind.cost.memory.peak)
    assert said <= peak(kind) <= 3 * said


def test_gates_ask_for_shares_at_the_end_and_for_no_loss_at_the_start() -> None:
    found = [Row(n, kind, 1.0, 2.0, 4.0, 1.0, 1.0, 1.0) for n in (16, 64) for kind in list(KINDS)[1:]]
    asked = gates(found, "small pages")
    assert [gate.limit for gate in asked] == [35, 45, 65, 1.0]
    assert [gate.ok for gate in asked] == [True, True, False, True]
    assert str(asked[2]) == "FAILS: agent, N = 64, small pages: share of the MAC ratio: 50 %, at least 65 %"
    assert Gate("g", 2.0, 1.0, least=True).ok


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_the_command_prints_all_kinds(capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    threads = torch.get_num_threads()
    main(["--lengths", "16", "32", "--heads", "1", "--dim", "4", "--agents", "2", "--repeats", "2", *more])
    torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert all(printed.count(kind) >= 2 for kind in KINDS)


@pytest.mark.slow
def test_rewrites_of_vit_find_all_cores() -> None:
    threads = torch.get_num_threads()
    section = tools.bench.rewrite.run(quick=True)
    torch.set_num_threads(threads)
    assert [gate.ok for gate in section.gates if gate.what.startswith("cores found")] == [True, True]
    assert [row[0] for row in section.rows][:2] == [
        "find `softmax_to_linear`: 12 of 12",
        "find `softmax_to_agent`: 12 of 12",
    ]
    assert section.rows[4][1] == section.rows[2][1] + 24  # the parameter and its product, in each block
