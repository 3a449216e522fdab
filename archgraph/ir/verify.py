"""Checks that a graph is well formed; for tests, and after every pass.

What needs no knowledge of ops is checked here; `archgraph.ops.verify` adds types, weights and regions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from archgraph.ir.dim import Dim
from archgraph.ir.graph import Graph, Node, ValueRef, late_of
from archgraph.ir.paths import find
from archgraph.ir.real import late_names
from archgraph.ir.reserved import can_name

FLAGS: Final = frozenset({"unused", "frozen", "piece"})

#: What is wrong with the nodes of a graph that is sound by itself: node and text; told whether all below is sound too.
Rule = Callable[[Graph, bool], Iterator[tuple[Node, str]]]


class VerifyError(Exception):
    """A graph is not well formed; ``violations`` are texts, each naming graph and node."""

    def __init__(self, violations: list[str]) -> None:
        super().__init__("\n".join(violations))
        self.violations = tuple(violations)


def verify(graph: Graph, rule: Rule | None = None) -> None:
    """Check a graph and all below it, each distinct graph once; what was found good before is not checked again.

    Parameters
    ----------
    graph : Graph
    rule : callable, optional
        Further checks of a graph that is sound otherwise.

    Raises
    ------
    VerifyError
        With every violation.
    """
    violations: list[str] = []
    _verify(graph, rule, set(), set(), violations)
    if violations:
        raise VerifyError(violations)


def _verify(graph: Graph, rule: Rule | None, above: set[int], seen: set[int], violations: list[str]) -> None:
    known = graph._cache.get("verified", _NEVER)
    if known is rule or (rule is None and known is not _NEVER):
        return
    if id(graph) in above:
        violations.append(f"`{graph.name}`: the graph contains itself")
        return
    if id(graph) in seen:
        return
    seen.add(id(graph))
    start = len(violations)
    above.add(id(graph))
    for node in graph.nodes:
        for callee in node.callees:
            _verify(callee, rule, above, seen, violations)
    above.discard(id(graph))
    before = len(violations)
    violations += [f"`{graph.name}`: {text}" for text in _graph_faults(graph)]
    for k, node in enumerate(graph.nodes):
        texts = list(_references(graph, k, node)) or _node_faults(graph, node)
        violations += [f"`{graph.name}.{node.name}`: {text}" for text in texts]
    if rule is not None and len(violations) == before:
        violations += [f"`{graph.name}.{node.name}`: {text}" for node, text in rule(graph, before == start)]
    if len(violations) == start:
        graph._cache["verified"] = rule


_NEVER: Final = object()


def _graph_faults(graph: Graph) -> Iterator[str]:
    yield from _names("inputs", [n for n, _ in graph.inputs])
    yield from _names("outputs", [n for n, _ in graph.outputs])
    names = [n.name for n in graph.nodes]
    for name in _twice(names):
        yield f"two nodes are called `{name}`"
    for name in names:
        if not can_name(name):
            yield f"a node can't be called `{name}`"
    if graph.late != late_of(graph.nodes):
        yield f"its late names are {list(late_of(graph.nodes))}, it declares {list(graph.late)}"
    if not graph.outputs:
        yield "it has no output"
    for name, ref in graph.outputs:
        if not _is_value(graph, ref, len(graph.nodes)):
            yield f"output `{name}` refers to {ref}, which is no value"
        elif ref[0] >= 0 and "unused" in graph.nodes[ref[0]].flags:
            yield f"output `{name}` is the value of `{graph.nodes[ref[0]].name}`, which never runs"


def _names(what: str, names: list[str]) -> Iterator[str]:
    for name in _twice(names):
        yield f"two {what} are called `{name}`"
    for name in names:
        if not all(s.isidentifier() or s.isdecimal() for s in name.split(".")):
            yield f"`{name}` is no name, of the {what}"


def _twice(names: list[str]) -> list[str]:
    return [n for n in dict.fromkeys(names) if names.count(n) > 1] if len(set(names)) < len(names) else []


def _is_value(graph: Graph, ref: ValueRef, end: int) -> bool:
    node, out = ref
    if node == -1:
        return 0 <= out < len(graph.inputs)
    return 0 <= node < end and 0 <= out < len(graph.nodes[node].types)


def _references(graph: Graph, k: int, node: Node) -> Iterator[str]:
    """References to what does not stand above."""
    given = [(f"operand {i}", r) for i, r in enumerate(node.inputs)]
    given += [(f"the weight `{n}`", r) for n, r in node.weights]
    for what, ref in given:
        if ref is None:
            continue
        if not _is_value(graph, ref, k):
            yield f"{what} refers to {ref}, which is no value above"
        elif ref[0] >= 0 and "unused" in graph.nodes[ref[0]].flags and "unused" not in node.flags:
            yield f"{what} is the value of `{graph.nodes[ref[0]].name}`, which never runs"


def _node_faults(graph: Graph, node: Node) -> Iterator[str]:
    if not node.flags <= FLAGS:
        yield f"there is no flag {', '.join(sorted(node.flags - FLAGS))}"
    if len({n for n, _ in node.weights}) < len(node.weights):
        yield "a weight is given twice"
    if node.share is not None:
        yield from _share_faults(graph, node, node.share)
    yield from _late_faults(node)
    if node.op is None:
        yield from _call_faults(graph, node)
    elif node.count != 1:
        yield "an op can't have turns; a graph that is called can"


def _share_faults(graph: Graph, node: Node, path: tuple[str, ...]) -> Iterator[str]:
    found = find(graph, path)
    if found is None:
        yield f"it shares the weights of `{'.'.join(path)}`, and there is no such node"
    elif found[1] is node:
        yield "it shares its own weights"


def _late_faults(node: Node) -> Iterator[str]:
    wanted = list(dict.fromkeys(n for callee in node.callees for n in callee.late))
    given = [n for n, _ in node.late]
    if wanted != given:
        yield f"it binds the late names {given}, and calls what declares {wanted}"
    if node.count == 1 and any("turn" in late_names(value) for _, value in node.late):
        yield "it has one turn, and a late value depends on the turn"


def _call_faults(graph: Graph, node: Node) -> Iterator[str]:
    if len(node.callees) != 1:
        yield f"a call has one callee, not {len(node.callees)}"
        return
    callee, count = node.callee, node.count
    operands = [None if r is None else graph.type_of(r) for r in node.inputs]
    if operands != list(callee.input_types):
        yield f"`{callee.name}` takes {_types(callee.input_types)}; it is given {_types(operands)}"
    if node.types != callee.output_types:
        yield f"`{callee.name}` gives {_types(callee.output_types)}; the node says {_types(node.types)}"
    if count == 1:
        return
    if not isinstance(count, Dim) and not (type(count) is int and count > 1):
        yield f"a chain has a number of turns, not {count}"
    n = len(callee.outputs)
    if callee.output_types != callee.input_types[:n]:
        yield (
            f"the turns of a chain feed one another: `{callee.name}` takes {_types(callee.input_types)} "
            f"and gives {_types(callee.output_types)}"
        )


def _types(types: Any) -> str:
    return ", ".join("nothing" if t is None else str(t) for t in types) or "nothing"
