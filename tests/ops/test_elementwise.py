"""Formulas and single operations against torch's own evaluation of the same expression."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from archgraph.ir.dim import evaluate, sym
from archgraph.ir.expr import Binary, Call, Compare, Const, Expr, Host, Name, Num, Unary
from archgraph.ir.real import Late, NeedsValue
from archgraph.ir.types import Layout, TensorType
from archgraph.ops.base import OpError
from archgraph.ops.elementwise import Formula
from archgraph.ops.functions import FUNCTIONS, NAMES
from archgraph.spec.expr import parse
from tests.ops.harness import TORCH_DTYPE, Run, check, error, infer, random_tensor, tensor_type


def on_tensors(f: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any, Any], Tensor]:
    """``f`` with numbers made tensors of the dtype and shape that they are computed in."""

    def of_both(x: Any, y: Any) -> Tensor:
        dtype = torch.result_type(x, y)
        if not isinstance(x, Tensor):
            x = torch.full_like(y, x, dtype=dtype)
        if not isinstance(y, Tensor):
            y = torch.full_like(x, y, dtype=dtype)
        return f(x, y)

    return of_both


#: What the words of a formula mean in Python.
MEANING: dict[str, Any] = {
    **{name: getattr(torch, name) for name in FUNCTIONS if hasattr(torch, name)},
    **{name: getattr(torch.nn.functional, name) for name in ("gelu", "relu", "silu", "softplus")},
    "log_sigmoid": torch.nn.functional.logsigmoid,
    **{name: on_tensors(getattr(torch, name)) for name in ("atan2", "complex", "fmod", "maximum", "minimum", "polar")},
    "max": lambda *xs: functools.reduce(on_tensors(torch.maximum), xs),
    "min": lambda *xs: functools.reduce(on_tensors(torch.minimum), xs),
    "sum": lambda *xs: functools.reduce(operator.add, xs),
    "mean": lambda *xs: functools.reduce(operator.add, xs) / len(xs),
    "where": torch.where,
    "clamp": torch.clamp,
    "true": True,
    "false": False,
    "inf": float("inf"),
}


def evaluated(text: str, values: Mapping[str, Any]) -> Any:
    """Python's own evaluation, which knows nothing of our tree."""
    return eval(text, {**MEANING, **values})


def formula(text: str, *types: str, **more: Any) -> Run:
    """Check a formula over x, y, z, … of these types."""
    names = "xyzuvw"[: len(types)]
    attrs = {"expr": parse(text), "names": list(names)}
    return check(
        "formula", attrs, *types, reference=lambda *args: evaluated(text, dict(zip(names, args, strict=True))), **more
    )


def called(run: Run) -> list[str]:
    return [path.rpartition(".")[2] for path in run.used]


# -- values, shapes and dtypes -----------------------------------------------------------------------------------

LEAVES = {
    "x": "2 3",
    "y": "3",
    "z": "2 1",
    "s": "",
    "d": "float64: 3",
    "h": "float64:",
    "i": "2 3",
    "j": "int32:",
    "m": "2 3",
    "c": "2 3",
}
TYPES: dict[str, TensorType] = {}
for _name, _text in LEAVES.items():
    _dtype = {"i": "int64", "m": "bool", "c": "complex"}.get(_name)
    _type = tensor_type(f"{_dtype}: {_text}" if _dtype else _text)
    assert _type is not None
    TYPES[_name] = _type

numbers = st.sampled_from([Num(2), Num(3), Num(0.5), Num(1.25), Unary("-", Num(1)), Const(True), Host(float("inf"))])
ARITHMETIC = ["+", "-", "*", "/", "//", "%", "**", "&", "|"]
COMPARISONS = ["<", "<=", ">", ">=", "==", "!="]
UNARY = [name for name, f in FUNCTIONS.items() if f.arity == 1]
BINARY = [name for name, f in FUNCTIONS.items() if f.arity == 2]


