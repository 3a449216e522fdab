"""Programs: what any symbolic integer evaluates to, by NumPy, by Python, and within the intervals foretold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgraph.analysis.compiled import Compiled
from archgraph.analysis.conditions import conditions
from archgraph.analysis.program import INT64, Program
from archgraph.ir.dim import Cond, ceil_log2, divides, dmax, dmin, eq, evaluate, le, lt, ne, sym

NAMES = ("a", "b", "c")


def expressions():
    leaves = st.one_of(st.integers(-9, 9), st.sampled_from(NAMES).map(sym))

    def more(inner):
        pairs = st.tuples(inner, inner)
        return st.one_of(
            pairs.map(lambda p: p[0] + p[1]),
            pairs.map(lambda p: p[0] - p[1]),
            pairs.map(lambda p: p[0] * p[1]),
            pairs.map(lambda p: dmin(*p)),
            pairs.map(lambda p: dmax(*p)),
            st.tuples(inner, st.integers(1, 8)).map(lambda p: p[0] // p[1]),
            st.tuples(inner, st.sampled_from(NAMES)).map(lambda p: p[0] // sym(p[1])),
            st.tuples(inner, st.sampled_from(NAMES)).map(lambda p: p[0] % (sym(p[1]) + 1)),
            inner.map(ceil_log2),
        )

    return st.recursive(leaves, more, max_leaves=8)


POINTS = st.lists(st.tuples(*[st.integers(1, 60)] * 3), min_size=1, max_size=5)


RELATIONS = st.sampled_from([eq, ne, le, lt, divides])


def numpy_run(program, points):
    out = {name: np.empty(len(points), bool if name == "valid" else np.int64) for name in program.results}
    columns = [np.array(column) for column in zip(*points, strict=True)]
    assert Compiled(program).run(columns, out, 0, len(points))
    return out


@settings(max_examples=150, deadline=None)
@given(st.lists(expressions(), min_size=1, max_size=3), POINTS)
def test_results_are_those_of_evaluation(exprs, points):
    results = {f"r{k}": x for k, x in enumerate(exprs)}
    program = Program(NAMES, results, {"both": ("r0", "r0")}, conditions(()))
    if not program.fits([(1, 60)] * 3):
        return
    out = numpy_run(program, points)
    assert out["valid"].all()
    for k, point in enumerate(points):
        env = dict(zip(NAMES, point, strict=True))
        expected = {name: evaluate(x, env) for name, x in results.items()}
        assert {name: out[name][k] for name in results} == expected
        assert Compiled(program).scalar(point) == {**expected, "both": 3 * expected["r0"], "valid": True}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([eq, ne, le, lt, divides]), expressions(), expressions()), max_size=3), POINTS
)
def test_conditions_hold_as_each_does(pairs, points):
    conds = []
    for make, a, b in pairs:
        try:
            cond = make(a, b)
        except ZeroDivisionError:
            continue
        if isinstance(cond, Cond):
            conds.append(cond)
    program = Program(NAMES, {}, {}, conditions(conds))
    if not program.fits([(1, 60)] * 3):
        return
    out = numpy_run(program, points)
    for k, point in enumerate(points):
        env = dict(zip(NAMES, point, strict=True))
        try:
            expected = all(cond.evaluate(env) for cond in conds)
        except ZeroDivisionError:
            expected = False
        assert out["valid"][k] == Compiled(program).scalar(point)["valid"] == expected


def test_equal_conditions_become_one():
    n = sym("n")
    found = conditions([le(4, n), le(1, n // 8), eq(2 * n, 4 * (n // 2)), divides(2, n), divides(6, 3 * n)])
    assert found.least == ((n, 8),)
    assert len(found.zero) == 1
    assert found.nonzero == ()


@pytest.mark.parametrize("limit", [2**31, 2**32])
def test_products_beyond_64_bits_do_not_fit(limit):
    a, b = sym("a"), sym("b")
    program = Program(("a", "b"), {"r": a * b}, {}, conditions(()))
    assert program.fits([(1, limit), (1, limit)]) == (limit * limit <= INT64)
    # what wraps around in between and comes back is exact
    wrapped = Program(("a", "b"), {"r": a * b * b - (a * b - 1) * b}, {}, conditions(()))
    assert wrapped.fits([(1, limit), (1, limit)])


def test_scratch_arrays_are_used_again():
    from archgraph.analysis.emit import numpy_source

    a, b, c = map(sym, NAMES)
    program = Program(NAMES, {"r": dmax(a * b, b * c, a * c, a * a, b * b) // c}, {}, conditions(()))
    assert numpy_source(program).integers <= 3
