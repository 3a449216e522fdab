"""Values that a block is called with become the inputs of its graph, and bind its dims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archgraph.ir.types import TensorType
from archgraph.ops.base import OpError
from archgraph.spec.explain import show_value
from archgraph.spec.frame import MAX_TURNS, Frame
from archgraph.spec.model import Block, Input
from archgraph.spec.values import Ref, Values


class Refused(OpError):
    """A block can't take what a caller gives it: a fault of the call."""


def bind_inputs(f: Frame, block: Block, given: Mapping[str, Any]) -> Any:
    """Make graph inputs for the given values, bind dims; returns the first input's value."""
    first: Any = None
    for i in block.inputs.values():
        f.span = i.span
        v = given.get(i.name)
        if v is None:
            if i.when is not None:
                from archgraph.spec.expr import compile

                if not f.truth(compile(i.when)):
                    f.env[i.name] = None
                    continue
            elif i.optional:
                f.env[i.name] = None
                continue
            raise Refused(f"`{block.name}` needs the input `{i.name}`", i.pattern.text, code="input/missing")
        if type(v) is Ref and not i.is_list and i.dtype == v.type.dtype and i.pattern.binds_all(v.type, f.env):
            f.inputs.append((i.name, v.type))
            value = f.env[i.name] = Ref((-1, len(f.inputs) - 1), v.type)
            if first is None:
                first = value
            continue
        value = _input_value(f, i, v, i.name)
        for _, column in each_columns(f, i) if i.each else ():
            if len(column) != len(value):
                n = len(column)
                raise Refused(f"input `{i.name}` of `{block.name}` is a list of {n}", str(n), str(len(value)))
        if i.length is not None:
            from archgraph.spec.expr import compile

            n = f.value(compile(i.length))
            if n != len(value):
                raise Refused(f"input `{i.name}` of `{block.name}` is a list of {n}", str(n), str(len(value)))
        f.env[i.name] = value
        if first is None:
            first = value
    return first


def _input_value(f: Frame, i: Input, v: Any, path: str) -> Any:
    if isinstance(v, Values):
        columns = each_columns(f, i)
        values = Values()
        for k, x in enumerate(v):
            bind_element(f, columns, k)
            values.append(_input_value(f, i, x, f"{path}.{k}"))
        bind_element(f, columns, None)
        return values
    t: TensorType = v.type
    what = f"input `{path}` of `{f.block.name}`"
    if i.dtype != t.dtype and not (i.dtype == "float" and t.dtype != "bool"):
        raise Refused(f"{what} has another dtype", i.dtype, str(t), code="shape/dtype")
    try:
        return f.add_input(path, i.pattern.match(t, f.env, f.require, what))
    except OpError as error:
        raise Refused(
            str(error), error.expected or i.pattern.text, error.found, error.hint, code="shape/input"
        ) from None


def each_columns(f: Frame, i: Input) -> list[tuple[str, Any]]:
    """Values per element of the names in a list input's ``each``."""
    return [(n, turns_of(n, f.value(fn))) for n, fn in i.each]


def turns_of(name: str, over: Any) -> Sequence[Any]:
    """What a name of ``each`` runs over: a list, or so many numbers.

    Raises
    ------
    OpError
        If it is neither.
    """
    if isinstance(over, int) and not isinstance(over, bool):
        if not 0 <= over <= MAX_TURNS:
            raise OpError(f"`{name}` can't run over {over:,}", f"a number of up to {MAX_TURNS:,}", code="limit/turns")
        return range(over)
    if not isinstance(over, (list, tuple, range)):
        raise OpError(
            f"`{name}` must run over a number of turns or a list",
            "a number or list",
            show_value(over),
            code="loop/turns",
        )
    return over


def bind_element(f: Frame, columns: list[tuple[str, Any]], k: int | None) -> None:
    """Set the names of ``each`` for element ``k``; None takes them away."""
    for n, column in columns:
        if k is None:
            f.env.pop(n, None)
        elif k < len(column):
            f.env[n] = column[k]
