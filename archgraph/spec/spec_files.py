"""Spec files: paths and shipped names, ``uses`` and ``base``, parsed once."""

from __future__ import annotations

import gc
import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from archgraph.ir.diagnostics import Collector, Diagnostic, Span, SpecError, did_you_mean
from archgraph.spec.libraries import shipped_libraries, specs_folder
from archgraph.spec.model import SpecFile
from archgraph.spec.parse import Parser
from archgraph.spec.yaml import read_source, span_of

_MAX_FILES: Final = 256
_files: dict[tuple[str, int, int], SpecFile] = {}


def shipped() -> dict[str, list[Path]]:
    """Shipped specs by name: one file, or the files of a folder (a paper with several host networks)."""
    found: dict[str, list[Path]] = {}
    root = specs_folder()
    if not root.is_dir():
        return found
    for entry in sorted(root.iterdir()):
        if entry.name in ("blocks", "rewrites", "claims"):
            continue
        if entry.suffix == ".yaml":
            found[entry.stem] = [entry]
        elif entry.is_dir():
            files = sorted(entry.glob("*.yaml"))
            if files:
                found[entry.name] = files
    return found


def claim_files() -> dict[str, Path]:
    """Shipped files of claims that compare specs, by name."""
    return {file.stem: file for file in sorted((specs_folder() / "claims").glob("*.yaml"))}


