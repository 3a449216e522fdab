"""Closed files: what is written reads back as the same graph."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from archgraph.analysis.sizes import default_sizes
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.graph import Graph
from archgraph.ops.verify import verify
from archgraph.spec.dump import dump
from archgraph.spec.load import Spec, load, loads
from archgraph.spec.spec_files import parse_file, shipped
from tests.ir.graph_strategies import graphs


def again(graph: Graph) -> Graph:
    return loads(dump(graph)).graph()


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_any_graph(graph: Graph) -> None:
    verify(graph)
    assert again(graph) == graph


def every_graph(path: str) -> list[tuple[str, Spec, str]]:
    file = parse_file(path)
    found = []
    for variant in list(file.variants) or [None]:
        spec = load(path, variant)
        found += [(f"{spec.label} {name}", spec, name) for name in spec.graphs]
    return found


@pytest.mark.parametrize("path", [str(p) for paths in shipped().values() for p in paths])
def test_every_shipped_spec(path: str) -> None:
    """All graphs and variants, at the sizes that reports assume, and with what may stay open."""
    for label, spec, name in every_graph(path):
        for sizes in (default_sizes(spec, name, {}), {}):
            try:
                graph = spec.graph(name, sizes)
            except SpecError:
                # sizes stand open, or the variant is for another graph of the file
                assert not sizes or name != spec.block().name, label
                continue
            verify(graph)
            assert again(graph) == graph, label


def token_grid(graph: Graph) -> list[str]:
    return [str(t) for _, t in graph.inputs] + [str(t) for n in graph.nodes for t in n.types]


def test_token_grids_are_kept() -> None:
    graph = load("vit").graph()
    for one, two in zip(graph.graphs(), again(graph).graphs(), strict=True):
        assert token_grid(one) == token_grid(two)


def test_guards_are_kept() -> None:
    graph = load("pvt").graph()
    assert any(g.guards for g in graph.graphs())
    mine = {g.name: {guard.cond for guard in g.guards} for g in graph.graphs()}
    assert {g.name: {guard.cond for guard in g.guards} for g in again(graph).graphs()} == mine


def test_symbols_may_be_given_sizes() -> None:
    """A closed file is a spec like others: what is open in it can be set."""
    spec = loads(dump(load("vit").graph()))
    known = spec.graph(at={"image": (2, 3, 224, 224)})
    assert known.output_types[0].shape == (2, 1000)
    assert known == load("vit").graph(at={"image": (2, 3, 224, 224)})


BROKEN = {
    "in: patch_embed, pattern": ("in: patch_embd, pattern", "patch_embd"),
    "call: mhsa": ("call: mhso", "there is no block called `mhso`"),
    "repeat: 12": ("repeat: 0", "a whole number of at least 1"),
    "call: block, in: x": ("call: block, in: patch_embed", "takes other values"),
    "late: {drop_path: 0.0 * turn / 11}": ("late: {}", "late names"),
    "{op: prepend, in: [tokens, cls_token]}": ("{op: prepend, in: [tokens, cls_token], share: nowhere}", "nowhere"),
    "{op: unbind, in: split}": ("unbind", "is a mapping"),
}


@pytest.mark.parametrize("old", BROKEN)
def test_mistakes_in_a_closed_file(old: str) -> None:
    text = dump(load("vit").graph())
    new, said = BROKEN[old]
    assert old in text
    with pytest.raises(SpecError) as error:
        loads(text.replace(old, new)).graph()
    assert said in str(error.value)


def test_infinities_are_kept() -> None:
    text = """
archgraph: 1
inputs: {x: [B, 4], m: {shape: [B, 4], dtype: bool}}
graph:
  y: {formula: "where(m, x, -inf)"}
  z: {op: full, shape: [4], fill_value: inf}
outputs: {y: y, z: z}
"""
    graph = loads(text).graph()
    assert again(graph) == graph
    assert graph.node("z").op.fill_value == float("inf")
