"""Every configuration that the shipped specs stand for: each graph in each variant, and each that a claim is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from archgraph.analysis.sizes import default_sizes, with_params
from archgraph.ir.diagnostics import Collector
from archgraph.ir.graph import Graph
from archgraph.report.claims import claims_of
from archgraph.spec.libraries import specs_folder
from archgraph.spec.load import Spec
from archgraph.spec.model import SpecFile
from archgraph.spec.settings import variant_settings
from archgraph.spec.spec_files import parse_file, shipped


class Configuration(NamedTuple):
    """One graph of a spec with everything chosen; ``label`` says what."""

    label: str
    graph: Graph


def spec_ids() -> dict[str, Path]:
    """Files by name: ``vit``, or ``eca-net/resnet`` in a folder."""
    folder = specs_folder()
    paths = [path for paths in shipped().values() for path in paths]
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}


def configurations(path: Path, lengths: Mapping[str, Mapping[str, Any]] | None = None) -> Iterator[Configuration]:
    """Those of one file: what `archgraph check` elaborates, then what `archgraph verify` does.

    ``lengths`` has shapes that inputs get in place of those of the spec and its claims, by the name of the graph.
    """
    lengths = lengths or {}
    file = parse_file(path)
    session = None
    for variant in variants(file):
        spec = Spec(file, variant, variant_settings(file, variant), session)
        session = spec.session
        for graph in graphs(file, variant):
            sizes = default_sizes(spec, graph, lengths.get(graph))
            yield Configuration(f"{variant or 'defaults'}: {graph}", spec.graph(graph, sizes))
    faults = Collector()
    for k, claim in enumerate(claims_of(file, faults)):
        if claim.text:  # over several configurations, of other files too
            continue
        spec = Spec(file, claim.variant, variant_settings(file, claim.variant), session)
        spec = with_params(spec, claim.settings)
        graph = claim.graph or spec.block().name
        sizes = default_sizes(spec, claim.graph, {**claim.at, **lengths.get(graph, {})})
        yield Configuration(f"claim {k} ({claim.source}): {graph}", spec.graph(claim.graph, sizes))
    faults.raise_if_any()


def variants(file: SpecFile) -> list[str | None]:
    """Names of variants, headed by None for the defaults where a spec is complete without one."""
    incomplete = bool(file.variants) and any(p.required for p in file.params.values())
    return [*([] if incomplete else [None]), *file.variants]


def graphs(file: SpecFile, variant: str | None) -> list[str]:
    """The graphs that a variant is about: the one it names, or all."""
    named = file.variants[variant].get("graph") if variant is not None else None
    return [named] if isinstance(named, str) else list(file.graphs)
