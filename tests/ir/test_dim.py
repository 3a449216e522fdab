import copy
import os
import pickle
import random
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from math import ceil

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from archgraph.ir.dim import (
    Cond,
    Dim,
    Num,
    SymbolicTruth,
    TooLarge,
    UnknownDegree,
    ceildiv,
    degree,
    divides,
    dmax,
    dmin,
    eq,
    evaluate,
    le,
    lower_bound,
    lt,
    ne,
    pretty,
    prod,
    solve_linear,
    substitute,
    sym,
    symbols,
    terms,
    upper_bound,
)
from tests.ir.expressions import NAMES, positive, run, size_env, universal, whole_env

H, W, C, p = map(sym, ("H", "W", "C", "p"))
ENV = {name: sym(name) for name in NAMES}
EXTREMA = {"min": dmin, "max": dmax}
INTEGER = {"min": lambda *xs: min(xs), "max": lambda *xs: max(xs)}

examples = settings(max_examples=200, deadline=None)


def symbolic(source: str) -> Num:
    return run(source, ENV, EXTREMA)


# ---- arithmetic against the integers


@examples
@given(universal, whole_env)
def test_constant_divisors_are_exact_for_all_integers(source: str, env: dict[str, int]) -> None:
    assert evaluate(symbolic(source), env) == run(source, env, {})


@examples
@given(positive, size_env)
def test_arithmetic_equals_integer_arithmetic(source: str, env: dict[str, int]) -> None:
    x = symbolic(source)
    expected = run(source, env, INTEGER)
    assert evaluate(x, env) == expected
    low, high = lower_bound(x), upper_bound(x)
    assert low is None or low <= expected
    assert high is None or expected <= high


@examples
@given(positive, st.sampled_from(NAMES), st.integers(1, 9), size_env)
def test_substitution_commutes_with_evaluation(source: str, name: str, factor: int, env: dict[str, int]) -> None:
    x = symbolic(source)
    replaced = substitute(x, {name: factor * W + C - 1})
    assert evaluate(replaced, env) == evaluate(x, env | {name: factor * env["W"] + env["C"] - 1})
    closed = substitute(x, env)
    assert type(closed) is int
    assert closed == evaluate(x, env)


@examples
@given(positive)
def test_printed_form_reads_back_as_the_same_object(source: str) -> None:
    x = symbolic(source)
    assert symbolic(str(x)) is x or (type(x) is int and symbolic(str(x)) == x)


