"""Output that commands share: faults, JSON, rich consoles, progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

from archgraph.ir.diagnostics import Diagnostic, SpecError, render

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

_WIDTH_OF_A_FILE = 160


def fail(code: str, message: str, expected: str | None = None, hint: str | None = None) -> NoReturn:
    """Raise `SpecError` with one diagnostic that has no place in a file."""
    raise SpecError(Diagnostic(code, None, message, expected=expected, hint=hint))


def print_faults(faults: Iterable[Diagnostic]) -> None:
    """Write diagnostics to stderr, in colour on a terminal."""
    for fault in faults:
        lines = render(fault).split("\n")
        head, colon, rest = lines[0].partition(f"error[{fault.code}]:")
        typer.echo(typer.style(head, bold=True) + typer.style(colon, fg="red", bold=True) + rest, err=True)
        for line in lines[1:]:
            typer.echo(_coloured(line), err=True)


def _coloured(line: str) -> str:
    body = line.lstrip()
    if set(body.removeprefix("| ").strip()) == {"^"}:
        return typer.style(line, fg="red")
    for word, colour in (("expected:", "green"), ("found:", "yellow"), ("help:", "cyan"), ("note:", "blue")):
        if body.startswith(word):
            indent = line[: len(line) - len(body)]
            return f"{indent}{typer.style(word, fg=colour)}{body.removeprefix(word)}"
    return line


def fault_to_dict(fault: Diagnostic) -> dict[str, Any]:
    """A diagnostic as plain values."""
    at = fault.at
    return {
        "code": fault.code,
        "file": at.file if at else None,
        "line": at.line if at else None,
        "column": at.column if at else None,
        "end_column": at.end_column if at else None,
        "message": fault.message,
        "expected": fault.expected,
        "found": fault.found,
        "hint": fault.hint,
        "notes": [{"at": str(span) if span else None, "text": text} for span, text in fault.notes],
    }


def print_json(value: object) -> None:
    """Write a value to stdout as JSON."""
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def console() -> Console:
    """A rich console on stdout; wide where a file or pipe takes the output, so that tables are not wrapped."""
    from rich.console import Console

    wide = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_WIDTH_OF_A_FILE if wide else None, highlight=False, markup=False)


@contextmanager
def progress(items: Sequence[T], what: str) -> Iterator[Iterator[T]]:
    """Iterate with a progress bar on stderr, where that is a terminal and there is more than one item."""
    if len(items) < 2 or not sys.stderr.isatty():
        yield iter(items)
        return
    from rich.console import Console
    from rich.progress import track

    yield iter(track(items, description=what, console=Console(stderr=True), transient=True))


@contextmanager
def counted(total: int, what: str) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr, where that is a terminal, moved on by calling what is yielded."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
