"""Every fault of a spec: its text, its claims and references, and all its graphs in every variant."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archgraph.analysis.sizes import default_sizes
from archgraph.ir.diagnostics import Collector, Diagnostic, SpecError
from archgraph.report.claims import claims_of
from archgraph.spec.load import Spec
from archgraph.spec.model import SpecFile
from archgraph.spec.reference_parse import references
from archgraph.spec.settings import checked_settings, variant_settings
from archgraph.spec.spec_files import parse_file, resolve, shipped


@dataclass(frozen=True, slots=True)
class Checked:
    """What checking one file found.

    Attributes
    ----------
    path : str
    faults : tuple of Diagnostic
    graphs, variants : int
        How many it has; both 0 for a library of blocks, and for a file that can't be read.
    """

    path: str
    faults: tuple[Diagnostic, ...]
    graphs: int = 0
    variants: int = 0

    @property
    def ok(self) -> bool:
        return not self.faults


def spec_files(*names: str | os.PathLike[str]) -> list[Path]:
    """The files of specs by path or shipped name; every shipped one without names.

    Raises
    ------
    SpecError
        For names that stand for nothing.
    """
    if not names:
        return [file for files in shipped().values() for file in files]
    return [file for name in names for file in resolve(os.fspath(name))]


def check_file(path: str | os.PathLike[str], settings: Mapping[str, Any] | None = None) -> Checked:
    """Check one file.

    Parameters
    ----------
    path : path
    settings : mapping, optional
        Hyperparameters to set, in every variant.
    """
    try:
        file = parse_file(path)
        given = checked_settings(file, settings or {})
    except SpecError as error:
        return Checked(os.fspath(path), error.diagnostics)
    faults = Collector()
    claims_of(file, faults)
    try:
        references(file)
    except SpecError as error:
        faults.extend(error.diagnostics)
    session = None
    for variant in [*([] if _incomplete(file, given) else [None]), *file.variants]:
        try:
            spec = Spec(file, variant, {**variant_settings(file, variant), **given}, session)
        except SpecError as error:
            _gather(faults, error, variant)
            continue
        session = spec.session
        for graph in _graphs(file, variant):
            try:
                spec.graph(graph, default_sizes(spec, graph))
            except SpecError as error:
                _gather(faults, _in_symbols(spec, graph, error), variant)
    return Checked(file.path, faults.diagnostics, len(file.graphs), len(file.variants))


def _incomplete(file: SpecFile, given: Mapping[str, Any]) -> bool:
    """Whether a spec is only complete in its variants: params without a default are set there."""
    return bool(file.variants) and any(p.required and p.name not in given for p in file.params.values())


def _graphs(file: SpecFile, variant: str | None) -> list[str]:
    """The graphs that a variant is about: the one it names, or all."""
    named = file.variants[variant].get("graph") if variant is not None else None
    return [named] if isinstance(named, str) else list(file.graphs)


def _in_symbols(spec: Spec, graph: str, error: SpecError) -> SpecError:
    """The same faults, each told in the names of sizes where it happens without numbers too."""
    if any(d.code == "limit/size" for d in error.diagnostics):
        return error
    try:
        spec.graph(graph)
    except SpecError as symbolic:
        told = {(d.code, d.at): d for d in symbolic.diagnostics}
        return SpecError(*(told.get((d.code, d.at), d) for d in error.diagnostics))
    return error


def _gather(faults: Collector, error: SpecError, variant: str | None) -> None:
    """Record faults that no other configuration has shown yet: notes may tell another instance of the same place."""
    known = {(d.code, d.at, d.message) for d in faults.diagnostics}
    note = () if variant is None else ((None, f"in the variant `{variant}`"),)
    faults.extend(replace(d, notes=d.notes + note) for d in error.diagnostics if (d.code, d.at, d.message) not in known)


def check(*specs: str | os.PathLike[str], **settings: Any) -> list[Diagnostic]:
    """Every fault of some specs, by path or shipped name; an empty list if there is none.

    Parameters
    ----------
    *specs : path or str
    **settings
        Hyperparameters to set.
    """
    found: list[Diagnostic] = []
    for name in specs:
        try:
            paths = spec_files(name)
        except SpecError as error:
            found += error.diagnostics
            continue
        for path in paths:
            found += check_file(path, settings).faults
    return found
