"""Sizes at run time: found among the values at hand, or asked of the caller, or refused."""

from __future__ import annotations

import operator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archgraph.ir.dim import Dim, Num, ceildiv, dmax, dmin, evaluate, sym
from archgraph.ir.types import TensorType
from archgraph.lower.constants import resolve
from archgraph.lower.plan import Step
from archgraph.lower.sizes import Sizes

H, W, N, B, C = map(sym, "HWNBC")


class Machine:
    """Runs what is emitted at once, for values of known shapes."""

    def __init__(self, env: dict[str, int], *shapes: tuple[Num, ...]) -> None:
        self.env = env
        self.calls: list[str] = []
        self.results: dict[Step, int] = {}
        self.sizes = Sizes(self.axis, self.call)
        self.types: dict[Step, TensorType] = {}
        for shape in shapes:
            value = Step("placeholder", "x", (), {}, "x")
            self.types[value] = TensorType("float", shape)
            self.sizes.add(value, self.types[value])

    def axis(self, value: Step, axis: int, name: str) -> Step:
        self.calls.append("size")
        return self.result(evaluate(self.types[value].shape[axis], self.env), name)

    def call(self, function: str, args: tuple[Any, ...], name: str) -> Step:
        self.calls.append(function)
        return self.result(resolve(function)(*[self.results.get(a, a) for a in args]), name)

    def result(self, value: int, name: str) -> Step:
        step = Step("call_function", "", (), {}, name)
        self.results[step] = value
        return step

    def get(self, dim: Num) -> int | None:
        found = self.sizes.get(dim)
        return found if found is None or isinstance(found, int) else self.results[found]


ENV = {"B": 3, "H": 23, "W": 17, "N": 11, "C": 6}
CASES: list[tuple[tuple[tuple[Num, ...], ...], Num]] = [
    (((B, N, 8),), N),
    (((B, 1 + N, 8),), N),
    (((B, 1 + N, 8),), 4 * N + 2),
    (((4 * N, 8),), N),
    (((N + 1, 8),), 2 * (N + 1)),
    (((B, H, W),), H * W),
    (((B, H, W),), 1 + H * W - B),
    (((B, H * W, H),), W),
    (((B, 1 + (H // 4) * (W // 4), 8),), (H // 4) * (W // 4)),
    (((B, H // 4),), H // 8),
    (((B, H),), ceildiv(H, 4)),
    (((B, H, W),), dmin(H, W, 20) + dmax(H, B)),
    (((B, 3, H, W),), (H // 4) * (W // 4) * B),
    (((B, H * W + 1, H * W * B),), H * W * B),
    (((B, C * B),), C),
    (((5, N**2),), N**2 + 1),
    (((B,), (H, B * W)), W * H - 2 * B),
]


@pytest.mark.parametrize(("shapes", "dim"), CASES, ids=[f"{d} from {s}" for s, d in CASES])
def test_found_among_the_values(shapes: tuple[tuple[Num, ...], ...], dim: Num) -> None:
    machine = Machine(ENV, *shapes)
    assert machine.get(dim) == evaluate(dim, ENV)
    calls = len(machine.calls)
    assert machine.get(dim) == evaluate(dim, ENV)
    assert len(machine.calls) == calls, "emitted twice"


@pytest.mark.parametrize(("shapes", "dim"), [(((B, H * W),), H), (((B, H // 4),), H), (((B, H // 8),), H // 4)])
def test_untold_sizes_are_none(shapes: tuple[tuple[Num, ...], ...], dim: Num) -> None:
    machine = Machine(ENV, *shapes)
    assert machine.get(dim) is None
    assert machine.calls == [], "a failed search leaves nothing behind"


def test_an_int_stays_one() -> None:
    assert Machine({}).get(7) == 7


def test_an_axis_is_read_once_and_named() -> None:
    machine = Machine(ENV, (B, N))
    first = machine.sizes.get(N)
    assert isinstance(first, Step)
    assert first.name == "n"
    assert machine.sizes.get(N) is first
    machine.get(N + 1)
    assert machine.calls == ["size", "operator.add"]


def test_operands_are_preferred() -> None:
    machine = Machine(ENV, (B, N))
    mine = Step("placeholder", "y", (), {}, "y")
    machine.types[mine] = TensorType("float", (N, N))
    seen: list[Step] = []
    machine.sizes._axis = lambda value, axis, name: seen.append(value) or machine.result(11, name)  # type: ignore[func-returns-value]
    machine.sizes.get(N, [(None, None), (mine, machine.types[mine])])
    assert seen == [mine]


def test_extrema_neither_guard_nor_break_proxies() -> None:
    machine = Machine(ENV, (H, W))
    machine.get(dmin(H, W))
    assert machine.calls[-1] == "torch.sym_min"
    assert resolve("torch.sym_min") is torch.sym_min
    assert resolve("operator.floordiv") is operator.floordiv


sizes = st.sampled_from([H, W, N, B, H // 4, W // 2, H * W, 1 + N, 2 * H + 1, (H // 4) * (W // 2), dmin(H, N)])


@given(st.lists(sizes, min_size=1, max_size=4), st.lists(sizes, min_size=1, max_size=3), st.integers(-3, 3))
def test_what_is_found_is_right(axes: list[Dim], parts: list[Dim], offset: int) -> None:
    dim = sum(parts[1:], start=parts[0]) * parts[-1] + offset
    for env in (ENV, {"B": 2, "H": 9, "W": 4, "N": 5, "C": 1}):
        found = Machine(env, tuple(axes)).get(dim)
        assert found is None or found == evaluate(dim, env)
