"""Looking up the class that a recorded case or a user names among the references of the shipped specs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from archgraph.ir.diagnostics import SpecError
from archgraph.spec.libraries import specs_folder
from archgraph.spec.reference import Reference
from archgraph.spec.reference_parse import references
from archgraph.spec.spec_files import parse_file, shipped

__all__ = ["HOSTS", "Candidate", "candidates", "published_names", "rank"]

#: The folder of recordings of host networks, which several papers build on: any spec may publish what is there.
HOSTS: Final = "backbones"

_REMARK: Final = re.compile(r"\s*\([^()]*\)$")


class Candidate(NamedTuple):
    """An entry and the spec that it stands in (``eca-net/resnet``); `broken` instead, if that spec has faults."""

    spec: str
    reference: Reference | None
    broken: SpecError | None = None


def rank(official: str, spelling: str) -> tuple[int, int] | None:
    """How well a spelling names a class, smaller is better; None if it doesn't.

    1 equal; 2 equal without a remark in parentheses at the end; 3 one is the tail of the other, which says a repository
    or folders in front; 4 the spelling is the head of the class, cut at a blank. White space is normalised; longer
    spellings first.
    """
    name, word = " ".join(official.split()), " ".join(spelling.split())
    bare = name
    while (shorter := _REMARK.sub("", bare)) != bare:
        bare = shorter
    if name == word:
        return 1, -len(word)
    if bare == word:
        return 2, -len(word)
    if _is_tail(word, bare) or _is_tail(bare, word):
        return 3, -len(word)
    if bare.startswith(f"{word} "):
        return 4, -len(word)
    return None


def _is_tail(part: str, whole: str) -> bool:
    """Whether ``whole`` is ``part`` behind a repository (one word), folders (ending in ``/``), or both."""
    if not part or not whole.endswith(part):
        return False
    front = whole[: -len(part)]
    return front.endswith((" ", "/")) and front.rstrip().count(" ") <= front.endswith("/")


def candidates(official: str, paper: str | None = None) -> Iterator[Candidate]:
    """Entries that a class may mean, best first: those of the paper's own specs before all others.

    Specs with faults are broken candidates: the paper's own come first, others last.
    """
    own: list[tuple[str, Path]] = []
    rest: list[tuple[str, Path]] = []
    for name, paths in shipped().items():
        for path in paths:
            label = name if len(paths) == 1 else f"{name}/{path.stem}"
            (own if name == paper else rest).append((label, path))
    rest += [(f"blocks/{path.stem}", path) for path in sorted(specs_folder().glob("blocks/*.yaml"))]
    broken: list[Candidate] = []
    for group, mine in ((own, True), (rest, False)):
        found: list[tuple[tuple[int, int], Candidate]] = []
        for label, path in group:
            try:
                entries = references(parse_file(path))
            except SpecError as error:
                if mine:
                    yield Candidate(label, None, error)
                else:
                    broken.append(Candidate(label, None, error))
                continue
            for reference in entries.values():
                ranks = [r for spelling in reference.spellings if (r := rank(official, spelling)) is not None]
                if ranks:
                    found.append((min(ranks), Candidate(label, reference)))
        found.sort(key=lambda item: item[0])
        yield from (candidate for _, candidate in found)
    yield from broken


def published_names(paper: str, name: str) -> list[tuple[Candidate, str]]:
    """Entries that publish a variant under this name, and its key there: in the paper's own specs, else in others.

    Others say ``<paper>/<name>``, but for host networks: names such as ``tiny`` mean little by themselves.
    """
    own: list[tuple[Candidate, str]] = []
    rest: list[tuple[Candidate, str]] = []
    full = f"{paper}/{name}"
    for spec, paths in shipped().items():
        for path in paths:
            label = spec if len(paths) == 1 else f"{spec}/{path.stem}"
            try:
                entries = references(parse_file(path))
            except SpecError as error:
                if spec == paper:
                    own.append((Candidate(label, None, error), name))
                continue
            for reference in entries.values():
                if full in reference.published:
                    (own if spec == paper else rest).append((Candidate(label, reference), full))
                elif name in reference.published and paper in (spec, HOSTS):
                    (own if spec == paper else rest).append((Candidate(label, reference), name))
    return own or rest
