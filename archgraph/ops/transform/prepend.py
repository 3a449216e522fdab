"""Ops on operands with leading axes: each rule appends what computes the op along them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from archgraph.ir.expr import Binary, Name
from archgraph.ops import (
    activation,
    attention,
    contraction,
    crop,
    elementwise,
    join,
    linear,
    norm,
    order,
    shape,
    source,
)
from archgraph.ops import reduce as reductions
from archgraph.ops.axes import axes_of, axis_of
from archgraph.ops.base import Op, all_ops
from archgraph.ops.einsum_patterns import ELLIPSIS, parse_einsum
from archgraph.ops.transform.batching import Prepend, Rule, aligned
from archgraph.ops.transform.builder import Builder, Value

Outs = tuple[Value, ...]
#: Rules by op.
RULES: Final[dict[type[Op], Rule]] = {}


def _rule(*ops: type[Op]) -> Callable[[Rule], Rule]:
    def enter(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, rule))
        return rule

    return enter


# -- the same op, operands aligned -------------------------------------------------------------------------------


def _aligned(p: Prepend) -> Outs:
    """Broadcasting ops: operands get axes of length 1 behind the new ones."""
    rank = max(t.rank for t in p.in_types if t is not None)
    return p.again(p.op, *(p.aligned(n, rank) for n in range(len(p.operands))))


def _unchanged(p: Prepend) -> Outs:
    return p.again(p.op, *p.operands)


def _by_axis(name: str) -> Rule:
    """Ops of one operand with an attribute that names axes."""

    def rule(p: Prepend) -> Outs:
        dim = getattr(p.op, name)
        t = p.in_types[0]
        if isinstance(dim, tuple):
            moved: Any = tuple(a + p.k for a in axes_of(t, dim))
        else:
            moved = axis_of(t, dim) + p.k
        return p.again(p.replaced(**{name: moved}), *p.operands)

    return rule


def _declare() -> None:
    for op in all_ops().values():
        if issubclass(op, activation.Activation) and "dim" not in op.by_name:
            RULES[op] = _unchanged
        elif issubclass(op, activation.Activation):
            RULES[op] = _by_axis("dim")
    RULES.update(
        dict.fromkeys(
            (
                elementwise.Formula,
                elementwise.Add,
                elementwise.Mul,
                elementwise.Sub,
                elementwise.Div,
                elementwise.Where,
            ),
            _aligned,
        )
    )
    RULES.update(
        dict.fromkeys(
            (shape.To, shape.Detach, shape.Identity, source.ZerosLike, source.OnesLike, source.FullLike, crop.Pad),
            _unchanged,
        )
    )
    by_dim = (crop.Select, crop.Slice, crop.Narrow, join.Chunk, join.Split, join.Unbind, norm.Normalize)
    RULES.update(dict.fromkeys((*by_dim, order.CumSum, order.CumProd), _by_axis("dim")))
    RULES.update(dict.fromkeys((crop.Roll, crop.Flip), _by_axis("dims")))


@_rule(join.Cat, join.Prepend)
def _joined(p: Prepend) -> Outs:
    dim = axis_of(p.in_types[0], p.op.dim) + p.k
    return p.again(p.replaced(dim=dim), *(p.operand(n) for n in range(len(p.operands))))


@_rule(join.Stack)
def _stack(p: Prepend) -> Outs:
    dim = axis_of(p.in_types[0], p.op.dim, more=1) + p.k
    return p.again(p.replaced(dim=dim), *(p.operand(n) for n in range(len(p.operands))))


@_rule(shape.Rearrange, shape.Repeat, reductions.Reduce)
def _pattern(p: Prepend) -> Outs:
    lead = " ".join(f"vmap{n}" for n in range(p.k))
    left, right = p.op.pattern.split("->")
    return p.again(p.replaced(pattern=f"{lead} {left.strip()} -> {lead} {right.strip()}".strip()), *p.operands)


@_rule(shape.Flatten)
def _flatten(p: Prepend) -> Outs:
    t = p.in_types[0]
    start, end = axis_of(t, p.op.start_dim), axis_of(t, p.op.end_dim)
    return p.again(p.replaced(start_dim=start + p.k, end_dim=end + p.k), *p.operands)


@_rule(shape.Expand)
def _expand(p: Prepend) -> Outs:
    size = p.op.size
    x = aligned(p.b, p.operand(0), p.k, len(size))
    return p.again(p.replaced(size=(*p.sizes, *size)), x)


@_rule(attention.ScaledDotProductAttention)
def _attend(p: Prepend) -> Outs:
    mask = None if len(p.operands) < 4 else p.aligned(3, p.in_types[0].rank)
    return p.again(p.op, *(p.operand(n) for n in range(3)), *(() if len(p.operands) < 4 else (mask,)))


# -- contractions ------------------------------------------------------------------------------------------------


def _rows(b: Builder, x: Value, k: int) -> tuple[Value, str, dict[str, Any]]:
    """All axes between the first ``k`` and the last as one, and the pattern that undoes it."""
    between = [f"r{n}" for n in range(x.type.rank - k - 1)]
    lead = " ".join(f"v{n}" for n in range(k))
    lengths = dict(zip(between, x.type.shape[k:-1], strict=True))
    pattern = f"{lead} {' '.join(between)} c -> {lead} ({' '.join(between)}) c"
    back = f"{lead} ({' '.join(between)}) c -> {lead} {' '.join(between)} c"
    return b.op("rearrange", x, pattern=pattern, name="rows"), back, lengths


def _product(p: Prepend, x: Value, w: Value) -> Value:
    """[axes, ..., I] times a matrix [axes, I, O] of its own for each place on the axes: one batched product."""
    b, k = p.b, p.k
    if x.type.rank == k + 2:
        return b.op("matmul", x, w)
    rows, back, lengths = _rows(b, x, k)
    return b.op("rearrange", b.op("matmul", rows, w), pattern=back, axes_lengths=lengths)


@_rule(linear.Linear)
def _linear(p: Prepend) -> Outs:
    if not p.mapped_weights:
        return p.again(p.op, *p.operands)
    b, x = p.b, p.operand(0)
    w = p.weight()
    if "weight" in p.mapped_weights:
        y = _product(p, x, b.swapped(w))
    else:
        y = b.op("matmul", x, b.swapped(w))
    bias = p.weights.get("bias")
    if bias is not None:
        if "bias" in p.mapped_weights:
            bias = aligned(b, bias, p.k, y.type.rank - p.k)
        y = b.op("add", y, bias)
    return (y,)


@_rule(contraction.Matmul)
def _matmul(p: Prepend) -> Outs:
    b = p.b
    left, right = p.in_types
    x, w = p.operands
    assert x is not None
    assert w is not None
    if not p.mapped[1]:
        if right.rank == 2 or (right.rank > 2 and left.rank > 1):
            if left.rank == 1:
                return p.again(p.op, x, w)
            return p.again(p.op, aligned(b, x, p.k, max(left.rank, right.rank)), w)
        return p.again(p.op, x, w)
    if right.rank == 2 and left.rank > 2 and p.mapped[0]:
        return (_product(p, x, w),)
    matrix = x
    if left.rank == 1:
        matrix = b.op("rearrange", x, pattern="... k -> ... 1 k")
    column = w if right.rank > 1 else b.op("rearrange", w, pattern="... k -> ... k 1")
    rank = max(left.rank, right.rank, 2)
    if p.mapped[0]:
        matrix = aligned(b, matrix, p.k, rank)
    y = b.op("matmul", matrix, aligned(b, column, p.k, rank))
    if left.rank == 1 and right.rank == 1:
        y = b.op("rearrange", y, pattern="... 1 1 -> ...")
    elif left.rank == 1:
        y = b.op("rearrange", y, pattern="... 1 m -> ... m")
    elif right.rank == 1:
        y = b.op("rearrange", y, pattern="... n 1 -> ... n")
    return (y,)


@_rule(contraction.Einsum)
def _einsum(p: Prepend) -> Outs:
    pattern = parse_einsum(p.op.pattern)
    names = {name for axes in pattern.inputs for name in axes}
    lead = [f"v{n}" for n in range(len(names) + p.k) if f"v{n}" not in names][: p.k]
    operands = list(p.operands)
    parts: list[str] = []
    for n, axes in enumerate(pattern.inputs):
        own = [*axes]
        if p.mapped[n]:
            own = [*lead, *own]
        parts.append(" ".join(own))
    # `...` of operands with and without the new axes is aligned from the right, which the names in front leave alone
    assert ELLIPSIS not in lead
    text = f"{', '.join(parts)} -> {' '.join([*lead, *pattern.output])}"
    return p.again(p.replaced(pattern=text), *operands)


# -- normalisation -----------------------------------------------------------------------------------------------


@_rule(norm.LayerNorm, norm.RmsNorm)
def _norm(p: Prepend) -> Outs:
    axes = p.op.normalized_axes(p.in_types[0])
    moved = tuple(a + p.k for a in axes)
    if not p.mapped_weights:
        return p.again(p.replaced(dim=moved), *p.operands)
    b, t = p.b, p.in_types[0]
    y = b.op(p.op.op_name, p.operand(0), dim=moved, eps=p.op.eps, elementwise_affine=False)
    for name, sign in (("weight", "*"), ("bias", "+")):
        w = p.weights.get(name)
        if w is None:
            continue
        inner = " ".join(f"a{a}" for a in axes)
        spread = " ".join(f"a{a}" if a in axes else "1" for a in range(t.rank))
        w = b.op("rearrange", w, pattern=f"... {inner} -> ... {spread}")
        y = b.formula(Binary(sign, Name("y"), Name("w")), {"y": y, "w": w})
    return (y,)


@_rule(linear.LayerScale)
def _layer_scale(p: Prepend) -> Outs:
    axis = axis_of(p.in_types[0], p.op.dim)
    if not p.mapped_weights:
        return p.again(p.replaced(dim=axis + p.k), *p.operands)
    behind = " 1" * (p.in_types[0].rank - 1 - axis)
    w = p.b.op("rearrange", p.weight(""), pattern=f"... c -> ... {'1 ' * axis}c{behind}")
    return (p.b.mul(p.operand(0), w),)


_declare()
