"""A pattern of one block as patterns of the nodes inside it, for graphs in which nobody wrote the block.

The block is elaborated with symbols in place of the sizes and whole numbers that the pattern binds, once for every
choice of its booleans and words; its nodes, those of blocks inside it included, become the nodes of a pattern. Labels
are paths (``attn.qkv``), so that what a rule says about weights holds on both levels. Dropout that does nothing may be
missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Final

from archgraph.ir.dim import Dim, sym
from archgraph.ir.expr import Expr
from archgraph.ir.graph import Graph, ValueRef
from archgraph.ir.real import Late, Real, substitute
from archgraph.ops.base import AttributeValueError, Op
from archgraph.rewrite.pattern import ANY, PREFIX, AttrPattern, Operand, Pattern, PatternNode
from archgraph.rewrite.rule import Rule
from archgraph.spec.block_call import call_block
from archgraph.spec.expr import compile
from archgraph.spec.frame import FAULTS, Frame, Session
from archgraph.spec.model import Block
from archgraph.spec.values import UNKNOWN

__all__ = ["cores"]

MAX_VARIANTS: Final = 32
_SILENT: Final = frozenset({"dropout", "drop_path"})


class _No(Exception):
    """The block can't be a pattern of nodes."""


def cores(rule: Rule) -> list[Pattern]:
    """Patterns of the nodes inside the only block of a rule's pattern; none where there is no such block."""
    pattern = rule.pattern
    if len(pattern.nodes) != 1 or rule.kept or pattern.outputs is not None:
        return []
    p = pattern.root
    if len(p.targets) != 1 or not isinstance(p.targets[0], Block) or p.named is not None:
        return []
    block: Block = p.targets[0]
    choices: list[list[tuple[str, Any]]] = []
    for name, want in p.attrs.items():
        q = block.params[name]
        if want.kind == "bind" and (isinstance(q.value, bool) or q.kind == "bool"):
            choices.append([(name, True), (name, False)])
        elif want.kind == "bind" and q.choices:
            choices.append([(name, c) for c in q.choices])
    found: list[Pattern] = []
    for chosen in product(*choices):
        for silent in (True, False):
            if len(found) >= MAX_VARIANTS:
                return found
            try:
                found.append(_core(rule, p, block, dict(chosen), silent))
            except (_No, *FAULTS, AttributeValueError):
                continue
    unique: dict[str, Pattern] = {}
    for each in found:
        unique.setdefault(str([(n.name, n.word, n.attrs, n.inputs) for n in each.nodes.values()]), each)
    return list(unique.values())


def _core(rule: Rule, p: PatternNode, block: Block, chosen: Mapping[str, Any], silent: bool) -> Pattern:
    env: dict[str, Any] = {}
    for i in rule.pattern.inputs.values():
        for n in sorted(i.pattern.names):
            env.setdefault(n, sym(PREFIX + n))
    args: dict[str, Any] = {}
    preset: dict[str, Any] = {}
    for name, want in p.attrs.items():
        q = block.params[name]
        if name in chosen:
            args[name] = preset[want.name] = chosen[name]
        elif want.kind == "const":
            args[name] = want.value
        elif want.kind == "bind" and isinstance(q.value, float):
            args[name] = Late(PREFIX + want.name)
        elif want.kind == "bind":
            args[name] = env.setdefault(want.name, sym(PREFIX + want.name))
        elif want.kind == "expr" and want.expr is not None:
            for n in want.expr.names - env.keys():
                env[n] = sym(PREFIX + n)
            args[name] = compile(want.expr)(env)
        elif want.kind == "any" and isinstance(q.value, float):
            args[name] = Late(PREFIX)
        elif want.kind != "any":
            raise _No
    session = Session()
    session.begin()
    f = Frame(session, block, {}, ())
    values: dict[str, Any] = {}
    operands: list[Operand] = []
    for (name, i), own in zip(rule.pattern.inputs.items(), block.inputs, strict=False):
        if i.pattern.rest is not None or i.is_list or i.optional:
            raise _No
        values[own] = f.add_input(name, i.pattern.build(env, i.dtype, PREFIX))
        operands.append(Operand("input", name))
    if call_block(f, p.name, block, args, values) is UNKNOWN or session.faults:
        raise _No
    nodes: dict[str, PatternNode] = {}
    call = f.nodes[-1]
    outs = list(_flat(call.callee, p.name, operands, nodes, dict(call.late), preset if silent else None))
    if len(outs) != 1 or outs[0].kind != "node":
        raise _No
    core = Pattern(rule.pattern.inputs, nodes, [("out", outs[0])], rule.pattern.names, rule.pattern.span)
    core.preset = preset
    core.file = rule.file
    return core


def _flat(
    graph: Graph,
    prefix: str,
    inputs: list[Operand],
    nodes: dict[str, PatternNode],
    late: Mapping[str, Any],
    silent: dict[str, Any] | None,
) -> Iterator[Operand]:
    """The nodes of a graph as nodes of a pattern; yields its outputs. ``silent``: without dropout."""
    values: list[list[Operand]] = []

    def get(ref: ValueRef | None) -> Operand | None:
        if ref is None:
            return None
        return inputs[ref[1]] if ref[0] < 0 else values[ref[0]][ref[1]]

    for node in graph.nodes:
        label = f"{prefix}.{node.name}"
        given = [get(r) for r in node.inputs]
        if node.flags or node.share is not None or node.weights or node.count != 1:
            raise _No
        if node.op is None:
            if any(g is None for g in given):
                raise _No
            inner = {n: substitute(e, late) for n, e in node.late}
            values.append(list(_flat(node.callee, label, [g for g in given if g is not None], nodes, inner, silent)))
            continue
        op = node.op
        if not isinstance(op, Op) or node.callees or op.op_name == "formula" or op.reads is not None:
            raise _No
        if silent is not None and op.op_name in _SILENT and given[0] is not None:
            rate = substitute(op.values[0], late)
            if rate == 0 or isinstance(rate, Late):
                if isinstance(rate, Late) and rate.name != PREFIX:
                    silent[rate.name.removeprefix(PREFIX)] = 0.0
                values.append([given[0]])
                continue
        attrs: dict[str, AttrPattern] = {}
        for a, value in zip(op.attributes, op.values, strict=False):
            if a.name != "init" and not a.name.endswith("_init"):
                attrs[a.name] = _wanted(substitute(value, late) if isinstance(value, Real) else value)
        attrs.update({name: _wanted(value) for name, value in op.axes.items()})
        while given and given[-1] is None:
            given.pop()
        nodes[label] = PatternNode(
            label,
            (type(op),),
            inputs=[g if g is not None else Operand("any") for g in given],
            attrs=attrs,
            word=op.op_name,
            span=node.origin,
        )
        values.append([Operand("node", label, k) for k in range(len(node.types))])
    for _, ref in graph.outputs:
        found = get(ref)
        if found is None:
            raise _No
        yield found


def _wanted(value: Any) -> AttrPattern:
    """What an attribute must be, from its value in the elaborated block."""
    if isinstance(value, Late):
        name = value.name.removeprefix(PREFIX)
        return AttrPattern("bind", name, text=name) if name else ANY
    if isinstance(value, Dim):
        return AttrPattern("dim", value=value, text=str(value).replace(PREFIX, ""))
    if isinstance(value, (Real, Expr)):
        raise _No
    if isinstance(value, tuple) and any(isinstance(v, (Dim, tuple)) for v in value):
        return AttrPattern("list", items=tuple(_wanted(v) for v in value), text=str(value))
    return AttrPattern("const", value=value, text=str(value))
