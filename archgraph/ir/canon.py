"""A hash that is equal for isomorphic graphs: names, node order and grouping into blocks do not matter.

The hierarchy is flattened, so that a rolled loop equals its unrolled form and a block its inlined body. Values are then
numbered from the outputs in operand order; the operands of commutative ops are ordered by the hash of what they are
made of. Weights are told apart by the node that owns them, so ``linear(x) + linear(x)`` with one weight differs from
the same with two.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from archgraph.ir.graph import Graph, Node
from archgraph.ir.real import Late, Real, substitute

_Path = tuple[str, ...]


class _Flat:
    """A flattened graph: per value its text, operands, owner and structural digest."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.operands: list[tuple[int, ...]] = []
        self.digests: list[bytes] = []
        self.owners: list[_Path | None] = []
        self.unused: list[int] = []
        self.keys: dict[tuple[int, Any], str] = {}

    def add(self, text: str, operands: tuple[int, ...], owner: _Path | None, commutative: bool = False) -> int:
        digests = [self.digests[k] for k in operands]
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

    def run(self, graph: Graph, inputs: list[int], path: _Path, late: Mapping[str, Any]) -> list[int]:
        """Flatten ``graph`` on given values; returns its outputs."""
        values: list[list[int]] = []

        def get(ref: tuple[int, int] | None) -> int:
            if ref is None:
                return self.add("-", (), None)
            return inputs[ref[1]] if ref[0] < 0 else values[ref[0]][ref[1]]

        for node in graph.nodes:
            operands = [get(r) for r in node.inputs]
            given = [get(r) for _, r in node.weights]
            own = path + (node.share if node.share is not None else (node.name,))
            if node.op is None:
                values.append(self._call(node, operands, own, late))
            else:
                values.append(self._op(node, operands + given, own, late))
            if "unused" in node.flags and values[-1]:
                self.unused.append(values[-1][0])
        return [get(r) for _, r in graph.outputs]

    def _call(self, node: Node, operands: list[int], path: _Path, late: Mapping[str, Any]) -> list[int]:
        callee = node.callees[0]
        if not isinstance(node.count, int):
            text = f"chain {node.count} {canonical_hash(callee)}"
            first = self.add(text, tuple(operands), path)
            return [self.add(f"out {k}", (first,), None) for k in range(len(node.types))]
        loop = node.count > 1
        outs: list[int] = operands
        for turn in range(node.count):
            bound = {n: _number(substitute(e, {**late, "turn": turn})) for n, e in node.late}
            outs = self.run(callee, operands, (*path, str(turn)) if loop else path, bound)
            operands = [*outs, *operands[len(outs) :]]
        return outs

    def _op(self, node: Node, operands: list[int], path: _Path, late: Mapping[str, Any]) -> list[int]:
        op = node.op
        assert op is not None
        text = f"{op.op_name} {self._values(op, late)}"
        if "frozen" in node.flags:
            text += " frozen"
        for callee in node.callees:
            text += f" [{canonical_hash(callee)}]"
        owner = path if node.callees or getattr(op, "has_weights", False) else None
        whole = self.add(text, tuple(operands), owner, bool(getattr(op, "commutative", False)))
        if len(node.types) == 1:
            return [whole]
        return [self.add(f"out {k}", (whole,), None) for k in range(len(node.types))]

    def _values(self, op: Any, late: Mapping[str, Any]) -> str:
        if op.late:
            return str(tuple(_number(substitute(v, late)) if isinstance(v, (Late, Real)) else v for v in op.values))
        key = (id(type(op)), op.values)
        known = self.keys.get(key)
        if known is None:
            known = self.keys[key] = str(op.values)
        return known


def _number(x: Any) -> Any:
    """Equal numbers print alike."""
    return float(x) if isinstance(x, (int, float)) and not isinstance(x, bool) else x


def canonical_hash(graph: Graph) -> str:
    """Hexadecimal hash, stable over processes, equal for isomorphic graphs."""
    known: str | None = graph._cache.get("canon")
    if known is not None:
        return known
    flat = _Flat()
    inputs = [flat.add(f"input {k} {t.dtype} {t.shape}", (), None) for k, (_, t) in enumerate(graph.inputs)]
    outputs = flat.run(graph, inputs, (), {n: Late(n) for n in graph.late})
    number: dict[int, int] = {}
    owners: dict[_Path, int] = {}
    lines: list[str] = []
    roots = [*outputs, *sorted(flat.unused, key=lambda k: flat.digests[k])]
    stack = list(reversed(roots))
    while stack:
        k = stack[-1]
        if k in number:
            stack.pop()
            continue
        waiting = [o for o in flat.operands[k] if o not in number]
        if waiting:
            stack.extend(reversed(waiting))
            continue
        stack.pop()
        number[k] = len(number)
        owner = flat.owners[k]
        mark = "" if owner is None else f" w{owners.setdefault(owner, len(owners))}"
        lines.append(f"{flat.texts[k]}({','.join(str(number[o]) for o in flat.operands[k])}){mark}")
    lines.append("-> " + ",".join(str(number[k]) for k in roots))
    found = blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()
    graph._cache["canon"] = found
    return found