def grown(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    """Larger trees; at least one operand of each operator is a tensor, since the front end folds numbers."""
    pairs = st.one_of(st.tuples(inner, inner), st.tuples(inner, numbers), st.tuples(numbers, inner))
    either = st.one_of(inner, numbers)
    return st.one_of(
        st.builds(lambda o, ab: Binary(o, *ab), st.sampled_from(ARITHMETIC), pairs),
        st.builds(lambda o, ab: Compare(ab[0], ((o, ab[1]),)), st.sampled_from(COMPARISONS), pairs),
        st.builds(Unary, st.sampled_from(["-", "~", "+"]), inner),
        st.builds(lambda f, a: Call(f, (a,)), st.sampled_from(UNARY), inner),
        st.builds(Call, st.sampled_from(BINARY), pairs),
        st.builds(lambda f, a: Call(f, tuple(a)), st.sampled_from(["sum", "mean"]), st.lists(inner, min_size=1)),
        st.builds(lambda a, b, c: Call("where", (a, b, c)), inner, either, either),
        st.builds(lambda a: Call("clamp", (a, Num(0.5)), (("max", Num(2)),)), inner),
    )


expressions = st.recursive(st.sampled_from([*map(Name, LEAVES)]), grown, max_leaves=6)


@settings(max_examples=200)
@given(expressions)
def test_accepted_formulas_are_torch_s(tree: Expr) -> None:
    names = sorted(tree.names)
    types = [TYPES[n] for n in names]
    try:
        infer("formula", {"expr": tree, "names": names}, *types)
    except OpError:
        assume(False)
    torch.manual_seed(0)
    values = {n: random_tensor(t, {}) for n, t in zip(names, types, strict=True)}
    try:
        expected = evaluated(str(tree), values)
    except (RuntimeError, ZeroDivisionError) as failed:
        assume("ZeroDivision" not in str(failed) and "division by zero" not in str(failed))
        assume("negative integer powers" not in str(failed))
        raise
    attrs = {"expr": tree, "names": names}
    run = check("formula", attrs, *types, inputs=list(values.values()))
    found = run.outputs[0]
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if found.dtype.is_complex:
        assume(bool(torch.isfinite(expected).all()) and bool(torch.isfinite(found).all()))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("relu(x) + gelu(x) * silu(x) / softplus(x) - log_sigmoid(x)", {"x": "2 3"}),
        ("max(x, y, 0.5) + min(x, y)", {"x": "2 3", "y": "3"}),
        ("clamp(x, y, 1)", {"x": "2 3", "y": "3"}),
        ("-1 < x < 1", {"x": "2 3"}),
        ("x // 2 + x % 3", {"x": "int64: 4"}),
        ("fmod(x, 2) + atan2(1, x) + atan2(x, 2)", {"x": "4"}),
    ],
)
def test_by_hand(text: str, types: dict[str, str]) -> None:
    attrs = {"expr": parse(text), "names": list(types)}
    chained = text.replace("-1 < x < 1", "(-1 < x) & (x < 1)").replace("clamp(x, y, 1)", "min(max(x, y), 1)")
    check("formula", attrs, *types.values(), reference=lambda *a: evaluated(chained, dict(zip(types, a, strict=True))))


#: What torch takes and formulas don't: bools as numbers, whole numbers where only a tensor with a point makes sense,
#: double complex, and complex arguments of functions that no counted architecture has them in.
STRICTER = {
    "bool": {"atan2", "maximum", "minimum", "square"},
    "uint8": {"atan2", "fmod"},
    "int64": {"atan2", "fmod"},
    "float64": {"complex", "polar"},
    "complex": {
        *("cos", "expm1", "log", "log1p", "log2", "pow", "rsqrt"),
        *("sigmoid", "silu", "sin", "sqrt", "tan", "tanh"),
    },
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "bfloat16", "float", "float64", "complex"])
def test_dtypes(name: str, dtype: str) -> None:
    """What torch refuses is refused, and what is refused beyond that is listed here."""
    operands = [f"{dtype}: 2 2"] * FUNCTIONS[name].arity
    tensors = [random_tensor(tensor_type(t), {}) for t in operands]  # type: ignore[arg-type]
    attrs = {"expr": Call(name, tuple(map(Name, "xy"[: len(operands)]))), "names": list("xy"[: len(operands)])}
    try:
        expected: str | None = str(MEANING[name](*tensors).dtype)
    except (RuntimeError, UserWarning):
        expected = None
    try:
        found: str | None = str(TORCH_DTYPE[infer("formula", attrs, *operands).outs[0].dtype])
    except OpError:
        found = None
    if found is None and name in STRICTER.get(dtype, ()):
        assert expected is not None
    else:
        assert found == expected


def test_the_docstring_lists_every_function() -> None:
    assert Formula.__doc__ is not None
    words = set(re.findall(r"\w+", Formula.__doc__.split("torch's names:")[1].split(". dtypes")[0]))
    assert words - {"and", "of", "any", "number", "values"} == set(NAMES)


# -- numbers -----------------------------------------------------------------------------------------------------


def test_sizes_and_late_numbers_take_part() -> None:
    n, rate = sym("N"), Late("rate")
    tree = Binary("+", Binary("/", Name("x"), Host(n)), Binary("*", Host(rate), Name("x")))
    op = Formula((tree, ("x",)))
    assert op.late == {"rate"}
    run = check("formula", {"expr": Binary("/", Name("x"), Host(n)), "names": ["x"]}, "N", env={"N": 4})
    torch.testing.assert_close(run.outputs[0], run.inputs[0] / 4)  # type: ignore[operator]


