"""Leading axes for graphs written without them, from typed graph to typed graph (``vmap``).

Each op's share is a rule (`archgraph.ops.transform.prepend`) that appends the op on operands some of which have the
new axes in front. A value has all of them or none; what reads only values without them stays as it is, and is computed
once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from archgraph.ir.dim import Num
from archgraph.ir.graph import Graph, Node, ValueRef
from archgraph.ir.types import TensorType
from archgraph.ops.base import Op, fail
from archgraph.ops.higher import Scan
from archgraph.ops.transform.builder import Builder, Value
from archgraph.ops.transform.turns import rolled_out

Rule = Callable[["Prepend"], "tuple[Value, ...]"]


class Prepend:
    """One op node that gets leading axes: what a rule may ask, and the graph that it appends to (`b`).

    Attributes
    ----------
    op : Op
    sizes : tuple of int or Dim
        The new axes, `k` of them.
    operands : tuple of Value or None
        In the new graph; `mapped` says which have the axes.
    in_types, out_types
        Types before.
    weights : mapping
        Weights given as values, and in `mapped_weights` which of them have the axes.
    """

    def __init__(self, batch: _Batch, node: Node) -> None:
        assert isinstance(node.op, Op)
        self.b = batch.b
        self.op: Any = node.op
        self.sizes = batch.sizes
        self.k = len(batch.sizes)
        self.operands = tuple(None if r is None else batch.values[r] for r in node.inputs)
        self.mapped = tuple(r is not None and r in batch.mapped for r in node.inputs)
        self.in_types: tuple[Any, ...] = tuple(None if r is None else batch.graph.type_of(r) for r in node.inputs)
        self.out_types = node.types
        self.weights = {w: None if r is None else batch.values[r] for w, r in node.weights}
        self.mapped_weights = {w for w, r in node.weights if r is not None and r in batch.mapped}
        self._node = node

    def operand(self, n: int) -> Value:
        """An operand with the axes in front, stretched to them if it had none."""
        found = self.operands[n]
        assert found is not None
        return found if self.mapped[n] else self.b.stretched(found, (*self.sizes, *found.type.shape))

    def aligned(self, n: int, rank: int) -> Value | None:
        """An operand as one that broadcasts with others of ``rank`` axes behind the new ones."""
        found = self.operands[n]
        if found is None or not self.mapped[n]:
            return found
        return aligned(self.b, found, self.k, rank)

    def weight(self, name: str = "weight") -> Value:
        """A weight given as a value."""
        found = self.weights[name]
        assert found is not None
        return found

    def again(self, op: Op, *operands: Value | None) -> tuple[Value, ...]:
        """Append an op under the node's own name, with its weights, which have no new axes."""
        b = self.b
        types = tuple(None if v is None else v.type for v in operands)
        outs = op.infer(b, *types)
        kept = self._node
        refs = tuple(None if v is None else v.ref for v in operands)
        weights = tuple((w, None if v is None else v.ref) for w, v in self.weights.items())
        return b.add(
            Node(kept.name, op, refs, outs if isinstance(outs, tuple) else (outs,), (), 1, kept.share, (), weights,
                 kept.flags, kept.origin)
        )  # fmt: skip

    def replaced(self, **attributes: Any) -> Op:
        """The op with some attributes changed."""
        cls = type(self.op)
        values = list(self.op.values)
        for name, value in attributes.items():
            values[cls.by_name[name].index] = value
        made: Op = cls(tuple(values))
        return made


def aligned(b: Builder, x: Value, k: int, rank: int) -> Value:
    """``x`` with axes of length 1 behind its ``k`` first, so that ``rank`` more follow those."""
    missing = rank - (x.type.rank - k)
    if missing <= 0:
        return x
    lead = " ".join(f"v{n}" for n in range(k))
    return b.op("rearrange", x, pattern=f"{lead} ... -> {lead}{' 1' * missing} ...", name="aligned")


def batched(
    graph: Graph, sizes: Sequence[Num], mapped: Sequence[bool], rules: Mapping[type[Op], Rule] | None = None
) -> Graph:
    """The graph with leading axes on some inputs, and on all outputs.

    Parameters
    ----------
    graph : Graph
    sizes : sequence of int or Dim
        Lengths of the axes.
    mapped : sequence of bool
        Which inputs have them.
    rules : mapping, optional
        In place of the ops' own.

    Raises
    ------
    OpError
        Naming an op on the way that has no rule.
    """
    if rules is None:
        from archgraph.ops.transform.prepend import RULES

        rules = RULES
    key = f"batched {tuple(sizes)} {tuple(mapped)} {id(rules)}"
    found: tuple[Any, Graph] | None = graph._cache.get(key)
    if found is None:
        found = graph._cache[key] = rules, _Batch(graph, tuple(sizes), mapped, rules).run()
    return found[1]


