"""The steps of a tape: each adds a node, its op made of attributes as they evaluate now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from archgraph.ir.expr import Expr
from archgraph.ir.graph import Node
from archgraph.ir.real import Late, Real, late_names
from archgraph.ir.types import TensorType
from archgraph.ops.base import DTYPE_CLASSES, Op
from archgraph.spec.evaluators import ComputedList
from archgraph.spec.frame import Frame
from archgraph.spec.model import Block
from archgraph.spec.plan_op import OpPlan
from archgraph.spec.values import tidy

if TYPE_CHECKING:
    pass
from archgraph.spec.tape_values import Left, alike, restore, snapshot

Fn = Callable[[Mapping[str, Any]], Any]
#: A step adds nodes to the frame, and their types to the types of values so far.
Step = Callable[[Frame, list[TensorType]], None]
Maker = Callable[[Frame], Op]

_NO_NAMES: Final[frozenset[str]] = frozenset()
#: Values that are the same for good if they are the same object.
_SCALARS: Final = frozenset({bool, int, float, str, type(None), Late})


def maker(plan: OpPlan, op: Any) -> Maker | None:
    """Makes a node's op from its attributes as they evaluate; None if nothing about it is evaluated."""
    if op is plan.static:
        return None
    cls = type(op)
    if plan.late_target is None and plan.preset is not None:
        return _filling(cls, plan.preset, plan.dynamic)
    attrs = plan.attrs if plan.overlay is None else plan.overlay(cls)
    fns = [bare(value) for const, value, _ in attrs.values() if not const]
    late = plan.late_target
    if not fns and late is None:
        return None
    last: tuple[list[Any], Any, Op | None] = ([], None, None)

    def make(f: Frame) -> Op:
        nonlocal last
        env = f.env
        raw = [fn(env) for fn in fns]
        held = None if late is None else late(env)
        known, before, op = last
        if op is not None and (held is before or alike(held, before)) and raw == known and _same(raw, known):
            return op
        made = plan.instance(f, cls, None if late is None else plan.resolve(f)[1])
        last = raw, held, made
        return made

    return make


def _same(raw: list[Any], before: list[Any]) -> bool:
    """Whether scalars are as before."""
    for v, b in zip(raw, before):  # noqa: B905  # as long as one another
        kind = type(v)
        if kind not in _SCALARS or (v is not b and (kind is not type(b) or v != b)):
            return False
    return True


def _filling(cls: type[Op], preset: list[Any], dynamic: list[Any]) -> Maker:
    """Fills evaluated attributes in; what was converted before is not converted again."""
    indices = [(index, a) for index, a, _ in dynamic]
    fns = [bare(fn) for _, _, fn in dynamic]
    none: list[Any] = [_NO_NAMES] * len(fns)
    last: tuple[list[Any], list[Any], Op | None] = (none, [], None)

    def make(f: Frame) -> Op:
        nonlocal last
        env = f.env
        raw = [fn(env) for fn in fns]
        known, converted, op = last
        if raw == known and op is not None and _same(raw, known):
            return op
        values = preset.copy()
        late = _NO_NAMES
        for (index, a), v, b in zip(indices, raw, known):  # noqa: B905  # as long as one another
            kind = type(v)
            if kind is int and v >= a.floor:
                values[index] = v
                continue
            if v is b and kind in _SCALARS:
                values[index] = converted[index]
            elif kind is tuple and _all_ints(v, a.item_floor):
                values[index] = v
            else:
                v = values[index] = cls.convert(a, tidy(v))
                if isinstance(v, (Real, tuple, Expr)):
                    late = late | late_names(v)
            if kind is Late:
                late = late | late_names(values[index])
        made = cls(tuple(values), late)
        last = raw, values, made
        return made

    return make


def _all_ints(values: tuple[Any, ...], floor: float) -> bool:
    """Whether a tuple holds nothing but ints of at least ``floor``."""
    for v in values:  # noqa: SIM110  # a generator costs more than the few sizes
        if type(v) is not int or v < floor:
            return False
    return True


