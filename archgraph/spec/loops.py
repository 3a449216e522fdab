"""The three loops: ``for`` (a chain), ``each`` (side by side), ``map`` (one module on every element)."""

from __future__ import annotations

from copy import copy
from typing import Any

from archgraph.ir.dim import Dim, SymbolicTruth
from archgraph.ir.graph import Node
from archgraph.ir.real import Late
from archgraph.ops.base import Op, OpError
from archgraph.spec.frame import Frame
from archgraph.spec.loop_frame import Column, Silent
from archgraph.spec.loop_rolled import RolledLoop
from archgraph.spec.model import Block
from archgraph.spec.plan import NodePlan
from archgraph.spec.plan_op import OpPlan
from archgraph.spec.plan_refs import RefPlan
from archgraph.spec.plan_region import read_inputs
from archgraph.spec.values import (
    UNKNOWN,
    Record,
    Ref,
    Turns,
    Values,
    flatten,
    holds_unknown,
    is_value,
    rebuild,
    template,
)


class LoopPlan(RolledLoop):
    """A node with ``repeat``, ``for``, ``each`` or ``map``."""

    __slots__ = ()

    def run(self, f: Frame, it: Any, name: str) -> Any:
        try:
            n, columns = self.turns(f, it, name)
        except Silent:
            return UNKNOWN
        if isinstance(n, Dim) and self.kind != "for":
            raise SymbolicTruth("only a chain can have a symbolic number of turns")
        if self.kind == "map":
            return self._map(f, it, name, int(n), columns)
        start = self.given.get(f, it, name) if self.given is not None else it
        if isinstance(start, Turns):
            start = start.last
        if isinstance(n, Dim):
            rolled = self._rolled(f, start, name, n, columns)
            if rolled is None:
                rolled = self._periodic(f, start, name, n)
            if rolled is None:
                raise SymbolicTruth(f"turns of a chain of {n} must be alike: the same types in and out")
            return rolled
        if n == 0:
            if self.kind != "for":
                return Values()
            passed = self.first_input(f, start, name)
            return Turns(passed, Values()) if self.indexed else passed
        if self.kind == "for" and n > 1 and not self.indexed and not self.shared:
            rolled = self._rolled(f, start, name, n, columns)
            if rolled is not None:
                return rolled
        return self._unrolled(f, start, name, n, columns)

    def _unrolled(self, f: Frame, start: Any, name: str, n: int, columns: list[Column]) -> Any:
        """A graph of its own with one node per turn."""
        made = self._surroundings(f, start, name)
        if made is None:
            return UNKNOWN
        inner, refs, first = made
        value = first
        body = self.body
        found = Values()
        for t in range(n):
            for k, column in columns:
                v = column[t]
                inner.env[k] = _rebased(f, inner, refs, v, f"{k}_{t}") if isinstance(v, (Ref, Values, Record)) else v
            label = self.label(inner.env) if self.label is not None else str(t)
            if label in inner.taken:
                raise OpError(f"two turns are called `{label}`", code="label/twice", key="label")
            before = len(inner.nodes)
            got = body.evaluate(inner, value if self.kind == "for" else first, label)
            if self.shared and t > 0:
                self._share(inner, before)
            if isinstance(got, Turns):
                got = got.last
            if holds_unknown(got):
                return UNKNOWN
            found.append(got)
            if self.kind == "for":
                value = self._carry(inner, got, value)
                body = self._fed(inner, got, {k for k, _ in columns})
        total = Turns(found[-1], found) if self.kind == "for" else found
        outputs: list[tuple[str, tuple[int, int]]] = []
        if self.kind == "for" and not self.indexed:
            outputs = [(s.lstrip(".") or "out", r.ref) for s, r in flatten(found[-1])]
        else:
            for t, v in enumerate(found):
                outputs += [(f"{t}{s}", r.ref) for s, r in flatten(v)]
        graph, kept = read_inputs(inner.finish(tuple(outputs), (), f"{f.block.name}.{name}"))
        index = f.add(
            f.unique(name),
            None,
            tuple(r.ref for r in (refs if kept is None else [refs[k] for k in kept])),
            graph.output_types,
            callees=(graph,),
            late=tuple((n, Late(n)) for n in graph.late),
            flags=self.flags,
        )
        outs = iter(f.refs(index))
        if self.kind == "for" and not self.indexed:
            return rebuild(template(found[-1]), outs)
        values = Values(rebuild(template(v), outs) for v in found)
        if isinstance(total, Turns):
            return Turns(values[-1], values)
        if values and all(type(v) is Record for v in values):
            return Record((k, Values(v[k] for v in values)) for k in values[0])
        return values

    def _share(self, inner: Frame, start: int) -> None:
        """Give the nodes of a turn, those from ``start`` on, the weights of the first turn's.

        Raises
        ------
        OpError
            If they are not alike.
        """
        for k in range(start, len(inner.nodes)):
            node, first = inner.nodes[k], inner.nodes[k - start]
            if node.share is not None:
                continue
            if _owned(inner, node) != _owned(inner, first):
                raise OpError(
                    "turns that share their weights are alike, and these are not",
                    hint="`share: turns` needs one width throughout",
                    code="share/turns",
                    key="share",
                )
            if _owned(inner, node):
                inner.nodes[k] = node.replace(share=(first.name,))

    def _carry(self, inner: Frame, got: Any, before: Any) -> Any:
        """Outputs rebind outer names that they bear; a single value is what the next turn takes."""
        if type(got) is Record:
            for n, v in got.items():
                if n in inner.env and is_value(inner.env[n]):
                    inner.env[n] = v
            return got
        return got

    def _fed(self, inner: Frame, got: Any, columns: set[str]) -> NodePlan:
        """The body for the next turn: operands of a block that outputs of the last turn bear the names of are those.

        What is taken from a column has a value of its own in every turn.
        """
        body = self.body
        if type(got) is not Record or not isinstance(body, OpPlan) or not isinstance(body.target, Block):
            return body
        back = {n: f"{n}." for n in body.target.inputs if n in got}  # with a dot: no name in a spec is like that
        inner.env.update((alias, got[n]) for n, alias in back.items())
        refs = {n: RefPlan(alias) for n, alias in back.items()}
        fed = copy(body)
        if body.kwinputs is not None:
            fed.kwinputs = {
                n: given if _reads(given, columns) else refs.get(n, given) for n, given in body.kwinputs.items()
            }
        elif body.inputs is not None and not any(p.splice for p in body.inputs if isinstance(p, RefPlan)):
            fed.inputs = [
                given if _reads(given, columns) else refs.get(n, given)
                for n, given in zip(body.target.inputs, body.inputs, strict=False)
            ]
        return fed

    def _map(self, f: Frame, it: Any, name: str, n: int, columns: list[Column]) -> Any:
        """Calls side by side with one set of weights: the first owns them."""
        found = Values()
        saved = {k: f.env.get(k) for k, _, _ in self.loop_names}
        owner: str | None = None
        for t in range(n):
            f.env.update((k, column[t]) for k, column in columns)
            own = f.unique(name) if t == 0 else f"{owner}_{t}"
            before = len(f.nodes)
            value = self.body.evaluate(f, it, own)
            if holds_unknown(value):
                found = Values([UNKNOWN])
                break
            if t == 0:
                owner = own
            else:
                for number in range(before, len(f.nodes)):
                    node = f.nodes[number]
                    if node.name == own or node.name == f"{own}_2":
                        f.nodes[number] = node.replace(share=(str(owner),))
                f.made.pop(own, None)
            found.append(value)
        for k, v in saved.items():
            if v is None:
                f.env.pop(k, None)
            else:
                f.env[k] = v
        if UNKNOWN in found:
            return UNKNOWN
        if found and all(type(v) is Record for v in found):
            return Record((k, Values(v[k] for v in found)) for k in found[0])
        return found


