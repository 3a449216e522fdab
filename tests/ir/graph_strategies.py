"""Well-typed graphs for property tests: ops, calls, chains, shared, given and frozen weights, late values, regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from archgraph.ir.dim import sym
from archgraph.ir.graph import Graph, late_of
from archgraph.ir.real import Late, apply
from archgraph.ir.types import TensorType
from archgraph.ops.higher import Scan, SwitchTraining
from tests.lower.graphs import Draft, Value

Draw = Callable[..., Any]
WIDTHS = (4, 6)
MAX_DEPTH = 2
_SHAPES = [(sym("B"), 4), (sym("B"), 6), (sym("B"), sym("N"), 4), (2, 3, 4)]


@st.composite
def graphs(draw: Draw) -> Graph:
    """A root graph."""
    shapes = draw(st.lists(st.sampled_from(_SHAPES), min_size=1, max_size=3))
    return draw_graph(draw, draw(names), [TensorType("float", s) for s in shapes], (), 0)


names = st.sampled_from(["net", "block", "relu", "block.turn", "N", "a-b"])


def draw_graph(draw: Draw, name: str, inputs: list[TensorType], late: tuple[str, ...], depth: int) -> Graph:
    """A graph that takes these types; it may read these late names, and declares those that it reads."""
    g = Draft(name)
    style = draw(st.sampled_from(["x{}", "x.{}", "it.{}.a", "n{}"]))
    values = [g.input(style.format(k), t) for k, t in enumerate(inputs)]
    for k in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(KINDS if depth < MAX_DEPTH else LEAVES))
        values += kind(draw, g, f"n{k}" if draw(st.booleans()) else str(k), values, late, depth) or []
    made = [v for v in values if v.ref[0] >= 0] or values
    outs = [made[-1], *draw(st.lists(st.sampled_from(made), max_size=2))]
    spelling = draw(st.sampled_from(["out.{}", "{}", "y{}"]))
    outputs = [("out", outs[0].ref)] if len(outs) == 1 else [(spelling.format(k), v.ref) for k, v in enumerate(outs)]
    graph = Graph(name, tuple(g.inputs), tuple(g.nodes), tuple(outputs), args=draw(arguments), late=late_of(g.nodes))
    return without_dead(graph)


scalars = st.sampled_from([0, 1, True, False, None, 0.5, 1.0, "late", "same", "C", sym("C") // 2, (1, (2, "x"), ())])
arguments = st.dictionaries(st.sampled_from(["dim", "kind", "p"]), scalars, max_size=2).map(lambda d: tuple(d.items()))


def without_dead(graph: Graph) -> Graph:
    """Without nodes that no output needs, but for unused ones."""
    kept = {k for k, n in enumerate(graph.nodes) if "unused" in n.flags} | {r[0] for _, r in graph.outputs}
    for k in range(len(graph.nodes) - 1, -1, -1):
        n = graph.nodes[k]
        owners = [n.share[0]] if n.share else []
        if n.op is not None and n.op.reads:
            owners.append(n.op.reads.split(".")[0])
        if k in kept:
            kept |= {r[0] for r in (*n.inputs, *(r for _, r in n.weights)) if r is not None}
            kept |= {j for j, other in enumerate(graph.nodes) if other.name in owners}
    order = [k for k in range(len(graph.nodes)) if k in kept]
    number = {-1: -1, **{k: i for i, k in enumerate(order)}}
    nodes = tuple(
        graph.nodes[k].replace(
            inputs=tuple(None if r is None else (number[r[0]], r[1]) for r in graph.nodes[k].inputs),
            weights=tuple((w, None if r is None else (number[r[0]], r[1])) for w, r in graph.nodes[k].weights),
        )
        for k in order
    )
    outputs = tuple((n, (number[r[0]], r[1])) for n, r in graph.outputs)
    return graph.replace(nodes=nodes, outputs=outputs, late=late_of(nodes))


# -- nodes: each adds to the draft and returns the values it made ------------------------------------------------------


def pick(draw: Draw, values: list[Value]) -> Value:
    return draw(st.sampled_from(values))


def alike(draw: Draw, values: list[Value]) -> tuple[Value, Value]:
    """Two values of one type, perhaps the same."""
    x = pick(draw, values)
    return x, pick(draw, [v for v in values if v.type == x.type])


def unary(draw: Draw, g: Draft, name: str, values: list[Value], late: tuple[str, ...], depth: int) -> list[Value]:
    op_name, attrs = draw(
        st.sampled_from([("relu", {}), ("gelu", {}), ("gelu", {"approximate": "tanh"}), ("layer_norm", {"eps": 1e-6})])
    )
    return [g.op(name, op_name, pick(draw, values), **attrs)]


def linear(draw: Draw, g: Draft, name: str, values: list[Value], late: tuple[str, ...], depth: int) -> list[Value]:
    node: dict[str, Any] = {}
    flags = draw(st.sampled_from([(), ("frozen",), ("unused",), ("frozen", "unused")]))
    if flags:
        node["flags"] = frozenset(flags)
    init = draw(st.sampled_from(["zeros", {"normal": {"std": 0.02}}, {"trunc_normal": {"std": 0.5, "b": 1.0}}]))
    width = draw(st.sampled_from(WIDTHS))
    x = pick(draw, values)
    y = g.op(name, "linear", x, node=node, out_features=width, bias=draw(st.booleans()), init=init)
    return [] if "unused" in flags else [y]


def binary(draw: Draw, g: Draft, name: str, values: list[Value], late: tuple[str, ...], depth: int) -> list[Value]:
    return [g.op(name, draw(st.sampled_from(["add", "sub", "mul"])), *alike(draw, values))]


def dropout(draw: Draw, g: Draft, name: str, values: list[Value], late: tuple[str, ...], depth: int) -> list[Value]:
    options: list[Any] = [0.0, 0.25, *(Late(n) for n in late), *(0.1 * Late(n) / 3 for n in late)]
    return [g.op(name, "dropout", pick(draw, values), p=draw(st.sampled_from(options)))]


def chunk(draw: Draw, g: Draft, name: str, values: list[Value], late: tuple[str, ...], depth: int) -> list[Value]:
    wide = [v for v in values if v.type.shape[-1] != 1]
    if not wide:
        return unary(draw, g, name, values, late, depth)
    parts = g.op(name, "chunk", pick(draw, wide), chunks=2, dim=-1)
    return [g.op(f"{name}_joined" if not name.isdigit() else f"9{name}", "cat", *reversed(parts), dim=-1)]


def parameter(draw: Draw, g: Draft, name: str, values: list[Value], late: tuple[str, ...], depth: int) -> list[Value]:
    return [g.op(name, "parameter", shape=draw(st.sampled_from([[4], [1, 6], [sym("N"), 4]])))]


def formula(draw: Draw, g: Draft, name: str, values: list[Value], late: tuple[str, ...], depth: int) -> list[Value]:
    from archgraph.ir.expr import Binary, Host, Num
    from archgraph.ir.expr import Name as Word

    x, y = alike(draw, values)
    a, b = draw(st.sampled_from([("a", "b"), ("N", "x0"), ("n0", "n1")]))
    scale = draw(st.sampled_from([Num(2), Num(0.5), Host(sym("N") // 2), Host(sym("C") ** -0.5)]))
    expr = Binary("+", Binary("*", Word(a), scale), Word(b))
    return [g.op(name, "formula", x, y, expr=expr, names=[a, b])]


def again(draw: Draw, g: Draft, name: str, values: list[Value], late: tuple[str, ...], depth: int) -> list[Value]:
    """An earlier op or call, with its weights, on another value."""
    old = [n for n in g.nodes if (n.op is None or n.op.op_name == "linear") and not n.weights and len(n.inputs) == 1]
    if not old:
        return unary(draw, g, name, values, late, depth)
    owner = draw(st.sampled_from(old))
    fitting = [v for v in values if v.type == g.type_of(owner.inputs[0])]
    x = pick(draw, fitting)
    found = g._add(
        name,
        owner.op,
        (x,),
        owner.types,
        callees=owner.callees,
        count=owner.count,
        late=owner.late,
        share=(owner.name,),
    )
    return list(found) if isinstance(found, tuple) else [found]


def tied(draw: Draw, g: Draft, name: str, values: list[Value], late: tuple[str, ...], depth: int) -> list[Value]:
    """A linear map with the weight of an earlier one, given as a value."""
    old = [n for n in g.nodes if n.op is not None and n.op.op_name == "linear" and n.share is None and not n.weights]
    if not old:
        return linear(draw, g, name, values, late, depth)
    owner = draw(st.sampled_from(old))
    t = g.type_of(owner.inputs[0])
    width = owner.types[0].shape[-1]
    w = g.op(f"w{name}", "get_weight", path=f"{owner.name}.weight", shape=[width, t.shape[-1]])
    x = pick(draw, [v for v in values if v.type.shape[-1] == t.shape[-1]])
    return [g.op(name, "linear", x, out_features=width, bias=False, node={"weights": {"weight": w}})]


def call(draw: Draw, g: Draft, name: str, values: list[Value], late: tuple[str, ...], depth: int) -> list[Value]:
    args = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2))
    known = draw(st.sampled_from([(), ("p",), ("q", "p")]))
    callee = draw_graph(draw, draw(names), [a.type for a in args], known, depth + 1)
    count: Any = draw(st.sampled_from([1, 2, 3, sym("D")]))
    n = len(callee.outputs)
    if callee.output_types != callee.input_types[:n]:
        count = 1
    own: list[Any] = [0.125, 2, *(Late(m) for m in late), *(Late(m) * 0.5 for m in late)]
    own += [0.1 * Late("turn") / 11, apply("sqrt", Late("turn") + 1)] if count != 1 else []
    bound = tuple((m, draw(st.sampled_from(own))) for m in callee.late)
    flags = frozenset(draw(st.sampled_from([(), ("frozen",)])))
    found = g.call(name, callee, *args, count=count, late=bound, flags=flags)
    return list(found) if isinstance(found, tuple) else [found]


def scan(draw: Draw, g: Draft, name: str, values: list[Value], late: tuple[str, ...], depth: int) -> list[Value]:
    long = [v for v in values if v.type.rank > 1]
    if not long:
        return unary(draw, g, name, values, late, depth)
    x, read = pick(draw, long), pick(draw, values)
    op = Scan.make(dim=1, xs=1, carry=0, reverse=draw(st.booleans()))
    (inner,) = op.taken(x.type, read.type)  # type: ignore[attr-defined]
    region = draw_graph(draw, draw(names), list(inner), late, depth + 1)
    types = op.given((x.type, read.type), region.output_types)  # type: ignore[attr-defined]
    found = g._add(name, op, (x, read), types, callees=(region,), late=tuple((n, Late(n)) for n in region.late))
    return list(found) if isinstance(found, tuple) else [found]


def switch(draw: Draw, g: Draft, name: str, values: list[Value], late: tuple[str, ...], depth: int) -> list[Value]:
    x = pick(draw, values)
    regions = [draw_graph(draw, draw(names), [x.type], late, depth + 1) for _ in range(2)]
    if regions[0].output_types != regions[1].output_types:
        return []
    bound = tuple((n, Late(n)) for n in dict.fromkeys((*regions[0].late, *regions[1].late)))
    op = SwitchTraining.make()
    found = g._add(name, op, (x,), regions[0].output_types, callees=tuple(regions), late=bound)
    return list(found) if isinstance(found, tuple) else [found]


LEAVES = [unary, linear, binary, dropout, chunk, parameter, formula, again, tied]
KINDS = [*LEAVES, again, call, call, call, scan, switch]
