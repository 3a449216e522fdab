"""Values computed from a reference's arguments: expressions, lists, ``{switch: …}`` and block-valued ``{op: …}``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archgraph.ir.diagnostics import Collector, Span
from archgraph.ops.base import get_op
from archgraph.spec.expr import EvalError, Expr, ExprError, compile, literal, parse
from archgraph.spec.model import Block, SpecFile
from archgraph.spec.yaml import YList, YMap, span_of

__all__ = ["HostValue", "freeze_data", "read_expression", "read_value", "same_data"]

Env = Mapping[str, Any]


class HostValue:
    """A function of the surroundings, the names that it reads, and where it is written."""

    __slots__ = ("function", "names", "span")

    def __init__(self, function: Callable[[Env], Any], names: frozenset[str], span: Span | None) -> None:
        self.function = function
        self.names = names
        self.span = span

    def __call__(self, env: Env) -> Any:
        return self.function(env)


def freeze_data(value: Any) -> Any:
    """Plain data with lists as tuples and mappings as plain dicts, as expressions take it."""
    if isinstance(value, (list, tuple)):
        return tuple(map(freeze_data, value))
    if isinstance(value, Mapping):
        return {key: freeze_data(item) for key, item in value.items()}
    return value


def same_data(a: Any, b: Any) -> bool:
    """Whether two frozen values say the same: 4 and 4.0 do, 1 and true don't."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same_data, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_data(a[key], b[key]) for key in a)
    return bool(a == b)


def read_expression(raw: Any, container: YMap | YList, key: Any, faults: Collector) -> Expr:
    """An expression slot: a number, true, false, null or an expression. Faults: a syntax error."""
    if not isinstance(raw, str):
        if raw is None or isinstance(raw, (int, float)):
            return literal(raw)
        faults.error("expr/form", span_of(container, key), "a number or an expression is needed here")
        return literal(None)
    try:
        return parse(raw)
    except ExprError as error:
        faults.error("expr/syntax", span_of(container, key), f"`{raw}`: {error.message}", hint=error.hint)
        return literal(None)


def read_value(raw: Any, container: YMap | YList, key: Any, file: SpecFile, faults: Collector) -> HostValue:
    """A value slot of ``params``, ``let`` or ``dims``."""
    span = span_of(container, key)
    if isinstance(raw, YList):
        items = [read_value(item, raw, k, file, faults) for k, item in enumerate(raw)]
        names = frozenset().union(*(item.names for item in items))
        return HostValue(lambda env: tuple(item(env) for item in items), names, span)
    if isinstance(raw, YMap):
        if "switch" in raw:
            return _switch(raw, span, file, faults)
        if "op" in raw:
            return _op(raw, span, file, faults)
        fields = {k: read_value(item, raw, k, file, faults) for k, item in raw.items()}
        names = frozenset().union(*(item.names for item in fields.values()))
        return HostValue(lambda env: {k: item(env) for k, item in fields.items()}, names, span)
    tree = read_expression(raw, container, key, faults)
    return HostValue(compile(tree), tree.names, span)


def _switch(raw: YMap, span: Span, file: SpecFile, faults: Collector) -> HostValue:
    for key in raw:
        if key not in ("switch", "cases", "else"):
            faults.error("key/unknown", span_of(raw, key, key=True), f"`switch` has no `{key}`", expected="cases, else")
    table = raw.get("cases")
    if not isinstance(table, YMap):
        faults.error("switch/cases", span, "`switch` has `cases`: a mapping from values to what they give")
        return _constant(None, span)
    tree = read_expression(raw["switch"], raw, "switch", faults)
    select = compile(tree)
    cases = {_word(k): read_value(item, table, k, file, faults) for k, item in table.items()}
    rest = read_value(raw["else"], raw, "else", file, faults) if "else" in raw else None
    names = tree.names.union(*(item.names for item in cases.values()), rest.names if rest is not None else ())

    def run(env: Env) -> Any:
        word = _word(select(env))
        found = cases.get(word, rest)
        if found is None:
            raise EvalError(f"`{tree}` is {word}, there are cases for {', '.join(cases)}")
        return found(env)

    return HostValue(run, names, span)


def _word(value: Any) -> str:
    """A value as it would be written as a key."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _op(raw: YMap, span: Span, file: SpecFile, faults: Collector) -> HostValue:
    word = raw["op"]
    target = (file.find(word) or get_op(word)) if isinstance(word, str) else None
    if target is None:
        faults.error("op/unknown", span_of(raw, "op"), f"there is no op or block called `{word}`")
        return _constant(None, span)
    fields: dict[str, HostValue] = {}
    for key, item in raw.items():
        if key == "op":
            continue
        if isinstance(item, str) and _is_text(target, str(key)) and not item.startswith("$"):
            fields[str(key)] = _constant(item, span_of(raw, key))
        else:
            plain = item.removeprefix("$") if isinstance(item, str) else item
            fields[str(key)] = read_value(plain, raw, key, file, faults)
    names = frozenset().union(*(item.names for item in fields.values()))
    return HostValue(lambda env: {"op": word, **{k: item(env) for k, item in fields.items()}}, names, span)


def _constant(value: Any, span: Span) -> HostValue:
    return HostValue(lambda env: value, frozenset(), span)


def _is_text(target: Any, name: str) -> bool:
    """Whether an attribute or argument of a block or op takes text."""
    if isinstance(target, Block):
        param = target.params.get(name)
        return param is not None and param.is_text
    attribute = target.by_name.get(name)
    return attribute is not None and attribute.kind.slot == "text"