def resolve(name: str) -> list[Path]:
    """The files that a path or shipped name stands for.

    Raises
    ------
    SpecError
        If there is neither a file nor a shipped spec of that name.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(path.glob("*.yaml"))
        if files:
            return files
    known = shipped()
    if name in known:
        return known[name]
    if "/" in name:
        folder, _, stem = name.partition("/")
        for file in known.get(folder, ()):
            if file.stem == stem:
                return [file]
    for files in known.values():
        for file in files:
            if file.stem == name and len(files) > 1:
                return [file]
    choices = [*known, *(f"{k}/{f.stem}" for k, fs in known.items() if len(fs) > 1 for f in fs)]
    near = did_you_mean(name, choices)
    hint = f"did you mean `{near}`?" if near else "`archgraph specs` lists the shipped ones"
    raise SpecError(Diagnostic("spec/unknown", None, f"no file and no shipped spec is called `{name}`", hint=hint))


def parse_file(path: str | os.PathLike[str], stack: tuple[str, ...] = ()) -> SpecFile:
    """Parse a file and what it uses; cached by path, time and size.

    Raises
    ------
    SpecError
        With every fault found.
    """
    file = os.fspath(path)
    try:
        stat = os.stat(file)
        key = (os.path.abspath(file), stat.st_mtime_ns, stat.st_size)
    except OSError:
        key = (os.path.abspath(file), 0, 0)
    known = _files.get(key)
    if known is not None:
        return known
    parsed = parse_text(read_source(file), file, stack)
    if len(_files) > _MAX_FILES:
        _files.clear()
    _files[key] = parsed
    return parsed


def parse_text(text: str, file: str = "<text>", stack: tuple[str, ...] = ()) -> SpecFile:
    """Parse a spec's text; ``file`` names it in diagnostics and is where ``uses`` starts from.

    Raises
    ------
    SpecError
        With every fault found.
    """
    collecting = gc.isenabled()
    gc.disable()  # as in `Spec.graph`: what is made here lives on
    try:
        return _parsed(text, file, stack)
    finally:
        if collecting:
            gc.enable()


def _parsed(text: str, file: str, stack: tuple[str, ...]) -> SpecFile:
    faults = Collector()
    parser = Parser(file, text, faults)
    faults.raise_if_any()
    spec = parser.declare()
    here = (*stack, os.path.abspath(file))
    use_libraries(parser, here)
    if spec.base is not None:
        use_base(parser, here)
    faults.raise_if_any()
    parser.second = True
    parser.compile()
    faults.raise_if_any()
    return spec


def use_libraries(parser: Parser, here: tuple[str, ...]) -> None:
    """Read what a file ``uses``; ``here`` are the files being read, itself last."""
    spec, faults, tree, file = parser.file, parser.faults, parser.tree, parser.path
    libraries: list[SpecFile] = []
    uses = tree.get("uses", [])
    names = [uses] if isinstance(uses, str) else uses
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        faults.error("uses/form", span_of(tree, "uses"), "`uses` is a list of block libraries")
        names = []
    for k, name in enumerate(names):
        span = span_of(uses, k) if not isinstance(uses, str) else span_of(tree, "uses")
        try:
            found = find_library(name, file, span)
            if os.path.abspath(found) in here:
                chain = " → ".join(os.path.basename(p) for p in (*here, found))
                faults.error("uses/cycle", span, f"`uses` goes in a circle: {chain}")
                continue
            library = parse_file(found, here)
        except SpecError as error:
            faults.extend(error.diagnostics)
            continue
        libraries.append(library)
        for block in (*library.blocks.values(), *library.used.values()):
            taken = spec.used.get(block.name)
            if taken is not None and taken is not block:
                faults.error(
                    "uses/twice", span, f"`{block.name}` comes from {taken.file.path} and from {block.file.path}"
                )
            if block.name in spec.blocks:
                continue
            spec.used[block.name] = block
    spec.libraries = tuple(libraries)


def use_base(parser: Parser, here: tuple[str, ...]) -> None:
    """Read the spec that a file is derived from."""
    spec, faults = parser.file, parser.faults
    assert spec.base is not None
    span = span_of(parser.tree, "base")
    try:
        found = find_library(spec.base, parser.path, span, but=here[-1])
        if os.path.abspath(found) in here:
            chain = " → ".join(os.path.basename(p) for p in (*here, found))
            faults.error("base/cycle", span, f"`base` goes in a circle: {chain}")
            return
        spec.origin = parse_file(found, here)
    except SpecError as error:
        faults.extend(error.diagnostics)
        return
    spec.libraries = (*spec.libraries, spec.origin, *spec.origin.libraries)
    for block in (*spec.origin.blocks.values(), *spec.origin.used.values()):
        if block.name not in spec.blocks:
            spec.used.setdefault(block.name, block)


def find_library(name: str, file: str, span: Span | None, but: str = "") -> str:
    """The file of a ``uses`` or ``base`` entry: beside the spec, or among the shipped ones; nothing outside these
    folders, and not the file ``but``.

    Raises
    ------
    SpecError
        If there is none, or the path leads outside.
    """
    if os.path.isabs(name) or "\\" in name or "\0" in name:
        raise SpecError(Diagnostic("uses/path", span, f"`{name}` is no relative path"))
    folder = os.path.dirname(os.path.abspath(file))
    shipped_root = os.fspath(specs_folder())
    suffixed = name if name.endswith(".yaml") else name + ".yaml"
    for base in (folder, shipped_root):
        candidate = os.path.normpath(os.path.join(base, suffixed))
        root = shipped_root if _inside(folder, shipped_root) else folder
        allowed = _inside(candidate, base) or _inside(candidate, root)
        if not allowed:
            raise SpecError(Diagnostic("uses/path", span, f"`{name}` leads outside the folder of the spec"))
        if os.path.isfile(candidate) and candidate != but:
            if not (
                _inside(real := os.path.realpath(candidate), _real_folder(base)) or _inside(real, _real_folder(root))
            ):
                raise SpecError(Diagnostic("uses/path", span, f"`{name}` leads outside the folder of the spec"))
            return candidate
    known = shipped_libraries()
    near = did_you_mean(name, known)
    raise SpecError(
        Diagnostic(
            "uses/unknown",
            span,
            f"there is no library `{name}`",
            expected="a file beside this one, or one of " + ", ".join(known) if known else None,
            hint=f"did you mean `{near}`?" if near else None,
        )
    )


@lru_cache(64)
def _real_folder(path: str) -> str:
    return os.path.realpath(path)


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
