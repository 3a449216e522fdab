import copy
import math
import operator
import pickle
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgraph.ir.dim import Dim, SymbolicTruth, dmax, sym
from archgraph.ir.real import FUNCTIONS, Late, NeedsValue, Real, apply, equal, evaluate, free, ratio, substitute
from tests.ir.expressions import run

H, W = sym("H"), sym("W")
i, rate = Late("i"), Late("rate")
neg_i = -i
NAMES = {"H": H, "W": W, "i": i, "rate": rate}
LAZY = {name: (lambda *args, name=name: apply(name, *args)) for name in FUNCTIONS}

examples = settings(max_examples=200, deadline=None)
envs = st.fixed_dictionaries(
    {"H": st.integers(1, 99), "W": st.integers(1, 99), "i": st.integers(0, 24), "rate": st.floats(0.01, 1)}
)
numbers = st.one_of(st.integers(1, 9).map(str), st.sampled_from(["0.5", "0.2", "1.25", "1e-3"]))
unary = ["abs", "ceil", "cos", "floor", "round", "sin"]
sources = st.recursive(
    st.one_of(st.sampled_from(sorted(NAMES)), numbers),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from(["/", "//", "%"]), st.one_of(numbers, st.just("(H + i)"))).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        inner.map(lambda x: f"(-{x})"),
        inner.map(lambda x: f"({x})**2"),
        st.tuples(st.sampled_from(unary), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        inner.map(lambda x: f"sqrt(abs({x}))"),
        inner.map(lambda x: f"log2(1 + abs({x}))"),
    ),
    max_leaves=6,
)


def lazy(source: str) -> Any:
    return run(source, NAMES, LAZY)


def stepless(source: str) -> bool:
    """Whether rounding in the last place of a float can't be blown up to a step."""
    return not any(step in source for step in ("//", "%", "ceil", "floor", "round"))


@examples
@given(sources.filter(stepless), envs)
def test_evaluates_as_python_does(source: str, env: dict[str, Any]) -> None:
    expected = run(source, env, FUNCTIONS)
    assert evaluate(lazy(source), env) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert substitute(lazy(source), env) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@examples
@given(sources, envs)
def test_steps_in_integers_are_exact(source: str, env: dict[str, Any]) -> None:
    whole = source.replace("0.5", "2").replace("0.2", "3").replace("1.25", "4").replace("1e-3", "5")
    if any(word in whole for word in ("rate", "sin", "cos", "sqrt", "log2", " / ")):
        return
    expected = run(whole, env, FUNCTIONS)
    assert evaluate(lazy(whole), env) == expected
    assert type(evaluate(lazy(whole), env)) is int


@examples
@given(sources, envs)
def test_partial_substitution_leaves_the_rest(source: str, env: dict[str, Any]) -> None:
    x = lazy(source)
    part = substitute(x, {"i": env["i"], "H": env["H"]})
    assert free(part) <= free(x) - {"i", "H"}
    if stepless(source):
        assert evaluate(part, env) == pytest.approx(evaluate(x, env), rel=1e-9, abs=1e-9)


@examples
@given(sources)
def test_text_reads_back_as_an_equal_tree(source: str) -> None:
    x = lazy(source)
    again = lazy(str(x))
    assert again == x
    assert hash(again) == hash(x)
    assert type(again) is type(x)


