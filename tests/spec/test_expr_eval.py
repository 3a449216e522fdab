"""Values of expressions against Python's own, faults, symbolic sizes, and bounds."""

import time
from collections import ChainMap
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from archgraph.ir.dim import Cond, SymbolicTruth, sym
from archgraph.ir.real import Late, NeedsValue, evaluate
from archgraph.spec.expr import (
    FUNCTIONS,
    Binary,
    Call,
    EvalError,
    Expr,
    UnknownName,
    compile,
    constant_value,
    parse,
    walk,
)
from tests.spec.expr_strategies import host_trees, trees

ENV: dict[str, Any] = {
    "dim": 768,
    "num_heads": 12,
    "depths": [2, 2, 8, 2],
    "i": 1,
    "l": 2,
    "ratio": 0.5,
    "pool": "cls",
    "nothing": None,
    "fits": True,
    "row": {"k": [5, 7], "r": [1, 2]},
    "branches": {13: {"k": [5]}, "word": 1, True: 0},
    "pairs": [(1, 2), (3, 4)],
}


def value(text: str, env: Mapping[str, Any] = ENV) -> Any:
    return compile(parse(text))(env)


@given(host_trees, st.lists(st.integers(-9, 9), min_size=3, max_size=3))
def test_values_are_those_of_python(tree: Expr, values: list[int]) -> None:
    env = dict(zip("abc", values, strict=True))
    try:
        expected = eval(str(tree), {"min": min, "max": max}, env)
    except (ArithmeticError, TypeError):
        expected = None
    try:
        found = compile(tree)(env)
    except EvalError:
        # What Python calls a value, but a bound or the domain forbids; never something in the ordinary range.
        assume(not any(isinstance(node, Binary) and node.op == "**" for node in walk(tree)))
        assert expected is None
    else:
        assert type(found) is type(expected)
        assert found == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dim // num_heads", 64),
        ("dim / num_heads", 64.0),
        ("-dim % 7", 2),
        ("dim ** -0.5", 768**-0.5),
        ("0.1 * (sum(depths[:i]) + 1) / (sum(depths) - 1)", 0.1 * 3 / 13),
        ("depths.2", 8),
        ("depths.l", 8),
        ("depths[-1]", 2),
        ("depths[1:3]", (2, 8)),
        ("depths[::-1]", (2, 8, 2, 2)),
        ("row.k.1", 7),
        ("row['r'][0]", 1),
        ("branches.13.k", [5]),
        ("branches[13]['k'][0]", 5),
        ("pool == 'cls'", True),
        ("pool[0]", "c"),
        ("pool[1:]", "ls"),
        ("'l' in pool", True),
        ("i in [1, 2] and 3 not in depths", True),
        ("13 in branches", True),
        ("1 < 2 <= 2 != 3", True),
        ("3 < 1 < nothing", False),
        ("not fits or nothing", None),
        ("nothing != null", False),
        ("6 if fits else 1 / 0", 6),
        ("0 and 1 / 0", 0),
        ("[a * b for a, b in pairs if a > 1]", (12,)),
        ("[[x for x in range(n)] for n in depths if n < 8]", ((0, 1),) * 3),
        ("[a for a in range(3) for b in range(a)]", (1, 2, 2)),
        ("[x for x in range(2)] + [9] * 2", (0, 1, 9, 9)),
        ("2 * [1]", (1, 1)),
        ("[1, 2] == depths[:1] + [2]", False),
        ("depths == [2, 2, 8, 2]", True),
        ("[2] in [depths[:1]]", True),
        ("sum(depths...)", 14),
        ("[0, depths.*, 1]", (0, 2, 2, 8, 2, 1)),
        ("depths...", (2, 2, 8, 2)),
        ("max(depths)", 8),
        ("min(3, 1.5)", 1.5),
        ("clamp(9, 0, 5)", 5),
        ("round(2.5)", 2),
        ("round(2.345, 2)", 2.35 if round(2.345, 2) == 2.35 else round(2.345, 2)),
        ("ceil(0.25 * 197)", 50),
        ("floor(-0.5)", -1),
        ("isqrt(49)", 7),
        ("2 ** floor(log2(num_heads))", 8),
        ("log(8, 2)", 3.0),
        ("int(7.9)", 7),
        ("int('22')", 22),
        ("float(3)", 3.0),
        ("float('1.5')", 1.5),
        ("float('1-1/4+1e-5')", 0.75001),
        ("len(depths) + len(row) + len(pool)", 9),
        ("prod(depths)", 64),
        ("prod([])", 1),
        ("sum([])", 0),
        ("sum([0.5, 1])", 1.5),
        ("any([0, i]) and all([])", True),
        ("list(range(3, 0, -1))", (3, 2, 1)),
        ("reversed(depths)", (2, 8, 2, 2)),
        ("sorted(depths)", (2, 2, 2, 8)),
        ("sorted(row)", ("k", "r")),
        ("zip([1, 2], [3, 4])", ((1, 3), (2, 4))),
        ("enumerate([5, 6], 1)", ((1, 5), (2, 6))),
        ("6 & 3 | 8", 10),
        ("~5", -6),
        ("fits + 1", 2),
        ("exp(0) + cos(0) + sin(0) + tan(0)", 2.0),
        ("abs(-3) + sqrt(9)", 6.0),
        ("bool([])", False),
        ("given(null) or given(0)", True),
        ("'it\\'s' == \"it's\"", True),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775807 - 0", -(2**63) + 1),
    ],
)
def test_values(text: str, expected: Any) -> None:
    found = value(text)
    assert type(found) is type(expected)
    assert found == expected


