"""Reverse-mode differentiation, from typed graph to typed graph.

A graph becomes one that computes its values and, from cotangents of its outputs, cotangents of some inputs. Each op's
share is a rule (`archgraph.ops.transform.pullbacks`) that appends ordinary ops. A call becomes two: the callee with
the values that its derivative needs as further outputs, at the old path, so that weights stay where they are, and the
callee's derivative, which takes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from archgraph.ir.graph import Graph, Node, ValueRef
from archgraph.ir.types import TensorType, is_float
from archgraph.ops.base import Op, fail
from archgraph.ops.binding import own_weights
from archgraph.ops.higher import GetWeight
from archgraph.ops.transform.builder import Builder, Value
from archgraph.ops.transform.turns import rolled_out

#: What an op node contributes: cotangents of its operands (by number) and of weights given to it (by name).
Contributions = Iterable[tuple["int | str", Value]]


class Pullback:
    """One op node while it is differentiated: what a rule may ask, and the graph that it appends to (`b`).

    Attributes
    ----------
    op : Op
    in_types, out_types
        Types of the operands (None where absent) and outputs.
    cotangents : tuple of Value or None
        One per output; None where nothing depends on it.
    """

    def __init__(self, reverse: _Reverse, number: int, cotangents: tuple[Value | None, ...]) -> None:
        node = reverse.nodes[number]
        self.b = reverse.backward
        self.op: Any = node.op
        self.cotangents = cotangents
        self.in_types: tuple[Any, ...] = tuple(None if r is None else reverse.graph.type_of(r) for r in node.inputs)
        self.out_types = node.types
        self._reverse = reverse
        self._node = node
        self._number = number
        self._given = dict(node.weights)

    @property
    def cotangent(self) -> Value:
        """That of the only output."""
        (found,) = self.cotangents
        assert found is not None
        return found

    def wanted(self, key: int | str) -> bool:
        """Whether the cotangent of an operand, or of a given weight, is asked for."""
        ref = self._given.get(key) if isinstance(key, str) else self._node.inputs[key]
        return ref is not None and ref in self._reverse.active

    def operand(self, k: int) -> Value:
        """The value of an operand."""
        ref = self._node.inputs[k]
        assert ref is not None
        return self._reverse.forward_value(ref)

    def output(self, k: int = 0) -> Value:
        """The value of an output."""
        return self._reverse.forward_value((self._number, k))

    def weight(self, name: str = "weight") -> Value:
        """A weight, given or owned."""
        ref = self._given.get(name)
        return self._reverse.own_weight(self._node, name) if ref is None else self._reverse.forward_value(ref)


Rule = Callable[[Pullback], Contributions]
Rules = Mapping[type[Op], Rule]


class Differentiated(NamedTuple):
    """A call's two halves: ``forward`` has ``saved`` more outputs, which are the last inputs of ``backward``.

    Its first inputs are cotangents of those outputs of the call that ``outputs`` marks; it returns cotangents of the
    active inputs.
    """

    forward: Graph
    backward: Graph
    saved: int
    outputs: tuple[bool, ...]


def gradient(graph: Graph, wrt: Sequence[int], cotangent: bool = True, rules: Rules | None = None) -> Graph:
    """The gradients of a graph's outputs, weighted by cotangents, by some of its inputs.

    Parameters
    ----------
    graph : Graph
        Its outputs are floats.
    wrt : sequence of int
        Numbers of inputs.
    cotangent : bool
        The result takes a cotangent per output behind the graph's inputs; otherwise they are ones.
    rules : mapping, optional
        In place of the ops' derivatives.

    Returns
    -------
    Graph
        With an output per number in ``wrt``, of the input's name. Where nothing depends on an input it is zeros.

    Raises
    ------
    OpError
        Naming an op on the way that has no derivative.
    """
    return _Reverse(graph, frozenset(wrt), _rules(rules)).whole(wrt, cotangent)


def _rules(given: Rules | None) -> Rules:
    if given is not None:
        return given
    from archgraph.ops.transform.pullbacks import RULES

    return RULES


def _halves(graph: Graph, wrt: frozenset[int], outputs: tuple[bool, ...], rules: Rules) -> Differentiated:
    """Both halves of a callee, for active inputs and outputs that have a cotangent."""
    key = f"halves {sorted(wrt)} {outputs} {id(rules)}"
    found: tuple[Rules, Differentiated] | None = graph._cache.get(key)
    if found is None:
        made = _Reverse(graph, wrt, rules, Builder(f"{graph.name}_gradient")).halves(outputs)
        found = graph._cache[key] = rules, made  # the rules too, so that their identity stays theirs
    return found[1]


class _Reverse:
    """One graph being differentiated; ``backward`` is the graph that takes the derivative, by default the same."""

    def __init__(self, graph: Graph, wrt: frozenset[int], rules: Rules, backward: Builder | None = None) -> None:
        self.graph = graph
        self.wrt = wrt
        self.rules = rules
        self.forward = Builder(graph.name)
        self.apart = backward is not None
        self.backward = self.forward if backward is None else backward
        self.nodes = [rolled_out(n) for n in graph.nodes]
        self.active = self._active()
        #: Values of the graph in the forward graph, and those known to the backward graph.
        self.values: dict[ValueRef, Value] = {}
        self.seen: dict[ValueRef, Value] = {}
        self.saved: list[ValueRef] = []
        #: Numbers of owned weights that the derivative reads; their references are (-2, number).
        self.paths: dict[str, int] = {}
        self.cotangents: dict[ValueRef, list[Value]] = {}

    def _active(self) -> frozenset[ValueRef]:
        """Values that depend on the inputs asked for, and have derivatives at all."""
        found = {(-1, k) for k in self.wrt if is_float(self.graph.inputs[k][1].dtype)}
        for k, node in enumerate(self.nodes):
            if "unused" in node.flags or getattr(node.op, "op_name", "") == "detach":
                continue
            if any(r in found for r in (*node.inputs, *(r for _, r in node.weights))):
                found |= {(k, out) for out, t in enumerate(node.types) if is_float(t.dtype)}
        return frozenset(found)

    # -- the two forms of a result -------------------------------------------------------------------------------

    def whole(self, wrt: Sequence[int], cotangent: bool) -> Graph:
        """One graph: the values, then the derivative."""
        inner = self._calls([ref for _, ref in self.graph.outputs])
        self._copy(inner)
        for name, ref in self.graph.outputs:
            t = self.graph.type_of(ref)
            if not is_float(t.dtype):
                fail("a gradient is that of floats", "float", str(t))
            if cotangent:
                self._add(ref, self.forward.input(f"cotangent_{name}", t))
            elif ref in self.active:
                self._add(ref, self.forward.op("ones", shape=t.shape, dtype=t.dtype))
        self._pull(inner)
        outputs = [(self.graph.inputs[k][0], self._total(k).ref) for k in wrt]
        return self.forward.finish(outputs, self.graph.replace(args=()))

    def halves(self, outputs: tuple[bool, ...]) -> Differentiated:
        """Two graphs; which values are saved shows while the second is made."""
        wanted = [ref for (_, ref), has in zip(self.graph.outputs, outputs, strict=True) if has]
        inner = self._calls(wanted)
        self._copy(inner)
        for ref in wanted:
            self._add(ref, self.backward.input("cotangent", self.graph.type_of(ref)))
        self._pull(inner)
        grads = [(self.graph.inputs[k][0], self._total(k).ref) for k in sorted(self.wrt)]
        forward = [(name, self.values[ref].ref) for name, ref in self.graph.outputs]
        forward += [(f"saved_{k}", self.values[ref].ref) for k, ref in enumerate(self.saved)]
        return Differentiated(
            self.forward.finish(forward, self.graph), self.backward.finish(grads), len(self.saved), outputs
        )

    # -- values --------------------------------------------------------------------------------------------------

    def _copy(self, inner: Mapping[int, Differentiated]) -> None:
        """The graph itself; calls that are differentiated call the half that saves values."""
        for k, (name, t) in enumerate(self.graph.inputs):
            self.values[(-1, k)] = self.forward.input(name, t)
        for k, node in enumerate(self.nodes):
            inputs = tuple(None if r is None else self.values[r].ref for r in node.inputs)
            weights = tuple((w, None if r is None else self.values[r].ref) for w, r in node.weights)
            node = node.replace(inputs=inputs, weights=weights)
            half = inner.get(k)
            if half is not None:
                late = tuple((n, v) for n, v in node.late if n in half.forward.late)
                node = node.replace(callees=(half.forward,), types=half.forward.output_types, late=late)
            for out, value in enumerate(self.forward.add(node)):
                self.values[(k, out)] = value

    def forward_value(self, ref: ValueRef) -> Value:
        """A value of the graph, for the derivative."""
        if not self.apart:
            return self.values[ref]
        found = self.seen.get(ref)
        if found is None:
            found = self.seen[ref] = self.backward.input(f"saved_{len(self.saved)}", self.values[ref].type)
            self.saved.append(ref)
        return found

    def own_weight(self, node: Node, name: str) -> Value:
        """A weight that a node owns or shares, as a value of the forward graph."""
        weight = next(w for w in own_weights(self.graph, node) if w.name == name)
        path = ".".join((*(node.share or (node.name,)), *([name] if name else [])))
        key = (-2, self.paths.setdefault(path, len(self.paths)))
        if key not in self.values:
            op = GetWeight.make(path=path, shape=weight.shape, dtype=weight.dtype)
            (value,) = self.forward.apply(op, name=path.replace(".", "_"))
            self.values[key] = value
        return self.forward_value(key)

    # -- cotangents ----------------------------------------------------------------------------------------------

    def _add(self, ref: ValueRef | None, value: Value) -> None:
        if ref is not None and ref in self.active:
            self.cotangents.setdefault(ref, []).append(value)

    def _cotangent(self, ref: ValueRef) -> Value | None:
        parts = self.cotangents.get(ref)
        if not parts:
            return None
        if len(parts) > 1:
            parts[:] = [self.backward.op("add", *parts)]
        return parts[0]

    def _total(self, k: int) -> Value:
        """The gradient by an input."""
        return self._or_zeros(self._cotangent((-1, k)), self.graph.inputs[k][1])

    def _or_zeros(self, value: Value | None, t: TensorType) -> Value:
        return self.backward.op("zeros", shape=t.shape, dtype=t.dtype) if value is None else value

    def _calls(self, wanted: Iterable[ValueRef]) -> dict[int, Differentiated]:
        """Both halves of each call that cotangents of some values reach."""
        needed = {ref for ref in wanted if ref in self.active}
        found: dict[int, Differentiated] = {}
        for k in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[k]
            outs = tuple((k, out) in needed for out in range(len(node.types)))
            if not any(outs):
                continue
            if node.op is None:
                active = frozenset(n for n, r in enumerate(node.inputs) if r in self.active)
                found[k] = _halves(node.callee, active, outs, self.rules)
            needed |= {r for r in (*node.inputs, *(r for _, r in node.weights)) if r is not None and r in self.active}
        return found

    def _pull(self, inner: dict[int, Differentiated]) -> None:
        """Nodes in reverse, each by its rule."""
        for k in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[k]
            found = tuple(self._cotangent((k, out)) for out in range(len(node.types)))
            if all(c is None for c in found):
                continue
            if node.op is None:
                self._pull_call(k, node, found, inner)
                continue
            rule = self.rules.get(type(node.op))  # type: ignore[arg-type]
            if rule is None or node.callees:
                fail(f"`{node.op.op_name}` has no derivative here", hint="`detach` stops a gradient")
            for key, value in rule(Pullback(self, k, found)):
                ref = dict(node.weights).get(key) if isinstance(key, str) else node.inputs[key]
                self._add(ref, value)

    def _pull_call(self, k: int, node: Node, found: tuple[Value | None, ...], inner: dict[int, Differentiated]) -> None:
        n = len(node.types)
        half = inner[k]
        given = [self._or_zeros(found[j], node.types[j]) for j, has in enumerate(half.outputs) if has]
        saved = [self.forward_value((k, n + j)) for j in range(half.saved)]
        late = tuple((name, value) for name, value in node.late if name in half.backward.late)
        inputs = tuple(v.ref for v in (*given, *saved))
        own = f"turn_{node.name}" if node.name.isdecimal() else node.name
        back = Node(f"{own}_gradient", None, inputs, half.backward.output_types, (half.backward,), late=late)
        results = self.backward.add(back)
        active = [m for m, r in enumerate(node.inputs) if r in self.active]
        for m, value in zip(active, results, strict=True):
            self._add(node.inputs[m], value)