@examples
@given(positive, positive, st.integers(1, 9))
def test_quotient_and_remainder_recompose(a: str, b: str, k: int) -> None:
    x, y = symbolic(a), k + symbolic(b) ** 2
    assert (x // y) * y + x % y == x
    assert (x + 3 * y) // y == x // y + 3
    assert (k * x) // (k * y) == x // y
    assert (x * y) // y == x
    assert (x * y) % y == 0


@examples
@given(universal, st.integers(1, 9), st.integers(1, 9), st.integers(-30, 30))
def test_division_laws_for_constants(a: str, m: int, n: int, shift: int) -> None:
    x = symbolic(a)
    assert (x + shift * m) // m == x // m + shift
    assert ceildiv(x, m) == (x + m - 1) // m
    assert x // -m == (-x) // m


@examples
@given(positive, positive, size_env)
def test_conditions_agree_with_integers(a: str, b: str, env: dict[str, int]) -> None:
    x, y = symbolic(a), symbolic(b)
    i, j = evaluate(x, env), evaluate(y, env)
    for relation, truth in ((eq, i == j), (ne, i != j), (lt, i < j), (le, i <= j)):
        cond = relation(x, y)
        if isinstance(cond, Cond):
            assert cond.evaluate(env) is truth
            assert cond.substitute(env) is truth
        else:
            assert cond is truth
    d = 1 + y * y
    cond = divides(d, x)
    assert (cond.evaluate(env) if isinstance(cond, Cond) else cond) is (i % (1 + j * j) == 0)


@examples
@given(positive, size_env)
def test_comparisons_never_guess(source: str, env: dict[str, int]) -> None:
    x = symbolic(source)
    value = evaluate(x, env)
    for k in (-1, 0, 1, 2):
        if isinstance(lt(x, k), Cond):
            with pytest.raises(SymbolicTruth) as info:
                assert x < k
            assert info.value.cond == lt(x, k)
        else:
            assert (x < k) is (value < k)
        if not isinstance(le(k, x), Cond):
            assert (x >= k) is (value >= k)


# ---- canonical form


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ((H + 6 - 7) // 1 + 1, H),
        ((H + 2 - 3) // 2 + 1, (H + 1) // 2),
        ((H - 1) // 2 + 1, (H + 1) // 2),
        (H // 4 // 2, H // 8),
        (H // p // 2, H // (2 * p)),
        ((3 * H) // (3 * W), H // W),
        ((H * W) // W, H),
        ((H * W + C) // W, H + C // W),
        ((C * H) // (C * W), H // W),
        ((H - W) // W + 1, H // W),
        ((H + 1) * (H - 1) // (H + 1), H - 1),
        (H**2 - W**2, (H - W) * (H + W)),
        (2 * H - H, H),
        (ceildiv(H, 2), (H + 1) // 2),
        (ceildiv(H, p), (H - 1) // p + 1),
        ((H % 4) // 4, 0),
        ((H % 4) % 4, H % 4),
        (H // (H + 1), 0),
        (-H // (2 * H + 1), -1),
        (dmin(H, 0), 0),
        (dmax(H, 1), H),
        (dmin(H, H + 1, H * W), H),
        (dmax(dmax(H, W), C), dmax(C, H, W)),
        (dmin(H, W) // (H + W), 0),
        (H**0, 1),
        (H - H, 0),
        (0 * H, 0),
        ((4 * H) / 2, 2 * H),
        (abs(H - H * W), H * W - H),
        (True + H, H + 1),
    ],
)
def test_equal_sizes_are_one_object(made: Num, expected: Num) -> None:
    assert made is expected or (type(made) is int and made == expected)


def test_constants_are_plain_integers() -> None:
    assert type(H * 0 + 3) is int
    assert type(H - H) is int
    assert H != 1
    assert sym("H") is H
    assert prod([]) == 1
    assert prod([2, H, W]) is 2 * H * W


@examples
@given(st.lists(st.sampled_from([H, W, C, H * W, H // 3, dmin(H, W), C**2, 7]), min_size=1), st.randoms())
def test_order_of_construction_leaves_no_trace(parts: list[Num], rng: random.Random) -> None:
    total = sum(parts)
    product = prod(parts)
    rng.shuffle(parts)
    assert sum(parts) == total
    assert prod(parts) == product


@examples
@given(positive)
def test_copies_and_pickles_are_interned(source: str) -> None:
    x = symbolic(source)
    if isinstance(x, int):
        return
    assert copy.copy(x) is x
    assert copy.deepcopy([x])[0] is x
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(x, protocol)) is x


def test_unused_dims_are_forgotten() -> None:
    x = sym("short_lived")
    gone = weakref.ref(x)
    del x
    assert gone() is None
    assert str(sym("short_lived")) == "short_lived"


def test_threads_share_one_object() -> None:
    def build(_: int) -> list[Num]:
        t = sym("threaded")
        return [(t + i) * (t + 2 * i) // 3 for i in range(50)]

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(build, range(32))
    assert all(a is b for other in others for a, b in zip(first, other, strict=True))


def test_pickles_cross_processes_and_printing_ignores_history() -> None:
    x = (H * W + C // 3) * dmin(H, W + 1) + sym("dim.0") ** 2 - C % 5
    code = "import pickle, sys; x = pickle.load(sys.stdin.buffer); print(x); print(x is x + 0)"
    for seed in ("1", "2"):
        answer = subprocess.run(
            [sys.executable, "-c", code],
            input=pickle.dumps(x),
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert answer.stdout.decode().splitlines() == [str(x), "True"]


# ---- text


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (H + 1, "H + 1"),
        (1 - H, "-H + 1"),
        (C * H * 2 // 4, "(C*H)//2"),
        (2 * (H // 4) + 1, "2*(H//4) + 1"),
        (C - H // 4, "C - (H//4)"),
        (-(H // 4), "-(H//4)"),
        ((H // 4) ** 2, "(H//4)**2"),
        (C * (H // 4), "C*(H//4)"),
        ((H + 1) // 2, "(H + 1)//2"),
        (H // (2 * p), "H//(2*p)"),
        (H**2 // p**2, "H**2//p**2"),
        (dmin(H, W + 1, 7), "min(H, W + 1, 7)"),
        (W * C - 2 * H**3, "C*W - 2*H**3"),
        (-3 // (H + 1), "(-3)//(H + 1)"),
    ],
)
def test_text(x: Num, expected: str) -> None:
    assert str(x) == repr(x) == expected
    assert run(expected, {**ENV, "p": p}, EXTREMA) is x


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (2 * C**2 * H + C * H**2 - 1, "2·C²·H + C·H² - 1"),
        (1 + H + H**12, "H¹² + H + 1"),
        (-H + C * H * W, "C·H·W - H"),
        (3 * (H // 4) * C, "3·C·(H//4)"),
        (7, "7"),
    ],
)
def test_pretty(x: Num, expected: str) -> None:
    assert pretty(x) == expected


@pytest.mark.parametrize("name", ["", "2H", "a b", "H//4", "H.", "é-"])
def test_symbol_names_are_identifiers(name: str) -> None:
    with pytest.raises(ValueError, match="not a symbol name"):
        sym(name)


# ---- conditions and truth


@pytest.mark.parametrize(
    ("cond", "expected"),
    [
        (divides(sym("heads"), C), "C % heads == 0"),
        (divides(4, H + 1), "(H + 1) % 4 == 0"),
        (divides(W + 1, C * H), "C*H % (W + 1) == 0"),
        (eq(W, H), "H == W"),
        (eq(4, H), "H == 4"),
        (ne(H, W), "H != W"),
        (le(W, H), "W <= H"),
        (lt(H // 2, W), "H//2 < W"),
    ],
)
def test_undecided_conditions_print_as_written(cond: Cond, expected: str) -> None:
    assert isinstance(cond, Cond)
    assert str(cond) == expected
    assert pickle.loads(pickle.dumps(cond)) == cond
    assert hash(pickle.loads(pickle.dumps(cond))) == hash(cond)
    with pytest.raises(SymbolicTruth) as info:
        bool(cond)
    assert info.value.cond is cond
    assert pickle.loads(pickle.dumps(info.value)).cond == cond


@pytest.mark.parametrize(
    ("cond", "truth"),
    [
        (divides(4, 8 * H), True),
        (divides(4, 8 * H + 2), False),
        (divides(H, C * H), True),
        (divides(3, 9), True),
        (eq(2 * H, 2 * W + 1), False),
        (eq(H, H + 1), False),
        (eq(H // 2, H // 2), True),
        (lt(0, H), True),
        (le(H // 2, H), True),
        (lt(H % 7, 7), True),
        (le(0, H % p), True),
        (lt(H % p, p), True),
        (le(H, H * W), True),
        (le(dmin(H, W), W), True),
        (lt(dmax(H, W), H), False),
        (ne(H + W, 1), True),
        (lt(H, H - H // 2), False),
        (le((H + 1) // 2, H), True),
        (le(p * (H // p), H), True),
    ],
)
def test_bounds_decide(cond: object, truth: bool) -> None:
    assert cond is truth


def test_equal_conditions_are_equal() -> None:
    assert eq(H, W) == eq(W, H)
    assert len({eq(H, W), eq(W, H), ne(H, W)}) == 2
    assert eq(H, W).free == {"H", "W"}  # type: ignore[union-attr]
    assert divides(4, H).substitute({"H": 4 * W}) is True  # type: ignore[union-attr]
    assert str(divides(4, H).substitute({"H": W + 1})) == "(W + 1) % 4 == 0"  # type: ignore[union-attr]


def test_truth_is_never_silent() -> None:
    assert bool(H)
    assert H > 0
    assert not H * W < H
    with pytest.raises(SymbolicTruth, match=r"cannot decide H - W != 0"):
        bool(H - W)
    with pytest.raises(SymbolicTruth, match=r"cannot decide H < W"):
        assert H < W
    with pytest.raises(SymbolicTruth, match=r"H is symbolic"):
        int(H)
    with pytest.raises(SymbolicTruth, match=r"H is symbolic"):
        range(H)  # type: ignore[arg-type]
    with pytest.raises(SymbolicTruth, match=r"H is symbolic"):
        [0] * H
    with pytest.raises(SymbolicTruth, match=r"H is symbolic"):
        float(H)
    with pytest.raises(TypeError, match="unsupported operand"):
        H + "1"  # type: ignore[operator]
    with pytest.raises(ZeroDivisionError):
        H // 0
    with pytest.raises(ZeroDivisionError):
        divides(0, H)


def test_hostile_growth_is_refused() -> None:
    with pytest.raises(TooLarge, match="degree"):
        H**10**12
    with pytest.raises(TooLarge, match="terms"):
        (H + W + C + p + 1) ** 60
    with pytest.raises(TooLarge, match="longer"):
        reduce(lambda x, _: (x + 1) // W + (x + 2) // C, range(60), H)
    powers = (H + W + C + 1) ** 12
    assert lower_bound(powers) == 4**12
    assert lower_bound(powers - H) == 4**12 - 1


# ---- questions


def test_symbols_and_terms() -> None:
    x = C * (H // W) + dmin(C, p)
    assert symbols(x) == {"C", "H", "W", "p"}
    assert symbols(4) == frozenset()
    assert sorted((str(m), c) for m, c in terms(2 * H - 1).items()) == [("", -1), ("H", 2)]
    with pytest.raises(TypeError):
        terms(x)[next(iter(terms(x)))] = 0  # type: ignore[index]
    with pytest.raises(KeyError, match="W"):
        evaluate(H * W, {"H": 1})


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (7, 0),
        (C * W, 0),
        (H * W + C, 1),
        (H // 4, 1),
        (H - H // 2, 1),
        ((H // 4) ** 2 * H, 3),
        (H // p, 1),
        (H * (H + 1) - H**2, 1),
        (dmax(H, W), 1),
        (dmin(H**2, W) + C, 2),
        (H**3 - H, 3),
    ],
)
def test_degree(x: Num, expected: int) -> None:
    assert degree(x, "H") == expected


@pytest.mark.parametrize("x", [H % 4, p // H, H * (H % 2), dmax(H, W) - H, H % p])
def test_degree_refuses_to_guess(x: Num) -> None:
    with pytest.raises(UnknownDegree):
        degree(x, "H")


def test_solve_linear() -> None:
    assert solve_linear(3 * H, "H", W) == (W // 3, divides(3, W))
    assert solve_linear(H + 1, "H", 197) == (196, True)
    assert solve_linear(2 * H, "H", 5) == (2, False)
    assert solve_linear(5 - H, "H", W) == (5 - W, True)
    assert solve_linear(C * H + W, "H", p) == ((p - W) // C, divides(C, p - W))
    assert solve_linear(H**2, "H", W) is None
    assert solve_linear(H // 2, "H", W) is None
    assert solve_linear(C, "H", W) is None
    assert solve_linear((C - W) * H, "H", p) is None
    assert solve_linear(H, "H", H + 1) is None


@examples
@given(st.integers(1, 9), st.integers(-9, 9), st.integers(1, 99))
def test_solutions_solve(slope: int, offset: int, value: int) -> None:
    answer = solve_linear(slope * H * C + offset, "H", value * W)
    assert answer is not None
    solution, cond = answer
    for c, w in ((1, 1), (2, 3), (5, 4)):
        env = {"C": c, "W": w}
        if cond.evaluate(env) if isinstance(cond, Cond) else cond:
            assert slope * evaluate(solution, env) * c + offset == value * w


@examples
@given(st.integers(1, 400), st.integers(1, 16), st.integers(1, 7), st.integers(0, 6))
def test_conv_windows(size: int, kernel: int, stride: int, padding: int) -> None:
    assume(size + 2 * padding >= kernel)
    out = (H + 2 * padding - kernel) // stride + 1
    assert isinstance(out, Dim)
    assert evaluate(out, {"H": size}) == (size + 2 * padding - kernel) // stride + 1
    assert evaluate(ceildiv(H, stride), {"H": size}) == ceil(size / stride)