def test_every_function_is_exercised() -> None:
    called = {
        node.function
        for case in next(mark for mark in test_values.pytestmark if mark.name == "parametrize").args[1]
        for node in walk(parse(case[0]))
        if isinstance(node, Call)
    }
    assert called == set(FUNCTIONS)
    assert all(function.doc for function in FUNCTIONS.values())


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("1 + dim / (i - 1)", 8, "division by zero"),
        ("dim % 0", 4, "division by zero"),
        ("0 ** -1", 2, "division by zero"),
        ("depths.4", 6, "index 4 of a list of 4"),
        ("depths[4 + 0]", 6, "index 4 of a list of 4"),
        ("depths['a']", 6, "an index is a whole number, found the text 'a'"),
        ("depths[1.0]", 6, "an index is a whole number, found `1.0`"),
        ("depths[fits]", 6, "an index is a whole number, found true"),
        ("depths[::0]", 6, "the step of a slice is zero"),
        ("row.z", 3, "no key `z`; there are `k`, `r`"),
        ("row[nothing]", 3, "a key is a text or a whole number, found null"),
        ("dim.x", 3, "`768` has no part `x`"),
        ("dim[0]", 3, "`768` has no items"),
        ("nothing + 1", 8, "`+` is not defined for null and `1`"),
        ("pool + pool", 5, "`+` is not defined for the text 'cls' and the text 'cls'"),
        ("pool * 2", 5, "`*` is not defined for the text 'cls' and `2`"),
        ("pool < 'd'", 5, "`<` is not defined for the text 'cls' and the text 'd'"),
        ("1.5 & 1", 4, "`&` is not defined for `1.5` and `1`"),
        ("~fits", 0, "`~` needs a whole number, found true; a condition is negated by `not`"),
        ("-pool", 0, "`-` is not defined for the text 'cls'"),
        ("1 in 2", 2, "`in` needs a list on its right, found `2`"),
        ("(0 - 8) ** 0.5", 8, "the root of a negative number"),
        ("2 ** 65", 2, "the exponent 65 is beyond 64"),
        ("2 ** 63", 2, "the result does not fit in 64 bits"),
        ("2 ** 62 * 2", 8, "the result does not fit in 64 bits"),
        ("1e300 * 1e300", 6, "the result is not a finite number"),
        ("1e300 ** 2", 6, "the result is too large"),
        ("exp(1000)", 0, "the result is too large"),
        ("floor(1e300)", 0, "the result of `floor` does not fit in 64 bits"),
        ("log(0)", 0, "`log` is not defined for `0`"),
        ("sqrt(-1)", 0, "`sqrt` is not defined for `-1`"),
        ("isqrt(2.5)", 0, "`isqrt` is not defined for `2.5`"),
        ("min([])", 0, "`min` of an empty list"),
        ("min(depths, 1)", 0, "`min` needs numbers, found a list of 4"),
        ("abs(pool)", 0, "`abs` needs numbers, found the text 'cls'"),
        ("abs(1, 2)", 0, "`abs` takes 1 argument, found 2"),
        ("round()", 0, "`round` takes 1 to 2 arguments, found 0"),
        ("max()", 0, "`max` takes at least 1 argument, found 0"),
        ("sorted(depths, reverse=true)", 0, "`sorted` takes no named arguments"),
        ("softmaxx(1)", 0, "no function `softmaxx`"),
        ("summ(depths)", 0, "no function `summ`; did you mean `sum`?"),
        ("int('x')", 0, "the text 'x' is not a whole number"),
        ("int(nothing)", 0, "`int` needs a number, found null"),
        ("range(4097)", 0, "`range` of more than 4096 numbers"),
        ("range(0, 9, 0)", 0, "the step of `range` is zero"),
        ("range(2.0)", 0, "a bound of `range` is a whole number, found `2.0`"),
        ("zip([1], depths)", 0, "`zip` of lists of different lengths: 1, 4"),
        ("sorted([1, 'a'])", 0, "`<` is not defined for the text 'a' and the text 'a'"),
        ("len(dim)", 0, "a list is needed, found `768`; write `range(n)`"),
        ("[x for x in dim]", 0, "a list is needed, found `768`; write `range(n)`"),
        ("[x for x, y in depths]", 0, "`2` can't be unpacked into 2 names"),
        ("[0] * 65537", 4, "a list of more than 65536 items"),
        ("dim...", 3, "a list is needed, found `768`; write `range(n)`"),
    ],
)
def test_what_has_no_value(text: str, offset: int, message: str) -> None:
    with pytest.raises(EvalError) as caught:
        value(text)
    assert (caught.value.message, caught.value.offset) == (message, offset)


