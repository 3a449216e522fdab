"""Derivatives of ops: each rule appends the cotangents of a node's operands, as ordinary ops."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from typing import Any, Final

from archgraph.ir.dim import Num
from archgraph.ir.expr import Binary, Call, Compare, Expr, Name, literal
from archgraph.ops import activation, contraction, crop, elementwise, join, linear, norm, shape
from archgraph.ops import reduce as reductions
from archgraph.ops.axes import axis_of
from archgraph.ops.base import Op, fail
from archgraph.ops.einops_patterns import plan
from archgraph.ops.einsum_patterns import ELLIPSIS, parse_einsum
from archgraph.ops.shape import known_sizes
from archgraph.ops.transform.builder import Builder, Value, number
from archgraph.ops.transform.differentiate import ONE, partial
from archgraph.ops.transform.gradient import Pullback, Rule

Found = Iterator[tuple[int | str, Value]]
#: Rules by op.
RULES: Final[dict[type[Op], Rule]] = {}


def _rule(*ops: type[Op]) -> Callable[[Rule], Rule]:
    def enter(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, rule))
        return rule

    return enter


# -- element-wise ------------------------------------------------------------------------------------------------


def _elementwise(p: Pullback, expr: Expr, names: tuple[str, ...]) -> Found:
    """Cotangents through a formula over the operands: times the partial derivatives, summed over stretched axes."""
    for k, name in enumerate(names):
        slope = partial(expr, name) if p.wanted(k) else None
        if slope is None:
            continue
        g = p.cotangent
        if slope != ONE:
            own = _free_name(names)
            values = {own: g, **{n: p.operand(j) for j, n in enumerate(names) if n in slope.names}}
            g = p.b.formula(Binary("*", Name(own), slope), values, f"d_{name}")
        yield k, p.b.sum_to(g, p.in_types[k].shape)


def _free_name(names: tuple[str, ...]) -> str:
    own = "g"
    while own in names:
        own += "_"
    return own


@_rule(elementwise.Formula)
def _formula(p: Pullback) -> Found:
    return _elementwise(p, p.op.expr, p.op.names)


@_rule(elementwise.Add, elementwise.Mul, elementwise.Sub, elementwise.Div)
def _arithmetic(p: Pullback) -> Found:
    names = tuple(f"x{k}" for k in range(len(p.in_types)))
    parts: list[Expr] = [Name(n) for n in names]
    return _elementwise(p, reduce(lambda x, y: Binary(p.op.symbol, x, y), parts), names)


@_rule(elementwise.Where)
def _where(p: Pullback) -> Found:
    names = ("mask", "x", "y")
    return _elementwise(p, Call("where", tuple(map(Name, names))), names)


def _call(word: str) -> Callable[[Any], Expr]:
    return lambda op: Call(word, (Name("x"),))


def _clamp(x: Expr, low: Any, high: Any) -> Expr:
    return Call("clamp", (x, number(low), number(high)))


def _hard(op: Any) -> Expr:
    return Binary("/", _clamp(Binary("+", Name("x"), literal(3)), 0, 6), literal(6))


def _leaky(below: Callable[[Any], Expr], scale: float = 1.0) -> Callable[[Any], Expr]:
    def of(op: Any) -> Expr:
        x = Name("x")
        found: Expr = Call("where", (Compare(x, ((">", literal(0)),)), x, below(op)))
        return found if scale == 1.0 else Binary("*", literal(scale), found)

    return of


def _gelu(op: Any) -> Expr:
    x = Name("x")
    if op.approximate == "none":
        return Call("gelu", (x,))
    cube = Binary("*", literal(0.044715), Binary("**", x, literal(3)))
    inner = Binary("*", literal(math.sqrt(2 / math.pi)), Binary("+", x, cube))
    return Binary("*", Binary("*", literal(0.5), x), Binary("+", literal(1), Call("tanh", (inner,))))


def _scaled_softplus(op: Any) -> Expr:
    x = Binary("*", number(op.beta), Name("x"))
    return Binary("/", Call("softplus", (x,)), number(op.beta))


def _exponential(scale: Any) -> Callable[[Any], Expr]:
    return lambda op: Binary("*", number(scale(op)), Call("expm1", (Name("x"),)))


_SELU: Final = (1.0507009873554804934193349852946, 1.6732632423543772848170429916717)
#: Activations as formulas of ``x``.
DEFINITIONS: Final[Mapping[type[Op], Callable[[Any], Expr]]] = {
    **{
        cls: _call(cls.op_name)
        for cls in (activation.Relu, activation.Silu, activation.Sigmoid, activation.Tanh, activation.LogSigmoid)
    },
    activation.Gelu: _gelu,
    activation.Relu6: lambda op: _clamp(Name("x"), 0, 6),
    activation.Hardtanh: lambda op: _clamp(Name("x"), op.min_val, op.max_val),
    activation.Hardsigmoid: _hard,
    activation.Hardswish: lambda op: Binary("*", Name("x"), _hard(op)),
    activation.LeakyRelu: _leaky(lambda op: Binary("*", number(op.negative_slope), Name("x"))),
    activation.Elu: _leaky(_exponential(lambda op: op.alpha)),
    activation.Selu: _leaky(_exponential(lambda op: _SELU[1]), _SELU[0]),
    activation.Softplus: _scaled_softplus,
    activation.Mish: lambda op: Binary("*", Name("x"), Call("tanh", (Call("softplus", (Name("x"),)),))),
    activation.Softsign: lambda op: Binary("/", Name("x"), Binary("+", literal(1), Call("abs", (Name("x"),)))),
}


@_rule(*DEFINITIONS)
def _activation(p: Pullback) -> Found:
    return _elementwise(p, DEFINITIONS[type(p.op)](p.op), ("x",))


@_rule(activation.Softmax)
def _softmax(p: Pullback) -> Found:
    y, axis = p.output(), axis_of(p.in_types[0], p.op.dim)
    gy = p.b.mul(p.cotangent, y)
    mean = p.b.summed(gy, [axis], keep=True)
    yield 0, p.b.formula(_parse_minus("gy", "y", "mean"), {"gy": gy, "y": y, "mean": mean})


@_rule(activation.LogSoftmax)
def _log_softmax(p: Pullback) -> Found:
    axis = axis_of(p.in_types[0], p.op.dim)
    total = p.b.summed(p.cotangent, [axis], keep=True)
    scale = Binary("*", Call("exp", (Name("y"),)), Name("total"))
    expr = Binary("-", Name("g"), scale)
    yield 0, p.b.formula(expr, {"g": p.cotangent, "y": p.output(), "total": total})


def _parse_minus(a: str, x: str, y: str) -> Expr:
    """``a - x * y``."""
    return Binary("-", Name(a), Binary("*", Name(x), Name(y)))


@_rule(linear.LayerScale)
def _layer_scale(p: Pullback) -> Found:
    rank, axis = p.in_types[0].rank, axis_of(p.in_types[0], p.op.dim)
    if p.wanted(0):
        w = p.weight("")
        behind = rank - 1 - axis
        if behind:
            w = p.b.op("rearrange", w, pattern=f"c -> c{' 1' * behind}")
        yield 0, p.b.mul(p.cotangent, w)
    if p.wanted(""):
        total = p.b.mul(p.cotangent, p.operand(0))
        yield "", p.b.summed(total, [k for k in range(rank) if k != axis], keep=False)


# -- contractions ------------------------------------------------------------------------------------------------


def _rows(b: Builder, x: Value) -> Value:
    """All axes but the last as one."""
    return x if x.type.rank == 2 else b.op("rearrange", x, pattern="... c -> (...) c", name="rows")


@_rule(linear.Linear)
def _linear(p: Pullback) -> Found:
    g = p.cotangent
    if p.wanted(0):
        yield 0, p.b.op("matmul", g, p.weight())
    if p.wanted("weight"):
        yield "weight", p.b.op("matmul", p.b.swapped(_rows(p.b, g)), _rows(p.b, p.operand(0)))
    if p.wanted("bias"):
        yield "bias", p.b.summed(g, range(g.type.rank - 1), keep=False)


@_rule(contraction.Matmul)
def _matmul(p: Pullback) -> Found:
    b, g = p.b, p.cotangent
    left, right = p.in_types
    if left.rank == 1:
        g = b.op("rearrange", g, pattern="... m -> ... 1 m" if right.rank > 1 else "-> 1")
    if right.rank == 1:
        g = b.op("rearrange", g, pattern="... -> ... 1")

    def matrix(k: int) -> Value:
        x = p.operand(k)
        if x.type.rank > 1:
            return x
        return b.op("rearrange", x, pattern="k -> k 1" if k else "k -> 1 k")

    if p.wanted(0):
        yield 0, _vector(b, b.op("matmul", g, b.swapped(matrix(1))), left)
    if p.wanted(1):
        x = matrix(0)
        if right.rank == 2 and x.type.rank > 2:  # one product instead of one per batch, then summed
            yield 1, b.op("matmul", b.swapped(_rows(b, x)), _rows(b, g))
        else:
            yield 1, _vector(b, b.op("matmul", b.swapped(x), g), right)


def _vector(b: Builder, x: Value, t: Any) -> Value:
    """A matrix summed to what was stretched to it; a vector where ``t`` is one."""
    if t.rank > 1:
        return b.sum_to(x, t.shape)
    x = b.summed(x, range(x.type.rank - 2), keep=False)
    return b.op("rearrange", x, pattern="i j -> (i j)")


@_rule(contraction.Einsum)
def _einsum(p: Pullback) -> Found:
    pattern = parse_einsum(p.op.pattern)
    ranks = [t.rank - len(axes) + 1 for t, axes in zip(p.in_types, pattern.inputs, strict=True) if ELLIPSIS in axes]
    widest = max(ranks, default=0)

    def spelt(axes: tuple[str, ...], n: int) -> tuple[str, ...]:
        batch = tuple(f"batch{k}" for k in range(widest - n, widest))
        return tuple(m for name in axes for m in (batch if name == ELLIPSIS else (name,)))

    axes = [spelt(a, t.rank - len(a) + 1) for a, t in zip(pattern.inputs, p.in_types, strict=True)]
    out = spelt(pattern.output, widest)
    sizes: dict[str, Num] = {}
    for names, t in zip(axes, p.in_types, strict=True):
        for name, n in zip(names, t.shape, strict=True):
            if sizes.setdefault(name, n) != n and (sizes[name] == 1 or n == 1):
                fail(f'the derivative of "{pattern.text}" takes equal axes, not stretched ones')
    g = p.cotangent if p.op.scale is None else p.b.scaled(p.cotangent, p.op.scale)
    for k, own in enumerate(axes):
        if not p.wanted(k):
            continue
        others = [j for j in range(len(axes)) if j != k]
        known = {*out, *(name for j in others for name in axes[j])}
        kept = tuple(name for name in own if name in known)
        text = ", ".join(" ".join(a) for a in (out, *(axes[j] for j in others)))
        found = p.b.op("einsum", g, *(p.operand(j) for j in others), pattern=f"{text} -> {' '.join(kept)}")
        if kept != own:
            new = {name: sizes[name] for name in own if name not in known}
            found = p.b.op("repeat", found, pattern=f"{' '.join(kept)} -> {' '.join(own)}", axes_lengths=new)
        yield k, found


# -- normalisation -----------------------------------------------------------------------------------------------


@_rule(norm.LayerNorm, norm.RmsNorm)
def _norm(p: Pullback) -> Found:
    b, x, t = p.b, p.operand(0), p.in_types[0]
    axes = p.op.normalized_axes(t)
    centred = isinstance(p.op, norm.LayerNorm)
    if centred:
        x = b.formula(Binary("-", Name("x"), Name("m")), {"x": x, "m": b.summed(x, axes, True, "mean")}, "centred")
    # torch's default of `rms_norm` is the machine epsilon of the dtype; models compute in float32 unless cast
    eps = 2.0**-23 if p.op.eps is None else p.op.eps
    square = b.summed(b.formula(Call("square", (Name("x"),)), {"x": x}), axes, True, "mean")
    r = b.formula(Call("rsqrt", (Binary("+", Name("v"), number(eps)),)), {"v": square}, "inverse_deviation")
    y = b.mul(x, r, "normalized")
    g = p.cotangent
    rest = [a for a in range(t.rank) if a not in axes]
    affine = p.op.elementwise_affine
    if p.wanted("weight"):
        yield "weight", b.summed(b.mul(g, y), rest, keep=False)
    if p.wanted("bias"):
        yield "bias", b.summed(g, rest, keep=False)
    if not p.wanted(0):
        return
    if affine:
        w = p.weight()
        if axes[-1] != t.rank - 1 or len(axes) != axes[-1] - axes[0] + 1:
            pattern = " ".join(f"a{a}" for a in axes)
            spread = " ".join(f"a{a}" if a in axes else "1" for a in range(axes[0], t.rank))
            w = b.op("rearrange", w, pattern=f"{pattern} -> {spread}")
        g = b.mul(g, w)
    along = b.summed(b.mul(g, y), axes, True, "mean")
    inner = _parse_minus("g", "y", "along")
    values = {"g": g, "y": y, "along": along, "r": r}
    if centred:
        inner = Binary("-", inner, Name("m"))
        values["m"] = b.summed(g, axes, True, "mean")
    yield 0, b.formula(Binary("*", Name("r"), inner), values)


@_rule(norm.Normalize)
def _normalize(p: Pullback) -> Found:
    if p.op.p != 2.0:
        fail("`normalize` has a derivative for `p: 2` only", found=p.op.p)
    b, x, y, g = p.b, p.operand(0), p.output(), p.cotangent
    axis = axis_of(p.in_types[0], p.op.dim)
    square = b.summed(b.formula(Call("square", (Name("x"),)), {"x": x}), [axis], keep=True)
    along = b.summed(b.mul(g, y), [axis], keep=True)
    length = Call("sqrt", (Name("s"),))
    divisor = Call("maximum", (length, number(p.op.eps)))
    # where the least divisor counts, the length does not, and nothing is taken away
    along_y = Call(
        "where", (Compare(length, ((">", number(p.op.eps)),)), Binary("*", Name("y"), Name("along")), literal(0))
    )
    expr = Binary("/", Binary("-", Name("g"), along_y), divisor)
    yield 0, b.formula(expr, {"g": g, "y": y, "along": along, "s": square})


# -- reductions and moves ----------------------------------------------------------------------------------------


def _backwards(op: Any) -> str:
    left, right = op.pattern.split("->")
    return f"{right.strip()} -> {left.strip()}"


def _lengths(op: Any, x: Any) -> dict[str, Num]:
    """Sizes of all named axes of a pattern."""
    _, sizes = known_sizes(op, x)
    return {name: n for name, n in sizes.items() if name.isidentifier()}


@_rule(shape.Rearrange)
def _rearrange(p: Pullback) -> Found:
    yield 0, p.b.op("rearrange", p.cotangent, pattern=_backwards(p.op), axes_lengths=_lengths(p.op, p.in_types[0]))


@_rule(shape.Repeat)
def _repeat(p: Pullback) -> Found:
    lengths = _lengths(p.op, p.in_types[0])
    yield 0, p.b.op("reduce", p.cotangent, pattern=_backwards(p.op), reduction="sum", axes_lengths=lengths)


def _spread(p: Pullback, value: Value) -> Value:
    """A value of the result's shape repeated to the operand's."""
    x, op = p.in_types[0], p.op
    pl = plan(op.pattern, x.rank)
    if any(name.startswith("...") for name in pl.gone):
        # `...` is reduced: name its axes
        names = [f"a{k}" for k in range(x.rank)]
        if value.type.rank:
            fail(f'the derivative of "{op.pattern}" can\'t tell its axes', hint="name the axes that are reduced")
        lengths: dict[str, Num] = dict(zip(names, x.shape, strict=True))
        return p.b.op("repeat", value, pattern=f"-> {' '.join(names)}", axes_lengths=lengths)
    return p.b.op("repeat", value, pattern=_backwards(op), axes_lengths=_lengths(op, x))


@_rule(reductions.Reduce)
def _reduce(p: Pullback) -> Found:
    b, g, kind = p.b, p.cotangent, p.op.reduction
    x, y = p.in_types[0], p.out_types[0]
    if kind == "sum":
        yield 0, _spread(p, g)
    elif kind == "mean":
        yield 0, _spread(p, b.scaled(g, 1 / (x.numel / y.numel)) if x.numel != y.numel else g)
    elif kind == "var" and not p.op.unbiased:
        mean = b.op("reduce", p.operand(0), pattern=p.op.pattern, reduction="mean", axes_lengths=p.op.lengths)
        values = {"x": p.operand(0), "m": _spread(p, mean), "g": _spread(p, b.scaled(g, 2 / (x.numel / y.numel)))}
        yield 0, b.formula(Binary("*", Name("g"), Binary("-", Name("x"), Name("m"))), values)
    elif kind == "logsumexp":
        values = {"x": p.operand(0), "y": _spread(p, p.output()), "g": _spread(p, g)}
        yield 0, b.formula(Binary("*", Name("g"), Call("exp", (Binary("-", Name("x"), Name("y")),))), values)
    elif kind in ("max", "min"):
        equal = Compare(Name("x"), (("==", Name("y")),))
        hit = b.formula(equal, {"x": p.operand(0), "y": _spread(p, p.output())})
        hit = b.op("to", hit, dtype=x.dtype)
        ties = b.op("reduce", hit, pattern=p.op.pattern, reduction="sum", axes_lengths=p.op.lengths)
        share = b.formula(Binary("/", Name("g"), Name("n")), {"g": g, "n": ties})
        yield 0, b.mul(hit, _spread(p, share))
    else:
        fail(f"`reduce` has no derivative for the reduction {kind}")


@_rule(shape.Flatten)
def _flatten(p: Pullback) -> Found:
    x = p.in_types[0]
    start, end = axis_of(x, p.op.start_dim), axis_of(x, p.op.end_dim)
    names = [f"a{k}" for k in range(x.rank)]
    joined = [*names[:start], f"({' '.join(names[start : end + 1])})", *names[end + 1 :]]
    lengths = dict(zip(names[start : end + 1], x.shape[start : end + 1], strict=True))
    yield 0, p.b.op("rearrange", p.cotangent, pattern=f"{' '.join(joined)} -> {' '.join(names)}", axes_lengths=lengths)


@_rule(shape.Expand)
def _expand(p: Pullback) -> Found:
    yield 0, p.b.sum_to(p.cotangent, p.in_types[0].shape)


@_rule(shape.To)
def _to(p: Pullback) -> Found:
    yield 0, p.b.op("to", p.cotangent, dtype=p.in_types[0].dtype)


@_rule(shape.Identity)
def _identity(p: Pullback) -> Found:
    yield 0, p.cotangent


# -- parts and joins ---------------------------------------------------------------------------------------------


def _padded(b: Builder, x: Value, axis: int, before: Num, after: Num) -> Value:
    """Zeros before and behind the elements of an axis."""
    if before == 0 and after == 0:
        return x
    return b.op("pad", x, pad=[*[0, 0] * (x.type.rank - 1 - axis), before, after])


@_rule(join.Cat)
def _cat(p: Pullback) -> Found:
    axis = axis_of(p.in_types[0], p.op.dim)
    start: Num = 0
    for k, t in enumerate(p.in_types):
        if p.wanted(k):
            yield k, p.b.op("narrow", p.cotangent, dim=axis, start=start, length=t.shape[axis])
        start = start + t.shape[axis]


@_rule(join.Prepend)
def _prepend(p: Pullback) -> Found:
    axis = axis_of(p.in_types[0], p.op.dim)
    n, m = (t.shape[axis] for t in p.in_types)
    if p.wanted(0):
        yield 0, p.b.op("narrow", p.cotangent, dim=axis, start=m, length=n)
    if p.wanted(1):
        yield 1, p.b.sum_to(p.b.op("narrow", p.cotangent, dim=axis, start=0, length=m), p.in_types[1].shape)


@_rule(join.Stack)
def _stack(p: Pullback) -> Found:
    for k in range(len(p.in_types)):
        if p.wanted(k):
            yield k, p.b.op("select", p.cotangent, dim=p.op.dim, index=k)


def _filled(p: Pullback) -> list[Value]:
    """All cotangents, zeros where there is none."""
    return [
        p.b.op("zeros", shape=t.shape, dtype=t.dtype) if g is None else g
        for g, t in zip(p.cotangents, p.out_types, strict=True)
    ]


@_rule(join.Split, join.Chunk)
def _pieces(p: Pullback) -> Found:
    yield 0, p.b.op("cat", *_filled(p), dim=p.op.dim)


@_rule(join.Unbind)
def _unbind(p: Pullback) -> Found:
    yield 0, p.b.op("stack", *_filled(p), dim=p.op.dim)


@_rule(crop.Select)
def _select(p: Pullback) -> Found:
    x = p.in_types[0]
    axis = axis_of(x, p.op.dim)
    names = [f"a{k}" for k in range(x.rank)]
    gone = " ".join(names[:axis] + names[axis + 1 :])
    g = p.b.op("rearrange", p.cotangent, pattern=f"{gone} -> {' '.join([*names[:axis], '1', *names[axis + 1 :]])}")
    at = p.op._at(x, axis)
    yield 0, _padded(p.b, g, axis, at, x.shape[axis] - 1 - at)


@_rule(crop.Narrow)
def _narrow(p: Pullback) -> Found:
    x, op = p.in_types[0], p.op
    axis = axis_of(x, op.dim)
    start = op.start + x.shape[axis] if isinstance(op.start, int) and op.start < 0 else op.start
    yield 0, _padded(p.b, p.cotangent, axis, start, x.shape[axis] - start - op.length)


@_rule(crop.Slice)
def _slice(p: Pullback) -> Found:
    axis, start, stop = p.op._ends(p.b, p.in_types[0])
    if p.op.step != 1:
        fail("`slice` has a derivative for `step: 1` only", found=p.op.step)
    yield 0, _padded(p.b, p.cotangent, axis, start, p.in_types[0].shape[axis] - stop)


@_rule(crop.Pad)
def _pad(p: Pullback) -> Found:
    if p.op.mode != "constant":
        fail("`pad` has a derivative for the mode `constant` only", found=p.op.mode)
    yield 0, p.b.op("pad", p.cotangent, pad=[-n for n in p.op.pad])


@_rule(crop.Flip)
def _flip(p: Pullback) -> Found:
    yield 0, p.b.op("flip", p.cotangent, dims=p.op.dims)


@_rule(crop.Roll)
def _roll(p: Pullback) -> Found:
    yield 0, p.b.op("roll", p.cotangent, shifts=[-n for n in p.op.shifts], dims=p.op.dims)
