"""The expression language of numeric, boolean and list slots: `parse` to a tree, `compile` to a function.

Python's syntax and precedences, a fixed list of functions, no statements, no attributes of objects, never `eval`:

    >>> compile(parse("dim // num_heads"))({"dim": 768, "num_heads": 12})
    64
    >>> str(parse("(a+b)*2 if fits else [x for x in xs if x>0]"))
    '(a + b) * 2 if fits else [x for x in xs if x > 0]'

Values are exact ints below 2**63, float64, true, false, null, text, lists (as tuples) and mappings, besides symbolic
sizes and lazy scalars, which stay symbolic. Every expression ends soon: texts, trees, exponents, ranges, list lengths
and the turns of comprehensions are bounded.
"""

from archgraph.ir.expr import (
    Attr,
    Binary,
    BoolOp,
    Call,
    Compare,
    Comprehension,
    Const,
    Expr,
    ExprError,
    Host,
    IfElse,
    Index,
    ListExpr,
    Name,
    Num,
    Slice,
    Splice,
    Str,
    Unary,
    literal,
    walk,
)
from archgraph.spec.expr_eval import compile, constant_value
from archgraph.spec.expr_functions import FUNCTIONS
from archgraph.spec.expr_parse import parse
from archgraph.spec.expr_values import EvalError, UnknownName

__all__ = [
    "FUNCTIONS",
    "Attr",
    "Binary",
    "BoolOp",
    "Call",
    "Compare",
    "Comprehension",
    "Const",
    "EvalError",
    "Expr",
    "ExprError",
    "Host",
    "IfElse",
    "Index",
    "ListExpr",
    "Name",
    "Num",
    "Slice",
    "Splice",
    "Str",
    "Unary",
    "UnknownName",
    "compile",
    "constant_value",
    "literal",
    "parse",
    "walk",
]
