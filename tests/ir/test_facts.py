"""What follows from conditions that hold: right wherever they hold, and enough for windows, pads and pyramids."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgraph.ir.dim import (
    Cond,
    Facts,
    Group,
    Num,
    SymbolicTruth,
    all_of,
    any_of,
    ceildiv,
    decider,
    divides,
    dmax,
    dmin,
    eq,
    evaluate,
    le,
    lt,
    ne,
    sym,
)
from tests.ir.expressions import NAMES, positive, run, size_env

H, W, C, n = map(sym, ("H", "W", "C", "n"))
ENV = {name: sym(name) for name in NAMES}
EXTREMA = {"min": dmin, "max": dmax}
MAKERS = [eq, ne, le, lt]


def symbolic(source: str) -> Num:
    return run(source, ENV, EXTREMA)


divisors = st.sampled_from(["2", "3", "7", "H", "(W + 1)", "2*C"])


@st.composite
def facts_at(draw):
    """A point, and conditions that hold there."""
    point = draw(size_env)
    found = []
    for kind in draw(st.lists(st.sampled_from(["eq", "ne", "le", "lt", "divides"]), min_size=1, max_size=3)):
        x, y = symbolic(draw(positive)), symbolic(draw(positive))
        gap = evaluate(y, point) - evaluate(x, point)
        match kind:
            case "eq":
                found.append(eq(x + gap, y))
            case "ne":
                found.append(ne(x + gap + draw(st.integers(1, 3)), y))
            case "le" | "lt":
                less = draw(st.integers(kind == "lt", 3))
                found.append((le if kind == "le" else lt)(x + gap - less, y))
            case "divides":
                d = symbolic(draw(divisors))
                found.append(divides(d, x + y - (evaluate(x, point) + evaluate(y, point)) % evaluate(d, point)))
    return point, Facts(cond for cond in found if isinstance(cond, Cond))


conditions = st.one_of(
    st.tuples(st.sampled_from(MAKERS), positive, positive).map(lambda t: t[0](symbolic(t[1]), symbolic(t[2]))),
    st.tuples(divisors, positive).map(lambda t: divides(symbolic(t[0]), symbolic(t[1]))),
)


@settings(max_examples=150, deadline=None)
@given(facts_at(), conditions, positive, st.lists(size_env, max_size=12))
def test_what_follows_holds_wherever_the_facts_do(held, asked, source, more):
    first, facts = held
    decided = facts.decide(asked)
    x = symbolic(source)
    settled = facts.settle(x)
    for point in (first, *more):
        if all(cond.evaluate(point) for cond in facts.conditions):
            if isinstance(asked, Cond) and isinstance(decided, bool):
                assert asked.evaluate(point) is decided
            assert evaluate(settled, point) == evaluate(x, point)
    assert all(facts.decide(cond) is True for cond in facts.conditions)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(2, 9), st.integers(1, 9))
def test_windows_tile_a_level_of_a_pyramid(levels, more, window, at):
    side = H
    for _ in range(levels):
        side = (side + 1) // 2
    facts = Facts([divides(window, side)])
    assert facts.settle(window * (side // window)) is side
    assert facts.settle(window * ceildiv(side, window)) is side
    assert facts.settle(3 * W * window * (side // window) ** 2 * window) == 3 * W * side**2
    assert facts.decide(eq((side + more * window) % window, 0)) is True
    point = {"H": at * window * 2**levels}
    assert divides(window, side).evaluate(point)


def test_multiples_of_a_multiple():
    facts = Facts([divides(224, H)])
    assert facts.decide(divides(7, (H + 3) // 4)) is True
    assert facts.decide(divides(14, (H + 7) // 8)) is True
    assert facts.decide(ne(H % 32, 0)) is False
    assert isinstance(facts.decide(divides(3, H)), Cond)


def test_a_window_of_open_size():
    m = dmin(H // 4, 7)
    facts = Facts([divides(m, H // 4)])  # 0 divides nothing, so that m is at least 1
    assert facts.settle((H // 4 - 1) // m + 1) == (H // 4) // m
    facts = Facts([eq(H % n, 0)])
    assert facts.settle(n * (H // n)) is H
    assert facts.decide(divides(n, H + 2 * n)) is True


def test_bounds_and_equalities():
    facts = Facts([le(7, H), eq(H, W), ne(C, 3)])
    assert facts.decide(lt(4, H)) is True
    assert facts.decide(lt(H, 7)) is False
    assert facts.decide(eq(dmax(H, 7) * C, H * C)) is True
    assert facts.decide(eq(H * C, W * C)) is True
    assert facts.decide(le(5, W)) is True
    assert facts.decide(eq(C, 3)) is False
    assert facts.decide(ne(C, 3)) is True
    assert isinstance(facts.decide(le(8, H)), Cond)


def test_nothing_is_known_of_nothing():
    facts = Facts([])
    assert not facts
    assert facts.settle(7 * (H // 7)) == 7 * (H // 7)
    assert isinstance(facts.decide(eq(H, W)), Cond)


def test_groups():
    odd, large, square = ne(H % 2, 0), le(8, H), eq(H, W)
    either = any_of([odd, large])
    assert isinstance(either, Group)
    assert str(either) == "H - 2*(H//2) != 0 or 8 <= H"
    assert any_of([odd, True]) is True
    assert any_of([odd, False]) is odd
    assert all_of([odd, False]) is False
    assert all_of([]) is True
    assert any_of([]) is False
    assert all_of([all_of([odd, large]), square]) == all_of([odd, large, square])
    assert str(all_of([either, square])) == "(H - 2*(H//2) != 0 or 8 <= H) and H == W"
    assert either.evaluate({"H": 3})
    assert either.evaluate({"H": 8})
    assert not either.evaluate({"H": 4})
    assert either.substitute({"H": 3}) is True
    assert either.substitute({"H": 4}) is False
    assert either.negated() == all_of([eq(H % 2, 0), lt(H, 8)])
    assert pickle.loads(pickle.dumps(either)) == either
    assert either.free == {"H"}
    assert Facts([le(9, H)]).decide(either) is True
    assert Facts([divides(2, H)]).decide(either) == large
    assert Facts([either]).decide(either) is True
    with pytest.raises(SymbolicTruth):
        bool(either)


def test_a_study_of_cases_is_asked_part_by_part():
    asked = []

    def decide(cond: Cond) -> bool:
        asked.append(cond)
        return len(asked) > 1

    token = decider.set(decide)
    try:
        assert bool(any_of([ne(H % 2, 0), le(8, H)])) is True
    finally:
        decider.reset(token)
    assert asked == [ne(H % 2, 0), le(8, H)]
