"""The typed block graph: immutable, hierarchical, hashable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, final

from archgraph.ir.dim import Cond, Num
from archgraph.ir.real import late_names
from archgraph.ir.types import TensorType

if TYPE_CHECKING:
    from archgraph.ir.diagnostics import Span

#: (number of the node in its graph, number of its output); graph inputs are (-1, k).
ValueRef = tuple[int, int]


class OpLike(Protocol):
    """What the graph needs to know of an op (see `archgraph.ops.base.Op`)."""

    @property
    def op_name(self) -> str: ...
    @property
    def values(self) -> tuple[Any, ...]: ...
    @property
    def late(self) -> frozenset[str]: ...
    @property
    def reads(self) -> str | None: ...
    def attrs(self) -> Mapping[str, Any]: ...
    def __hash__(self) -> int: ...


class Guard:
    """A condition on symbols that could not be decided while typing, and why it must hold."""

    __slots__ = ("cond", "span", "why")

    def __init__(self, cond: Cond, why: str, span: Span | None = None) -> None:
        self.cond = cond
        self.why = why
        self.span = span

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Guard) and self.cond == other.cond

    def __hash__(self) -> int:
        return hash(self.cond)

    def __str__(self) -> str:
        return f"{self.cond} ({self.why})"

    __repr__ = __str__


@final
class Node:
    """One step of a graph: an op, a call of another graph, or an op with regions.

    Attributes
    ----------
    name : str
        The node's key; its path segment in the state_dict.
    op : Op or None
        The op; None for a plain call.
    inputs : tuple of ValueRef or None
        Operands in the op's (or callee's) order; None where an optional operand is absent.
    types : tuple of TensorType
        One per output.
    callees : tuple of Graph
        The called graph, or the regions of a higher-order op.
    count : int or Dim
        Turns of a chain (1 for a plain call): the outputs of a turn feed the first inputs of the next.
    share : tuple of str or None
        Path, from this graph, of the node whose weights this one uses.
    late : tuple of (name, expression)
        Late parameters of the callee, as expressions over this graph's own late names and ``turn``.
    weights : tuple of (name, ValueRef or None)
        Weights given as values instead of owned.
    flags : frozenset of str
        ``unused`` (registered, never run), ``frozen``.
    origin : Span or None
        Where it was written; not part of equality.
    """

    __slots__ = (
        "_hash",
        "callees",
        "count",
        "flags",
        "inputs",
        "late",
        "name",
        "op",
        "origin",
        "share",
        "types",
        "weights",
    )

    def __init__(
        self,
        name: str,
        op: OpLike | None,
        inputs: tuple[ValueRef | None, ...],
        types: tuple[TensorType, ...],
        callees: tuple[Graph, ...] = (),
        count: Num = 1,
        share: tuple[str, ...] | None = None,
        late: tuple[tuple[str, Any], ...] = (),
        weights: tuple[tuple[str, ValueRef | None], ...] = (),
        flags: frozenset[str] = frozenset(),
        origin: Span | None = None,
    ) -> None:
        self.name = name
        self.op = op
        self.inputs = inputs
        self.types = types
        self.callees = callees
        self.count = count
        self.share = share
        self.late = late
        self.weights = weights
        self.flags = flags
        self.origin = origin
        self._hash: int | None = None

    @property
    def callee(self) -> Graph:
        """The graph that a plain call calls."""
        return self.callees[0]

    @property
    def is_call(self) -> bool:
        return self.op is None

    def replace(self, **changes: Any) -> Node:
        """A copy with some attributes changed."""
        kept = {k: getattr(self, k) for k in Node.__slots__ if k != "_hash"}
        return Node(**{**kept, **changes})

    def _key(self) -> tuple[Any, ...]:
        return (
            self.name,
            self.op,
            self.inputs,
            self.types,
            self.callees,
            self.count,
            self.share,
            self.late,
            self.weights,
            self.flags,
        )

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Node) and hash(self) == hash(other) and self._key() == other._key()

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(self._key())
        return self._hash

    def __repr__(self) -> str:
        what = self.op.op_name if self.op is not None else self.callees[0].name
        return f"<Node {self.name}: {what} {', '.join(map(str, self.types))}>"


@final
class Graph:
    """A typed block graph: named inputs, nodes in dominance order, named outputs.

    Attributes
    ----------
    name : str
        The block's (or spec's) name.
    args : tuple of (param, value)
        The arguments it was elaborated with; rewrite patterns read them as attributes.
    inputs : tuple of (name, TensorType)
        Lists are flattened to ``name.0``, ``name.1`` …
    nodes : tuple of Node
    outputs : tuple of (name, ValueRef)
        Lists are flattened like inputs.
    late : tuple of str
        Names that callers bind late (`Node.late`).
    guards : tuple of Guard
        Conditions of this graph alone; callees carry their own.
    source : str
        Definition it came from (``file#block``); not part of equality.
    """

    __slots__ = ("_cache", "_hash", "args", "guards", "inputs", "late", "name", "nodes", "outputs", "source")

    def __init__(
        self,
        name: str,
        inputs: tuple[tuple[str, TensorType], ...],
        nodes: tuple[Node, ...],
        outputs: tuple[tuple[str, ValueRef], ...],
        args: tuple[tuple[str, Any], ...] = (),
        late: tuple[str, ...] = (),
        guards: tuple[Guard, ...] = (),
        source: str = "",
    ) -> None:
        self.name = name
        self.args = args
        self.inputs = inputs
        self.nodes = nodes
        self.outputs = outputs
        self.late = late
        self.guards = guards
        self.source = source
        self._hash: int | None = None
        self._cache: dict[str, Any] = {}

    def type_of(self, ref: ValueRef) -> TensorType:
        """The type of a value of this graph."""
        node, out = ref
        return self.inputs[out][1] if node < 0 else self.nodes[node].types[out]

    @property
    def input_types(self) -> tuple[TensorType, ...]:
        return tuple(t for _, t in self.inputs)

    @property
    def output_types(self) -> tuple[TensorType, ...]:
        inputs, nodes = self.inputs, self.nodes
        return tuple([inputs[out][1] if node < 0 else nodes[node].types[out] for _, (node, out) in self.outputs])

    def node(self, name: str) -> Node:
        """The node of that name.

        Raises
        ------
        KeyError
            If this graph has no such node.
        """
        index: dict[str, int] | None = self._cache.get("index")
        if index is None:
            index = self._cache["index"] = {n.name: i for i, n in enumerate(self.nodes)}
        return self.nodes[index[name]]

    def graphs(self) -> Iterator[Graph]:
        """This graph and every distinct graph below it, callees first."""
        seen: set[int] = set()

        def visit(g: Graph) -> Iterator[Graph]:
            if id(g) in seen:
                return
            seen.add(id(g))
            for node in g.nodes:
                for callee in node.callees:
                    yield from visit(callee)
            yield g

        yield from visit(self)

    def replace(self, **changes: Any) -> Graph:
        """A copy with some attributes changed."""
        kept: Mapping[str, Any] = {k: getattr(self, k) for k in Graph.__slots__ if not k.startswith("_")}
        return Graph(**{**kept, **changes})

    def _key(self) -> tuple[Any, ...]:
        return (self.name, self.args, self.inputs, self.nodes, self.outputs, self.late)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Graph) and hash(self) == hash(other) and self._key() == other._key()

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(self._key())
        return self._hash

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.nodes)} nodes>"

    def __str__(self) -> str:
        from archgraph.ir.text import render

        return render(self)

    def __getstate__(self) -> tuple[Any, ...]:
        return (*self._key(), self.guards, self.source)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.name, self.args, self.inputs, self.nodes, self.outputs, self.late, self.guards, self.source = state
        self._hash = None
        self._cache = {}


def late_of(nodes: Iterable[Node]) -> tuple[str, ...]:
    """Late names that nodes read, in order of first use: what a graph of them declares."""
    found: dict[str, None] = {}
    for n in nodes:
        if not n.late and (n.op is None or not n.op.late):
            continue
        for _, value in n.late:
            found.update(dict.fromkeys(sorted(late_names(value) - {"turn"})))
        if n.op is not None and n.op.late:
            found.update(dict.fromkeys(sorted(n.op.late)))
    return tuple(found)
