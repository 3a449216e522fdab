"""Parameters, buffers, constants and ranges."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import archgraph.ops.source  # noqa: F401
from archgraph.ir.dim import Dim, sym
from archgraph.ir.expr import Expr, Host, walk
from archgraph.ir.real import Late, Real, substitute
from archgraph.lower.init import fill_
from archgraph.ops.base import Op, OpError
from archgraph.spec.constants import close_over
from archgraph.spec.expr import compile as compile_expr
from archgraph.spec.expr import parse
from tests.ops.harness import EagerEmitter, at, check, error, infer

H, N = sym("H"), sym("N")


def test_parameter_owns_a_weight_at_its_own_path() -> None:
    run = check("parameter", {"shape": [1, 1, 4], "init": {"normal": {"std": 0.02}}}, reference=lambda w: w)
    (weight,) = run.typed.weights
    assert (weight.name, weight.buffer) == ("", False)
    assert weight.init == ("normal", (("mean", 0.0), ("std", 0.02)))
    assert str(infer("parameter", {"shape": [1, 1 + H**2, 4]}).outs[0]) == "[1, H**2 + 1, 4]"


def test_buffer_has_a_law_or_a_value() -> None:
    (weight,) = check("buffer", {"shape": [], "dtype": "bool", "persistent": False}).typed.weights
    assert (weight.buffer, weight.persistent, weight.dtype) == (True, False, "bool")
    (weight,) = check("buffer", {"value": [[1, 2, 3], [4, 5, 6]]}).typed.weights
    assert (weight.shape, weight.dtype) == ((2, 3), "int64")
    tensor = torch.zeros(2, 3, dtype=torch.int64)
    fill_(tensor, weight.init[0], dict(weight.init[1]))
    assert tensor.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert check("buffer", {"value": [0.485, 0.456]}).typed.outs[0].dtype == "float"
    assert str(error("buffer", {})) == "`buffer` takes either `shape` or `value`"
    assert str(error("buffer", {"shape": [2], "value": [1, 2]})) == "`buffer` takes either `shape` or `value`"


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(3, "int64"), ([[1, 2], [3, 4]], "int64"), ([1, 2.5], "float"), ([[True], [False]], "bool"), (-1.5, "float")],
)
def test_constants_are_nested_numbers(value: Any, dtype: str) -> None:
    run = check("constant", {"value": value}, reference=lambda: torch.tensor(value))
    assert run.typed.outs[0].dtype == dtype
    assert run.used == []


def test_literals_may_come_as_trees() -> None:
    tree = close_over(parse("[[k * i for i in range(3)] for k in [1, -2]]"), {})
    check("constant", {"value": tree}, reference=lambda: torch.tensor([[0, 1, 2], [0, -2, -4]]))
    tree = close_over(parse("[x // 2, 3]"), {"x": H})
    assert str(infer("constant", {"value": tree}).outs[0]) == "int64[2]"
    check("constant", {"value": parse("-3"), "dtype": "float64"}, reference=lambda: torch.tensor(-3.0).double())


def test_ragged_and_empty_lists() -> None:
    assert str(error("constant", {"value": [[1, 2], [3]]})) == "the lists of a constant must be equally long"
    assert str(error("constant", {"value": []})) == "a constant needs numbers"
    raised = error("constant", {"value": parse("i + 1")})
    assert (str(raised), raised.hint) == ("`i` is no number here", "index names and their ranges stand in `over`")


# -- expressions over index ranges -------------------------------------------------------------------------------


def table(text: str, over: dict[str, Any], env: dict[str, int] | None = None, **names: Any) -> Any:
    """A table made at build and at run time, held to the host's own arithmetic element by element."""
    env = env or {}
    tree = close_over(parse(text), names)
    run = check_source({"value": tree, "over": over}, env)
    value = compile_expr(parse(text))
    ranges = [range(at(n, env)) for n in over.values()]
    scope = at(dict(names), env)
    rows = [value({**scope, **dict(zip(over, place, strict=True))}) for place in product(*ranges)]
    expected = torch.tensor(rows).view(run.shape)
    torch.testing.assert_close(run, expected)
    return run


