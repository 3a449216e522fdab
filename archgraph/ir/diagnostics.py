"""Faults in what a person wrote, as values: where, what, what was expected, and what may help.

A checker reports into a `Collector` and goes on, so that one run shows every fault; `SpecError` carries them out.
`render` gives the text:

    specs/x.yaml:12:18: error[shape/mismatch]: residual branch changes the shape
      12 |   sum: {residual: [conv: {op: conv2d, out_channels: 64}]}
         |                    ^^^^
      expected: [B, C, H, W]
      found:    [B, 64, H, W]
      note: specs/x.yaml:9:3: x is produced here
      help: did you mean `conv2d`?
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "Collector",
    "Diagnostic",
    "Sources",
    "Span",
    "SpecError",
    "did_you_mean",
    "remember_source",
    "render",
    "source_lines",
]

MAX_PER_FILE = 50
"""Diagnostics that a `Collector` keeps for one file."""

_MAX_SOURCES = 64
_MAX_WIDTH = 120
_TAB = 4

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML 1.1 readers count as the end of a line

_sources: dict[str, str | list[str]] = {}


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one line of a file. Lines and columns count from 1, columns in code points.

    `end_column` is one past the last character; None where the thing spans several lines or its end is unknown.
    """

    file: str
    line: int
    column: int
    end_column: int | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One fault. `code` is stable and documented (`shape/mismatch`); `message` says what is wrong, in one line.

    `notes` point at other places that matter (producer, definition, the block instance); `hint` says what to write.
    """

    code: str
    at: Span | None
    message: str
    notes: tuple[tuple[Span | None, str], ...] = ()
    expected: str | None = None
    found: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        return render(self)


class SpecError(Exception):
    """What was written is wrong. `diagnostics` holds every fault found; `str()` renders them all."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__(*diagnostics)
        self.diagnostics: tuple[Diagnostic, ...] = diagnostics

    def __str__(self) -> str:
        return "\n".join(render(diagnostic) for diagnostic in self.diagnostics)


