"""What a YAML fault usually comes from, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import yaml

from archgraph.ir.diagnostics import Diagnostic, Span, source_lines
from archgraph.spec.yaml_scalars import clip, quote

__all__ = ["Damage", "damage_diagnostics", "syntax_diagnostic"]

_FLOW_END: Final = re.compile(r"expected ',' or '[]}]'")
_INDEX: Final = re.compile(r"([A-Za-z_][\w.]*)\[(\d+)\]")
_ENTRY: Final = re.compile(r"(?:^|(?<=[{,])|(?<=[\s,\[]\[)|(?<=^\[))\s*(?:[\w.$^-]+:\s+)?(?=\S)")


def syntax_diagnostic(error: yaml.MarkedYAMLError, file: str) -> Diagnostic:
    """The diagnostic of a syntax error, with a hint where its cause is a common one."""
    where = error.problem_mark or error.context_mark
    if where is None:
        return Diagnostic("yaml/syntax", None, error.problem or "not YAML")
    at = Span(file, where.line + 1, where.column + 1)
    notes: tuple[tuple[Span | None, str], ...] = ()
    opened = error.context_mark
    if opened is not None and error.context is not None:
        notes = ((Span(file, opened.line + 1, opened.column + 1), error.context),)
    lines = source_lines(file) or ()
    line = lines[where.line] if where.line < len(lines) else ""
    first = lines[opened.line] if opened is not None and opened.line < len(lines) else line
    message = error.problem or "not YAML"
    hint = _hint(message, error.context or "", line, where.column, first)
    return Diagnostic("yaml/syntax", at, message, notes, hint=hint)


def _hint(problem: str, context: str, line: str, column: int, first: str) -> str | None:
    char = line[column : column + 1]
    if "cannot start any token" in problem:
        return "indent with spaces, not tabs" if char == "\t" else f"quote text that starts with `{char}`"
    if "mapping values are not allowed" in problem:
        return f"quote text that holds `: `: {_quoted_value(line)}" if line.count(": ") > 1 else "check the indentation"
    if "alias" in context or "anchor" in context or " tag" in context:
        return f"quote text that starts with `{_indicator(line, column)}`"
    if "escape character" in problem:
        return "a backslash needs single quotes, or doubling"
    if "quoted scalar" in context:
        return "close the quotation mark"
    if _FLOW_END.search(problem) or "flow node" in context:
        return _flow_hint(line, column, char, first)
    if "unexpected ':'" in problem:
        return f"in flow style quote text that holds `:`: `{quote(clip(_entry_at(line, column)))}`"
    if "expected key" in problem or "expected ':'" in problem or "block end" in problem or "'-' indicator" in problem:
        return "check the indentation, and that the key is followed by `: `"
    return None


def _indicator(line: str, column: int) -> str:
    """The indicator that the scanner stumbled over: `*`, `&` or `!` at or left of `column`."""
    found = re.search(r"[*&!](?=[^*&!]*$)", line[: column + 1])
    return found[0] if found else line[column : column + 1]


def _flow_hint(line: str, column: int, char: str, first: str) -> str | None:
    if " #" in first and (first != line or line.find(" #") < column):
        return "` #` starts a comment: quote text that holds it"
    entry = _entry_at(line, column)
    index = _INDEX.fullmatch(entry)
    if index:
        return f"write `{index[1]}.{index[2]}`, or quote it: `{quote(clip(entry))}`"
    if entry and char in ("[", "]", "{", "}", "?", "'", '"'):
        return f"in flow style quote text that holds `{char}`: `{quote(clip(entry))}`"
    return "close the bracket, and separate entries by commas" if first is not line else None


def _entry_at(line: str, column: int) -> str:
    """The flow entry around `column`, from after its key to the next comma or bracket outside brackets of its own."""
    start = 0
    for match in _ENTRY.finditer(line):
        if match.end() <= column:
            start = match.end()
    depth, end = 0, len(line)
    for at in range(start, len(line)):
        char = line[at]
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth < 0:
                end = at
                break
        elif char == "," and depth == 0 and at >= column:
            end = at
            break
    return line[start:end].strip()


def _quoted_value(line: str) -> str:
    key, _, value = line.strip().partition(": ")
    return f"`{clip(key)}: {quote(clip(value.strip()))}`"


class Damage(NamedTuple):
    """A scalar in flow style that looks like a piece of a text which a comma or a missing space cut.

    `text` has unbalanced parentheses, or is a key without a value (`empty`); `before` is the mark of the plain text
    value in front of such a key. Marks are (line, column, end line, end column) from 0.
    """

    text: str
    mark: tuple[int, int, int, int]
    before: tuple[int, int, int, int] | None = None
    empty: bool = False


def damage_diagnostics(pieces: Sequence[Damage], file: str) -> Iterator[Diagnostic]:
    """One diagnostic for each text that was cut, showing it in quotes as it stands in the source."""
    # A key with unbalanced parentheses and without a value is there twice; once is enough.
    pieces = [piece for piece in pieces if not (piece.empty and _balance(piece.text))]
    at = 0
    while at < len(pieces):
        first = last = pieces[at]
        balance = _balance(first.text)
        at += 1
        if first.empty:
            yield _empty_diagnostic(first, file)
            continue
        while balance > 0 and at < len(pieces):
            last = pieces[at]
            balance += _balance(last.text)
            at += 1
        whole = _source(file, first.mark, last.mark) if balance == 0 else None
        message = "a comma in flow style ends a text" if last is not first else "unbalanced parentheses"
        shown = f": `{quote(clip(whole))}`" if whole else ""
        hint = f"quote the text{shown}" if last is not first else "close the parenthesis, or quote the text"
        yield Diagnostic("yaml/flow", _span(file, first.mark, last.mark), message, hint=hint)


def _empty_diagnostic(piece: Damage, file: str) -> Diagnostic:
    message = f"`{clip(piece.text)}` has no value"
    name, colon, rest = piece.text.partition(":")
    if colon and rest:
        hint = f"put a space after the colon: `{clip(name)}: {clip(rest)}`"
    else:
        whole = _source(file, piece.before, piece.mark) if piece.before else None
        hint = "write `null` if that is meant"
        if whole:
            hint = f"quote it? a comma ends a text in flow style: `{quote(clip(whole))}`; or {hint}"
    return Diagnostic("yaml/null", _span(file, piece.mark, piece.mark), message, hint=hint)


def _balance(text: str) -> int:
    return text.count("(") - text.count(")")


def _source(file: str, start: tuple[int, int, int, int], end: tuple[int, int, int, int]) -> str | None:
    lines = source_lines(file)
    return lines[start[0]][start[1] : end[3]] if lines and start[0] == end[2] else None


def _span(file: str, start: tuple[int, int, int, int], end: tuple[int, int, int, int]) -> Span:
    return Span(file, start[0] + 1, start[1] + 1, end[3] + 1 if start[0] == end[2] else None)
