"""Values of params: checked against the declaration, defaulted, recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from archgraph.ir.diagnostics import did_you_mean
from archgraph.ir.dim import Dim
from archgraph.ir.real import Late, Real
from archgraph.ops.base import OpError
from archgraph.spec.explain import show_value
from archgraph.spec.model import OpRef, Param
from archgraph.spec.values import tidy


def check_param(p: Param, value: Any) -> Any:
    """A value given for a param, checked against its declaration.

    Raises
    ------
    OpError
        Naming the param and what it takes.
    """
    if p.kind == "expr" and type(value) in NUMBERS:
        return value
    if p.kind == "text" and not p.choices and isinstance(value, str):
        return value
    if p.kind in ("text", "choice"):
        if value not in p.choices:
            near = did_you_mean(value, [c for c in p.choices if isinstance(c, str)]) if isinstance(value, str) else None
            raise OpError(
                f"`{p.name}` can't be `{show_value(value)}`",
                "one of " + ", ".join(map(show_value, p.choices)) if p.choices else "a text",
                show_value(value),
                f"did you mean `{near}`?" if near else None,
                code="param/value",
            )
        return value
    if p.kind == "op":
        if not isinstance(value, OpRef):
            raise OpError(
                f"`{p.name}` can't be `{show_value(value)}`",
                "a block or op: {op: name, …}",
                show_value(value),
                code="param/value",
            )
        return value
    if p.kind in ("int", "float", "bool", "list") and not _fits(p.kind, value):
        raise OpError(
            f"`{p.name}` can't be `{show_value(value)}`", _ARTICLES[p.kind], show_value(value), code="param/value"
        )
    if p.kind == "int" and isinstance(value, float):
        return int(value)
    if p.kind == "expr" and (isinstance(value, str) or (isinstance(value, OpRef) and not p.may_hold_op)):
        raise OpError(
            f"`{p.name}` can't be `{show_value(value)}`", "a number or list", show_value(value), code="param/value"
        )
    return value


NUMBERS: Final = frozenset({bool, int, float})
_ARTICLES: Final = {"int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list"}


def _fits(kind: str, value: Any) -> bool:
    if isinstance(value, (Late, Real)):
        return kind == "float"
    if kind == "int":
        return (type(value) is int) or isinstance(value, Dim) or (isinstance(value, float) and value.is_integer())
    if kind == "float":
        return type(value) in (int, float) or isinstance(value, Dim)
    if kind == "bool":
        return isinstance(value, bool)
    return isinstance(value, (tuple, list))


def param_default(p: Param, env: Mapping[str, Any]) -> Any:
    """The default of a param in a scope."""
    return p.value if p.default is None else tidy(p.default(env))


def recorded(value: Any) -> Any:
    """An argument as plain data: a block or op by name and attributes, a table as pairs."""
    kind = type(value)
    if kind in NUMBERS:
        return value
    if kind is Late:
        return "late"
    if kind is OpRef:
        return (value.word, tuple([(k, recorded(v)) for k, v in value.attrs]))
    if kind is tuple or kind is list:
        return tuple([recorded(v) for v in value])
    if isinstance(value, Mapping):
        return tuple([(k, recorded(v)) for k, v in value.items()])
    return value
