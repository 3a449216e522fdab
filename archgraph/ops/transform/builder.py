"""Building a typed graph op by op."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from archgraph.ir.dim import Cond, Num
from archgraph.ir.expr import Binary, Expr, Name, literal
from archgraph.ir.graph import Graph, Guard, Node, ValueRef
from archgraph.ir.real import late_names
from archgraph.ir.types import TensorType
from archgraph.ops.base import Op, OpError, check_operands, get_op


class Value(NamedTuple):
    """A tensor of the graph under construction."""

    ref: ValueRef
    type: TensorType


Given = Sequence[tuple[str, "Value | None"]]


class Builder:
    """One graph under construction; a context for type rules, whose conditions become its guards."""

    def __init__(self, name: str, source: str = "") -> None:
        self.name = name
        self.source = source
        self.inputs: list[tuple[str, TensorType]] = []
        self.nodes: list[Node] = []
        self.guards: dict[Guard, None] = {}
        self.taken: set[str] = set()

    # -- values --------------------------------------------------------------------------------------------------

    def input(self, name: str, t: TensorType) -> Value:
        """A new input, renamed if the name is taken."""
        own = self.unique(name)
        self.inputs.append((own, t))
        self.taken.add(own)
        return Value((-1, len(self.inputs) - 1), t)

    def type_of(self, ref: ValueRef) -> TensorType:
        """The type of a value of this graph."""
        return self.inputs[ref[1]][1] if ref[0] < 0 else self.nodes[ref[0]].types[ref[1]]

    def at(self, ref: ValueRef) -> Value:
        """A value by its reference."""
        return Value(ref, self.type_of(ref))

    def unique(self, name: str) -> str:
        """``name``, or with a number behind it if it is taken."""
        found, k = name, 2
        while found in self.taken:
            found, k = f"{name}_{k}", k + 1
        return found

    def add(self, node: Node) -> tuple[Value, ...]:
        """Append a node as it is, under a free name."""
        name = self.unique(node.name)
        self.taken.add(name)
        self.nodes.append(node if name == node.name else node.replace(name=name))
        k = len(self.nodes) - 1
        return tuple(Value((k, out), t) for out, t in enumerate(node.types))

    def apply(self, op: Op, *operands: Value | None, name: str = "", weights: Given = ()) -> tuple[Value, ...]:
        """Append an op; its types follow from its rule.

        Raises
        ------
        OpError
            If the op does not take these operands.
        """
        types = tuple(None if v is None else v.type for v in operands)
        check_operands(type(op), types)
        outs = op.infer(self, *types)
        return self.add(
            Node(
                name or op.op_name,
                op,
                tuple(None if v is None else v.ref for v in operands),
                outs if isinstance(outs, tuple) else (outs,),
                weights=tuple((w, None if v is None else v.ref) for w, v in weights),
            )
        )

    def op(self, word: str, *operands: Value | None, name: str = "", weights: Given = (), **attributes: Any) -> Value:
        """The only value of an op by its name."""
        cls = get_op(word)
        assert cls is not None
        return self.apply(cls.make(**attributes), *operands, name=name, weights=weights)[0]

    def call(self, graph: Graph, operands: Iterable[Value], name: str, like: Node | None = None) -> tuple[Value, ...]:
        """A call of another graph; late values, weights' owner and flags are those of the node ``like``."""
        kept = {} if like is None else {"late": like.late, "share": like.share, "flags": like.flags}
        inputs = tuple(v.ref for v in operands)
        return self.add(Node(name, None, inputs, graph.output_types, callees=(graph,), **kept))  # type: ignore[arg-type]

    # -- guards --------------------------------------------------------------------------------------------------

    def require(self, cond: bool | Cond, why: str) -> None:
        """`archgraph.ops.base.Context.require`."""
        if cond is False:
            raise OpError(why)
        if isinstance(cond, Cond):
            self.guards.setdefault(Guard(cond, why))

    # -- common compositions -------------------------------------------------------------------------------------

    def formula(self, expr: Expr, values: Mapping[str, Value], name: str = "") -> Value:
        """Element-wise arithmetic; values that the expression does not name are left out."""
        names = tuple(n for n in values if n in expr.names)
        return self.op("formula", *(values[n] for n in names), name=name, expr=expr, names=names)

    def mul(self, x: Value, y: Value, name: str = "") -> Value:
        """The product of two values."""
        return self.op("mul", x, y, name=name)

    def scaled(self, x: Value, factor: Any, name: str = "") -> Value:
        """A value times a number."""
        return x if factor == 1 else self.formula(Binary("*", Name("x"), number(factor)), {"x": x}, name)

    def swapped(self, x: Value) -> Value:
        """The last two axes exchanged."""
        return self.op("rearrange", x, pattern="... i j -> ... j i", name="transposed")

    def summed(self, x: Value, axes: Sequence[int], keep: bool, reduction: str = "sum") -> Value:
        """A reduction over axes, which stay with length 1 or go."""
        names = [f"a{k}" for k in range(x.type.rank)]
        out = [("1" if keep else "") if k in axes else n for k, n in enumerate(names)]
        pattern = f"{' '.join(names)} -> {' '.join(filter(None, out))}"
        return self.op("reduce", x, pattern=pattern, reduction=reduction, name=reduction) if axes else x

    def sum_to(self, x: Value, shape: Sequence[Num]) -> Value:
        """``x`` summed over the axes along which a value of ``shape`` was stretched to it."""
        more = x.type.rank - len(shape)
        x = self.summed(x, range(more), keep=False)
        return self.summed(x, [k for k, n in enumerate(shape) if n == 1 and x.type.shape[k] != 1], keep=True)

    def stretched(self, x: Value, shape: Sequence[Num]) -> Value:
        """``x`` broadcast to ``shape``, without being copied."""
        if tuple(x.type.shape) == tuple(shape):
            return x
        more = len(shape) - x.type.rank
        size = [-1 if k >= more and x.type.shape[k - more] == n else n for k, n in enumerate(shape)]
        return self.op("expand", x, size=size)

    # -- finish --------------------------------------------------------------------------------------------------

    def finish(self, outputs: Sequence[tuple[str, ValueRef]], like: Graph | None = None) -> Graph:
        """The graph, without the nodes that no output needs (those marked ``unused`` stay)."""
        nodes = self.nodes
        index = {n.name: k for k, n in enumerate(nodes)}
        needed = [False] * len(nodes)
        stack = [ref[0] for _, ref in outputs] + [k for k, n in enumerate(nodes) if "unused" in n.flags]
        while stack:
            k = stack.pop()
            if k < 0 or needed[k]:
                continue
            needed[k] = True
            n = nodes[k]
            stack += [r[0] for r in (*n.inputs, *(r for _, r in n.weights)) if r is not None]
            owner = n.share[0] if n.share is not None else _owner(n)
            if owner is not None and owner in index:
                stack.append(index[owner])
        number: dict[int, int] = {-1: -1}
        kept: list[Node] = []
        for k, n in enumerate(nodes):
            if needed[k]:
                number[k] = len(kept)
                kept.append(moved(n, number))
        late: dict[str, None] = {}
        for n in kept:
            for _, value in n.late:
                late.update(dict.fromkeys(sorted(late_names(value) - {"turn"})))
            if isinstance(n.op, Op):
                late.update(dict.fromkeys(sorted(n.op.late)))
        return Graph(
            self.name,
            tuple(self.inputs),
            tuple(kept),
            tuple((o, (number[r[0]], r[1])) for o, r in outputs),
            () if like is None else like.args,
            tuple(late),
            (*(() if like is None else like.guards), *self.guards),
            self.source if like is None else like.source,
        )


def _owner(node: Node) -> str | None:
    """The node of this graph whose weight a `get_weight` reads."""
    path = getattr(node.op, "path", None)
    return None if path is None else str(path).partition(".")[0]


def moved(node: Node, number: Mapping[int, int]) -> Node:
    """A node with its references renumbered."""
    inputs = tuple(None if r is None else (number[r[0]], r[1]) for r in node.inputs)
    weights = tuple((w, None if r is None else (number[r[0]], r[1])) for w, r in node.weights)
    if inputs == node.inputs and weights == node.weights:
        return node
    return node.replace(inputs=inputs, weights=weights)


def number(value: Any) -> Expr:
    """A number in a formula."""
    from archgraph.ir.expr import Host

    plain = isinstance(value, (int, float)) and value == value and abs(value) != float("inf")
    return literal(value) if plain else Host(value)
