"""Broadcasting of shapes agrees with torch on numbers and stays careful with symbols."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archgraph.ir.dim import sym
from archgraph.ops.base import OpError
from archgraph.ops.broadcast import broadcast
from tests.ops.harness import Recorder

shapes = st.lists(st.lists(st.sampled_from([1, 1, 2, 3]), max_size=4).map(tuple), min_size=1, max_size=3)


@given(shapes)
def test_numbers_broadcast_as_in_torch(given_shapes: list[tuple[int, ...]]) -> None:
    try:
        expected = tuple(torch.broadcast_shapes(*given_shapes))
    except RuntimeError:
        with pytest.raises(OpError, match="don't broadcast"):
            broadcast(Recorder(), *given_shapes)
    else:
        assert broadcast(Recorder(), *given_shapes) == expected


def test_symbols() -> None:
    b, n, m = sym("B"), sym("N"), sym("M")
    cx = Recorder()
    assert broadcast(cx, (b, n, 4), (1, 4), (n, 1)) == (b, n, 4)
    assert cx.guards == []
    assert broadcast(cx, (b, n), (b, 2 * (n // 2))) == (b, n)
    assert [str(cond) for cond, _ in cx.guards] == ["2*(N//2) == N"]
    with pytest.raises(OpError, match="don't broadcast") as unequal:
        broadcast(cx, (b, n), (b, m))
    assert unequal.value.hint == "sizes that are equal carry one name, not `N` and `M`"
    assert broadcast(cx, (n,), (7,)) == (7,)
    with pytest.raises(OpError):
        broadcast(cx, (n,), (n + 1,))