class _Batch:
    """One graph being rebuilt."""

    def __init__(
        self, graph: Graph, sizes: tuple[Num, ...], mapped: Sequence[bool], rules: Mapping[type[Op], Rule]
    ) -> None:
        self.graph = graph
        self.sizes = sizes
        self.rules = rules
        self.b = Builder(graph.name)
        self.values: dict[ValueRef, Value] = {}
        self.mapped: set[ValueRef] = {(-1, k) for k, has in enumerate(mapped) if has}

    def run(self) -> Graph:
        b = self.b
        b.taken.update(n.name for n in self.graph.nodes)
        for k, (name, t) in enumerate(self.graph.inputs):
            if (-1, k) in self.mapped:
                t = longer(t, self.sizes)
            b.inputs.append((name, t))
            self.values[(-1, k)] = Value((-1, k), t)
        for k, node in enumerate(self.graph.nodes):
            b.taken.discard(node.name)
            has = any(r in self.mapped for r in (*node.inputs, *(r for _, r in node.weights)))
            found = self.mapped_node(node) if has else self.same(node)
            for out, value in enumerate(found):
                self.values[(k, out)] = value
                if has:
                    self.mapped.add((k, out))
        outputs = [(name, self.output(ref).ref) for name, ref in self.graph.outputs]
        return b.finish(outputs, self.graph.replace(args=()))

    def output(self, ref: ValueRef) -> Value:
        value = self.values[ref]
        return value if ref in self.mapped else self.b.stretched(value, (*self.sizes, *value.type.shape))

    def refs(self, refs: tuple[ValueRef | None, ...]) -> tuple[ValueRef | None, ...]:
        return tuple(None if r is None else self.values[r].ref for r in refs)

    def same(self, node: Node) -> tuple[Value, ...]:
        weights = tuple((w, None if r is None else self.values[r].ref) for w, r in node.weights)
        return self.b.add(node.replace(inputs=self.refs(node.inputs), weights=weights))

    def mapped_node(self, node: Node) -> tuple[Value, ...]:
        if node.op is None:
            return self.call(rolled_out(node))
        if isinstance(node.op, Scan):
            return self.scan(node, node.op)
        rule = self.rules.get(type(node.op))  # type: ignore[arg-type]
        if rule is None or node.callees:
            fail(f"`{node.op.op_name}` can't be given leading axes (`vmap`)")
        found = rule(Prepend(self, node))
        for value, t in zip(found, node.types, strict=True):
            want = (*self.sizes, *t.shape)
            if tuple(value.type.shape) != want:
                fail(f"`{node.op.op_name}` under `vmap` has another shape", str(list(want)), str(value.type))
        return found

    def call(self, node: Node) -> tuple[Value, ...]:
        if node.weights:
            fail(f"`{node.name}` is called with given weights, which are no inputs of its callee")
        callee = batched(node.callee, self.sizes, [r in self.mapped for r in node.inputs], self.rules)
        late = tuple((n, v) for n, v in node.late if n in callee.late)
        inputs = self.refs(node.inputs)
        return self.b.add(node.replace(inputs=inputs, callees=(callee,), types=callee.output_types, late=late))

    def scan(self, node: Node, op: Scan) -> tuple[Value, ...]:
        first = op.xs + op.carry
        inputs: list[ValueRef] = []
        mapped: list[bool] = []
        for n, ref in enumerate(node.inputs):
            assert ref is not None
            value, has = self.values[ref], ref in self.mapped
            if n < first and not has:
                value, has = self.b.stretched(value, (*self.sizes, *value.type.shape)), True
            inputs.append(value.ref)
            mapped.append(has)
        k = len(self.sizes)
        body = batched(node.callee, self.sizes, mapped, self.rules)
        late = tuple((n, v) for n, v in node.late if n in body.late)
        longer_op = Scan.make(dim=op.dim + k, reverse=op.reverse, xs=op.xs, carry=op.carry)
        types = tuple(longer(t, self.sizes) for t in node.types)
        return self.b.add(node.replace(op=longer_op, inputs=tuple(inputs), callees=(body,), types=types, late=late))


def longer(t: TensorType, sizes: tuple[Num, ...]) -> TensorType:
    """A type with axes in front; layouts move along."""
    k = len(sizes)
    return TensorType(t.dtype, (*sizes, *t.shape), tuple((a + k, layout) for a, layout in t.layout))


def shorter(t: TensorType, k: int) -> TensorType:
    """A type without its first ``k`` axes."""
    return TensorType(t.dtype, t.shape[k:], tuple((a - k, layout) for a, layout in t.layout if a >= k))
