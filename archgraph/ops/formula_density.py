"""Which share of a formula's elements is expected to be other than zero, given those of its operands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from archgraph.ir.density import DENSE, EMPTY, Density
from archgraph.ir.expr import Binary, Call, Compare, Expr, Name, Unary
from archgraph.ir.expr import Num as Number

#: Functions that map zero to zero.
_KEEPING: Final = frozenset({
    "abs", "ceil", "conj", "erf", "expm1", "floor", "fmod", "gelu", "imag", "log1p", "real", "relu", "round", "sign",
    "silu", "sin", "sqrt", "square", "tan", "tanh",
})  # fmt: skip


def formula_density(e: Expr, given: Mapping[str, Density]) -> Density:
    """The expected density of an expression's value; operands count as independent of each other."""
    if isinstance(e, Name):
        return given.get(e.name, DENSE)
    if isinstance(e, Number):
        return EMPTY if e.value == 0 else DENSE
    if isinstance(e, Unary):
        inner = formula_density(e.operand, given)
        return inner if e.op in "+-" else inner.rest() if e.op in ("~", "not") and inner != DENSE else DENSE
    if isinstance(e, Binary):
        left, right = formula_density(e.left, given), formula_density(e.right, given)
        if e.op in "*&":
            return left.both(right)
        if e.op in "+-|":
            return right if left == EMPTY else left if right == EMPTY else left.either(right)
        return left if e.op in ("/", "//", "%") else DENSE
    if isinstance(e, Call) and e.args:
        first = formula_density(e.args[0], given)
        if e.function == "where" and len(e.args) == 3:
            x, y = (formula_density(arg, given) for arg in e.args[1:])
            return first.both(x) if y == EMPTY else first.rest().both(y) if x == EMPTY else DENSE
        return first if e.function in _KEEPING else DENSE
    if isinstance(e, Compare) and len(e.rest) == 1 and e.rest[0][0] == "!=" and e.rest[0][1] == Number(0):
        return formula_density(e.first, given)
    return DENSE
