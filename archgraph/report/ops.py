"""Ops described from their declarations."""

from __future__ import annotations

import inspect
from typing import Any

from archgraph.ops.base import Attribute, Op, Operand
from archgraph.ops.kinds import show


def op_to_dict(op: type[Op]) -> dict[str, Any]:
    """An op's declaration as plain values."""
    return {
        "name": op.op_name,
        "family": family(op),
        "summary": summary(op),
        "doc": inspect.cleandoc(op.__doc__ or ""),
        "operands": [
            {"name": o.name, "pattern": o.pattern, "dtype": o.dtype, "optional": o.optional, "variadic": o.variadic}
            for o in op.operands
        ],
        "outputs": list(op.outputs),
        "attributes": [
            {
                "name": a.name,
                "expected": a.kind.expected,
                "required": a.required,
                "default": None if a.required else default_text(a),
                "doc": a.doc,
            }
            for a in op.attributes
        ],
        "axes": op.extra is not None,
        "free": op.free,
    }


def family(op: type[Op]) -> str:
    """The module that declares an op, by its last name."""
    return op.__module__.rpartition(".")[2]


def summary(op: type[Op]) -> str:
    """The first sentence of an op's documentation."""
    return inspect.cleandoc(op.__doc__ or "").partition("\n\n")[0].replace("\n", " ").replace("``", "`")


def operand_text(operand: Operand) -> str:
    """``x [B C H W]``, with ``?`` where it may be left out and ``...`` where there may be more."""
    mark = "..." if operand.variadic else "?" if operand.optional else ""
    dtype = "" if operand.dtype == "float" else f" {operand.dtype}"
    return f"{operand.name}{mark} [{operand.pattern}]{dtype}"


def default_text(attribute: Attribute) -> str:
    """An attribute's default as a spec writes it."""
    if attribute.required:
        return "required"
    return show(None if attribute.default is None else attribute.kind.written(attribute.default))