@pytest.mark.parametrize(
    ("text", "name", "offset"), [("dim + foo", "foo", 6), ("depths.m", "m", 6), ("[x + y for x in depths]", "y", 5)]
)
def test_unknown_names(text: str, name: str, offset: int) -> None:
    with pytest.raises(UnknownName) as caught:
        value(text)
    assert (caught.value.name, caught.value.offset) == (name, offset)


def test_the_environment_is_any_mapping_and_is_not_changed() -> None:
    env = ChainMap({"x": 5}, {"xs": (1, 2)})
    assert value("[x for x in xs] + [x]", env) == (1, 2, 5)
    assert env == {"x": 5, "xs": (1, 2)}


def test_symbolic_sizes_stay_symbolic() -> None:
    h, w = sym("H"), sym("W")
    env = {"H": h, "W": w, "n": 7, "xs": [h, 2]}
    assert value("H // n * 2", env) is h // 7 * 2
    assert value("H * W", env) is h * w
    assert value("ceil(H / 2)", env) is (h + 1) // 2
    assert value("min(20, H)", env) is value("min([H, 20])", env)
    assert value("int(H)", env) is h
    assert value("sum(xs)", env) is h + 2
    assert value("clamp(H, 0, 9)", env) is value("min(H, 9)", env)
    assert value("[x * 2 for x in xs]", env) == (2 * h, 4)
    assert value("H == H", env) is True
    assert value("H == 'a'", env) is False
    assert isinstance(value("H == W", env), Cond)
    assert isinstance(value("H % n != 0", env), Cond)
    assert value("0 < H", env) is True


