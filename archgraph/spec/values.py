"""What names stand for while a graph is elaborated, besides host values: tensors, lists and records of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from archgraph.ir.graph import ValueRef
from archgraph.ir.types import TensorType


class Ref:
    """A tensor value of the graph under construction."""

    __slots__ = ("ref", "type")

    def __init__(self, ref: ValueRef, type_: TensorType) -> None:
        self.ref = ref
        self.type = type_

    def __repr__(self) -> str:
        return f"<{self.type}>"


class Record(dict[str, Any]):
    """Several named values: the outputs of one node."""

    __slots__ = ()


class Weights(Record):
    """The weights of a block as values, by the segments of their paths; an op on it acts on every tensor of it."""

    __slots__ = ()


class Values(list[Any]):
    """A list of values; apart from host lists, so that a mix-up is noticed."""

    __slots__ = ()


class Turns:
    """A chain loop: its last value, and the value of every turn."""

    __slots__ = ("last", "turns")

    def __init__(self, last: Any, turns: Values) -> None:
        self.last = last
        self.turns = turns


class Unknown:
    """The value of a node that failed; whatever reads it stays silent."""

    __slots__ = ()


UNKNOWN: Final = Unknown()
VALUES: Final = frozenset({Ref, Record, Weights, Values, Turns, Unknown})


def is_value(x: object) -> bool:
    """Whether ``x`` is made of tensors (or unknown), not a host value."""
    return type(x) in VALUES


def host_lists(names: Iterable[str], env: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of values among ``names`` as host tuples, so that expressions can slice, reverse and join them."""
    found: dict[str, Any] = {}
    for n in names:
        value = env.get(n)
        if isinstance(value, Turns):
            found[n] = tuple(value.turns)
        elif isinstance(value, Weights):
            found[n] = tuple(r for _, r in flatten(value))
        elif isinstance(value, Record):
            found[n] = tuple(value.values())
        elif isinstance(value, Values):
            found[n] = tuple(value)
    return found


def flatten(value: Any) -> Iterator[tuple[str, Ref]]:
    """Tensors of a value with dotted suffixes (``""``, ``.0``, ``.name``)."""
    if isinstance(value, Ref):
        yield "", value
    elif isinstance(value, Values):
        for k, v in enumerate(value):
            for suffix, ref in flatten(v):
                yield f".{k}{suffix}", ref
    elif isinstance(value, Record):
        for name, v in value.items():
            for suffix, ref in flatten(v):
                yield f".{name}{suffix}", ref
    elif isinstance(value, Turns):
        yield from flatten(value.last)


def template(value: Any) -> Any:
    """The structure of a value, tensors replaced by None; hashable."""
    if isinstance(value, Values):
        return ("list", tuple(template(v) for v in value))
    if isinstance(value, Record):
        kind = "weights" if isinstance(value, Weights) else "record"
        return (kind, tuple((k, template(v)) for k, v in value.items()))
    if isinstance(value, Turns):
        return template(value.last)
    return None


def rebuild(structure: Any, refs: Iterator[Any]) -> Any:
    """The inverse of `template` and `flatten`."""
    if structure is None:
        return next(refs)
    kind, items = structure
    if kind == "list":
        return Values(rebuild(s, refs) for s in items)
    made = Weights if kind == "weights" else Record
    return made((k, rebuild(s, refs)) for k, s in items)


def holds_unknown(value: Any) -> bool:
    """Whether any part of a value failed."""
    if isinstance(value, Unknown):
        return True
    if isinstance(value, Values):
        return any(map(holds_unknown, value))
    if isinstance(value, Record):
        return any(map(holds_unknown, value.values()))
    if isinstance(value, Turns):
        return holds_unknown(value.last)
    return False


def freeze(value: Any) -> Any:
    """A hashable stand-in for a host value that keeps apart what Python calls equal (1, 1.0 and true)."""
    kind = type(value)
    if kind is int or kind is str or value is None:
        return value
    if kind is bool or kind is float:
        return (kind, value)
    if isinstance(value, (list, tuple, range)):
        return tuple(freeze(v) for v in value)
    if isinstance(value, dict):
        return ("map", tuple((k, freeze(v)) for k, v in value.items()))
    return value


def tidy(value: Any) -> Any:
    """A host value made immutable: lists become tuples."""
    if isinstance(value, (list, range)):
        return tuple(tidy(v) for v in value)
    return value
