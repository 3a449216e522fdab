"""The networkx view: what it says, and that isomorphism there is equality of the canonical hash here."""

from __future__ import annotations

import random
from typing import Any

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st
from networkx.algorithms.isomorphism import MultiDiGraphMatcher

from archgraph.ir.canon import canonical_hash
from archgraph.ir.dim import sym
from archgraph.ir.graph import Graph
from archgraph.ir.nx import to_networkx
from archgraph.ir.real import Late
from tests.ir.test_canon import shuffled
from tests.lower.graphs import Draft, mlp
from tests.ops.test_verify import sound


def test_nodes_and_edges() -> None:
    made = to_networkx(sound())
    assert [n for n, d in made.nodes(data=True) if d["kind"] == "input"] == ["input:x", "input:ids", "input:w"]
    assert [n for n, d in made.nodes(data=True) if d["kind"] == "output"] == [
        "output:out",
        "output:steps",
        "output:logits",
    ]
    assert made.nodes["chain"]["kind"] == "call"
    assert made.nodes["chain"]["count"] == 3
    assert made.nodes["scan"]["kind"] == "region"
    fc = made.nodes["fc"]
    assert (fc["kind"], fc["op"], fc["attrs"], fc["owner"]) == ("op", "linear", {"out_features": 4}, "fc")
    assert made.nodes["again"]["owner"] == "fc"
    assert made.nodes["inner"]["owner"] == "chain.2.fc1"
    assert [d["operand"] for _, _, d in made.in_edges("given", data=True)] == [0, "weight"]
    (edge,) = made.get_edge_data("scan", "output:steps").values()
    assert (edge["output"], str(edge["type"])) == (1, "[B, N, 4]")
    assert nx.is_directed_acyclic_graph(made)


def test_flattened() -> None:
    block = Draft("block", late=("p",))
    y = block.op("drop", "dropout", block.input("x", "B 4"), p=Late("p"))
    graph = block.done(block.op("fc", "linear", y, out_features=4))
    g = Draft("root")
    x = g.call("blocks", graph, g.input("x", "B 4"), count=2, late=(("p", Late("turn") / 10),))
    x = g.call(
        "many", mlp("B 4", 6), g.call("again", graph, x, share=("blocks", "0"), late=(("p", 0.5),)), count=sym("n")
    )
    made = to_networkx(g.done(x), flatten=True)
    paths = [n for n, d in made.nodes(data=True) if d["kind"] != "input" and d["kind"] != "output"]
    assert paths == ["blocks.0.drop", "blocks.0.fc", "blocks.1.drop", "blocks.1.fc", "again.drop", "again.fc", "many"]
    assert [made.nodes[n]["attrs"]["p"] for n in paths if n.endswith("drop")] == [0.0, 0.1, 0.5]
    assert made.nodes["again.fc"]["owner"] == "blocks.0.fc"
    assert next(iter(nx.topological_sort(made))) == "input:x"


def flat(graph: Graph) -> nx.MultiDiGraph[str]:
    """The flattened view with one node per owner of weights, so that sharing is part of the structure.

    What only owns weights and is computed for nobody is left out.
    """
    made = to_networkx(graph, flatten=True)
    read = {n for name, _ in graph.outputs for n in nx.ancestors(made, f"output:{name}")}
    made.remove_nodes_from([n for n, d in made.nodes(data=True) if d["kind"] == "op" and n not in read])
    for path, data in list(made.nodes(data=True)):
        data["label"] = (data["kind"], data["op"], str(sorted(data.get("attrs", {}).items())), data["types"])
        if data["kind"] in ("input", "output"):
            data["label"] = data["kind"]
        elif data["op"] in ("linear", "parameter"):
            made.add_node(("owner", data["owner"]), label="owner")
            made.add_edge(("owner", data["owner"]), path, operand="owner", output=0)
    return made


def isomorphic(a: Graph, b: Graph) -> bool:
    def edges(first: dict[int, Any], second: dict[int, Any]) -> bool:
        return sorted((str(d["operand"]), d["output"]) for d in first.values()) == sorted(
            (str(d["operand"]), d["output"]) for d in second.values()
        )

    return bool(MultiDiGraphMatcher(flat(a), flat(b), lambda m, n: m["label"] == n["label"], edges).is_isomorphic())


@st.composite
def small_graphs(draw: Any) -> Graph:
    """A few nodes of few kinds, so that two draws are often alike."""
    g = Draft("root")
    values = [g.input("x", "B 4")]
    for k in range(draw(st.integers(1, 4))):
        x, kind = draw(st.sampled_from(values)), draw(st.sampled_from(["relu", "linear", "share", "sub", "block"]))
        owners = [n.name for n in g.nodes if n.op is not None and n.op.op_name == "linear"]
        if kind == "sub":
            values.append(g.op(f"n{k}", "sub", x, draw(st.sampled_from(values))))
        elif kind == "block":
            values.append(g.call(f"n{k}", mlp("B 4", 4), x, count=draw(st.integers(1, 2))))
        elif kind == "linear" or (kind == "share" and owners):
            node = {"share": (draw(st.sampled_from(owners)),)} if kind == "share" else {}
            values.append(g.op(f"n{k}", "linear", x, out_features=4, node=node))
        else:
            values.append(g.op(f"n{k}", "relu", x))
    from tests.ir.graph_strategies import without_dead

    return without_dead(g.done(values[-1]))


@settings(max_examples=150)
@given(small_graphs(), small_graphs(), st.randoms(use_true_random=False))
def test_isomorphism_is_equality_of_hashes(a: Graph, b: Graph, rng: random.Random) -> None:
    assert isomorphic(a, shuffled(a, rng))
    assert isomorphic(a, b) == (canonical_hash(a) == canonical_hash(b))