class Collector:
    """Gathers diagnostics: repeated ones once, at most `limit` per file (a last entry says how many were left out)."""

    __slots__ = ("_counts", "_entries", "limit")

    def __init__(self, limit: int = MAX_PER_FILE) -> None:
        self.limit = limit
        self._entries: dict[Diagnostic, None] = {}
        self._counts: dict[str, int] = {}

    def error(
        self,
        code: str,
        span: Span | None,
        message: str,
        *,
        notes: Sequence[tuple[Span | None, str]] = (),
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Record a fault and go on."""
        self.add(Diagnostic(code, span, message, tuple(notes), expected, found, hint))

    def add(self, diagnostic: Diagnostic) -> None:
        """Record a ready-made diagnostic."""
        if diagnostic in self._entries:
            return
        file = diagnostic.at.file if diagnostic.at else ""
        count = self._counts[file] = self._counts.get(file, 0) + 1
        if count <= self.limit:
            self._entries[diagnostic] = None

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Record several, for instance those of a caught `SpecError`."""
        for diagnostic in diagnostics:
            self.add(diagnostic)

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Everything recorded, in the order of reporting, then one entry for each file that overflowed."""
        overflow = [
            Diagnostic(
                "limit/errors", None, f"{count - self.limit} more errors{f' in {file}' if file else ''} not shown"
            )
            for file, count in self._counts.items()
            if count > self.limit
        ]
        return (*self._entries, *overflow)

    def __len__(self) -> int:
        return len(self._entries)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def raise_if_any(self) -> None:
        """Raise `SpecError` with everything recorded, if anything was."""
        if self._entries:
            raise SpecError(*self.diagnostics)


Sources = Mapping[str, Sequence[str]] | Callable[[str], Sequence[str] | None]
"""Where `render` finds the lines of a file: a mapping by file name, or a function."""


def remember_source(file: str, text: str) -> None:
    """Keep the text of `file` for the source lines in diagnostics. The oldest of 64 files is forgotten."""
    _sources.pop(file, None)
    _sources[file] = text
    while len(_sources) > _MAX_SOURCES:
        del _sources[next(iter(_sources))]


def source_lines(file: str) -> Sequence[str] | None:
    """The lines of a remembered file, without their ends; None for a file that was never read or is forgotten."""
    known = _sources.get(file)
    if isinstance(known, str):
        known = _sources[file] = _LINE_BREAK.split(known)
    return known


def render(diagnostic: Diagnostic, sources: Sources = source_lines) -> str:
    """The text of one diagnostic, without a final newline. The source line is left out where it is not known."""
    at = diagnostic.at
    head = f"{at}: " if at else ""
    lines = [f"{head}error[{diagnostic.code}]: {_indent(diagnostic.message, 2)}"]
    if at is not None:
        lines += _excerpt(at, sources)
    if diagnostic.expected is not None:
        lines.append("  expected: " + _indent(diagnostic.expected, 12))
    if diagnostic.found is not None:
        lines.append("  found:    " + _indent(diagnostic.found, 12))
    lines += [f"  note: {f'{span}: ' if span else ''}{_indent(text, 8)}" for span, text in diagnostic.notes]
    if diagnostic.hint is not None:
        lines.append("  help: " + _indent(diagnostic.hint, 8))
    return "\n".join(lines)


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate closest to `word`, or None when nothing is close. Ties go to the first in alphabetical order."""
    import difflib

    pool = sorted(set(candidates))
    folded = _fold(word)
    for candidate in pool:
        if _fold(candidate) == folded:
            return candidate
    close = difflib.get_close_matches(word, pool, n=1, cutoff=0.6)
    return close[0] if close else None


def _fold(word: str) -> str:
    return word.replace("_", "").replace("-", "").lower()


def _indent(text: str, width: int) -> str:
    return text.replace("\n", "\n" + " " * width)


def _excerpt(at: Span, sources: Sources) -> list[str]:
    """The source line with a caret line below; a long line is cut to a window around the caret."""
    known = sources(at.file) if callable(sources) else sources.get(at.file)
    if known is None or not 1 <= at.line <= len(known):
        return []
    line = known[at.line - 1]
    start = min(at.column - 1, len(line))
    end = start + 1 if at.end_column is None else max(start + 1, min(at.end_column - 1, len(line)))
    skipped = max(0, start - 2 * _MAX_WIDTH)  # a line may have a million characters
    line, start, end = line[skipped : start + 2 * _MAX_WIDTH], start - skipped, end - skipped
    cells = [_cell(char, index) for index, char in enumerate(line)]
    first, last = _window([width for _, width in cells], start, end)
    lead, trail = "…" * (first > 0), "…" * (last < len(line))
    end = min(end, max(last, start + 1))
    text = lead + "".join(shown for shown, _ in cells[first:last]) + trail
    before = len(lead) + sum(width for _, width in cells[first:start])
    carets = max(1, sum(width for _, width in cells[start:end]))
    gutter = " " * len(str(at.line))
    return [f"  {at.line} | {text}".rstrip(), f"  {gutter} | {' ' * before}{'^' * carets}"]


def _window(widths: list[int], start: int, end: int) -> tuple[int, int]:
    """The half-open range of characters to show: everything if it fits, else what surrounds `start`."""
    if sum(widths) <= _MAX_WIDTH:
        return 0, len(widths)
    first = start
    budget = _MAX_WIDTH // 2 if end - start < _MAX_WIDTH // 2 else _MAX_WIDTH // 6
    while first > 0 and widths[first - 1] <= budget:
        first -= 1
        budget -= widths[first]
    last, budget = first, _MAX_WIDTH
    while last < len(widths) and widths[last] <= budget:
        budget -= widths[last]
        last += 1
    return first, last


def _cell(char: str, column: int) -> tuple[str, int]:
    """A character as shown in a terminal and the number of cells that it takes."""
    if char == "\t":
        return " " * _TAB, _TAB
    if char.isascii():
        return (char, 1) if char.isprintable() else ("�", 1)
    import unicodedata

    if unicodedata.combining(char) and column > 0:
        return char, 0
    if not char.isprintable():
        return "�", 1
    return char, 2 if unicodedata.east_asian_width(char) in "WF" else 1
