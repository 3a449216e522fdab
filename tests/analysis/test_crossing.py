"""Crossovers are those that a scan over all integers finds; growth names the terms that win."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgraph.analysis.crossing import Unsolvable, crossings, isolate
from archgraph.analysis.growth import growth, leading_degree
from archgraph.ir.dim import dmax, dmin, evaluate, sym

N = sym("N")


def scan(x, low, high):
    signs = [(v > 0) - (v < 0) for v in (evaluate(x, {"N": n}) for n in range(low, high + 1))]
    return [(low + k, a, b) for k, (a, b) in enumerate(pairwise(signs), 1) if a != b]


def differences():
    parts = st.sampled_from([N, N // 3, (N + 5) // 4, N * N, (N // 2) ** 2, dmin(N, 17), dmax(N // 2, 9), 1])
    term = st.tuples(st.integers(-40, 40), parts).map(lambda p: p[0] * p[1])
    return st.lists(term, min_size=1, max_size=4).map(sum)


@settings(max_examples=80, deadline=None)
@given(differences(), st.integers(-3000, 3000))
def test_crossings_are_all_changes_of_sign(x, shift):
    x = x + shift
    if isinstance(x, int):
        return
    found, modulus = crossings(x, "N", 1, 400)
    assert [tuple(c) for c in found] == scan(x, 1, 400)
    assert modulus >= 1


def test_softmax_overtakes_linear_attention():
    # 2·N²·d against 2·N·d² + N·d: equal at N = d + 1/2
    d = 64
    found, _ = crossings(2 * N * N * d - (2 * N * d * d + N * d), "N", 1, 65536)
    assert found == [(65, -1, 1)]


def test_a_sign_that_hangs_on_the_remainder_is_listed_throughout():
    odd = N - 2 * ((N + 1) // 2)  # -1 at odd sizes, else 0
    assert [tuple(c) for c in crossings(odd, "N", 1, 300)[0]] == scan(odd, 1, 300)
    swapping = 3 * (N // 3) - 2 * (N // 2) + (N - 70) * (N - 200) * 0
    assert [tuple(c) for c in crossings(swapping, "N", 5, 211)[0]] == scan(swapping, 5, 211)
    with pytest.raises(Unsolvable, match="every period"):
        crossings(odd, "N", 1, 1_000_000)


def test_what_is_not_solved_is_said():
    with pytest.raises(Unsolvable, match="depends on M"):
        crossings(N - sym("M"), "N", 1, 9)
    with pytest.raises(Unsolvable, match="more than 4096"):
        crossings(N // 5000 - 3, "N", 1, 9)
    with pytest.raises(Unsolvable, match="divisor"):
        crossings(100 // N - 3, "N", 1, 9)


def test_roots_are_isolated():
    assert len(isolate([-6, 11, -6, 1], 0, 10)) == 3  # (x-1)(x-2)(x-3)
    assert isolate([1, 0, 1], -5, 5) == []
    assert len(isolate([1, -2, 1], 0, 5)) == 1  # a double root


def test_growth():
    d, depth, p = sym("dim"), sym("depth"), sym("patch")
    assert str(growth(depth * (2 * N * N * d + 4 * N * d * d) + 1000 * d)) == "O(N²·depth·dim + dim²·N·depth)"
    assert str(growth((N // p) ** 2 * d)) == "O(N²·dim/patch²)"
    assert str(growth(dmax(N * N, d * N, 5) + dmin(depth - 1, 1))) == "O(N² + N·dim)"
    assert str(growth(7)) == "O(1)"
    assert str(growth(N * N * d, ["N"])) == "O(N²)"
    assert growth(N * N * d).degree("N") == 2
    assert leading_degree((N * N // 3, N), "N") == 2
