"""A hash that is equal for isomorphic graphs: names, node order and grouping into blocks do not matter.

The hierarchy is flattened, so that a rolled loop equals its unrolled form and a block its inlined body. Values are then
numbered from the outputs in operand order; the operands of commutative ops are ordered by the hash of what they are
made of. Weights are told apart by the node that owns them, so ``linear(x) + linear(x)`` with one weight differs from
the same with two.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from archgraph.ir.expr import Expr, Host, literal, replace
from archgraph.ir.graph import Graph, Node
from archgraph.ir.paths import find, owner_path
from archgraph.ir.real import Late, Real, substitute

_Path = tuple[str, ...]


def canonical_hash(graph: Graph) -> str:
    """Hexadecimal hash, stable over processes, equal for isomorphic graphs."""
    known: str | None = graph._cache.get("canon")
    if known is None:
        known = graph._cache["canon"] = _hash(graph)
    return known


def _hash(graph: Graph) -> str:
    flat = _Flat()
    inputs = [flat.add(f"input {k} {t.dtype} {t.shape}", ()) for k, (_, t) in enumerate(graph.inputs)]
    late = {n: Late(f"late{k}") for k, n in enumerate(graph.late)}
    outputs = flat.run(graph, _Place((), late, False, False, {}), inputs)
    unused = sorted(flat.unused, key=lambda k: flat.digests[k])
    number: dict[int, int] = {}
    owners: dict[_Path, int] = {}
    lines: list[str] = []
    stack = [*reversed(unused), *reversed(outputs)]
    while stack:
        k = stack[-1]
        waiting = [o for o in flat.operands[k] if o not in number] if k not in number else []
        if waiting:
            stack.extend(reversed(waiting))
            continue
        stack.pop()
        if k in number:
            continue
        number[k] = len(number)
        owner = flat.owners[k]
        mark = "" if owner is None else f" w{owners.setdefault(owner, len(owners))}"
        lines.append(f"{flat.texts[k]}({','.join(str(number[o]) for o in flat.operands[k])}){mark}")
    lines.append(f"-> {[number[k] for k in outputs]} unused {[number[k] for k in unused]}")
    return blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


class _Place(NamedTuple):
    """Where a graph is flattened: path of its owners, late values, inherited flags, weights given by callers."""

    path: _Path
    late: Mapping[str, Any]
    frozen: bool
    unused: bool
    given: Mapping[str, int]


class _Flat:
    """A flattened graph: per value its text, operands, owner of weights and structural digest."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.given: list[tuple[int, ...] | None] = []  # operands as they came, of commutative ops
        self.operands: list[tuple[int, ...]] = []
        self.digests: list[bytes] = []
        self.owners: list[_Path | None] = []
        self.unused: list[int] = []
        self.known: dict[int, str] = {}

    def add(self, text: str, operands: tuple[int, ...], owner: _Path | None = None, commutative: bool = False) -> int:
        digests = [self.digests[k] for k in operands]
        self.given.append(operands if commutative else None)
        if commutative:
            order = sorted(range(len(operands)), key=lambda k: digests[k])
            operands = tuple(operands[k] for k in order)
            digests = [digests[k] for k in order]
        h = blake2b(text.encode(), digest_size=12)
        for d in digests:
            h.update(d)
        self.texts.append(text)
        self.operands.append(operands)
        self.owners.append(owner)
        self.digests.append(h.digest())
        return len(self.texts) - 1

    def run(self, graph: Graph, place: _Place, inputs: list[int]) -> list[int]:
        """Flatten ``graph`` on given values; returns its outputs."""
        values: list[list[int]] = []

        def get(ref: tuple[int, int] | None) -> int:
            if ref is None:
                return self.add("-", ())
            return inputs[ref[1]] if ref[0] < 0 else values[ref[0]][ref[1]]

        for node in graph.nodes:
            operands = [get(r) for r in node.inputs]
            owner = owner_path(graph, (node.name,)) if node.share is not None else (node.name,)
            given = {name: get(r) for name, r in node.weights}
            if place.given:
                prefix = f"{node.name}."
                given |= {n[len(prefix) :]: v for n, v in place.given.items() if n.startswith(prefix)}
                if node.name in place.given:
                    given[""] = place.given[node.name]
            here = _Place(
                (*place.path, *owner),
                place.late,
                place.frozen or "frozen" in node.flags,
                place.unused or "unused" in node.flags,
                given,
            )
            if node.op is None:
                values.append(self._call(node, operands, here))
            else:
                values.append(self._op(graph, node, operands, here, place.path))
        return [get(r) for _, r in graph.outputs]

    def _call(self, node: Node, operands: list[int], here: _Place) -> list[int]:
        callee = node.callees[0]
        if not isinstance(node.count, int):
            text = f"chain {node.count} {canonical_hash(callee)} {_bound(node, here.late)}"
            return self._outputs(self.add(text + _names(here), (*operands, *_values(here)), here.path), node)
        outs: list[int] = operands
        last: dict[str, Any] | None = None
        before: list[int] = []
        start = end = 0
        for turn in range(node.count):
            late = {n: substitute(e, {**here.late, "turn": turn}) for n, e in node.late}
            if late == last and len(set(before)) == len(before) and not here.given:
                # the turn differs from the last one in nothing but its values and weights
                outs = self._again(start, end, operands, before, outs, here.path, turn)
                start, end, before = end, len(self.texts), operands
                operands = [*outs, *operands[len(outs) :]]
                continue
            start, before, last = len(self.texts), operands, late
            path, given = here.path, here.given
            if node.count > 1:
                path, prefix = (*path, str(turn)), f"{turn}."
                given = {n[len(prefix) :]: v for n, v in given.items() if n.startswith(prefix)}
            outs = self.run(callee, here._replace(path=path, late=late, given=given), operands)
            end = len(self.texts)
            operands = [*outs, *operands[len(outs) :]]
        return outs

    def _again(
        self, start: int, end: int, inputs: list[int], before: list[int], outs: list[int], path: _Path, turn: int
    ) -> list[int]:
        """One more turn of a loop: values ``start`` to ``end`` once more, from ``inputs`` in place of ``before``."""
        new: dict[int, int] = dict(zip(before, inputs, strict=True))
        last, here = (*path, str(turn - 1)), (*path, str(turn))
        unused = {k for k in self.unused if start <= k < end}
        for k in range(start, end):
            given, owner = self.given[k], self.owners[k]
            if owner is not None and owner[: len(last)] == last:
                owner = (*here, *owner[len(last) :])
            operands = tuple([new.get(o, o) for o in (self.operands[k] if given is None else given)])
            new[k] = self.add(self.texts[k], operands, owner, given is not None)
            if k in unused:
                self.unused.append(new[k])
        return [new.get(o, o) for o in outs]

    def _op(self, graph: Graph, node: Node, operands: list[int], here: _Place, above: _Path) -> list[int]:
        op: Any = node.op
        owner = here.path if node.callees or op.has_weights else None
        if op.reads is not None:
            path, weight = tuple(op.reads.split(".")), ""
            if find(graph, path) is None:
                *names, weight = path
                path = tuple(names)
            whole = self.add(f"{op.op_name} {weight}", (), (*above, *owner_path(graph, path)))
        else:
            same, order = op.canonical()
            text = f"{same.op_name} {self._attributes(same, here.late)}{' frozen' * here.frozen}{_names(here)}"
            for callee in node.callees:
                text += f" [{canonical_hash(callee)}]"
            if node.callees:
                text += str(_bound(node, here.late))
            operands = operands if order is None else [operands[k] for k in order]
            whole = self.add(text, (*operands, *_values(here)), owner, same.commutative and not here.given)
        if here.unused:
            self.unused.append(whole)
        return self._outputs(whole, node)

    def _outputs(self, whole: int, node: Node) -> list[int]:
        if len(node.types) == 1:
            return [whole]
        return [self.add(f"out {k}", (whole,)) for k in range(len(node.types))]

    def _attributes(self, op: Any, late: Mapping[str, Any]) -> str:
        if op.late:
            return str(_numbers(op.identity(), late))
        known = self.known.get(id(op))
        if known is None:
            known = self.known[id(op)] = str(_numbers(op.identity(), late))
        return known


def _names(here: _Place) -> str:
    """Which weights are given."""
    return f" given {sorted(here.given)}" if here.given else ""


def _values(here: _Place) -> tuple[int, ...]:
    return tuple(here.given[n] for n in sorted(here.given))


def _bound(node: Node, late: Mapping[str, Any]) -> tuple[Any, ...]:
    """The late values of what a node calls, in the callee's order."""
    return tuple(_number(substitute(e, late)) for _, e in node.late)


def _numbers(value: Any, late: Mapping[str, Any]) -> Any:
    """Attributes with late values put in, equal ones printing alike."""
    if isinstance(value, tuple):
        return tuple([_numbers(v, late) for v in value])
    if isinstance(value, Real):
        return _number(substitute(value, late))
    if isinstance(value, Expr):
        return replace(value, lambda e: _host(e.value, late) if isinstance(e, Host) else None)
    return value


def _host(value: Any, late: Mapping[str, Any]) -> Expr:
    value = substitute(value, late)
    try:
        return literal(value)
    except ValueError:
        return Host(value)


def _number(x: Any) -> Any:
    """Equal numbers print alike."""
    return float(x) if isinstance(x, (int, float)) and not isinstance(x, bool) else x