def check_source(attrs: dict[str, Any], env: dict[str, int], name: str = "constant") -> torch.Tensor:
    """A source op's value; sizes that no operand tells are put in from ``env``."""
    typed = infer(name, attrs)
    emitter = EagerEmitter(typed, {}, env)
    emitter._symbols = frozenset(env)
    out = typed.op.lower(emitter)
    assert tuple(out.shape) == at(typed.outs[0].shape, env)
    numbers = infer(name, put_in(attrs, env))
    assert numbers.outs == at(typed.outs, env)
    again = numbers.op.lower(EagerEmitter(numbers, {}, {}))
    torch.testing.assert_close(out, again)
    assert str(out.dtype) == f"torch.{typed.outs[0].dtype.replace('float', 'float32')}"
    return out


def put_in(value: Any, env: dict[str, int]) -> Any:
    """Numbers for symbols, inside trees too."""
    if isinstance(value, Expr):
        hosts = {str(e.value): e.value for e in walk(value) if isinstance(e, Host) and isinstance(e.value, Dim)}
        assert len(hosts) <= 1
        return close_over(parse(str(value)), env)
    if isinstance(value, dict):
        return {k: put_in(v, env) for k, v in value.items()}
    return substitute(value, env) if isinstance(value, Real) else at(value, env)


@pytest.mark.parametrize("height", [7, H])
def test_neighbourhood_index_tables(height: Any) -> None:
    env = {"H": 7}
    rows = table("clamp(i - kernel // 2, 0, H - kernel) + u", {"i": height, "u": 3}, env, H=height, kernel=3)
    assert rows.dtype == torch.int64
    assert rows[:, 0].tolist() == [0, 0, 1, 2, 3, 4, 4]
    table("clamp(i - kernel // 2, 0, H - kernel) + u - i + kernel - 1", {"i": height, "u": 3}, env, H=height, kernel=3)


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("u - r + 4", torch.int64),
        ("u // 2 - r % 3", torch.int64),
        ("-(u + 1) // 2", torch.int64),
        ("abs(u - r) <= 1", torch.bool),
        ("exp(-u / (r + 1))", torch.float32),
        ("10000 ** (-2 * u / 7)", torch.float32),
        ("max(u, r) * min(u, 2)", torch.int64),
        ("0.5 * u", torch.float32),
        ("7", torch.int64),
        ("2.5", torch.float32),
    ],
)
@pytest.mark.parametrize("n", [5, N])
def test_expressions(text: str, dtype: torch.dtype, n: Any) -> None:
    assert table(text, {"r": n, "u": 3}, {"N": 5}).dtype == dtype


@given(st.data())
def test_random_integer_expressions(data: st.DataObject) -> None:
    def draw(depth: int) -> str:
        if depth == 0:
            return data.draw(st.sampled_from(["i", "j", "1", "2", "5"]))
        form = data.draw(
            st.sampled_from(["({} + {})", "({} - {})", "{} * {}", "-{}", "{} // 3", "{} % 4", "clamp({}, 0, 3)"])
        )
        return form.format(draw(depth - 1), draw(depth - 1)) if form.count("{}") == 2 else form.format(draw(depth - 1))

    table(f"i - i + {draw(3)}", {"i": 4, "j": data.draw(st.integers(1, 3))})


def test_where_chooses_by_a_mask() -> None:
    tree = parse("where(i >= j, i - j, -1)")
    out = check_source({"value": tree, "over": {"i": 3, "j": 3}}, {})
    assert out.tolist() == [[0, -1, -1], [1, 0, -1], [2, 1, 0]]
    assert check_source({"value": tree, "over": {"i": 3, "j": 3}, "dtype": "float"}, {}).dtype == torch.float32


def test_late_numbers_in_an_expression_are_known_to_the_op() -> None:
    tree = close_over(parse("0.5 * i * l"), {"l": Late("l")})
    assert infer("constant", {"value": tree, "over": {"i": 3}}).op.late == {"l"}