def bare(fn: Any) -> Fn:
    """The function of an evaluator without its words for faults: where there is one, the general way finds them."""
    if isinstance(fn, ComputedList):
        parts = [(const, v if const else bare(v)) for const, v in fn.parts]
        return lambda env: tuple([v if const else v(env) for const, v in parts])
    found: Fn = getattr(fn, "fn", fn)
    return found


def op_step(node: Node, slots: list[int | None], make: Maker | None, equal: bool = False) -> Step:
    """A step that adds an op."""
    fixed: Any = node.op
    cls = type(fixed)
    name, inputs, flags, span, outputs = node.name, node.inputs, node.flags, node.origin, fixed.outputs
    count = len(node.types)
    checks: list[tuple[int, int | None, Any]] = []
    for k, slot in enumerate(slots):
        o = cls.operands[min(k, len(cls.operands) - 1)]
        if slot is not None:
            checks.append((slot, o.rank, None if o.dtype == "any" else DTYPE_CLASSES[o.dtype]))
    full = len(checks) == len(slots)
    if len(slots) == 1 and full and count == 1:
        ((slot, rank, dtypes),) = checks

        def unary(f: Frame, types: list[TensorType]) -> None:
            x = types[slot]
            if (rank is not None and len(x.shape) != rank) or (dtypes is not None and x.dtype not in dtypes):
                raise Left
            f.span = span
            op = fixed if make is None else make(f)
            out = op.infer(f, x)
            if f.guards:
                out = f.settled(out)
            if type(out) is not TensorType:
                raise Left
            types.append(out)
            f.taken.add(name)
            f.nodes.append(Node(name, op, inputs, (out,), (), 1, None, (), (), flags, span))

        return unary

    def step(f: Frame, types: list[TensorType]) -> None:
        for slot, rank, dtypes in checks:
            x = types[slot]
            if (rank is not None and len(x.shape) != rank) or (dtypes is not None and x.dtype not in dtypes):
                raise Left
        f.span = span
        op = fixed if make is None else make(f)
        given = [types[s] for s, _, _ in checks] if full else [None if s is None else types[s] for s in slots]
        if equal and given[0] is not given[1] and given[0].shape != given[1].shape:  # type: ignore[union-attr]
            raise Left
        outs = op.infer(f, *given)
        if f.guards:
            outs = f.settled(outs)
        if type(outs) is TensorType:
            if count != 1:
                raise Left
            types.append(outs)
            outs = (outs,)
        else:
            if len(outs) != count or (op is not fixed and op.outputs != outputs):
                raise Left
            types.extend(outs)
        f.taken.add(name)
        f.nodes.append(Node(name, op, inputs, outs, (), 1, None, (), (), flags, span))

    return step


def call_step(plan: OpPlan, node: Node, index: int, block: Block, values: dict[str, Any], name: str, made: Any) -> Step:
    """A step that calls a block."""
    from archgraph.spec.block_call import call_block

    given = [(n, snapshot(v)) for n, v in values.items()]
    simple = plan.late_target is None and plan.overlay is None
    fixed = {n: v for n, (const, v, _) in plan.attrs.items() if const}
    computed = [(n, bare(v)) for n, (const, v, _) in plan.attrs.items() if not const]
    own, flags, span, count = node.name, node.flags, node.origin, len(node.types)

    def step(f: Frame, types: list[TensorType]) -> None:
        f.span = span
        if simple:
            env = f.env
            args = fixed.copy()
            for n, fn in computed:
                v = args[n] = fn(env)
                if type(v) not in _SCALARS:
                    args[n] = tidy(v)
        else:
            args = plan.attributes(f, block, None if plan.late_target is None else plan.resolve(f)[1])
        found = call_block(f, name, block, args, {n: restore(shot, f) for n, shot in given}, flags, None, plan.argument)
        nodes = f.nodes
        if len(nodes) != index + 1:
            raise Left
        node = nodes[index]
        if node.name != own or len(node.types) != count or snapshot(found) != made:
            raise Left
        types.extend(node.types)

    return step
