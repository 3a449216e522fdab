"""Graphs as text for people: one line per node, each distinct graph once, callers before what they call.

The form that reads back is YAML (`archgraph.spec.dump`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archgraph.ir.graph import Graph, Node, ValueRef


def render(graph: Graph) -> str:
    """The listing of a graph and of everything below it.

    >>> print(graph)
    vit(image: [B, 3, 224, 224]) -> (logits: [B, 1000])
      patch_embed: [B, 192, 14, 14] = conv2d(image, out_channels=192, kernel_size=[16, 16], stride=[16, 16])
      …
      blocks: [B, 1 + (14 14), 192] = block(x, drop_path=0.1 * turn / 11) * 12
      …
      logits = head
    <BLANKLINE>
    block{num_heads=3}(x: [B, 1 + (14 14), 192]; drop_path) -> (out: [B, 1 + (14 14), 192])
      …
    """
    names = _names(graph)
    return "\n\n".join("\n".join(_lines(g, names)) for g in names)


def _names(graph: Graph) -> dict[Graph, str]:
    """Every distinct graph in the order of first use, with its name, made unique."""
    found: dict[Graph, str] = {}
    taken: dict[str, int] = {}
    waiting = [graph]
    while waiting:
        g = waiting.pop(0)
        if g in found:
            continue
        k = taken[g.name] = taken.get(g.name, 0) + 1
        found[g] = g.name if k == 1 else f"{g.name}#{k}"
        waiting += [c for node in g.nodes for c in node.callees]
    return found


def _lines(graph: Graph, names: dict[Graph, str]) -> Iterator[str]:
    args = "{" + ", ".join(f"{k}={_word(v)}" for k, v in graph.args) + "}" if graph.args else ""
    inputs = ", ".join(f"{n}: {t}" for n, t in graph.inputs)
    late = f"; {', '.join(graph.late)}" if graph.late else ""
    outputs = ", ".join(f"{n}: {graph.type_of(r)}" for n, r in graph.outputs)
    yield f"{names[graph]}{args}({inputs}{late}) -> ({outputs})"
    for guard in graph.guards:
        yield f"  requires {guard}"
    for node in graph.nodes:
        yield "  " + _line(graph, node, names)
    for name, ref in graph.outputs:
        yield f"  {name} = {_value(graph, ref)}"


def _line(graph: Graph, node: Node, names: dict[Graph, str]) -> str:
    parts = ["_" if r is None else _value(graph, r) for r in node.inputs]
    what = names[node.callee] if node.op is None else node.op.op_name
    if node.op is not None:
        parts += [f"{k}={_word(v)}" for k, v in node.op.attrs().items()]
        parts += [names[c] for c in node.callees]
    parts += [f"{n}={_word(v)}" for n, v in node.late]
    parts += [f"{n}:={'null' if r is None else _value(graph, r)}" for n, r in node.weights]
    line = f"{node.name}: {', '.join(map(str, node.types))} = {what}({', '.join(parts)})"
    if node.count != 1:
        line += f" * {node.count}" if isinstance(node.count, int) else f" * ({node.count})"
    if node.share is not None:
        line += f" with the weights of {'.'.join(node.share)}"
    return "".join((line, *(f", {flag}" for flag in sorted(node.flags))))


def _value(graph: Graph, ref: ValueRef) -> str:
    k, out = ref
    if k < 0:
        return graph.inputs[out][0]
    node = graph.nodes[k]
    if len(node.types) == 1:
        return node.name
    names = [n for n, _ in node.callee.outputs] if node.op is None else []
    return f"{node.name}.{names[out] if names else out}"


def _word(value: Any) -> str:
    """A value as a spec has it; a name with its arguments as a call."""
    if isinstance(value, tuple):
        if len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], tuple):
            head, args = value
            return f"{head}({', '.join(f'{k}={_word(v)}' for k, v in args)})" if args else head
        return f"[{', '.join(map(_word, value))}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
