"""Patterns over dotted keys (``stages.$i.$j.mlp.0``) and what they become (``stages.$i.blocks.$j.mlp.fc1``).

A pattern matches a run of whole segments: the leftmost, anywhere, or only at the root (``^``) or the end (``$``).
``$name`` in small letters is a whole number, in capitals any text within one segment; the same name again is the same
text. Neither escapes nor back references are needed, and no pattern can cut a segment in two by mistake.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from archgraph.spec.expr import Expr, ExprError, compile, parse

__all__ = ["KeyPattern", "KeyTemplate", "Match", "PatternError", "TargetError"]

_CAPTURE: Final = re.compile(r"\$(?:([A-Za-z]+)|\{([A-Za-z]+)\})")
_PLACE: Final = re.compile(r"\$\{([^{}]*)\}|\$([A-Za-z]+)")


class PatternError(ValueError):
    """A pattern or target is not written as one; the message says why."""


class Match(NamedTuple):
    """Where a pattern matched: the segments ``start`` … ``stop``, and what its names stand for."""

    start: int
    stop: int
    found: Mapping[str, str]


class _Segment(NamedTuple):
    """One segment: its text, or an expression and the names of its groups."""

    text: str
    shape: re.Pattern[str] | None
    names: tuple[str, ...]


def _segment(text: str) -> _Segment:
    if not text:
        raise PatternError("a segment is empty")
    if any(c.isspace() for c in text):
        raise PatternError("segments have no blanks")
    shape, names, end = "", [], 0
    for hit in _CAPTURE.finditer(text):
        name = hit[1] or hit[2]
        if not (name.islower() or name.isupper()):
            raise PatternError(
                f"`${name}` mixes small letters (a number) and capitals (a text); write `${{…}}` to end it"
            )
        shape += _literal(text[end : hit.start()]) + ("([0-9]+)" if name.islower() else "(.+?)")
        names.append(name)
        end = hit.end()
    shape += _literal(text[end:])
    return _Segment(text, re.compile(shape) if names else None, tuple(names))


def _literal(text: str) -> str:
    if any(c in text for c in "$^{}"):
        raise PatternError("`$` stands before a name or at the end, `^` at the start")
    return re.escape(text)


class KeyPattern:
    """A compiled pattern.

    Attributes
    ----------
    captures : frozenset of str
        Names that it binds.
    """

    __slots__ = ("_segments", "at_end", "at_root", "captures", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        body = text
        self.at_root = body.startswith("^")
        body = body.removeprefix("^")
        self.at_end = body.endswith("$")
        body = body.removesuffix("$")
        if not body and not self.at_root:
            raise PatternError("a pattern names at least one segment")
        self._segments = tuple(map(_segment, body.split("."))) if body else ()
        self.captures = frozenset(name for segment in self._segments for name in segment.names)

    def matches(self, segments: Sequence[str], first: int, found: Mapping[str, str]) -> list[Match]:
        """All matches among the segments from number ``first``, from left to right; ``found`` is known already."""
        n, total = len(self._segments), len(segments)
        last = total - n
        start = last if self.at_end else first
        stop = first if self.at_root else last
        hits = []
        for begin in range(max(start, first), min(stop, last) + 1):
            got = self._at(segments, begin, found)
            if got is not None:
                hits.append(Match(begin, begin + n, got))
        return hits

    def _at(self, segments: Sequence[str], begin: int, found: Mapping[str, str]) -> Mapping[str, str] | None:
        got = found
        for segment, text in zip(self._segments, segments[begin:], strict=False):
            if segment.shape is None:
                if segment.text != text:
                    return None
                continue
            hit = segment.shape.fullmatch(text)
            if hit is None:
                return None
            for name, value in zip(segment.names, hit.groups(), strict=True):
                known = got.get(name)
                if known is None:
                    got = {**got, name: value}
                elif known != value:
                    return None
        return got

    def __repr__(self) -> str:
        return f"<KeyPattern {self.text}>"


class KeyTemplate:
    """What the matched run becomes: text with ``$i`` and ``${expression}``.

    Attributes
    ----------
    captures : frozenset of str
        Names that it repeats.
    names : frozenset of str
        Names that its expressions read, captures among them.
    """

    __slots__ = ("_parts", "captures", "names", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts: list[str | Expr] = []
        end = 0
        captures: set[str] = set()
        names: set[str] = set()
        for hit in _PLACE.finditer(text):
            self._parts.append(text[end : hit.start()])
            end = hit.end()
            if hit[2]:
                self._parts.append(f"${hit[2]}")
                captures.add(hit[2])
                continue
            try:
                tree = parse(hit[1])
            except ExprError as error:
                raise PatternError(f"`{hit[1]}`: {error.message}") from None
            self._parts.append(tree)
            names |= tree.names
        self._parts.append(text[end:])
        plain = "".join(part for part in self._parts[::2] if isinstance(part, str))
        if any(c.isspace() or c in "$^" for c in plain) or ".." in text or text.startswith(".") or text.endswith("."):
            raise PatternError("a target is segments joined by dots, with `$i` and `${…}`")
        self.captures = frozenset(captures)
        self.names = frozenset(names)

    def render(self, found: Mapping[str, str], env: Mapping[str, Any]) -> list[str]:
        """The segments.

        Raises
        ------
        archgraph.spec.expr.EvalError, archgraph.spec.expr.UnknownName
            If an expression has no value.
        TargetError
            If it gives something that can't stand in a key.
        """
        words: list[str] = []
        for part in self._parts:
            if isinstance(part, str):
                words.append(found[part[1:]] if part[:1] == "$" else part)
                continue
            value = compile(part)(env)
            if isinstance(value, bool) or not isinstance(value, (int, str)):
                raise TargetError(f"`{part}` is {value!r}, which can't stand in a key")
            words.append(str(value))
        text = "".join(words)
        return text.split(".") if text else []

    def __repr__(self) -> str:
        return f"<KeyTemplate {self.text}>"


class TargetError(ValueError):
    """An expression in a target gave neither a whole number nor a text."""
