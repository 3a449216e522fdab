"""Whether two blocks, or two values of attributes, are the same."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from archgraph.ir.canon import canonical_hash
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.dim import Dim, Num, eq, holds
from archgraph.ir.graph import Graph, Node
from archgraph.ir.real import Late, Real
from archgraph.ops.base import AttributeValueError, get_op
from archgraph.rewrite.pattern import definition
from archgraph.spec.frame import FAULTS, Session
from archgraph.spec.model import Block, OpRef, SpecFile
from archgraph.spec.params import recorded
from archgraph.spec.values import freeze

__all__ = ["arguments", "canonical", "restored", "same_block", "same_shape", "same_value"]


def canonical(node: Node) -> tuple[Any, tuple[int, ...] | None]:
    """The op by which a node is matched, and its operands' order: a formula of one operation is its op."""
    op: Any = node.op
    return (op, None) if op is None or op.op_name != "formula" else op.canonical()


def arguments(node: Node, block: Block | None = None, file: SpecFile | None = None) -> dict[str, Any]:
    """The arguments of a call by param: late ones as expressions over the caller's late names, ops and blocks of
    params of ``block`` by their names in ``file`` and in the block's own."""
    late = dict(node.late)
    found: dict[str, Any] = {}
    for name, value in node.callee.args:
        p = block.params.get(name) if block is not None else None
        if value == "late" and isinstance(value, str):
            found[name] = late.get(name, Late(name))
        elif p is not None and p.may_hold_op:
            found[name] = restored(value, [f for f in (file, block.file if block else None) if f is not None])
        else:
            found[name] = value
    return found


def restored(value: Any, files: list[SpecFile]) -> Any:
    """An op or block from how a graph records it; as it is where no file knows its name."""
    if not (isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], tuple)):
        return value
    target: Any = next((b for f in files if (b := f.find(value[0])) is not None), None) or get_op(value[0])
    if target is None:
        return value
    return OpRef(target, tuple((k, restored(v, files)) for k, v in value[1]))


def _call_of(graph: Graph) -> Node:
    """A call of a graph that passes its late names on."""
    return Node(graph.name, None, (), graph.output_types, (graph,), late=tuple((n, Late(n)) for n in graph.late))


@lru_cache(maxsize=4096)
def _real(source: str) -> str:
    path, _, name = source.partition("#")
    return f"{os.path.realpath(path)}#{name}"


def same_block(block: Block, graph: Graph, session: Session) -> bool:
    """Whether a graph was made from a block: by where it is defined, or by what it computes."""
    if graph.name != block.name:
        return False
    source = definition(block)
    if graph.source == source or _real(graph.source) == _real(source):
        return True
    if "~" in graph.source:  # changed by a rule since
        return False
    key = ("same block", block, id(graph))
    known = session.memo.get(key)
    if known is None:
        known = session.memo[key] = (graph, _computes_the_same(block, graph, session))
    return known[1] is True


def _computes_the_same(block: Block, graph: Graph, session: Session) -> bool:
    from archgraph.spec.block_call import call_block
    from archgraph.spec.frame import Frame
    from archgraph.spec.values import UNKNOWN, Ref

    if any(n not in block.params for n, _ in graph.args) or any(n not in block.inputs for n, _ in graph.inputs):
        return False
    saved = session.faults
    session.begin()
    frame = Frame(session, block, {}, ())
    args = {n: v for n, v in arguments(_call_of(graph), block).items() if v is not None}
    values: dict[str, Any] = {n: frame.add_input(n, t) for n, t in graph.inputs}
    try:
        got = call_block(frame, block.name, block, args, values)
        if got is UNKNOWN or session.faults or not isinstance(got, (Ref, dict)):
            return False
        return canonical_hash(frame.nodes[-1].callee) == canonical_hash(graph)
    except (*FAULTS, AttributeValueError, SpecError):
        return False
    finally:
        session.faults = saved


def same_shape(a: tuple[Num, ...], b: tuple[Num, ...]) -> bool:
    """Whether two shapes are equal, for all sizes or in the case that is being studied."""
    return a == b or (len(a) == len(b) and all(holds(eq(x, y)) for x, y in zip(a, b, strict=True)))


def same_value(a: Any, b: Any) -> bool:
    """Whether two values of an attribute are equal; sizes that are undecided are not, unless in the case studied."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(same_value, a, b))
    if isinstance(a, OpRef) or isinstance(b, OpRef):
        return same_value(recorded(a), recorded(b)) if recorded(a) is not a or recorded(b) is not b else a is b
    if isinstance(a, (int, Dim)) and isinstance(b, (int, Dim)):
        return holds(eq(a, b))
    if isinstance(a, (Real,)) or isinstance(b, (Real,)):
        return a is b or str(a) == str(b)
    return bool(freeze(a) == freeze(b) or (isinstance(a, (int, float)) and isinstance(b, (int, float)) and a == b))
