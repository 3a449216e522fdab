"""From tree to closures. Each node becomes a function of the environment; the result is kept on the tree."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from archgraph.ir.diagnostics import did_you_mean
from archgraph.ir.expr import (
    Attr,
    Binary,
    BoolOp,
    Call,
    Clause,
    Compare,
    Comprehension,
    Const,
    Expr,
    Function,
    IfElse,
    Index,
    ListExpr,
    Name,
    Num,
    Slice,
    Splice,
    Str,
    Unary,
)
from archgraph.spec.expr_functions import FUNCTIONS, call_function
from archgraph.spec.expr_values import (
    MAX_ITEMS,
    PLAIN_COMPARISONS,
    EvalError,
    UnknownName,
    binary_value,
    compare_values,
    count,
    describe,
    item_at,
    part_of,
    sequence_of,
    sized,
    slice_of,
    unary_value,
)

__all__ = ["MAX_STEPS", "compile", "constant_value"]

MAX_STEPS: Final = 65536
"""Turns of one comprehension, those of nested ones and the lengths of lists handled inside included."""

_LIMIT: Final = 2**63
_PLAIN: Final = frozenset({int, float})
_MAX_FOLDED: Final = 1024  # items of a constant kept with its tree, which a cache may keep for long

Environment = Mapping[str, Any]


def compile(expr: Expr) -> Function:
    """The function from an environment to the value of `expr`, made once per tree.

    It raises `UnknownName` and `EvalError`, and passes on what operators of symbolic values raise.
    """
    known = expr.compiled
    if known is not None:
        return known
    function = _COMPILERS[type(expr)](expr)
    if not expr.names and not expr.attrs and type(expr) not in _LITERALS:
        function = _folded(function)
    expr.compiled = function
    return function


def constant_value(expr: Expr) -> tuple[bool, Any]:
    """`(True, value)` of an expression that depends on no name, else `(False, None)`; so too if it has no value."""
    if expr.names or expr.attrs:
        return False, None
    try:
        return True, compile(expr)(_EMPTY)
    except EvalError:
        return False, None


_EMPTY: Final[dict[str, Any]] = {}
_LITERALS: Final = (Num, Str, Const, Slice)


def _folded(function: Function) -> Function:
    """A constant instead of `function`, unless it has no value (each evaluation finds that anew) or a large one."""
    try:
        value = function(_EMPTY)
    except EvalError:
        return function
    return function if isinstance(value, tuple) and count(value, _MAX_FOLDED) > _MAX_FOLDED else _constant(value)


def _constant(value: Any) -> Function:
    return lambda env: value


def _literal(expr: Num | Str | Const) -> Function:
    return _constant(expr.value)


def _located(error: EvalError | UnknownName, offset: int) -> EvalError | UnknownName:
    if error.offset is None:
        error.offset = offset
    return error


def _name(expr: Name) -> Function:
    name, offset = expr.name, expr.offset

    def run(env: Environment) -> Any:
        try:
            return env[name]
        except KeyError:
            if name == "inf":
                return math.inf
            raise UnknownName(name, offset) from None

    return run


def _binary(expr: Binary) -> Function:
    left, right, op, offset = compile(expr.left), compile(expr.right), expr.op, expr.offset
    fast = {"+": operator.add, "-": operator.sub, "*": operator.mul}.get(op)
    whole = {"//": operator.floordiv, "%": operator.mod}.get(op)

    def slow(env: Environment, a: Any, b: Any) -> Any:
        try:
            value = binary_value(op, a, b)
            if type(env) is _Scope and isinstance(value, tuple):
                env.charge(len(value))
            return value
        except EvalError as error:
            raise _located(error, offset) from None

    if fast is not None:

        def bounded(env: Environment) -> Any:
            a, b = left(env), right(env)
            if type(a) is int and type(b) is int:
                value = fast(a, b)
                if -_LIMIT < value < _LIMIT:
                    return value
            return slow(env, a, b)

        return bounded
    if whole is not None:

        def divided(env: Environment) -> Any:
            a, b = left(env), right(env)
            return whole(a, b) if type(a) is int and type(b) is int and b else slow(env, a, b)

        return divided
    return lambda env: slow(env, left(env), right(env))


def _unary(expr: Unary) -> Function:
    operand, op, offset = compile(expr.operand), expr.op, expr.offset
    if op == "not":
        return lambda env: not operand(env)

    def run(env: Environment) -> Any:
        value = operand(env)
        try:
            return unary_value(op, value)
        except EvalError as error:
            raise _located(error, offset) from None

    return run


def _compare(expr: Compare) -> Function:
    first, offset = compile(expr.first), expr.offset
    rest = tuple((op, compile(value)) for op, value in expr.rest)

    def one(op: str, a: Any, b: Any) -> Any:
        try:
            return compare_values(op, a, b)
        except EvalError as error:
            raise _located(error, offset) from None

    if len(rest) == 1:
        [(only, right)] = rest
        plain = PLAIN_COMPARISONS.get(only)

        def single(env: Environment) -> Any:
            a, b = first(env), right(env)
            if type(a) in _PLAIN and type(b) in _PLAIN and plain is not None:
                return plain(a, b)
            return one(only, a, b)

        return single

    def chain(env: Environment) -> Any:
        a = first(env)
        result: Any = True
        for op, value in rest:
            b = value(env)
            result = one(op, a, b)
            if not result:
                return result
            a = b
        return result

    return chain


def _bool_op(expr: BoolOp) -> Function:
    *early, last = (compile(value) for value in expr.values)
    stop_at = expr.op == "or"

    def run(env: Environment) -> Any:
        for value in early:
            result = value(env)
            if bool(result) is stop_at:
                return result
        return last(env)

    return run


def _if_else(expr: IfElse) -> Function:
    then, test, other = compile(expr.then), compile(expr.test), compile(expr.other)
    return lambda env: then(env) if test(env) else other(env)


def _attr(expr: Attr) -> Function:
    obj, name, offset = compile(expr.obj), expr.name, expr.offset

    def run(env: Environment) -> Any:
        value = obj(env)
        try:
            return part_of(value, name, env)
        except (EvalError, UnknownName) as error:
            raise _located(error, offset) from None

    return run


def _index(expr: Index) -> Function:
    obj, offset = compile(expr.obj), expr.offset
    if isinstance(expr.index, Slice):
        parts = [compile(p) if p is not None else None for p in (expr.index.start, expr.index.stop, expr.index.step)]

        def cut(env: Environment) -> Any:
            value = obj(env)
            start, stop, step = (part(env) if part is not None else None for part in parts)
            try:
                taken = slice_of(value, start, stop, step)
                if type(env) is _Scope:
                    env.charge(len(taken))
                return taken
            except EvalError as error:
                raise _located(error, offset) from None

        return cut
    index = compile(expr.index)

    def pick(env: Environment) -> Any:
        value, at = obj(env), index(env)
        try:
            return item_at(value, at)
        except EvalError as error:
            raise _located(error, offset) from None

    return pick


def _slice(expr: Slice) -> Function:
    raise TypeError("a slice has no value outside an index")


def _items(parts: tuple[Expr, ...]) -> Callable[[Environment], tuple[Any, ...]]:
    """The values of arguments or list items, splices spread."""
    compiled = [(type(part) is Splice, compile(part)) for part in parts]
    if not any(spread for spread, _ in compiled):
        functions = [function for _, function in compiled]
        if len(functions) == 1:
            only = functions[0]
            return lambda env: (only(env),)
        return lambda env: tuple([function(env) for function in functions])

    def run(env: Environment) -> tuple[Any, ...]:
        values: list[Any] = []
        for spread, function in compiled:
            if spread:
                values.extend(function(env))
            else:
                values.append(function(env))
        return tuple(values)

    return run


def _list(expr: ListExpr) -> Function:
    items, offset = _items(expr.items), expr.offset

    def run(env: Environment) -> Any:
        values = items(env)
        try:
            return sized(values)
        except EvalError as error:
            raise _located(error, offset) from None

    return run


def _splice(expr: Splice) -> Function:
    obj, offset = compile(expr.obj), expr.offset

    def run(env: Environment) -> Any:
        value = obj(env)
        try:
            return tuple(sequence_of(value))
        except EvalError as error:
            raise _located(error, offset) from None

    return run


def _call(expr: Call) -> Function:
    name, offset = expr.function, expr.offset
    function = FUNCTIONS.get(name)
    if function is None or expr.kwargs:

        def refuse(env: Environment) -> Any:
            if function is not None:
                raise EvalError(f"`{name}` takes no named arguments", offset)
            close = did_you_mean(name, FUNCTIONS)
            raise EvalError(f"no function `{name}`" + (f"; did you mean `{close}`?" if close else ""), offset)

        return refuse
    known = function
    items = _items(expr.args)

    def run(env: Environment) -> Any:
        args = items(env)
        try:
            value = call_function(name, known, args)
            if type(env) is _Scope:
                env.charge(sum(len(item) for item in (*args, value) if isinstance(item, (list, tuple))))
            return value
        except EvalError as error:
            raise _located(error, offset) from None

    return run


class _Scope(dict[str, Any]):
    """The names that one `for` of a comprehension binds, in front of those outside; shares a budget of steps."""

    __slots__ = ("left", "outer")

    def __init__(self, outer: Environment) -> None:
        self.outer = outer
        self.left: list[int] = outer.left if type(outer) is _Scope else [MAX_STEPS]

    def __missing__(self, key: str) -> Any:
        return self.outer[key]

    def charge(self, steps: int) -> None:
        """Count steps; raises `EvalError` when the budget of the outermost comprehension is spent."""
        self.left[0] -= steps
        if self.left[0] < 0:
            raise EvalError(f"a comprehension of more than {MAX_STEPS} steps")


_CompiledClause = tuple[tuple[str, ...], Function, tuple[Function, ...]]


def _comprehension(expr: Comprehension) -> Function:
    element, offset = compile(expr.element), expr.offset
    clauses = tuple(map(_clause, expr.clauses))

    def run(env: Environment) -> Any:
        values: list[Any] = []
        try:
            _loop(clauses, 0, _Scope(env), element, values)
            return sized(tuple(values))
        except EvalError as error:
            raise _located(error, offset) from None

    return run


def _clause(clause: Clause) -> _CompiledClause:
    targets, iterable, conditions = clause
    return targets, compile(iterable), tuple(map(compile, conditions))


def _loop(
    clauses: tuple[_CompiledClause, ...], level: int, outer: _Scope, element: Function, values: list[Any]
) -> None:
    """Run the clause at `level`. Each has a scope of its own: a later iterable sees only the targets before it."""
    targets, iterable, conditions = clauses[level]
    scope = _Scope(outer)
    for item in sequence_of(iterable(outer)):
        scope.charge(1)
        if len(targets) == 1:
            scope[targets[0]] = item
        elif isinstance(item, (list, tuple)) and len(item) == len(targets):
            scope.update(zip(targets, item, strict=True))
        else:
            raise EvalError(f"{describe(item)} can't be unpacked into {len(targets)} names")
        if not all(condition(scope) for condition in conditions):
            continue
        if level + 1 < len(clauses):
            _loop(clauses, level + 1, scope, element, values)
        else:
            values.append(element(scope))
            if len(values) > MAX_ITEMS:
                raise EvalError(f"a list of more than {MAX_ITEMS} items")


_COMPILERS: Final[dict[type[Expr], Callable[[Any], Function]]] = {
    Num: _literal,
    Str: _literal,
    Const: _literal,
    Name: _name,
    Attr: _attr,
    Index: _index,
    Slice: _slice,
    Unary: _unary,
    Binary: _binary,
    Compare: _compare,
    BoolOp: _bool_op,
    IfElse: _if_else,
    Call: _call,
    ListExpr: _list,
    Splice: _splice,
    Comprehension: _comprehension,
}
