"""What `torch.utils.flop_counter.FlopCounterMode` counts of a graph, and the table of what it doesn't see.

MACs here are a property of the op: the product of all index ranges of each contraction. The counter knows kernels. It
counts `mm`, `bmm`, `addmm`, `baddbmm`, convolutions and attention; what torch computes by other kernels counts nothing:

==================================  ===============================================================================
``matmul`` by a vector              runs as ``mv`` or ``dot``
``bilinear``                        runs as ``_trilinear``
``einsum`` over axes of size 1      runs as a product of elements, unless it is a plain matrix product
``optical_conv_transpose2d``        simulated as the convolution of a stretched image, so its zeros are counted too
==================================  ===============================================================================

`misses` says how much that is, op by op; all else must be equal to the unit. `tests/analysis/test_counter.py` holds
every line of the table against the counter itself, so that a version of torch that counts more is noticed.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from archgraph.analysis.cost import in_types, op_cost
from archgraph.ir.graph import Graph
from archgraph.lower.fx import emit, torch_dtype
from archgraph.ops.base import Op
from archgraph.ops.einsum_patterns import Step, parse_einsum
from archgraph.ops.higher import Scan, SwitchTraining


def inputs_on(graph: Graph, device: str) -> list[Any]:
    """Uninitialised values for the arguments of a graph's module; a list input (``x.0``, ``x.1`` …) is one list."""
    given: dict[str, Any] = {}
    for name, t in graph.inputs:
        head, dot, _ = name.partition(".")
        x = torch.empty(t.shape, dtype=torch_dtype(t.dtype), device=device)
        if dot:
            given.setdefault(head, []).append(x)
        else:
            given[head] = x
    return list(given.values())


def counted(graph: Graph) -> int:
    """Multiply-accumulates that the counter sees in one evaluation, on the meta device."""
    model = emit(graph).eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        counter.mod_tracker.__exit__()  # tells totals by module, which nobody asks for here, at a third of the time
        model(*inputs_on(graph, "meta"))
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def shortened(graph: Graph) -> Graph:
    """The graph with one turn of every chain: each rule is met as in the whole, at a fraction of the time."""
    return _shortened(graph, {})


def _shortened(graph: Graph, known: dict[int, Graph]) -> Graph:
    if id(graph) not in known:
        nodes = tuple(
            node.replace(callees=tuple(_shortened(g, known) for g in node.callees), count=min(node.count, 1))
            if node.callees
            else node
            for node in graph.nodes
        )
        known[id(graph)] = graph if nodes == graph.nodes else graph.replace(nodes=nodes)
    return known[id(graph)]


def misses(graph: Graph) -> Counter[str]:
    """Multiply-accumulates of a graph that the counter doesn't see, by the name of the op."""
    found: Counter[str] = Counter()
    for node in graph.nodes:
        if "unused" in node.flags:
            continue
        if node.callees:
            turns = node.count
            if isinstance(node.op, Scan):
                turns = graph.type_of(node.inputs[0]).shape[node.op.dim]
            run = node.callees[1] if isinstance(node.op, SwitchTraining) else node.callees[0]
            for name, macs in misses(run).items():
                found[name] += macs * turns
        elif isinstance(node.op, Op) and (missed := missed_of(node.op, in_types(graph, node), node.types)):
            found[node.op.op_name] += missed
    return found


def missed_of(op: Op, ins: tuple[Any, ...], outs: tuple[Any, ...]) -> int:
    """Multiply-accumulates of one call of an op that the counter doesn't see; negative if it sees more."""
    if op.op_name == "bilinear" or (op.op_name == "matmul" and ins[1].rank == 1):
        return op_cost(op, ins, outs).macs
    if op.op_name == "optical_conv_transpose2d":
        (weight, *_) = op.weights(*ins)
        return op_cost(op, ins, outs).macs - outs[0].numel * math.prod(weight.shape) // op.out_channels
    if op.op_name == "einsum":
        return _missed_of_einsum(op.pattern, ins)
    return 0


def _missed_of_einsum(pattern: str, ins: tuple[Any, ...]) -> int:
    """Contractions all of whose summed axes have size 1; each counts what is left: the elements of its result."""
    parsed = parse_einsum(pattern)
    sizes: dict[str, int] = {}
    spread: tuple[int, ...] = ()
    for axes, t in zip(parsed.inputs, ins, strict=True):
        at = axes.index("...") if "..." in axes else len(axes)
        after = len(axes) - at - 1 if at < len(axes) else 0
        rest = t.shape[at : t.rank - after]
        sizes.update(zip(axes[:at], t.shape, strict=False))
        sizes.update(zip(axes[at + 1 :], t.shape[t.rank - after :], strict=True))
        spread = torch.broadcast_shapes(spread, rest)
    sizes["..."] = math.prod(spread)
    missed = 0
    for step in parsed.steps:
        if step.right is not None and not step.is_matmul and (summed := _summed(step)):
            missed += math.prod(sizes[name] for name in step.out) if all(sizes[name] == 1 for name in summed) else 0
    return missed


def _summed(step: Step) -> set[str]:
    return ({*step.left} & {*(step.right or ())}) - {*step.out}