@pytest.mark.parametrize(
    "text",
    [
        "1 if H == W else 2",
        "not H < W",
        "H < W and fits",
        "H in depths",
        "range(H)",
        "depths[H]",
        "[1] * H",
        "float(H)",
    ],
)
def test_open_questions_about_sizes_pass_through(text: str) -> None:
    with pytest.raises(SymbolicTruth):
        value(text, {**ENV, "H": sym("H"), "W": sym("W")})


@pytest.mark.parametrize(
    "text", ["j == 0", "j in depths", "depths.j", "depths[j]", "range(j)", "1 if j else 2", "j < 3", "tan(j)"]
)
def test_questions_about_late_values_pass_through(text: str) -> None:
    with pytest.raises(NeedsValue):
        value(text, {**ENV, "j": Late("j")})


def test_arithmetic_of_late_values_is_kept() -> None:
    schedule = value("0.2 * j / 12 + log2(j + 1)", {"j": Late("j")})
    assert evaluate(schedule, {"j": 3}) == pytest.approx(2.05)


def test_fractions_are_exact() -> None:
    assert value("ceil(keep * n)", {"keep": Fraction("0.7"), "n": 10}) == 7


class Broken:
    def __add__(self, other: object) -> Any:
        raise NotImplementedError("mine")

    def __mul__(self, other: object) -> Any:
        raise ZeroDivisionError


def test_errors_of_foreign_operators() -> None:
    with pytest.raises(NotImplementedError, match="mine"):
        value("x + 1", {"x": Broken()})
    with pytest.raises(EvalError, match="division by zero"):
        value("x * 1", {"x": Broken()})
    with pytest.raises(EvalError, match="`-` is not defined"):
        value("x - 1", {"x": Broken()})


def test_constant_value() -> None:
    assert constant_value(parse("[2 ** k for k in range(3)]")) == (True, (1, 2, 4))
    assert constant_value(parse("'a'")) == (True, "a")
    assert constant_value(parse("x")) == (False, None)
    assert constant_value(parse("1 / 0")) == (False, None)
    assert constant_value(parse("[1, 2].l")) == (False, None)
    assert constant_value(parse("nofunction(1)")) == (False, None)


@given(trees)
def test_any_tree_gives_a_value_or_an_evaluation_error(tree: Expr) -> None:
    env = {"a": 3, "b": [1, 2.5], "c": "text", "dims": {"a": 1, "b": [2]}, "_": None}
    try:
        compile(tree)(env)
    except (EvalError, UnknownName) as error:
        offset = error.offset
    else:
        return
    assert offset is not None


def test_depth_within_the_limits_works() -> None:
    assert value("(" * 64 + "1" + ")" * 64) == 1
    assert value("+".join(["1"] * 150)) == 150
    assert value("-" * 100 + "1") == 1
    assert str(parse("+".join(["a"] * 150))).count("a") == 150


@pytest.mark.parametrize(
    "text",
    [
        "[x for x in range(4096) for y in range(4096)]",
        "[[0 for x in range(4096)] for y in range(4096)]",
        "[len([x] * 65536) for x in range(4096)]",
        "[sum(range(x, 4096)) for x in range(4096)]",
        "[len(range(x, 4096)[1:]) for x in range(4096)]",
        "[[0] * 65536, [0] * 65536]",
        "[[[0] * 9999] * 9999] * 9999",
        "[0] * 65536 + [0]",
        "range(9223372036854775807)",
        "range(-9223372036854775807, 9223372036854775807)",
        "zip(range(4096)" + ", range(4096)" * 20 + ")",
        "[[x for x in range(4096)] for x in range(40)]",
        "9 ** 64 ** 64",
        "2 ** 9223372036854775807",
        "(2 ** 62) ** 64",
    ],
)
def test_expressions_end_soon(text: str) -> None:
    start = time.process_time()
    with pytest.raises(EvalError):
        value(text)
    assert time.process_time() - start < 2


def test_a_fault_in_a_constant_part_waits_for_its_branch() -> None:
    assert value("1 if fits else 1 / 0") == 1
    assert value("fits or 1 // 0") is True
