"""The canonical hash: equal for what computes the same by construction, different for everything else."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgraph.ir.canon import canonical_hash
from archgraph.ir.dim import sym
from archgraph.ir.graph import Graph, Node
from archgraph.ir.real import Late
from archgraph.ops.higher import Scan, SwitchTraining
from archgraph.ops.verify import verify
from tests.ir.graph_strategies import graphs
from tests.lower.graphs import Draft, Value, mlp, tensor

Build = Callable[[Draft, Value], Value]


def graph(build: Build, shape: str = "B 4") -> Graph:
    """The graph of a function of one input ``x``."""
    g = Draft("root")
    made = g.done(build(g, g.input("x", shape)))
    verify(made)
    return made


def same(*builds: Build) -> None:
    assert len({canonical_hash(graph(b)) for b in builds}) == 1


def apart(*builds: Build) -> None:
    assert len({canonical_hash(graph(b)) for b in builds}) == len(builds)


# -- names and order ---------------------------------------------------------------------------------------------------


def shuffled(graph: Graph, rng: random.Random) -> Graph:
    """The same graph with other names and another order of independent nodes, at every level."""
    new = {n.name: f"m{k}" for k, n in enumerate(graph.nodes)}
    order: list[int] = []
    waiting = list(range(len(graph.nodes)))
    while waiting:
        ready = [k for k in waiting if all(r is None or r[0] in (-1, *order) for r in _reads(graph.nodes[k]))]
        order.append(rng.choice(ready))
        waiting.remove(order[-1])
    number = {-1: -1, **{k: i for i, k in enumerate(order)}}
    known: dict[int, Graph] = {}

    def renamed(node: Node) -> Node:
        callees = tuple(known.setdefault(id(c), shuffled(c, rng)) for c in node.callees)
        op: Any = node.op
        if op is not None and op.reads:
            head, _, rest = op.reads.partition(".")
            op = type(op).make(path=f"{new[head]}.{rest}", shape=op.shape, dtype=op.dtype)
        assert node.share is None or len(node.share) == 1
        return node.replace(
            name=new[node.name],
            op=op,
            callees=callees,
            share=None if node.share is None else (new[node.share[0]],),
            inputs=tuple(None if r is None else (number[r[0]], r[1]) for r in node.inputs),
            weights=tuple((w, None if r is None else (number[r[0]], r[1])) for w, r in node.weights),
        )

    return graph.replace(
        name="other",
        args=(),
        inputs=tuple((f"i{k}", t) for k, (_, t) in enumerate(graph.inputs)),
        nodes=tuple(renamed(graph.nodes[k]) for k in order),
        outputs=tuple((f"o{k}", (number[r[0]], r[1])) for k, (_, r) in enumerate(graph.outputs)),
    )


def _reads(node: Node) -> list[Any]:
    return [*node.inputs, *(r for _, r in node.weights)]


@settings(max_examples=60)
@given(graphs(), st.randoms(use_true_random=False))
def test_names_and_order_do_not_matter(graph: Graph, rng: random.Random) -> None:
    assert canonical_hash(shuffled(graph, rng)) == canonical_hash(graph)


@settings(max_examples=60)
@given(graphs())
def test_blocks_do_not_matter(graph: Graph) -> None:
    outer = Draft("outer")
    inputs = [outer.input(f"i{k}", t) for k, t in enumerate(graph.input_types)]
    found = outer.call("whole", graph, *inputs)
    outputs = found if isinstance(found, tuple) else (found,)
    wrapped = outer.done(**{f"o{k}": v for k, v in enumerate(outputs)})
    assert canonical_hash(wrapped) == canonical_hash(graph)


def test_a_block_is_its_inlined_body() -> None:
    def inlined(g: Draft, x: Value) -> Value:
        h = g.op("act", "gelu", g.op("fc1", "linear", x, out_features=6))
        return g.op("fc2", "linear", h, out_features=4)

    same(lambda g, x: g.call("mlp", mlp("B 4", 6), x), inlined)


def test_formulas_are_their_ops() -> None:
    def formula(expr: Any, names: list[str]) -> Build:
        return lambda g, x: g.op("y", "formula", x, g.op("r", "relu", x), expr=expr, names=names)

    from archgraph.spec.expr import parse

    same(
        formula(parse("a + b"), ["a", "b"]),
        formula(parse("second + first"), ["first", "second"]),
        lambda g, x: g.op("y", "add", g.op("r", "relu", x), x),
    )
    same(formula(parse("a * 2 + b"), ["a", "b"]), formula(parse("x * 2 + y"), ["x", "y"]))
    apart(formula(parse("a * 2 + b"), ["a", "b"]), formula(parse("b * 2 + a"), ["a", "b"]))


# -- loops and late values ---------------------------------------------------------------------------------------------


def dropping(p: Any) -> Graph:
    g = Draft("dropping", late=("rate",) if p is None else ())
    y = g.op("fc", "linear", g.input("x", "B 4"), out_features=4)
    return g.done(g.op("drop", "dropout", y, p=Late("rate") if p is None else p))


def test_a_rolled_loop_is_its_unrolled_form() -> None:
    def rolled(g: Draft, x: Value) -> Value:
        return g.call("blocks", dropping(None), x, count=3, late=(("rate", 0.5 * Late("turn") / 2),))

    def unrolled(g: Draft, x: Value) -> Value:
        for k in range(3):
            x = g.call(f"block{k}", dropping(0.25 * k), x)
        return x

    def nested(g: Draft, x: Value) -> Value:
        inner = Draft("loop", late=("a",))
        y = inner.input("x", "B 4")
        for k in range(3):
            y = inner.call(str(k), dropping(None), y, late=(("rate", Late("a") * k / 2),))
        return g.call("blocks", inner.done(y), x, late=(("a", 0.5),))

    same(rolled, unrolled, nested)
    apart(
        rolled,
        lambda g, x: g.call("blocks", dropping(None), x, count=3, late=(("rate", 0.5 * Late("turn")),)),
        lambda g, x: g.call("blocks", dropping(None), x, count=2, late=(("rate", 0.5 * Late("turn") / 2),)),
        lambda g, x: g.call("blocks", dropping(0.25), x, count=3),
        lambda g, x: g.call("blocks", dropping(0.25), x, count=sym("n")),
        lambda g, x: g.call("blocks", dropping(None), x, count=sym("n"), late=(("rate", 0.25),)),
        lambda g, x: g.call("blocks", dropping(None), x, count=sym("n"), late=(("rate", 0.5),)),
    )


def test_turns_may_carry_a_value_twice() -> None:
    def body() -> Graph:
        g = Draft("body")
        a, b = g.input("a", "B 4"), g.input("b", "B 4")
        return g.done(one=g.op("sum", "add", g.op("f", "linear", a, out_features=4), b), two=a)

    def rolled(turns: int) -> Build:
        def make(g: Draft, x: Value) -> Value:
            found: Any = g.call("turns", body(), x, x, count=turns)
            return g.op("end", "sub", *found)

        return make

    def unrolled(g: Draft, x: Value) -> Value:
        pair: Any = (x, x)
        for k in range(4):
            pair = g.call(f"turn{k}", body(), *pair)
        return g.op("end", "sub", *pair)

    same(rolled(4), unrolled)
    apart(rolled(2), rolled(3), rolled(4))


def test_names_of_late_values_do_not_matter() -> None:
    def of(name: str) -> Graph:
        g = Draft("dropping", late=(name,))
        return g.done(g.op("drop", "dropout", g.input("x", "B 4"), p=Late(name)))

    assert canonical_hash(of("p")) == canonical_hash(of("rate"))


def test_late_values_in_initialisers() -> None:
    def of(std: Any) -> Graph:
        g = Draft("scaled", late=("std",) if std is None else ())
        init = {"normal": {"std": Late("std") if std is None else std}}
        return g.done(g.op("fc", "linear", g.input("x", "B 4"), out_features=4, init=init))

    same(
        lambda g, x: g.call("a", of(None), x, late=(("std", 0.5),)),
        lambda g, x: g.call("a", of(0.5), x),
    )
    apart(lambda g, x: g.call("a", of(0.25), x), lambda g, x: g.call("a", of(None), x, late=(("std", 0.5),)))


# -- weights -----------------------------------------------------------------------------------------------------------


def fc(g: Draft, name: str, x: Value, share: str | None = None, **attrs: Any) -> Value:
    node = {} if share is None else {"share": tuple(share.split("."))}
    return g.op(name, "linear", x, node=node, out_features=4, **attrs)


def test_shared_weights_differ_from_two() -> None:
    one: Build = lambda g, x: g.op("sum", "add", fc(g, "a", x), fc(g, "b", x, "a"))  # noqa: E731
    two: Build = lambda g, x: g.op("sum", "add", fc(g, "a", x), fc(g, "b", x))  # noqa: E731
    apart(one, two)


def test_shares_of_shares() -> None:
    same(
        lambda g, x: fc(g, "c", fc(g, "b", fc(g, "a", x), "a"), "a"),
        lambda g, x: fc(g, "c", fc(g, "b", fc(g, "a", x), "a"), "b"),
    )
    block = mlp("B 4", 4)
    same(
        lambda g, x: fc(g, "c", g.call("b", block, g.call("a", block, x), share=("a",)), "a.fc1"),
        lambda g, x: fc(g, "c", g.call("b", block, g.call("a", block, x), share=("a",)), "b.fc1"),
        lambda g, x: g.call("c", one_layer(), g.call("b", block, g.call("a", block, x), share=("a",)), share=("a",)),
    )


def one_layer() -> Graph:
    g = Draft("one")
    return g.done(g.op("fc1", "linear", g.input("x", "B 4"), out_features=4))


def test_which_turn_shares() -> None:
    def build(turn: int) -> Build:
        return lambda g, x: fc(g, "c", g.call("chain", mlp("B 4", 4), x, count=2), f"chain.{turn}.fc1")

    apart(build(0), build(1))


def test_given_weights() -> None:
    def build(inside: str | None, name: str = "embed") -> Build:
        def make(g: Draft, x: Value) -> Value:
            y = fc(g, name, x)
            w = g.op("w", "get_weight", path=f"{name}.weight", shape=[4, 4])
            given = {} if inside is None else {inside: w}
            return g.call("mlp", mlp("B 4", 4), y, weights=given)

        return make

    apart(build(None), build("fc1.weight"), build("fc2.weight"))
    same(build("fc1.weight"), build("fc1.weight", "table"))

    def inlined(g: Draft, x: Value) -> Value:
        y = fc(g, "embed", x)
        w = g.op("w", "get_weight", path="embed.weight", shape=[4, 4])
        h = g.op("h", "linear", y, out_features=4, node={"weights": {"weight": w}})
        return fc(g, "out", g.op("act", "gelu", h))

    same(build("fc1.weight"), inlined)


def test_a_given_parameter_inside_a_block() -> None:
    block = Draft("block")
    graph = block.done(block.op("sum", "add", block.input("x", "B 4"), block.op("table", "parameter", shape=[4])))

    def inlined(g: Draft, x: Value) -> Value:
        p = g.op("p", "parameter", shape=[4])
        return g.op("sum", "add", x, g.op("q", "parameter", shape=[4], node={"weights": {"": p}}))

    same(inlined, lambda g, x: g.call("b", graph, x, weights={"table": g.op("p", "parameter", shape=[4])}))


# -- what differs ------------------------------------------------------------------------------------------------------


def test_operands() -> None:
    def two(op_name: str, swapped: bool) -> Build:
        def make(g: Draft, x: Value) -> Value:
            pair = (x, g.op("r", "relu", x))
            return g.op("y", op_name, *(reversed(pair) if swapped else pair))

        return make

    same(two("add", False), two("add", True))
    apart(two("sub", False), two("sub", True), two("add", False), two("mul", False))


def test_attributes_flags_and_outputs() -> None:
    def of(name: str, *flags: str, **attrs: Any) -> Build:
        return lambda g, x: g.op("y", name, x, node={"flags": frozenset(flags)}, **attrs)

    apart(
        of("linear", out_features=4),
        of("linear", out_features=4, bias=False),
        of("linear", out_features=4, init="zeros"),
        of("linear", "frozen", out_features=4),
        of("relu"),
        of("gelu"),
        of("gelu", approximate="tanh"),
        of("layer_norm"),
        of("layer_norm", eps=1e-6),
    )


def test_frozen_blocks_are_blocks_of_frozen_nodes() -> None:
    def node(g: Draft, x: Value) -> Value:
        return g.op("fc1", "linear", x, out_features=4, node={"flags": frozenset({"frozen"})})

    same(lambda g, x: g.call("a", one_layer(), x, flags=frozenset({"frozen"})), node)
    apart(lambda g, x: g.call("a", one_layer(), x, flags=frozenset({"frozen"})), lambda g, x: fc(g, "a", x))


def test_unused_nodes_count_and_are_no_outputs() -> None:
    unused = {"flags": frozenset({"unused"})}

    def dead(g: Draft, x: Value) -> Value:
        g.op("dead", "linear", x, out_features=3, node=unused)
        return fc(g, "fc", x)

    def dead_block(g: Draft, x: Value) -> Value:
        block = Draft("b")
        g.call("d", block.done(block.op("fc", "linear", block.input("x", "B 4"), out_features=3)), x, **unused)
        return fc(g, "fc", x)

    same(dead, dead_block)
    apart(dead, lambda g, x: fc(g, "fc", x))
    g = Draft("root")
    x = g.input("x", "B 4")
    both = g.done(a=fc(g, "fc", x), b=g.op("dead", "linear", x, out_features=3))
    assert canonical_hash(both) != canonical_hash(graph(dead))


def test_types_of_inputs_and_order_of_outputs() -> None:
    found = set()
    for t in (tensor("B 4"), tensor("N 4"), tensor("B 5"), tensor("B 4", "int64"), tensor("B 1 4")):
        g = Draft("root")
        found.add(canonical_hash(g.done(g.op("y", "flip", g.input("x", t), dims=[-1]))))
    assert len(found) == 5
    g = Draft("root")
    x = g.input("x", "B 4")
    a, b = g.op("a", "relu", x), g.op("b", "gelu", x)
    assert canonical_hash(g.done(o=a, p=b)) != canonical_hash(g.done(o=b, p=a))


def test_regions() -> None:
    def mode(first: Graph, second: Graph) -> Build:
        op = SwitchTraining.make()
        return lambda g, x: _one(g._add("m", op, (x,), (tensor("B 4"),), callees=(first, second)))

    def walk(reverse: bool, region: Graph) -> Build:
        op = Scan.make(dim=0, xs=1, carry=0, reverse=reverse)
        return lambda g, x: _one(g._add("s", op, (x,), (tensor("B 4"),), callees=(region,)))

    def slice_of(op_name: str) -> Graph:
        g = Draft("slice")
        return g.done(g.op("y", op_name, g.input("x", "4")))

    apart(
        mode(mlp("B 4", 6), mlp("B 4", 5)),
        mode(mlp("B 4", 5), mlp("B 4", 6)),
        walk(False, slice_of("relu")),
        walk(True, slice_of("relu")),
        walk(False, slice_of("gelu")),
    )


def _one(value: Any) -> Value:
    assert isinstance(value, Value)
    return value


# -- processes ---------------------------------------------------------------------------------------------------------

_SCRIPT = """
from archgraph.ir.canon import canonical_hash
from archgraph.spec.load import load
print(canonical_hash(load("hornet", "tiny_gf").graph()), canonical_hash(load("vit", drop_path=0.1).graph()))
"""


def test_the_hash_is_the_same_in_every_process() -> None:
    found = set()
    for seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_depth_as_a_param_or_written_out(name: str) -> None:
    from archgraph.spec.load import load

    spec = load(name)
    assert canonical_hash(spec.graph()) == canonical_hash(load(name).graph())
    depth = {"vit": {"depth": 11}, "resnet": {"depths": [2, 2, 2, 1]}}[name]
    assert canonical_hash(spec.with_settings(**depth).graph()) != canonical_hash(spec.graph())