@examples
@given(sources)
def test_copies_and_pickles_are_equal(source: str) -> None:
    x = lazy(source)
    assert pickle.loads(pickle.dumps(x)) == x
    assert copy.deepcopy(x) == x


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (0.2 * i / sym("depth"), "0.2 * i / depth"),
        (H * i, "H * i"),
        (i * H, "i * H"),
        (H - i, "H - i"),
        (i - (H - 1), "i - (H - 1)"),
        (i - (i - 1), "i - (i - 1)"),
        (H // i, "H // i"),
        (7 % i, "7 % i"),
        (2**i, "2**i"),
        ((-i) ** 2, "(-i)**2"),
        (-(i**2), "-i**2"),
        (2**H, "2**H"),
        (H**-1, "H**(-1)"),
        (H**W, "H**W"),
        ((i + 1) ** (H + 1), "(i + 1)**(H + 1)"),
        (H / 2, "H / 2"),
        (1 / H, "1 / H"),
        (H * 0.5 * W, "H * 0.5 * W"),
        (Fraction("0.7") * H, "0.7 * H"),
        (i * Fraction("-1.25"), "i * -1.25"),
        (i * Fraction(1, 3), "i * (1/3)"),
        (apply("sqrt", H), "sqrt(H)"),
        (apply("min", i, H + 1, 2), "min(i, H + 1, 2)"),
        (apply("round", i / 3, 2), "round(i / 3, 2)"),
        (abs(i), "abs(i)"),
    ],
)
def test_text(x: Real, expected: str) -> None:
    assert isinstance(x, Real)
    assert str(x) == repr(x) == expected


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (i + 0, i),
        (0 + i, i),
        (i * 1, i),
        (1 * i, i),
        (i**1, i),
        (-neg_i, i),
        (+i, i),
        (True * i, i),
        (H * Fraction(4), 4 * H),
        (apply("floor", H / 2), H // 2),
        (apply("ceil", Fraction("0.7") * H), (7 * H + 9) // 10),
        (apply("floor", (H + 1) * 2.5 - W / 3), (15 * H + 15 - 2 * W) // 6),
        (apply("floor", -(H / 4)), -H // 4),
        (apply("max", H, W), dmax(H, W)),
        (apply("round", H), H),
        (apply("abs", -H), H),
        (apply("sqrt", 16), 4.0),
        (substitute(H * W, {"H": i}), i * W),
        (substitute(H // 2 + dmax(H, W), {"H": 2.0}), 1.0 + apply("max", 2.0, W)),
    ],
)
def test_known_parts_are_computed(x: object, expected: object) -> None:
    assert x == expected
    assert type(x) is type(expected)


def test_every_need_for_a_late_value_raises() -> None:
    x = i + 1
    needs: list[Any] = [
        lambda: bool(x),
        lambda: int(x),
        lambda: float(x),
        lambda: range(x),
        lambda: [0] * x,
        lambda: x < 3,
        lambda: x <= H,
        lambda: x > 3,
        lambda: x >= W,
        lambda: x > H,
        lambda: operator.lt(H, x),
        lambda: min(1, x),
        lambda: equal(x, 3),
        lambda: equal(H, x),
    ]
    for need in needs:
        with pytest.raises(NeedsValue, match=r"i \+ 1.* bound later") as info:
            need()
        assert info.value.value == x
        assert str(pickle.loads(pickle.dumps(info.value))) == str(info.value)
    assert str(NeedsValue("the turns differ")) == "the turns differ"


def test_symbolic_sizes_raise_unless_bounds_decide() -> None:
    assert H / 2 < H
    assert H * 0.5 >= 0.25
    assert equal(H / 2, H * Fraction(1, 2))
    assert not equal(H / 2, (H + 1) / 2)
    for need in (lambda: bool(H / 2), lambda: H / 2 < W, lambda: equal(H / 2, W), lambda: float(apply("sqrt", H))):
        with pytest.raises(SymbolicTruth):
            need()  # type: ignore[no-untyped-call]


def test_structure_is_what_is_compared() -> None:
    assert i * 2 == Late("i") * 2
    assert i * 2 != 2 * i
    assert i + 2 != i + 2.0
    assert len({i * 2, Late("i") * 2, i * 2.0}) == 2
    assert Late("i") != sym("i")
    assert equal(i + 1, Late("i") + 1)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (3, (3, 1)),
        (H, (H, 1)),
        (2.5, (5, 2)),
        (H * 4.0, (4 * H, 1)),
        (H / 6 + W / 4, (2 * H + 3 * W, 12)),
        (H / -2, (-H, 2)),
        (0.7 * H, None),
        (H / W, None),
        (i / 2, None),
        (apply("sqrt", H), None),
        (math.inf, None),
    ],
)
def test_ratio(x: object, expected: object) -> None:
    assert ratio(x) == expected


def test_exact_fractions_round_as_on_paper() -> None:
    keep = apply("ceil", Fraction("0.7") * (H + i))
    assert keep.evaluate({"H": 5, "i": 5}) == 7
    assert math.ceil(0.7 * 30) == 21
    assert all(
        keep.evaluate({"H": n, "i": 0}) == -(-7 * n // 10) == evaluate(apply("ceil", Fraction("0.7") * H), {"H": n})
        for n in range(1, 200)
    )
    assert type((Fraction("0.5") * i).evaluate({"i": 4})) is int
    assert (Fraction("0.5") * i).evaluate({"i": 3}) == 1.5


def test_errors() -> None:
    with pytest.raises(ValueError, match="unknown function 'tan'; known: abs, "):
        apply("tan", i)
    with pytest.raises(ValueError, match="sqrt does not take 2 arguments"):
        apply("sqrt", i, 2)
    with pytest.raises(ZeroDivisionError):
        i / 0
    with pytest.raises(KeyError, match="rate"):
        (i * rate).evaluate({"i": 1})
    with pytest.raises(TypeError, match="unsupported operand"):
        i + "1"
    assert free(i * H) == {"i", "H"}
    assert free(3) == frozenset()
    assert isinstance(substitute(i * H, {"i": 2}), Dim)
