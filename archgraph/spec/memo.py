"""Typed blocks are kept, with the params of files that they depend on."""

from __future__ import annotations

from typing import Any

from archgraph.ir.graph import Graph
from archgraph.spec.expr import UnknownName
from archgraph.spec.frame import Session
from archgraph.spec.model import SpecFile
from archgraph.spec.values import freeze


class Result:
    """A memoised elaboration: the graph and how its outputs are grouped; ``graph`` is None where it failed.

    ``kept`` numbers the values passed in that the graph reads; None: all. ``reads`` are the params of files that blocks
    below take for defaults, with the values they had: with others the result is another.
    """

    __slots__ = ("graph", "kept", "reads", "structure")

    def __init__(self, graph: Graph | None, structure: Any, kept: tuple[int, ...] | None = None) -> None:
        self.graph = graph
        self.structure = structure
        self.kept = kept
        self.reads: tuple[tuple[SpecFile, str, Any], ...] = ()


def file_scope(session: Session, file: SpecFile) -> dict[str, Any]:
    """Values of a file's params and locals: as set for the main file, the defaults for a library."""
    scopes: dict[SpecFile, dict[str, Any]] = session.memo.setdefault("scopes", {})
    found = scopes.get(file)
    if found is None:
        found = scopes[file] = {}
        for p in file.params.values():
            found[p.name] = p.value if p.default is None else p.default(found)
        for x in file.let:
            try:
                found[x.name] = x.fn(found)
            except UnknownName:
                continue  # depends on dims of the file's own graph
    return found


class watched:  # in lower case, like those of contextlib
    """Gather which params of files are taken for defaults meanwhile; whoever watches outside sees them too."""

    __slots__ = ("reads", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.reads: set[tuple[SpecFile, str]] = set()

    def __enter__(self) -> set[tuple[SpecFile, str]]:
        self.session.reads.append(self.reads)
        return self.reads

    def __exit__(self, *error: object) -> None:
        outside = self.session.reads
        outside.pop()
        if self.reads and outside:
            outside[-1] |= self.reads


def remember(session: Session, key: Any, result: Result, reads: set[tuple[SpecFile, str]]) -> None:
    """Keep a result for its key, and for the values of the params that it depends on beside."""
    if reads:
        result.reads = tuple([(file, n, freeze(file_scope(session, file).get(n))) for file, n in reads])
    session.memo[key] = result


def recalled(session: Session, key: Any) -> Result | None:
    """The result that is kept for a key, if it holds for the params of files as they are set now."""
    result: Result | None = session.memo.get(key)
    if result is None or not result.reads:
        return result
    for file, n, value in result.reads:
        if freeze(file_scope(session, file).get(n)) != value:
            return None
    if session.reads:
        session.reads[-1].update((file, n) for file, n, _ in result.reads)
    return result
