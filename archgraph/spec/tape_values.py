"""Values of a frame by their place, so that a tape finds them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archgraph.spec.frame import Frame
from archgraph.spec.model import OpRef
from archgraph.spec.values import Record, Ref, Turns, Values, Weights, freeze

if TYPE_CHECKING:
    pass


class Left(Exception):
    """Something is not as it was on record."""


def snapshot(value: Any) -> Any:
    """What a value consists of: references and how they are grouped."""
    if type(value) is Ref:
        return value.ref
    if value is None:
        return None
    if isinstance(value, Turns):
        return "turns", snapshot(value.last), snapshot(value.turns)
    if isinstance(value, Record):
        kind = "weights" if isinstance(value, Weights) else "record"
        return kind, tuple([(k, snapshot(v)) for k, v in value.items()])
    if isinstance(value, Values):
        return "list", tuple(map(snapshot, value))
    raise Left


def restore(shot: Any, f: Frame) -> Any:
    """The inverse of `snapshot`, with the types that the frame has."""
    if shot is None:
        return None
    kind = shot[0]
    if type(kind) is int:
        return Ref(shot, f.type_of(shot))
    if kind == "turns":
        return Turns(restore(shot[1], f), restore(shot[2], f))
    if kind == "list":
        return Values([restore(s, f) for s in shot[1]])
    return (Weights if kind == "weights" else Record)([(k, restore(s, f)) for k, s in shot[1]])


def as_typed(value: Any, f: Frame) -> bool:
    """Whether every tensor of a value bears the type that its node gives it."""
    if type(value) is Ref:
        return bool(value.type.key == f.type_of(value.ref).key)
    if isinstance(value, Turns):
        return as_typed(value.last, f) and as_typed(value.turns, f)
    if isinstance(value, (Record, Values)):
        return all(as_typed(v, f) for v in (value.values() if isinstance(value, Record) else value))
    return value is None


def alike(a: Any, b: Any) -> bool:
    """Whether two host values are one; 1, 1.0 and true are three."""
    if type(a) is not type(b):
        return False
    if type(a) is OpRef:
        return a.target is b.target and bool(freeze(a.attrs) == freeze(b.attrs))
    return bool(freeze(a) == freeze(b))
