"""What may name a node, an input, a param or a dim."""

from __future__ import annotations

import keyword
from typing import Any, Final

from archgraph.ir.reserved import RESERVED, can_name

LANGUAGE_WORDS: Final = frozenset({"inf", "it", "training", "turn", "_", "true", "false", "null"})


def bad_name(name: Any) -> str | None:
    """Why a name can't be a node, input, param or dim; None if it can."""
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        return "a name is letters, digits and `_`, not starting with a digit"
    if keyword.iskeyword(name):
        return f"`{name}` is a Python keyword"
    if name in RESERVED:
        return f"`{name}` is a member of torch's modules"
    if name in LANGUAGE_WORDS:
        return f"`{name}` is a word of the language"
    return None


def node_name(key: Any) -> Any:
    """A node's key as its name: whole numbers, which name turns written out, as text."""
    return str(key) if type(key) is int and key >= 0 else key


def bad_node(name: Any) -> str | None:
    """Why a name can't be a node; None if it can."""
    return None if isinstance(name, str) and name.isdecimal() and can_name(name) else bad_name(name)
