"""torch's type promotion: which dtype an element-wise operation on tensors and numbers has."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from archgraph.ir.dim import Dim
from archgraph.ir.real import Late, NeedsValue, Real
from archgraph.ir.types import TensorType, is_float, promote


def result_type(*values: Any) -> str:
    """The dtype that `TensorType`s and host numbers are computed in (``torch.result_type``).

    A tensor with axes decides within its category (bool, integers, real, complex); one without axes, and then a number,
    only lifts to a higher category. Numbers are bool, int64 and the model's float.

    Raises
    ------
    NeedsValue
        If a late number among integers decides whether the result is real.
    """
    levels: list[str | None] = [None, None, None]
    late: Real | None = None
    for v in values:
        if isinstance(v, TensorType):
            level, dtype = 0 if v.shape else 1, v.dtype
        else:
            level, dtype = 2, _number_type(v)
            if _is_late(v):
                late = v
        known = levels[level]
        levels[level] = dtype if known is None else promote(known, dtype)
    found = _lift(levels[0], _lift(levels[1], levels[2]))
    assert found is not None
    if late is not None and not any(is_float(d) or d == "complex" for d in levels[:2] if d):
        raise NeedsValue(late)
    return found


def _number_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, Dim)):
        return "int64"
    if isinstance(value, (float, Fraction, Real)):
        return "float"
    raise TypeError(f"{value!r} is no number")


def _is_late(value: Any) -> bool:
    return isinstance(value, Late) or (isinstance(value, Real) and any(map(_is_late, value.args)))


def _lift(high: str | None, low: str | None) -> str | None:
    """The dtype of a prior level, lifted to the category of the level below."""
    if high is None or low is None:
        return low if high is None else high
    if is_float(high):
        return "complex" if low == "complex" else high
    if high == "bool" or is_float(low) or low == "complex":
        return promote(high, low)
    return high