def test_constant_mistakes() -> None:
    raised = error("constant", {"value": parse("i + k"), "over": {"i": 3}})
    assert str(raised) == "the formula has no operand `k`"
    raised = error("constant", {"value": [1, 2], "over": {"i": 2}})
    assert str(raised) == "beside `over` stands an expression of its names"


# -- fills and ranges --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "attrs", "reference"),
    [
        ("zeros", {"shape": [2, H]}, lambda: torch.zeros(2, 3)),
        ("zeros", {"shape": [], "dtype": "bool"}, lambda: torch.tensor(False)),
        ("ones", {"shape": [H], "dtype": "int64"}, lambda: torch.ones(3, dtype=torch.int64)),
        ("full", {"shape": [H, 2], "fill_value": -1.5}, lambda: torch.full((3, 2), -1.5)),
        ("full", {"shape": [2], "fill_value": H}, lambda: torch.full((2,), 3.0)),
        ("full", {"shape": [2], "fill_value": 2, "dtype": "int64"}, lambda: torch.full((2,), 2)),
        ("arange", {"end": H}, lambda: torch.arange(3)),
        ("arange", {"start": 1, "end": H * 4, "step": 3}, lambda: torch.arange(1, 12, 3)),
        ("arange", {"start": H, "end": -2, "step": -2}, lambda: torch.arange(3, -2, -2)),
        ("arange", {"end": 3, "dtype": "float"}, lambda: torch.arange(3).float()),
        ("arange", {"end": H, "dtype": "float"}, lambda: torch.arange(3).float()),
        ("arange", {"start": 0.5, "end": 3, "step": 0.5}, lambda: torch.arange(0.5, 3, 0.5)),
        ("linspace", {"start": -1, "end": 1, "steps": 5}, lambda: torch.linspace(-1, 1, 5)),
        ("linspace", {"start": -H, "end": H / 2, "steps": H}, lambda: torch.linspace(-3, 1.5, 3)),
        ("eye", {"n": H}, lambda: torch.eye(3)),
        ("eye", {"n": 2, "m": H, "dtype": "int64"}, lambda: torch.eye(2, 3, dtype=torch.int64)),
    ],
)
def test_fills_and_ranges(name: str, attrs: dict, reference) -> None:
    torch.testing.assert_close(check_source(attrs, {"H": 3}, name), reference())


def test_fills_are_not_copied() -> None:
    assert check("zeros", {"shape": [1000, 1000]}).outputs[0].untyped_storage().nbytes() == 4


def test_late_fill() -> None:
    assert check("full", {"shape": [2], "fill_value": Late("i") * 2}, env={"i": 3}).outputs[0].tolist() == [6, 6]


def test_range_mistakes() -> None:
    assert str(error("arange", {"start": 5, "end": 3})) == "arange(start=5, end=3) never reaches its end"
    assert str(error("arange", {"start": 5.0, "end": 3})) == "arange(start=5.0, end=3) never reaches its end"
    assert str(error("arange", {"end": H, "step": 0.5})) == "the length of a range of fractions must be known"
    assert str(error("arange", {"end": 3, "step": 0})) == "the step of a range is a known number and not 0"
    assert [str(c) for c, _ in infer("arange", {"start": 4, "end": H}).guards] == ["0 <= H - 4"]


def test_fills_of_another_values_shape() -> None:
    check("zeros_like", {}, "int64: B 3", env={"B": 2}, reference=torch.zeros_like)
    check("ones_like", {}, "2 3", reference=torch.ones_like)
    check("full_like", {"fill_value": -2}, "2 3", reference=lambda x: torch.full_like(x, -2))


def test_sources_take_no_operands() -> None:
    for name in ("parameter", "buffer", "constant", "zeros", "arange"):
        cls: type[Op] = type(infer(name, {"zeros": {"shape": [1]}, "arange": {"end": 1}, "constant": {"value": 1},
                                          "parameter": {"shape": [1]}, "buffer": {"shape": [1]}}[name]).op)  # fmt: skip
        assert cls.source
        assert cls.free
        assert cls.operands == ()
    with pytest.raises(OpError):
        infer("zeros", {})
