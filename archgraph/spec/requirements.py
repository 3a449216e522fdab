"""Conditions of expressions over sizes that may be open: taken apart as far as each part can be told by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archgraph.ir.dim import Cond, Group, SymbolicTruth, all_of, any_of, decider
from archgraph.spec.expr import BoolOp, Compare, EvalError, Expr, IfElse, ListExpr, Unary, compile
from archgraph.spec.expr_values import compare_values

__all__ = ["condition", "parts"]


def condition(expr: Expr, env: Mapping[str, Any]) -> Any:
    """The value of a condition; what is undecided of it as one: ``a and (b or not c)`` over conditions.

    In a study of cases alternatives are decided, since each is a case.

    Raises
    ------
    EvalError, UnknownName, SymbolicTruth, NeedsValue
        As the expression does.
    """
    try:
        value = _condition(expr, env)
    except EvalError:
        return compile(expr)(env)  # the same fault, with its place
    return bool(value) if isinstance(value, Group) and value.kind == "or" and decider.get() is not None else value


def parts(cond: Any) -> Iterator[Any]:
    """The conditions that must all hold."""
    if isinstance(cond, Group) and cond.kind == "and":
        for part in cond.parts:
            yield from parts(part)
    else:
        yield cond


def _condition(expr: Expr, env: Mapping[str, Any]) -> Any:
    match expr:
        case BoolOp(op=op, values=values):
            ends = op == "or"
            found: list[bool | Cond] = []
            for value in values:
                part = _condition(value, env)
                if not isinstance(part, (bool, Cond)):
                    break  # numbers and lists are true as in Python
                if part is ends:
                    return part
                found.append(part)
            else:
                return any_of(found) if ends else all_of(found)
        case Unary(op="not", operand=operand):
            part = _condition(operand, env)
            return part.negated() if isinstance(part, Cond) else not part
        case IfElse(then=then, test=test, other=other):
            which = _condition(test, env)
            if not isinstance(which, Cond):
                return _condition(then if which else other, env)
            here, there = _condition(then, env), _condition(other, env)
            if isinstance(here, (bool, Cond)) and isinstance(there, (bool, Cond)):
                return any_of((all_of((which, here)), all_of((which.negated(), there))))
        case Compare(first=first, rest=((op, ListExpr() as among),)) if op in ("in", "not in"):
            value = compile(first)(env)
            same = [compare_values("==", value, item) for item in compile(among)(env)]
            if all(isinstance(s, (bool, Cond)) for s in same):
                found_in = any_of(same)
                if op == "in":
                    return found_in
                return found_in.negated() if isinstance(found_in, Cond) else not found_in
        case Compare(first=first, rest=rest) if len(rest) > 1:
            values_of = [compile(first)(env), *(compile(value)(env) for _, value in rest)]
            pairs = zip(values_of, values_of[1:], (op for op, _ in rest), strict=False)
            return all_of([_compared(op, a, b) for a, b, op in pairs])
        case Compare(first=first, rest=((op, value),)):
            return _compared(op, compile(first)(env), compile(value)(env))
    return compile(expr)(env)


def _compared(op: str, a: Any, b: Any) -> Any:
    try:
        return compare_values(op, a, b)
    except SymbolicTruth as error:
        if error.cond is None:
            raise
        return error.cond
