"""Properties of drawn graphs: what is inferred is what runs."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archgraph.analysis.cost import totals
from archgraph.ir.canon import canonical_hash
from archgraph.ir.dim import SymbolicTruth, evaluate, sym
from archgraph.ir.graph import Graph, Node
from archgraph.ir.types import TensorType
from archgraph.lower.fx import build
from archgraph.ops.base import all_ops
from archgraph.ops.verify import verify
from archgraph.spec.load import loads
from tests.counter import counted, misses
from tests.ir.graph_strategies import graphs as hierarchical
from tests.properties import strategies as draws

DTYPES = {
    "float": torch.float32,
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "complex": torch.complex64,
    "int64": torch.int64,
    "int32": torch.int32,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "bool": torch.bool,
}
several = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def inputs(graph: Graph) -> list[torch.Tensor]:
    torch.manual_seed(0)
    made = {
        "float": lambda shape: torch.randn(*shape),
        "complex": lambda shape: torch.randn(*shape, dtype=torch.complex64),
        "int64": lambda shape: torch.randint(0, 2, shape),
        "bool": lambda shape: torch.rand(*shape) > 0.5,
    }
    return [made[t.dtype](t.shape) for t in graph.input_types]


def outputs(result: Any, graph: Graph) -> list[torch.Tensor]:
    return list(result.values()) if len(graph.outputs) > 1 else [result]


@several
@given(draws.graphs())
def test_shapes_and_dtypes_are_those_of_the_run(graph: Graph) -> None:
    model = build(graph, seed=0).eval()
    with torch.no_grad():
        found = outputs(model(*inputs(graph)), graph)
    for value, t in zip(found, graph.output_types, strict=True):
        assert tuple(value.shape) == t.shape
        assert value.dtype == DTYPES[t.dtype]


@several
@given(draws.graphs())
def test_params_are_those_of_the_model(graph: Graph) -> None:
    model = build(graph, seed=0)
    cost = totals(graph)
    assert cost.params == sum(p.numel() for p in model.parameters())
    assert cost.buffers >= 0


@several
@given(draws.graphs())
def test_macs_are_those_of_the_counter(graph: Graph) -> None:
    """Equal, but for the table of what the counter is known to miss."""
    missed = misses(graph)
    assert totals(graph).macs - missed.total() == counted(graph), missed


@several
@given(draws.graphs())
def test_one_seed_one_model(graph: Graph) -> None:
    first, second = build(graph, seed=3).state_dict(), build(graph, seed=3).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(a, b) for a, b in zip(first.values(), second.values(), strict=True))


@several
@given(draws.graphs())
def test_written_and_read_again(graph: Graph) -> None:
    from archgraph.spec.dump import dump

    assert loads(dump(graph)).graph() == graph


@several
@given(draws.graphs(), st.randoms(use_true_random=False))
def test_hash_does_not_see_names_and_order(graph: Graph, rng: random.Random) -> None:
    assert canonical_hash(shuffled(graph, rng)) == canonical_hash(graph)


def shuffled(graph: Graph, rng: random.Random) -> Graph:
    """The same graph with other names, its nodes in another valid order."""
    left = list(range(len(graph.nodes)))
    order: list[int] = []
    while left:
        ready = [k for k in left if all(r is None or r[0] < 0 or r[0] in order for r in graph.nodes[k].inputs)]
        k = rng.choice(ready)
        order.append(k)
        left.remove(k)
    number = {-1: -1, **{k: n for n, k in enumerate(order)}}
    nodes: list[Node] = []
    for n, k in enumerate(order):
        node = graph.nodes[k]
        refs = tuple(None if r is None else (number[r[0]], r[1]) for r in node.inputs)
        nodes.append(node.replace(name=f"n{n}", inputs=refs))
    outs = tuple((f"z{k}", (number[r[0]], r[1])) for k, (_, r) in enumerate(graph.outputs))
    return Graph("other", tuple((f"a{k}", t) for k, (_, t) in enumerate(graph.inputs)), tuple(nodes), outs)


class Pinned(Exception):
    """An attribute holds for the size that the axis had, not for any."""


class Recorded:
    """A context that keeps undecided conditions."""

    def __init__(self) -> None:
        self.conditions: list[Any] = []

    def require(self, cond: Any, why: str) -> None:
        if cond is False:
            raise Pinned(why)
        if cond is not True:
            self.conditions.append(cond)


@several
@given(draws.graphs(max_nodes=3), st.data())
def test_closed_forms_hold_for_the_sizes(graph: Graph, data: st.DataObject) -> None:
    """All axes of one size as a symbol: types, costs and conditions, evaluated, are those of the integers."""
    flat = graph.nodes[0].callee if len(graph.nodes) == 1 and graph.nodes[0].is_call else graph
    size = data.draw(st.sampled_from(sorted({d for t in flat.input_types for d in t.shape})))
    found = Recorded()
    symbolic = symbolised(flat, size, found)
    if symbolic is None:
        return
    env = {"S": size}
    assert all(cond.evaluate(env) for cond in found.conditions)
    for ours, theirs in zip(symbolic.output_types, flat.output_types, strict=True):
        assert ours.dtype == theirs.dtype
        assert tuple(evaluate(d, env) for d in ours.shape) == theirs.shape
    a, b = totals(symbolic), totals(flat)
    for name in ("params", "buffers", "macs", "elementwise"):
        assert evaluate(getattr(a, name), env) == getattr(b, name), name


def symbolised(graph: Graph, size: int, cx: Recorded) -> Graph | None:
    """The graph typed again with ``S`` for every input axis of a size; None where an attribute pins the size."""
    from archgraph.ops.base import OpError

    ins = tuple((n, TensorType(t.dtype, tuple(sym("S") if d == size else d for d in t.shape))) for n, t in graph.inputs)
    nodes: list[Node] = []
    for node in graph.nodes:
        typed = Graph(graph.name, ins, tuple(nodes), ())
        types = tuple(None if r is None else typed.type_of(r) for r in node.inputs)
        try:
            outs = node.op.infer(cx, *types)  # type: ignore[union-attr]
        except (OpError, Pinned, SymbolicTruth):
            return None
        nodes.append(node.replace(types=outs if isinstance(outs, tuple) else (outs,)))
    return Graph(graph.name, ins, tuple(nodes), graph.outputs)


@st.composite
def hierarchies(draw: Any) -> Graph:
    """A graph with calls, chains, regions, late values, shared and given weights, its symbols fixed."""
    from archgraph.spec.dump import dump
    from archgraph.spec.yaml import load_yaml
    from archgraph.spec.yaml_dump import dump_yaml

    tree = load_yaml(dump(draw(hierarchical())))
    sizes = {"B": 2, "N": 3, "C": 8, "D": 2}
    symbols = tree.get("symbols", [])
    if symbols:
        names = symbols if isinstance(symbols, dict) else {n: n for n in symbols}
        tree["symbols"] = {spelling: sizes[name] for spelling, name in names.items()}
    graph = loads(dump_yaml(tree)).graph()
    ins = tuple((f"x{k}", t) for k, (_, t) in enumerate(graph.inputs))  # dotted names stand for lists and records
    return graph.replace(inputs=ins, outputs=tuple((f"y{k}", r) for k, (_, r) in enumerate(graph.outputs)))


@several
@given(hierarchies())
def test_hierarchies_run_as_inferred(graph: Graph) -> None:
    """Shapes, params and MACs where weights are shared or given, turns repeat, and regions run."""
    verify(graph)
    model = build(graph, seed=0).eval()
    cost = totals(graph)
    assert cost.params == sum(p.numel() for p in model.parameters())
    with torch.no_grad():
        found = outputs(model(*inputs(graph)), graph)
    assert [(tuple(v.shape), v.dtype) for v in found] == [(t.shape, DTYPES[t.dtype]) for t in graph.output_types]
    assert counted(graph) == cost.macs


def test_every_op_is_drawn() -> None:
    """By hints, by a recipe, or with the regions, shared and given weights of `tests.ir.graph_strategies`."""
    elsewhere = {"get_weight", "scan", "switch_training"}
    assert set(all_ops()) == set(draws.drawable()) | elsewhere
    assert not elsewhere & set(draws.drawable())


@pytest.mark.parametrize("name", draws.drawable())
def test_draws_of_an_op_are_mostly_accepted(name: str) -> None:
    """An op whose hints are poor is hardly covered by the tests above."""
    before = draws.tried[name], draws.accepted[name]

    @settings(max_examples=25, database=None, suppress_health_check=list(HealthCheck))
    @given(draws.graphs(max_nodes=2, only=[name]))
    def collect(graph: Graph) -> None:
        del graph

    collect()
    tried, accepted = draws.tried[name] - before[0], draws.accepted[name] - before[1]
    assert accepted >= max(10, 0.8 * tried), f"{accepted} of {tried}"
