"""Trees that ops keep (`constant`'s ``value``): host names become literals, index names stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archgraph.spec.expr import (
    Attr,
    Binary,
    BoolOp,
    Call,
    Compare,
    Expr,
    Host,
    IfElse,
    Index,
    ListExpr,
    Name,
    Unary,
    compile,
    literal,
)


def _tree(value: Any) -> Expr:
    """A host value as a tree; numbers in lists may be symbolic or late."""
    if isinstance(value, (list, tuple)):
        return ListExpr(tuple(map(_tree, value)))
    return literal(value) if isinstance(value, (bool, int, float)) and abs(value) != float("inf") else Host(value)


def close_over(tree: Expr, env: Mapping[str, Any]) -> Expr:
    """``tree`` with every host name of ``env`` replaced by its value; names outside ``env`` stay free."""
    if all(n in env for n in tree.names):
        return _tree(compile(tree)(env))
    if not any(n in env for n in tree.names):
        return tree

    def down(e: Expr) -> Expr:
        return close_over(e, env)

    if isinstance(tree, Unary):
        return Unary(tree.op, down(tree.operand))
    if isinstance(tree, Binary):
        return Binary(tree.op, down(tree.left), down(tree.right))
    if isinstance(tree, Compare):
        return Compare(down(tree.first), tuple((op, down(v)) for op, v in tree.rest))
    if isinstance(tree, BoolOp):
        return BoolOp(tree.op, tuple(down(v) for v in tree.values))
    if isinstance(tree, IfElse):
        return IfElse(down(tree.then), down(tree.test), down(tree.other))
    if isinstance(tree, Call):
        return Call(tree.function, tuple(down(a) for a in tree.args), tuple((k, down(v)) for k, v in tree.kwargs))
    if isinstance(tree, Index):
        return Index(down(tree.obj), down(tree.index))
    if isinstance(tree, ListExpr):
        return ListExpr(tuple(down(v) for v in tree.items))
    if isinstance(tree, (Attr, Name)):
        return tree
    return tree