def test_a_late_number_among_integers_is_waited_for() -> None:
    with pytest.raises(NeedsValue):
        infer("formula", {"expr": Binary("*", Name("x"), Host(Late("i"))), "names": ["x"]}, "int64: 3")
    typed = infer("formula", {"expr": Binary("*", Name("x"), Host(Late("i"))), "names": ["x"]}, "3")
    assert str(typed.outs[0]) == "[3]"


def test_numbers_alone_are_folded() -> None:
    tree = Binary("*", Call("max", (Binary("+", Num(1), Num(2)), Num(2))), Name("x"))
    run = check("formula", {"expr": tree, "names": ["x"]}, "3", reference=lambda x: 3 * x)
    assert (called(run), run.typed.cost.elementwise) == (["mul"], 3)
    assert "has no value" in str(error("formula", {"expr": parse("x + 1 / 0"), "names": ["x"]}, "3"))
    assert "no real number" in str(error("formula", {"expr": parse("x + (-1) ** 0.5"), "names": ["x"]}, "3"))
    assert str(error("formula", {"expr": parse("1 + 2"), "names": []})) == "a formula without tensors is a number"


# -- code --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "functions"),
    [
        ("x + 1", ["add"]),
        ("1 - x", ["sub"]),
        ("x ** 2", ["square"]),
        ("x ** 0.5", ["sqrt"]),
        ("x ** 3", ["pow"]),
        ("x ** x", ["pow"]),
        ("clamp(x, 0, 1)", ["clamp"]),
        ("clamp(x, min=0)", ["clamp"]),
        ("maximum(x, 1)", ["clamp"]),
        ("minimum(1, x)", ["clamp"]),
        ("polar(1, x)", ["full_like", "polar"]),
        ("x * sigmoid(x)", ["sigmoid", "mul"]),
        ("mean(x, x, x)", ["add", "add", "truediv"]),
        ("x", []),
    ],
)
def test_functions_called(text: str, functions: list[str]) -> None:
    assert called(formula(text, "4")) == functions


# -- work --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "work"),
    [
        ("x + y", 24),
        ("x * (y + 1)", 24 + 4),
        ("x * y * y", 24 + 24),
        ("y * y * x", 4 + 24),
        ("sum(x, x, x)", 24 * 2),
        ("mean(y, y)", 4 * 2),
        ("sigmoid(y) + silu(y) + gelu(y)", 4 * (4 + 5 + 5 + 2)),
        ("where(x > y, x, 0)", 24 * 2),
        ("clamp(x, 0, 1)", 24 * 2),
        ("0 < x < y", 24 * 3),
        ("-y", 4),
        ("z * z", 4 * 6),
        ("z * y", 4 * 2),
        ("z + z - y", 4 * (2 + 1)),
        ("z / z", 4 * 11),
        ("abs(z) ** 2", 4 * (4 + 1)),
        ("real(z * conj(z))", 4 * 6),
        ("z ** 2", 4 * 5),
    ],
)
def test_work(text: str, work: int) -> None:
    types = {"x": "B 3 4", "y": "4", "z": "complex: 4"}
    tree = parse(text)
    names = sorted(tree.names)
    run = check("formula", {"expr": tree, "names": names}, *(types[n] for n in names), env={"B": 2})
    assert (run.typed.cost.macs, evaluate(run.typed.cost.elementwise, {"B": 2})) == (0, work)


# -- shapes ------------------------------------------------------------------------------------------------------


def test_layouts() -> None:
    grid, other = Layout(1, (4, 4)), Layout(0, (17,))
    tokens = TensorType("float", (2, 17, 8), ((1, grid),))
    sum_of = {"expr": parse("x + y"), "names": ["x", "y"]}

    def layout(*types: Any) -> Layout | None:
        return infer("formula", sum_of, *types).outs[0].layout_of(1)

    assert layout(tokens, "1 17 8") == grid
    assert layout("17 8", tokens) == grid
    assert layout(tokens, tokens) == grid
    assert layout(tokens, TensorType("float", (17, 8), ((0, other),))) is None
    assert infer("add", {}, tokens, "8").outs[0].layout_of(1) == grid


def test_symbols_broadcast_only_by_name() -> None:
    sum_of = {"expr": parse("x + 2 * y"), "names": ["x", "y"]}
    assert str(infer("formula", sum_of, "B N C", "1 N 1").outs[0]) == "[B, N, C]"
    wrong = error("formula", sum_of, "B N C", "B M C")
    assert str(wrong) == "the operands of `x + 2 * y` don't broadcast"
    assert wrong.expected == "equal sizes or 1"
    assert wrong.found == "[B, N, C] and [B, M, C]"
    assert wrong.hint == "sizes that are equal carry one name, not `N` and `M`"
    unequal = error("formula", sum_of, "2 3 4", "3 5")
    assert (unequal.found, unequal.hint) == ("[2, 3, 4] and [3, 5]", "axes are added with `rearrange`")


