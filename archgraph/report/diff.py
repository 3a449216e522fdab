"""Two architectures side by side: which blocks differ, where, and what each costs.

Nodes are paired by name, graph by graph from the root; equal ones (`archgraph.ir.canon`) are left out, so that what is
shown is where two architectures part. A block that differs in all turns of a chain alike is shown once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from archgraph.analysis.cost import Totals, node_totals, totals
from archgraph.ir.canon import canonical_hash
from archgraph.ir.dim import Num
from archgraph.ir.graph import Graph, Node
from archgraph.report.numbers import plain

__all__ = ["Change", "Diff", "diff"]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Attributes
    ----------
    path : str
        Where; ``*`` stands for all turns of a chain.
    kind : str
        ``only before``, ``only after``, or ``changed``: another op, block, attribute, operand or type.
    before, after : str
        What stands there: op or block with attributes; empty where there is nothing.
    costs : tuple of (Totals or None, Totals or None)
        Of all its turns.
    """

    path: str
    kind: str
    before: str
    after: str
    costs: tuple[Totals | None, Totals | None]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "path": self.path,
            "kind": self.kind,
            "before": self.before,
            "after": self.after,
            **{
                name: [None if t is None else plain(getattr(t, name)) for t in self.costs]
                for name in ("params", "macs", "flops")
            },
        }


@dataclass(frozen=True, slots=True)
class Diff:
    """Differences of two graphs, and their totals; none if they compute the same from the same weights."""

    before: Graph
    after: Graph
    changes: tuple[Change, ...]

    @property
    def totals(self) -> tuple[Totals, Totals]:
        return totals(self.before), totals(self.after)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        sums = self.totals
        names = ("params", "macs", "flops", "activation_bytes", "weight_bytes")
        return {
            "same": not self.changes,
            "changes": [c.to_dict() for c in self.changes],
            "totals": {name: [plain(getattr(t, name)) for t in sums] for name in names},
        }


def diff(before: Graph, after: Graph) -> Diff:
    """Where two graphs differ."""
    if canonical_hash(before) == canonical_hash(after):
        return Diff(before, after, ())
    return Diff(before, after, tuple(_Walk().graphs(before, after, "", 1)))


class _Walk:
    """Pairs nodes of two graphs by name."""

    def graphs(self, a: Graph, b: Graph, prefix: str, times: Num) -> Iterator[Change]:
        mine = {n.name: k for k, n in enumerate(a.nodes)}
        theirs = {n.name: k for k, n in enumerate(b.nodes)}
        for name in [*mine, *(n for n in theirs if n not in mine)]:
            path = prefix + name
            j, k = mine.get(name), theirs.get(name)
            if j is None:
                assert k is not None
                yield Change(path, "only after", "", _what(b.nodes[k]), (None, _times(node_totals(b, k), times)))
            elif k is None:
                yield Change(path, "only before", _what(a.nodes[j]), "", (_times(node_totals(a, j), times), None))
            else:
                yield from self.nodes(a, j, b, k, path, times)

    def nodes(self, a: Graph, j: int, b: Graph, k: int, path: str, times: Num) -> Iterator[Change]:
        x, y = a.nodes[j], b.nodes[k]
        inside = len(x.callees) == len(y.callees) and bool(x.callees) and type(x.op) is type(y.op)
        opened = False
        if inside and x.op is None:
            opened = x.callee.name == y.callee.name or x.callee.args == y.callee.args or _unrolled(x, y)
        if inside and opened:
            if canonical_hash(x.callee) == canonical_hash(y.callee) and x.count == y.count:
                if _operands(a, x) != _operands(b, y):
                    yield self.change(a, j, b, k, path, times)
                return
            if x.count == y.count:
                turns = "*." if x.count != 1 else ""
                yield from self.graphs(x.callee, y.callee, f"{path}.{turns}", times * x.count)
                return
            if _unrolled(x, y):
                yield from self.turns(x, y, path, times)
                return
        same = x.count == y.count and x.flags == y.flags and _operands(a, x) == _operands(b, y)
        same = same and node_totals(a, j).params == node_totals(b, k).params  # sizes alone are told by what makes them
        if x.op is not None and y.op is not None and not x.callees:
            same = same and x.op.op_name == y.op.op_name and _plain_attrs(x) == _plain_attrs(y)
        else:
            same = same and [canonical_hash(c) for c in x.callees] == [canonical_hash(c) for c in y.callees]
        if not same:
            yield self.change(a, j, b, k, path, times)

    def turns(self, x: Node, y: Node, path: str, times: Num) -> Iterator[Change]:
        """A chain on one side, its turns written out on the other: differences turn by turn."""
        rolled, loop = (x, y) if x.count != 1 else (y, x)
        for node in loop.callee.nodes:
            if canonical_hash(node.callees[0]) == canonical_hash(rolled.callee):
                continue
            pair = (rolled.callee, node.callees[0]) if rolled is x else (node.callees[0], rolled.callee)
            yield from self.graphs(*pair, f"{path}.{node.name}.", times)

    def change(self, a: Graph, j: int, b: Graph, k: int, path: str, times: Num) -> Change:
        costs = (_times(node_totals(a, j), times), _times(node_totals(b, k), times))
        return Change(path, "changed", _what(a.nodes[j]), _what(b.nodes[k]), costs)


def _unrolled(x: Node, y: Node) -> bool:
    """Whether one is a chain and the other calls a graph of its turns."""
    rolled, loop = (x, y) if x.count != 1 else (y, x)
    return (
        rolled.count != 1
        and loop.count == 1
        and isinstance(rolled.count, int)
        and len(loop.callee.nodes) == rolled.count
        and all(n.name.isdecimal() and n.callees for n in loop.callee.nodes)
    )


def _operands(g: Graph, node: Node) -> list[str]:
    """Names of what a node takes."""
    found: list[str] = []
    for r in node.inputs:
        if r is None:
            found.append("")
        else:
            head = g.inputs[r[1]][0] if r[0] < 0 else f"{g.nodes[r[0]].name}.{r[1]}"
            found.append(head)
    return found


def _plain_attrs(node: Node) -> Mapping[str, Any]:
    """Attributes that tell what is computed: not how weights start."""
    assert node.op is not None
    return {k: v for k, v in node.op.attrs().items() if k != "init" and not k.endswith("_init")}


def _what(node: Node) -> str:
    from archgraph.ops.kinds import show

    if node.op is None:
        callee = node.callees[0]
        name = "loop" if "." in callee.name else callee.name
        return f"{name} ×{node.count}" if node.count != 1 else name
    inside = ", ".join(f"{k}: {show(v)}" for k, v in _plain_attrs(node).items() if k not in ("names", "axes_lengths"))
    return f"{node.op.op_name} {inside}".strip()


def _times(t: Totals, n: Num) -> Totals:
    return Totals(t.params * n, t.buffers * n, t.macs * n, t.elementwise * n)
