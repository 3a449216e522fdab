"""Values computed when a block is elaborated: functions of the names in scope that know what they read, and where they
stand, so that a fault points at the character that causes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archgraph.ir.diagnostics import Span
from archgraph.ir.dim import SymbolicTruth
from archgraph.ops.base import OpError
from archgraph.spec.expr import Attr, EvalError, Expr, Name, Splice, UnknownName, compile
from archgraph.spec.model import OpRef
from archgraph.spec.values import Record, Turns, Values, host_lists, is_value, tidy
from archgraph.spec.yaml import YList, YMap, span_of

__all__ = [
    "Closed",
    "Computed",
    "ComputedList",
    "ComputedMap",
    "ComputedOp",
    "Constant",
    "LoopList",
    "LoopSource",
    "NamesOnly",
    "place",
]

_NO_NAMES: frozenset[str] = frozenset()


def place(container: Any, key: Any, offset: int | None, length: int = 1) -> Span | None:
    """The place of a part of an expression inside its scalar, where the scalar stands on one line."""
    if not isinstance(container, (YMap, YList)):
        return None
    span = span_of(container, key)
    if span.end_column is None or offset is None:
        return span
    start = span.column + offset + (1 if key in container.quoted else 0)
    return Span(span.file, span.line, start, start + max(1, length))


class Computed:
    """The expression at a key of a YAML mapping or list."""

    __slots__ = ("container", "fn", "key", "names", "tree")

    def __init__(self, tree: Expr, container: Any = None, key: Any = None) -> None:
        self.tree = tree
        self.fn = compile(tree)
        self.names = tree.names
        self.container = container
        self.key = key

    def __call__(self, env: Mapping[str, Any]) -> Any:
        try:
            return self.fn(env)
        except (EvalError, UnknownName, SymbolicTruth) as error:
            if error.at is None:
                offset = getattr(error, "offset", None)
                error.at = place(self.container, self.key, offset, len(getattr(error, "name", "?")))
            raise

    @property
    def span(self) -> Span | None:
        """Where the expression is written."""
        return place(self.container, self.key, None)


class Closed:
    """An expression kept as a tree, host names replaced when evaluated."""

    __slots__ = ("names", "tree")

    def __init__(self, tree: Expr) -> None:
        self.tree = tree
        self.names = tree.names

    def __call__(self, env: Mapping[str, Any]) -> Any:
        from archgraph.spec.constants import close_over

        return close_over(self.tree, env)


def _names(parts: Any) -> frozenset[str]:
    return _NO_NAMES.union(*(getattr(v, "names", ()) for c, v in parts if not c))


class ComputedList:
    """A YAML list whose items are constants or computed: pairs of (constant?, value or function)."""

    __slots__ = ("names", "parts")

    def __init__(self, parts: list[tuple[bool, Any]]) -> None:
        self.parts = parts
        self.names = _names(parts)

    def __call__(self, env: Mapping[str, Any]) -> Any:
        return tuple([v if c else v(env) for c, v in self.parts])


class ComputedMap:
    """A YAML mapping whose values are constants or computed."""

    __slots__ = ("items", "names")

    def __init__(self, items: dict[Any, tuple[bool, Any]]) -> None:
        self.items = items
        self.names = _names(items.values())

    def __call__(self, env: Mapping[str, Any]) -> Any:
        return {k: (v if c else v(env)) for k, (c, v) in self.items.items()}


class ComputedOp:
    """An op or block as a value, attributes computed; without a target, ``word`` is the param that holds it."""

    __slots__ = ("names", "parts", "target", "word")

    def __init__(self, target: Any, word: Any, parts: dict[str, tuple[bool, Any]]) -> None:
        self.target = target
        self.word = word
        self.parts = parts
        self.names = _names(parts.values())

    def __call__(self, env: Mapping[str, Any]) -> Any:
        target = self.target
        preset: tuple[tuple[str, Any], ...] = ()
        if target is None:
            name = self.word[1:]
            if name not in env:
                raise UnknownName(name)
            held = env[name]
            if not isinstance(held, OpRef):
                raise OpError(f"`{self.word}` holds no op or block", "{op: …}", str(held))
            target, preset = held.target, held.attrs
        merged = {**dict(preset), **{k: tidy(v if c else v(env)) for k, (c, v) in self.parts.items()}}
        return OpRef(target, tuple(sorted(merged.items(), key=lambda kv: kv[0])))


class Constant:
    """A value that is known already."""

    __slots__ = ("names", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.names = _NO_NAMES

    def __call__(self, env: Mapping[str, Any]) -> Any:
        return self.value


class NamesOnly:
    """Stands for an expression where only its free names matter."""

    __slots__ = ("names",)

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names


class LoopList:
    """A list of names or expressions that a loop runs over; names may stand for tensors."""

    __slots__ = ("items", "names")

    def __init__(self, items: list[Computed]) -> None:
        self.items = items
        self.names = _NO_NAMES.union(*(i.names for i in items))

    def __call__(self, env: Mapping[str, Any]) -> Any:
        found = [i(env) for i in self.items]
        return Values(found) if found and all(is_value(v) for v in found) else tuple(found)


class LoopSource:
    """An expression, name or dotted reference that a loop runs over."""

    __slots__ = ("expression", "names", "tree")

    def __init__(self, expression: Computed) -> None:
        self.expression = expression
        self.tree = expression.tree
        self.names = expression.names

    def __call__(self, env: Mapping[str, Any]) -> Any:
        tree = self.tree.obj if isinstance(self.tree, Splice) else self.tree
        if isinstance(tree, Name) and is_value(env.get(tree.name)):
            return env[tree.name]
        if isinstance(tree, Attr) and isinstance(tree.obj, Name) and is_value(env.get(tree.obj.name)):
            value = env[tree.obj.name]
            if isinstance(value, Turns):
                value = value.turns
            if isinstance(value, Record) and tree.name in value:
                return value[str(tree.name)]
            if isinstance(value, Values) and all(isinstance(v, Record) and tree.name in v for v in value):
                return Values(v[tree.name] for v in value)
        lists = host_lists(tree.names, env)
        found = self.expression({**env, **lists} if lists else env)
        if lists and isinstance(found, (tuple, list)) and all(map(is_value, found)):
            return Values(found)
        return found