def test_undecided_sizes_are_guards() -> None:
    h = sym("H")
    typed = infer("add", {}, TensorType("float", (h,)), TensorType("float", (2 * (h // 2),)))
    assert [str(cond) for cond, _ in typed.guards] == ["2*(H//2) == H"]


# -- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("sigmod(x)", "formulas have no function `sigmod`", "did you mean `sigmoid`?"),
        ("sin(x, x)", "`sin` takes 1 value", None),
        ("where(x, x, x)", "`where(x, x, x)` chooses by truth values", None),
        ("x and x", "`x and x` asks for one truth value", "masks take `where`, `&`, `|` and `~`"),
        ("not x", "`not x` asks for one truth value", "`~` inverts a mask"),
        ("x if x else x", "`x if x else x` asks for one truth value", "masks take `where`, `&`, `|` and `~`"),
        ("x & x", "`x & x` does not take float values", None),
        ("1 - m", "`1 - m` subtracts truth values", "`~` inverts a mask"),
        ("i ** -1", "`i ** -1` is a negative power of whole numbers", "write -1.0"),
        ("z < z", "`z < z` does not take complex values", None),
        ("tanh(z)", "`tanh(z)` does not take complex values", None),
        ("z * d", "`z * d`: complex numbers have single precision", None),
        ("x in x", "`x in x`: `in` can't stand in a formula", None),
        ("clamp(x)", "`clamp` takes `min`, `max` or both", None),
        ("clamp(x, low=1)", "`clamp` takes a value, `min` and `max`", None),
        ("sin(x, out=x)", "`sin` takes no `out`", None),
        ("[x]", "`[x]` can't stand in a formula", None),
        ("x + null", "`null` is no value of a formula", None),
        ("q + 1", "the formula has no operand `q`", None),
    ],
)
def test_errors(text: str, message: str, hint: str | None) -> None:
    types = {"x": "4", "i": "int64: 4", "z": "complex: 4", "d": "float64: 4", "m": "bool: 4"}
    wrong = error("formula", {"expr": parse(text), "names": list(types)}, *types.values())
    assert (str(wrong), wrong.hint) == (message, hint)


# -- single operations -------------------------------------------------------------------------------------------


def test_single_operations() -> None:
    run = check("add", {}, "2 3 4", "4", "3 1", reference=lambda x, y, z: x + y + z)
    assert run.typed.cost.elementwise == 24 * 2
    check("mul", {}, "int64: 3", "2 3", reference=torch.mul)
    check("sub", {}, "3", "2 3", reference=torch.sub)
    check("div", {}, "int64: 3", "int64: 3", inputs=[torch.arange(3), torch.ones(3).long()], reference=torch.div)
    check("where", {}, "bool: 3", "2 3", "1", reference=torch.where)
    assert str(error("add", {}, "3")) == "`add` takes at least two values"
    assert str(error("mul", {}, "3", "4")) == "the operands of `mul` don't broadcast"
    assert str(error("where", {}, "3", "3", "3")) == "`where` takes bool values for `mask`"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x + y", "add() 0 1"),
        ("y + x", "add() 1 0"),
        ("x + y + x", "add() 0 1 0"),
        ("x - y", "sub() 0 1"),
        ("x * y", "mul() 0 1"),
        ("x / y", "div() 0 1"),
        ("sum(x, y)", "add() 0 1"),
        ("relu(y)", "relu() 1"),
        ("where(m, x, y)", "where() 2 0 1"),
        ("x - y - x", None),
        ("x + 1", None),
        ("x + (y + x)", None),
        ("x ** y", None),
        ("sum(x)", None),
        ("sin(x)", None),
        ("x", None),
    ],
)
def test_named_operations(text: str, expected: str | None) -> None:
    """A formula of one operation is found under that operation's name, and computes the same."""
    op = Formula((parse(text), ("x", "y", "m")))
    found = op.named()
    assert (found and " ".join(map(str, (found[0], *found[1])))) == expected
    if found is not None:
        types = ["2 3", "2 3", "bool: 2 3"]
        run = check("formula", {"expr": op.expr, "names": list(op.names)}, *types)
        single = found[0]
        again = check(single.op_name, {}, *(types[k] for k in found[1]), inputs=[run.inputs[k] for k in found[1]])
        torch.testing.assert_close(run.outputs, again.outputs, rtol=0, atol=0)
        assert run.typed.cost == again.typed.cost
