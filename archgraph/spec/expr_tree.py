"""The tree of an expression; it stands in `archgraph.ir.expr`, since ops hold formulas."""

from archgraph.ir.expr import *  # noqa: F403
