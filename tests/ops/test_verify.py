"""Every violation that the verifier knows is found, in the node where it is; sound graphs pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from archgraph.ir.dim import sym
from archgraph.ir.graph import Graph, Node
from archgraph.ir.real import Late
from archgraph.ir.types import TensorType
from archgraph.ir.verify import VerifyError
from archgraph.ir.verify import verify as verify_form
from archgraph.ops.base import get_op
from archgraph.ops.higher import Scan, SwitchTraining
from archgraph.ops.verify import verify
from tests.lower.graphs import Draft, mlp, tensor


def dropping() -> Graph:
    g = Draft("dropping", late=("p",))
    return g.done(g.op("drop", "dropout", g.input("x", "B 4"), p=Late("p")))


def cell() -> Graph:
    """For a scan: x [B, 4] walked, h [B, 4] carried, w [4, 4] read; h carried on, y collected."""
    g = Draft("cell")
    x, h, w = g.input("x", "B 4"), g.input("h", "B 4"), g.input("w", "4 4")
    y = g.op("y", "matmul", g.op("sum", "add", x, h), w)
    return g.done(h=y, y=x)


def sound() -> Graph:
    """A graph with one node of each kind."""
    g = Draft("root")
    x, ids, w = g.input("x", "B 4"), g.input("ids", "B N", "int64"), g.input("w", "4 4")
    y = g.op("fc", "linear", x, out_features=4)
    y = g.op("again", "linear", y, out_features=4, node={"share": ("fc",)})
    y = g.op("given", "linear", y, out_features=4, bias=False, node={"weights": {"weight": w}})
    y = g.call("chain", mlp("B 4", 6), y, count=3)
    y = g.op("inner", "linear", y, out_features=6, node={"share": ("chain", "2", "fc1")})
    y = g.op("back", "linear", y, out_features=4)
    y = g.call("drops", dropping(), y, count=2, late=(("p", Late("turn") / 10),))
    y = g.call("other", mlp("B 4", 6), y)
    y = g.call("other_again", mlp("B 4", 6), y, share=("other",))
    g.op("aux", "linear", x, out_features=3, node={"flags": frozenset({"unused"})})
    table = g.op("embed", "embedding", ids, num_embeddings=7, embedding_dim=4)
    weight = g.op("weight", "get_weight", path="embed.weight", shape=[7, 4])
    logits = g.op("head", "linear", table, out_features=7, bias=False, node={"weights": {"weight": weight}})
    types = (tensor("B 4"), tensor("B N 4"))
    scan = Scan.make(dim=1, xs=1, carry=1)
    last, steps = g._add("scan", scan, (table, y, w), types, callees=(cell(),))
    two = (mlp("B 4", 6, "train"), mlp("B 4", 6, "eval"))
    out = g._add("mode", SwitchTraining.make(), (last,), (tensor("B 4"),), callees=two)
    return g.done(out=out, steps=steps, logits=logits)


def test_a_sound_graph_passes() -> None:
    verify(sound())


def changed(node: str, /, **changes: Any) -> Graph:
    graph = sound()
    return graph.replace(nodes=tuple(n.replace(**changes) if n.name == node else n for n in graph.nodes))


def op(op_name: str, **attrs: Any) -> Any:
    cls = get_op(op_name)
    assert cls is not None
    return cls.from_mapping(attrs)


FORM: dict[str, tuple[Callable[[], Graph], str]] = {
    "operand below": (lambda: changed("fc", inputs=((1, 0),)), "`root.fc`: operand 0 refers to (1, 0)"),
    "its own operand": (lambda: changed("fc", inputs=((0, 0),)), "`root.fc`: operand 0 refers to (0, 0)"),
    "no such input": (lambda: changed("fc", inputs=((-1, 3),)), "no value above"),
    "no such output of a node": (lambda: changed("back", inputs=((4, 1),)), "no value above"),
    "weight below": (lambda: changed("given", weights=(("weight", (9, 0)),)), "the weight `weight` refers to (9, 0)"),
    "names twice": (lambda: changed("again", name="fc"), "two nodes are called `fc`"),
    "a word of torch": (lambda: changed("back", name="forward"), "a node can't be called `forward`"),
    "a keyword": (lambda: changed("back", name="class"), "a node can't be called `class`"),
    "a dotted name": (lambda: changed("back", name="a.b"), "a node can't be called `a.b`"),
    "a number with zeros": (lambda: changed("back", name="01"), "a node can't be called `01`"),
    "inputs twice": (
        lambda: sound().replace(inputs=(("x", tensor("B 4")), ("x", tensor("B N", "int64")), ("w", tensor("4 4")))),
        "two inputs are called `x`",
    ),
    "outputs twice": (lambda: sound().replace(outputs=(("a", (0, 0)), ("a", (1, 0)))), "two outputs are called `a`"),
    "no output": (lambda: sound().replace(outputs=()), "it has no output"),
    "an output of nothing": (lambda: sound().replace(outputs=(("a", (99, 0)),)), "output `a` refers to (99, 0)"),
    "an output that never runs": (lambda: sound().replace(outputs=(("a", (9, 0)),)), "which never runs"),
    "an operand that never runs": (lambda: changed("fc", flags=frozenset({"unused"})), "which never runs"),
    "an unknown flag": (lambda: changed("back", flags=frozenset({"static"})), "there is no flag static"),
    "an odd name of an output": (lambda: sound().replace(outputs=(("a b", (0, 0)),)), "`a b` is no name"),
    "shares nobody": (lambda: changed("again", share=("nobody",)), "`nobody`, and there is no such node"),
    "shares itself": (lambda: changed("again", share=("again",)), "and there is no such node"),
    "no such turn": (lambda: changed("inner", share=("chain", "3", "fc1")), "there is no such node"),
    "chain without the turn": (lambda: changed("inner", share=("chain", "fc1")), "there is no such node"),
    "turns of an op": (lambda: changed("fc", count=2), "an op can't have turns"),
    "no turn": (lambda: changed("chain", count=0), "a number of turns, not 0"),
    "late not bound": (lambda: changed("drops", late=()), "binds the late names [], and calls what declares ['p']"),
    "late without need": (lambda: changed("chain", late=(("q", 1.0),)), "binds the late names ['q']"),
    "turn outside a chain": (lambda: changed("drops", count=1), "has one turn, and a late value depends on the turn"),
    "late not declared": (lambda: dropping().replace(late=()), "its late names are ['p'], it declares []"),
    "late of nobody": (lambda: sound().replace(late=("q",)), "its late names are [], it declares ['q']"),
    "operands of a call": (lambda: changed("other", inputs=((-1, 2),)), "`mlp` takes [B, 4]; it is given [4, 4]"),
    "too few operands": (lambda: changed("other", inputs=()), "`mlp` takes [B, 4]; it is given nothing"),
    "an operand left out": (lambda: changed("other", inputs=(None,)), "`mlp` takes [B, 4]; it is given nothing"),
    "types of a call": (lambda: changed("other", types=(tensor("B 5"),)), "gives [B, 4]; the node says [B, 5]"),
    "two callees": (lambda: changed("other", callees=(dropping(), dropping())), "one callee, not 2"),
    "a chain that does not carry": (
        lambda: changed("chain", callees=(widening(),), types=(tensor("B 6"),)),
        "the turns of a chain feed one another",
    ),
}


def widening() -> Graph:
    g = Draft("widening")
    return g.done(g.op("fc", "linear", g.input("x", "B 4"), out_features=6))


def short_scan(**attrs: Any) -> Graph:
    return changed("scan", op=Scan.make(**{"dim": 1, "xs": 1, "carry": 1, **attrs}))


RULES: dict[str, tuple[Callable[[], Graph], str]] = {
    "another type": (
        lambda: changed("head", types=(tensor("B N 5"),)),
        "`root.head`: its type is [B, N, 7]; the node says [B, N, 5]",
    ),
    "another dtype": (lambda: changed("head", types=(tensor("B N 7", "float16"),)), "its type is [B, N, 7]"),
    "another op": (lambda: changed("back", op=op("linear", out_features=9)), "its type is [B, 9]"),
    "an op that refuses": (lambda: changed("back", op=op("group_norm", num_groups=4)), "`root.back`: "),
    "rank of an operand": (lambda: changed("back", op=op("conv2d", out_channels=4, kernel_size=1)), "takes 4 axes"),
    "operands of an op": (lambda: changed("fc", inputs=((-1, 0), (-1, 0))), "has 1 operands; the node gives 2"),
    "an operand that is needed": (lambda: changed("fc", inputs=(None,)), "`linear` needs the operand"),
    "a share that does not fit": (
        lambda: changed("inner", share=("fc",)),
        "its weight `weight` is [6, 4]; `fc` has [4, 4]",
    ),
    "a share of what has less": (
        lambda: changed("again", share=("embed",)),
        "its weight `weight` is [4, 4]; `embed` has [7, 4]",
    ),
    "a bias that is not there": (
        lambda: changed("fc", share=("head",)),
        "its weight `bias` is [4]; `head` has no such",
    ),
    "a shared chain of another length": (
        lambda: changed("other_again", count=2, share=("chain",)),
        "its weight `*.fc1.weight` is [6, 4]; `chain` has [6, 4]",
    ),
    "a weight of another shape": (
        lambda: changed("given", weights=(("weight", (-1, 0)),)),
        "its weight `weight` is [4, 4]; it is given [B, 4]",
    ),
    "no such weight": (lambda: changed("given", weights=(("gain", (-1, 2)),)), "given a weight `gain`, and has none"),
    "no such weight inside": (
        lambda: changed("other", weights=(("fc3.weight", (-1, 2)),)),
        "given a weight `fc3.weight`, and has none",
    ),
    "a weight of nobody": (
        lambda: changed("weight", op=op("get_weight", path="embed.bias", shape=[7, 4])),
        "there is no weight `embed.bias`",
    ),
    "a weight read with another shape": (
        lambda: changed("weight", op=op("get_weight", path="fc.weight", shape=[7, 4])),
        "the weight `fc.weight` is [4, 4]; the node says [7, 4]",
    ),
    "regions for an op without": (lambda: changed("fc", callees=(mlp("B 4", 6),)), "`linear` takes no regions"),
    "a scan without region": (lambda: changed("scan", callees=()), "`scan` has no regions"),
    "a scan of two regions": (lambda: changed("scan", callees=(cell(), cell())), "`scan` has 1 region, not 2"),
    "a scan over another axis": (lambda: short_scan(dim=0), "the region `cell` takes [B, 4], [B, 4], [4, 4]"),
    "a scan that walks more": (lambda: short_scan(xs=2), "walked values have one length along axis 1"),
    "a scan that walks all": (lambda: short_scan(xs=4), "a scan walks something"),
    "types of a scan": (
        lambda: changed("scan", types=(tensor("B 4"), tensor("B 4"))),
        "its type is [B, 4], [B, N, 4]; the node says [B, 4], [B, 4]",
    ),
    "regions that differ": (
        lambda: changed("mode", callees=(mlp("B 4", 6), widening())),
        "both cases of `switch: training` have one type",
    ),
    "one region of two": (lambda: changed("mode", callees=(mlp("B 4", 6),)), "has 2 regions, not 1"),
}


@pytest.mark.parametrize("case", FORM)
def test_form(case: str) -> None:
    make, text = FORM[case]
    with pytest.raises(VerifyError) as error:
        verify_form(make())
    assert any(text in v for v in error.value.violations), error.value


@pytest.mark.parametrize("case", RULES)
def test_rules_of_ops(case: str) -> None:
    make, text = RULES[case]
    verify_form(make())
    with pytest.raises(VerifyError) as error:
        verify(make())
    assert any(text in v for v in error.value.violations), error.value


def test_all_violations_are_listed_with_their_graphs() -> None:
    inner = mlp("B 4", 6)
    inner = inner.replace(nodes=tuple(n.replace(types=(tensor("B 9"),)) if n.name == "act" else n for n in inner.nodes))
    g = Draft("root")
    x = g.input("x", "B 4")
    graph = g.done(g.op("fc", "linear", g.call("inner", inner, x), out_features=4))
    graph = graph.replace(nodes=(graph.nodes[0], graph.nodes[1].replace(types=(tensor("B 8"),))))
    with pytest.raises(VerifyError) as error:
        verify(graph)
    places = [v.partition(":")[0] for v in error.value.violations]
    assert places == ["`mlp.act`", "`root.fc`"]


def test_a_graph_in_itself() -> None:
    g = Draft("root")
    graph = g.done(g.call("inner", mlp("B 4", 6), g.input("x", "B 4")))
    graph.nodes[0].callees = (graph,)
    with pytest.raises(VerifyError, match="the graph contains itself"):
        verify(graph)


def test_shares_in_a_circle() -> None:
    graph = changed("fc", share=("again",))
    with pytest.raises(VerifyError, match="there is no such node"):
        verify_form(graph)


def test_a_sound_graph_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = sound()
    verify(graph)
    monkeypatch.setattr(Graph, "type_of", None)
    verify(graph)
    verify_form(graph)
    with pytest.raises(TypeError):
        verify(sound())


def test_a_symbolic_chain() -> None:
    g = Draft("root")
    graph = g.done(g.call("chain", mlp("B 4", 6), g.input("x", "B 4"), count=sym("depth")))
    verify(graph)


def test_conditions_on_symbols_may_stay_open() -> None:
    g = Draft("root")
    x = g.input("x", TensorType("float", [sym("B"), sym("C"), 8]))
    norm = op("group_norm", num_groups=4)
    graph = Graph("root", tuple(g.inputs), (Node("norm", norm, ((-1, 0),), (x.type,)),), (("out", (0, 0)),))
    verify(graph)
