"""Plain trees as YAML text that `load_yaml` and stock PyYAML both read back as the same tree."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from archgraph.spec.yaml_scalars import Refused, number_text, quote, resolve

__all__ = ["dump_yaml"]

_WIDTH: Final = 100
_MAX_DEPTH: Final = 64
_MAX_KEY: Final = 500  # YAML finds the colon of a key within 1024 characters
_FLOW_HEIGHT: Final = 3

# Conservative: text that is surely one plain scalar. Block style allows commas, brackets and quotes, but not in front.
_FIRST: Final = r"[\w$^(/+.<=~-]"
_INNER: Final = r"\w$^()+*/.<>=&|~%'@!-"
_PLAIN_FLOW: Final = re.compile(f"{_FIRST}(?:[ {_INNER}]*[{_INNER}])?")
_PLAIN_BLOCK: Final = re.compile(rf"{_FIRST}(?:[ ,\[\]{{}}\"{_INNER}]*[,\[\]{{}}\"{_INNER}])?")
_NOT_PLAIN: Final = re.compile(r"[-.]($|[\s.-])")


def dump_yaml(tree: Any) -> str:
    """`tree` of dicts, lists, tuples (as lists) and scalars as YAML text with a final newline.

    Order is kept. Small leaves are written in flow style on one line, the rest in block style; text is quoted wherever
    some reader might take it for something else. Raises `ValueError` for what the dialect has no words for: other
    types, nan and infinities, integers beyond 64 bits, lone surrogates, keys of other types than str, int and bool,
    more than 64 levels.
    """
    if _is_container(tree) and tree:
        return "\n".join(_block(tree, 0, 1)) + "\n"
    return _flow(tree, 1, in_flow=False) + "\n"


def _is_container(value: Any) -> bool:
    return isinstance(value, (Mapping, list, tuple))


def _block(tree: Any, indent: int, depth: int) -> list[str]:
    """The lines of a non-empty container, each indented by `indent`."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"more than {_MAX_DEPTH} levels of nesting")
    margin = " " * indent
    lines: list[str] = []
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            head = f"{margin}{_key(key, in_flow=False)}:"
            inline = _inline(value, len(head) + 1, depth + 1)
            if inline is not None:
                lines.append(f"{head} {inline}")
            else:
                lines.append(head)
                lines += _block(value, indent + 2, depth + 1)
        return lines
    for value in tree:
        inline = _inline(value, indent + 2, depth + 1)
        if inline is not None:
            lines.append(f"{margin}- {inline}")
        else:
            nested = _block(value, indent + 2, depth + 1)
            lines.append(f"{margin}- {nested[0][indent + 2 :]}")
            lines += nested[1:]
    return lines


def _inline(value: Any, column: int, depth: int) -> str | None:
    """`value` on one line, or None if block style serves it better."""
    if not _is_container(value):
        return _scalar(value, in_flow=False)
    if not value:
        return _flow(value, depth, in_flow=True)
    if not _is_leaf(value, _FLOW_HEIGHT):
        return None
    text = _flow(value, depth, in_flow=True)
    return text if column + len(text) <= _WIDTH else None


def _is_leaf(value: Any, height: int) -> bool:
    """Whether a container is small enough in structure for one line: flat, or with a single mapping inside."""
    if height == 0:
        return False
    values = value.values() if isinstance(value, Mapping) else value
    if sum(isinstance(item, Mapping) for item in values) > 1:
        return False
    return all(_is_leaf(item, height - 1) for item in values if _is_container(item) and item)


def _flow(value: Any, depth: int, *, in_flow: bool) -> str:
    if not _is_container(value):
        return _scalar(value, in_flow=in_flow)
    if depth > _MAX_DEPTH:
        raise ValueError(f"more than {_MAX_DEPTH} levels of nesting")
    if isinstance(value, Mapping):
        pairs = (f"{_key(key, in_flow=True)}: {_flow(item, depth + 1, in_flow=True)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    return "[" + ", ".join(_flow(item, depth + 1, in_flow=True) for item in value) + "]"


def _key(key: Any, *, in_flow: bool) -> str:
    if not isinstance(key, (str, int)):
        raise ValueError(f"a key is a str, int or bool, not {type(key).__name__}")
    text = _scalar(key, in_flow=in_flow)
    if len(text) > _MAX_KEY:
        raise ValueError(f"a key of {len(text)} characters; at most {_MAX_KEY} are read back")
    return text


def _scalar(value: Any, *, in_flow: bool) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError("an integer beyond 64 bits")
        return str(int(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no spelling that all YAML readers share")
        return number_text(float(value))
    if isinstance(value, str):
        return _text(value, in_flow)
    raise ValueError(f"{type(value).__name__} is not a YAML value")


def _text(text: str, in_flow: bool) -> str:
    pattern = _PLAIN_FLOW if in_flow else _PLAIN_BLOCK
    if pattern.fullmatch(text) and not _NOT_PLAIN.match(text):
        try:
            plain = resolve(text) is text and not (in_flow and text.count("(") != text.count(")"))
        except Refused:
            plain = False
        if plain:
            return text
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("a lone surrogate is not text")
    return quote(text)
