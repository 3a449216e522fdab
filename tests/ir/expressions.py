"""Random integer expressions as text, and a small evaluator of that text that knows nothing of archgraph."""

import ast
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

NAMES = ("H", "W", "C")

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: lambda a, b: a**b,
}


def run(source: str, names: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> Any:
    """The value of a Python expression made of numbers, names, arithmetic and calls, whatever the names stand for."""

    def walk(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return names[name]
            case ast.BinOp(left=left, op=op, right=right):
                return _BINARY[type(op)](walk(left), walk(right))
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return -walk(inner)
            case ast.Call(func=ast.Name(id=name), args=args):
                return functions[name](*map(walk, args))
        raise AssertionError(ast.dump(node))

    return walk(ast.parse(source, mode="eval").body)


_small = st.integers(-9, 9).map(lambda n: f"({n})")
_divisor = st.integers(1, 12).map(str)
_names = st.sampled_from(NAMES)
_positive = st.recursive(
    st.one_of(_divisor, _names),
    lambda inner: st.tuples(inner, st.sampled_from("+*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=3,
)


def _grow(divisors: st.SearchStrategy[str], extrema: bool) -> st.SearchStrategy[str]:
    def extend(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        choices = [
            st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
            st.tuples(inner, st.sampled_from(["//", "%"]), divisors).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
            st.tuples(inner, st.integers(0, 2)).map(lambda t: f"({t[0]})**{t[1]}"),
            inner.map(lambda x: f"(-{x})"),
        ]
        if extrema:
            choices.append(
                st.tuples(st.sampled_from(["min", "max"]), st.lists(inner, min_size=1, max_size=3)).map(
                    lambda t: f"{t[0]}({', '.join(t[1])})"
                )
            )
        return st.one_of(choices)

    return st.recursive(st.one_of(_names, _names, _small), extend, max_leaves=8)


#: True of all integers: divisors are constants, nothing rests on bounds.
universal = _grow(_divisor, extrema=False)
#: True where symbols are positive.
positive = _grow(_positive, extrema=True)

whole_env = st.fixed_dictionaries({name: st.integers(-40, 40) for name in NAMES})
size_env = st.fixed_dictionaries({name: st.integers(1, 40) for name in NAMES})
