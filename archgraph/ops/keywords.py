"""Attributes as keyword arguments of torch functions and modules."""

from __future__ import annotations

from typing import Any

from archgraph.ir.dim import Dim
from archgraph.ir.real import Real
from archgraph.ops.base import Emitter, Op


def keywords(b: Emitter, op: Op, *names: str) -> dict[str, Any]:
    """Those of the named attributes (all, if none is named) that differ from their defaults, late values bound."""
    given = op.attrs()
    return {
        name: b.scalar(given[name]) if isinstance(given[name], (Real, Dim)) else given[name]
        for name in names or given
        if name in given
    }
