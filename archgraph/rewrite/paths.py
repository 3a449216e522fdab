"""Paths of sites: ``blocks.$j.attn``, ``stages.*.attn``, ``^blocks.**``.

Whole segments, matched at the end of a site's path, or from the root with ``^``. ``*`` is any run of characters within
a segment, or one segment; ``**`` is any number of segments; ``$i`` is a number that conditions and params may use, the
same name again the same number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from archgraph.spec.key_patterns import PatternError

__all__ = ["PathPattern", "PatternError"]

_PART: Final = re.compile(r"\$(?:([A-Za-z_]\w*?)(?=\$|\W|$|_)|\{([A-Za-z_]\w*)\})|(\*)")


class PathPattern:
    """A compiled path pattern; ``captures`` are the names that it binds."""

    __slots__ = ("_segments", "at_root", "captures", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at_root = text.startswith("^")
        body = text.removeprefix("^")
        if not body:
            raise PatternError("a path names at least one segment")
        names: list[str] = []
        segments: list[tuple[re.Pattern[str], tuple[str, ...]] | None] = []
        for part in body.split("."):
            if not part or any(c.isspace() for c in part):
                raise PatternError("segments of a path are not empty and have no blanks")
            if part == "**":
                segments.append(None)
                continue
            shape, own, end = "", [], 0
            for hit in _PART.finditer(part):
                shape += _literal(part[end : hit.start()])
                name = hit[1] or hit[2]
                shape += r"([0-9]+)" if name else r".*?"
                if name:
                    own.append(name)
                end = hit.end()
            shape += _literal(part[end:])
            names += own
            segments.append((re.compile(shape), tuple(own)))
        self._segments = tuple(segments)
        self.captures = frozenset(names)

    def match(self, path: Sequence[str]) -> Mapping[str, int] | None:
        """The numbers that it binds on a path; None if it does not match."""
        starts = [0] if self.at_root else range(len(path) + 1)
        for start in starts:
            found = self._at(path, start, 0, {})
            if found is not None:
                return found
        return None

    def _at(self, path: Sequence[str], k: int, s: int, found: Mapping[str, int]) -> Mapping[str, int] | None:
        if s == len(self._segments):
            return found if k == len(path) else None
        segment = self._segments[s]
        if segment is None:
            for more in range(k, len(path) + 1):
                got = self._at(path, more, s + 1, found)
                if got is not None:
                    return got
            return None
        if k >= len(path):
            return None
        shape, names = segment
        hit = shape.fullmatch(path[k])
        if hit is None:
            return None
        here = dict(found)
        for name, text in zip(names, hit.groups(), strict=True):
            if here.setdefault(name, int(text)) != int(text):
                return None
        return self._at(path, k + 1, s + 1, here)

    def __repr__(self) -> str:
        return f"<PathPattern {self.text}>"


def _literal(text: str) -> str:
    if any(c in text for c in "$^{}"):
        raise PatternError("`$` stands before the name of a number, `^` at the start")
    return re.escape(text)
