"""The logarithm of a size, rounded up: the number of stages of an FFT."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgraph.ir.dim import UnknownDegree, ceil_log2, degree, evaluate, lower_bound, substitute, sym, upper_bound
from archgraph.ir.real import Late, apply
from archgraph.ir.real import substitute as substitute_scalar

H, W = sym("H"), sym("W")


@given(st.integers(1, 10**6))
def test_numbers(n: int) -> None:
    expected = next(k for k in range(30) if 2**k >= n)
    assert ceil_log2(n) == expected
    assert evaluate(ceil_log2(H), {"H": n}) == expected
    assert substitute(ceil_log2(H * W), {"H": n, "W": 1}) == expected
    assert evaluate(ceil_log2(4 * H), {"H": n}) == ceil_log2(4 * n)


def test_canonical() -> None:
    assert ceil_log2(0) == ceil_log2(1) == 0
    assert ceil_log2(H) is ceil_log2(2 * H - H)
    assert ceil_log2(4 * H) == ceil_log2(H) + 2
    assert ceil_log2(4 * H + 2) == ceil_log2(2 * H + 1) + 1
    assert substitute(ceil_log2(H), {"H": 8 * W}) == ceil_log2(W) + 3
    assert pickle.loads(pickle.dumps(ceil_log2(H))) is ceil_log2(H)


def test_bounds() -> None:
    log = ceil_log2(H)
    assert (lower_bound(log), upper_bound(log)) == (0, None)
    assert lower_bound(ceil_log2(H + 8)) == 4
    assert upper_bound(ceil_log2(H - 2 * (H // 2) + 3)) == 2
    assert lower_bound(H * log - 1) == -1


def test_degree() -> None:
    assert degree(H * ceil_log2(H), "H") == 1
    with pytest.raises(UnknownDegree):
        degree(H * ceil_log2(H) - H, "H")


def test_text_is_an_expression() -> None:
    assert str(5 * H * ceil_log2(H)) == "5*H*ceil(log2(H))"
    assert apply("ceil", apply("log2", 2 * H)) is ceil_log2(2 * H)
    mixed = substitute_scalar(ceil_log2(H) * W, {"H": Late("i"), "W": 2})
    assert mixed.evaluate({"i": 5}) == 2 * math.ceil(math.log2(5))
