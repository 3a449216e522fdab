"""Graphs written by hand, for tests that must not depend on the front end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from archgraph.ir.diagnostics import Span
from archgraph.ir.dim import Cond, Num, sym
from archgraph.ir.graph import Graph, Node, ValueRef
from archgraph.ir.types import TensorType
from archgraph.ops.base import get_op


def tensor(shape: str, dtype: str = "float") -> TensorType:
    """``"B N 8"``: numbers are numbers, words are symbols."""
    return TensorType(dtype, [int(word) if word.isdigit() else sym(word) for word in shape.split()])


class Value:
    """A value of a graph in the making, with its type."""

    def __init__(self, ref: ValueRef, type: TensorType) -> None:
        self.ref = ref
        self.type = type


class Draft:
    """A graph in the making.

    >>> g = Draft("mlp")
    >>> x = g.input("x", "B N 8")
    >>> g.done(out=g.op("fc", "linear", x, out_features=4))
    """

    def __init__(self, name: str, late: tuple[str, ...] = ()) -> None:
        self.name = name
        self.late = late
        self.inputs: list[tuple[str, TensorType]] = []
        self.nodes: list[Node] = []

    def require(self, cond: bool | Cond, why: str) -> None:
        assert cond is not False, why

    def input(self, name: str, shape: str | TensorType, dtype: str = "float") -> Value:
        t = tensor(shape, dtype) if isinstance(shape, str) else shape
        self.inputs.append((name, t))
        return Value((-1, len(self.inputs) - 1), t)

    def type_of(self, ref: ValueRef) -> TensorType:
        """The type of a value."""
        return self.inputs[ref[1]][1] if ref[0] < 0 else self.nodes[ref[0]].types[ref[1]]

    def op(self, name: str, op_name: str, *args: Value | None, node: dict[str, Any] | None = None, **attrs: Any) -> Any:
        """An op node; ``node`` are further attributes of the node. Returns its value, or a tuple of them."""
        cls = get_op(op_name)
        assert cls is not None, op_name
        op = cls.from_mapping(attrs)
        found = op.infer(self, *[None if a is None else a.type for a in args])
        return self._add(name, op, args, found if isinstance(found, tuple) else (found,), **(node or {}))

    def call(self, name: str, callee: Graph, *args: Value, count: Num = 1, **node: Any) -> Any:
        """A call, or a chain of ``count``. Returns its value, or a tuple of them."""
        assert tuple(a.type for a in args) == callee.input_types, (args, callee.inputs)
        return self._add(name, None, args, callee.output_types, callees=(callee,), count=count, **node)

    def _add(self, name: str, op: Any, args: Iterable[Value | None], types: tuple[TensorType, ...], **node: Any) -> Any:
        if "weights" in node:
            node["weights"] = tuple((k, None if v is None else v.ref) for k, v in node["weights"].items())
        refs = tuple(None if a is None else a.ref for a in args)
        origin = Span("spec.yaml", len(self.nodes) + 1, 3)
        self.nodes.append(Node(name, op, refs, types, origin=origin, **node))
        values = tuple(Value((len(self.nodes) - 1, k), t) for k, t in enumerate(types))
        return values[0] if len(values) == 1 else values

    def done(self, *out: Value, **named: Value) -> Graph:
        """The graph, with one output ``out`` or named ones; ``x__0`` stands for ``x.0``."""
        outputs = [("out", v.ref) for v in out] + [(k.replace("__", "."), v.ref) for k, v in named.items()]
        return Graph(self.name, tuple(self.inputs), tuple(self.nodes), tuple(outputs), late=self.late)


def mlp(shape: str, hidden: int, name: str = "mlp") -> Graph:
    """Linear, GELU, linear, back to the width it came from."""
    g = Draft(name)
    x = g.input("x", shape)
    h = g.op("act", "gelu", g.op("fc1", "linear", x, out_features=hidden))
    return g.done(g.op("fc2", "linear", h, out_features=x.type.shape[-1]))