def _rebased(f: Frame, inner: Frame, refs: list[Ref], value: Any, name: str) -> Any:
    """A loop element of the outer frame as inputs of the loop's graph."""
    known = {r.ref: k for k, r in enumerate(refs)}
    parts: list[Ref] = []
    for suffix, r in flatten(value):
        k = known.get(r.ref)
        if k is None:
            parts.append(inner.add_input(name + suffix, r.type))
            refs.append(r)
            known[r.ref] = len(refs) - 1
        else:
            parts.append(Ref((-1, k), r.type))
    return rebuild(template(value), iter(parts))


def _owned(f: Frame, node: Node) -> Any:
    """The weights of a node, for comparing; nothing if it has none."""
    types = [None if r is None else f.inputs[r[1]][1] if r[0] < 0 else f.nodes[r[0]].types[r[1]] for r in node.inputs]
    return _tensors(node, types)


def _tensors(node: Node, types: list[Any]) -> list[Any]:
    if node.share is not None:
        return []
    found: list[Any] = []
    if node.op is not None:
        assert isinstance(node.op, Op)
        found += [(w.name, w.shape) for w in node.op.weights(*types)]
    for g in node.callees:
        for n in g.nodes:
            inside = [None if r is None else g.type_of(r) for r in n.inputs]
            found += [(n.name, n.count, *t) for t in _tensors(n, inside)]
    return found


def _reads(given: Any, names: set[str]) -> bool:
    """Whether an operand as it is written takes one of some names."""
    return any(ref.refs & names for ref in (given if isinstance(given, list) else [given]) if isinstance(ref, RefPlan))
