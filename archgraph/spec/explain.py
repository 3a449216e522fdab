"""What is said beside a fault: the instances it happened in, with their sizes, and where its operands come from.

Called on faults only, so that elaboration carries nothing but spans.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from archgraph.ir.diagnostics import Span, did_you_mean
from archgraph.ir.dim import Dim
from archgraph.spec.values import Record, Ref, Turns, Values

if TYPE_CHECKING:
    from archgraph.ops.kinds import AttributeValueError
    from archgraph.spec.frame import Frame
    from archgraph.spec.model import Block

__all__ = ["Call", "Notes", "choice_hint", "instances", "name_hint", "origins", "show_value"]

Notes = tuple[tuple[Span | None, str], ...]

_MAX_CALLS = 6
_MAX_ORIGINS = 4


class Call(NamedTuple):
    """One instance of a block: where it is called, which block it is, and its path from the caller's block."""

    span: Span | None
    block: str
    path: str


def instances(calls: tuple[Call, ...], block: Block | None = None, env: Mapping[str, Any] | None = None) -> Notes:
    """The chain of instances from the innermost outwards; of the first also what its input patterns bind."""
    notes: list[tuple[Span | None, str]] = []
    for k, call in enumerate(calls):
        if len(calls) > _MAX_CALLS and 3 <= k < len(calls) - 1:
            if k == 3:
                notes.append((None, f"… and {len(calls) - 4} more calls"))
            continue
        sizes = bound_sizes(block, env) if k == 0 and block is not None and env is not None else ""
        where = f" with {sizes}" if sizes else ""
        notes.append((call.span, f"in `{call.block}`{where}, called here as `{call.path}`"))
    return tuple(notes)


def bound_sizes(block: Block, env: Mapping[str, Any]) -> str:
    """What the patterns of a block's inputs bind, as ``N = 197, C = 2*dim``."""
    names = dict.fromkeys(n for i in block.inputs.values() for n in i.pattern.binds)
    known = {n: env[n] for n in names if isinstance(env.get(n), (int, Dim)) and str(env[n]) != n}
    return ", ".join(f"{n} = {v}" for n, v in known.items())


def origins(f: Frame, operands: Iterable[Ref | None]) -> Notes:
    """Where values come from, with their types."""
    notes: dict[tuple[Span | None, str], None] = {}
    for operand in operands:
        if operand is not None:
            note = _origin(f, operand)
            if note is not None:
                notes[note] = None
    return tuple(notes)[:_MAX_ORIGINS]


def _origin(f: Frame, value: Ref) -> tuple[Span | None, str] | None:
    index, output = value.ref
    if index >= 0:
        node = f.nodes[index]
        known = f.env.get(node.name)
        if isinstance(known, Ref) and known.ref == value.ref:
            return node.origin, f"`{node.name}` is {value.type}"
        word = node.op.op_name if node.op is not None else node.callees[0].name
        return node.origin, f"`{word}` makes {value.type} here"
    name = f.inputs[output][0]
    base = name.partition(".")[0]
    if f.outer is None:
        declared = f.block.inputs.get(base)
        return (declared.span, f"input `{name}` is {value.type}") if declared is not None else None
    outside = f.outer.env.get(name)
    if isinstance(outside, Turns):
        outside = outside.last
    return _origin(f.outer, outside) if isinstance(outside, Ref) and outside.type == value.type else None


def name_hint(f: Frame, name: str) -> str | None:
    """What an unknown name may be meant for."""
    block = f.block
    below = {n for n, _ in block.plan.items} if block.plan is not None else set()
    if name in below:
        return f"`{name}` stands below: a node sees what stands above it"
    if not block.root and name in block.file.params:
        return f"a block sees only its own params and dims: give `{block.name}` a param, `params: {{{name}: {name}}}`"
    if block.root and name in block.file.params:
        return f"`{name}` is declared below: a param sees those above it"
    near = did_you_mean(name, list(f.env))
    return f"did you mean `{near}`?" if near else None


def choice_hint(error: AttributeValueError) -> str | None:
    """What a word may be meant for, where an attribute takes one of several."""
    if not re.fullmatch(r"[\w-]+", error.found):
        return None
    near = did_you_mean(error.found, re.findall(r"[a-z][\w-]+", error.expected.partition("(")[2] or error.expected))
    return f"did you mean `{near}`?" if near else None


def show_value(value: object) -> str:
    """A host value or tensor in the words of a spec."""
    from archgraph.ops.kinds import show

    if isinstance(value, Ref):
        return f"a tensor {value.type}"
    if isinstance(value, Turns):
        return show_value(value.last)
    if isinstance(value, (Values, Record)):
        return f"a list of {len(value)} tensors"
    return show(value)
