"""Products of values with values: matmul, einsum, outer and bilinear products."""

from __future__ import annotations

from typing import Any

from archgraph.ir.density import DENSE, Density
from archgraph.ir.dim import Num, eq, prod
from archgraph.ir.types import Layout, TensorType, promote
from archgraph.ops.base import Context, Cost, Emitter, Handle, Op, Weight, attr, fail, operand
from archgraph.ops.broadcast import broadcast
from archgraph.ops.drawing import Draw, pick
from archgraph.ops.einsum_patterns import ELLIPSIS, Axes, EinsumPattern, parse_einsum
from archgraph.ops.kinds import BOOL, FLOAT, INIT, SIZE, TEXT, Init, OptionalKind
from archgraph.ops.linear import bias_init


def same_dtype(first: TensorType, *others: TensorType) -> None:
    """`OpError` unless all dtypes are equal: torch multiplies no mixed dtypes."""
    for other in others:
        if other.dtype != first.dtype:
            fail("the operands have different dtypes", first.dtype, other.dtype)


def require_equal(cx: Context, a: Num, b: Num, what: str) -> None:
    """Demand that two sizes agree."""
    cond = eq(a, b)
    if cond is not True:
        cx.require(cond, f"{what} must be equal: {a} and {b}")


class Matmul(Op, name="matmul"):
    """Matrix product over the last two axes: [..., N, K] × [..., K, M] → [..., N, M], the axes before broadcast.

    An operand with one axis is a vector, as in ``torch.matmul``: [K] × [..., K, M] → [..., M], [..., N, K] × [K] →
    [..., N], [K] × [K] → []. MACs: K per output element, for complex values too.
    """

    operands = (operand("input", dtype="number"), operand("other", dtype="number"))

    def infer(self, cx: Context, input: TensorType, other: TensorType) -> TensorType:
        if not (input.shape and other.shape):
            fail(
                "`matmul` takes operands with at least one axis", "[..., N, K] and [..., K, M]", f"{input} and {other}"
            )
        same_dtype(input, other)
        left, right = input.shape, other.shape
        require_equal(cx, left[-1], right[-2] if len(right) > 1 else right[0], "sizes that a matmul sums over")
        batch = broadcast(cx, left[:-2], right[:-2])
        rows, columns = left[-2:-1], right[-1:] if len(right) > 1 else ()
        layout = _batch_layout(batch, input, other)
        for t, axis, found in ((input, -2, rows), (other, -1, columns)):
            kept = t.layout_of(axis) if found else None
            if kept is not None:
                layout[len(batch) + (len(rows) if axis == -1 else 0)] = kept
        return TensorType(input.dtype, (*batch, *rows, *columns), tuple(sorted(layout.items())))

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(outs[0].numel * ins[0].shape[-1])

    def expected(self, given: tuple[Density, ...], ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(given[0].both(given[1]).share(self.cost(ins, outs).macs))

    def lower(self, b: Emitter, input: Handle, other: Handle) -> Handle:
        return b.call("torch.matmul", input, other)


def _batch_layout(batch: tuple[Num, ...], *types: TensorType) -> dict[int, Layout]:
    """Layouts of broadcast leading axes: those of the first operand that has the axis in full."""
    found: dict[int, Layout] = {}
    for t in reversed(types):
        shift = len(batch) - (t.rank - 2)
        for axis, layout in t.layout:
            if axis < t.rank - 2 and t.shape[axis] == batch[axis + shift]:
                found[axis + shift] = layout
    return found


def _draw_pattern(draw: Draw, ins: tuple[TensorType, ...], attrs: dict[str, Any]) -> str:
    """Axes of equal size share a name or not; each name is kept or summed."""
    sizes: dict[str, Num] = {}
    operands = []
    for t in ins:
        names: list[str] = []
        for n in t.shape:
            shared = [name for name, size in sizes.items() if size == n and name not in names]
            name = pick(draw, [*shared, f"a{len(sizes)}"])
            sizes[name] = n
            names.append(name)
        operands.append(" ".join(names))
    output = [name for name in sizes if pick(draw, [True, False])]
    return f"{', '.join(operands)} -> {' '.join(output)}"


class Einsum(Op, name="einsum"):
    """Sum of products over named axes: ``b i d, b j d -> b i j`` on [B, I, D] and [B, J, D] gives [B, I, J].

    Axes have names in einops' style, separated by blanks; ``...`` stands for any axes, which broadcast. Several
    operands are contracted from left to right, an axis being summed as soon as no later operand and not the output
    names it; what a single operand names alone is summed before. MACs: for each contraction of two operands the
    product of all its index ranges, 0 where nothing is summed (a product of elements counts as element-wise).
    """

    pattern: str = attr(TEXT, doc="axes of each operand, `->`, axes of the output", draw=_draw_pattern)
    scale: Any = attr(OptionalKind(FLOAT), None, doc="factor of the result", inert=True, draw=[None, 0.5])
    operands = (operand("operands", dtype="number", variadic=True),)

    def infer(self, cx: Context, *types: TensorType) -> TensorType:
        pattern = parse_einsum(self.pattern)
        if len(types) != len(pattern.inputs):
            fail(f'pattern "{pattern.text}" does not fit', f"{len(pattern.inputs)} operands", f"{len(types)} operands")
        same_dtype(*types)
        sizes: dict[str, Num] = {}
        layouts: dict[str, Layout] = {}
        spread: tuple[Num, ...] = ()
        for number, (axes, t) in enumerate(zip(pattern.inputs, types, strict=True)):
            names, batch = _bind(pattern, axes, t, number)
            spread = broadcast(cx, spread, batch)
            for axis, name in names:
                n = sizes.setdefault(name, t.shape[axis])
                if n is not t.shape[axis]:
                    require_equal(cx, n, t.shape[axis], f"axes named `{name}`")
                layout = t.layout_of(axis)
                if layout is not None:
                    layouts.setdefault(name, layout)
        shape: list[Num] = []
        kept: list[tuple[int, Layout]] = []
        for name in pattern.output:
            if name == ELLIPSIS:
                shape += spread
                continue
            if name in layouts:
                kept.append((len(shape), layouts[name]))
            shape.append(sizes[name])
        return TensorType(types[0].dtype, shape, tuple(kept))

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return self.expected((DENSE,) * len(ins), ins, outs)

    def expected(self, given: tuple[Density, ...], ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        pattern = parse_einsum(self.pattern)
        sizes: dict[str, Num] = {}
        batches: list[tuple[Num, ...]] = []
        for number, (axes, t) in enumerate(zip(pattern.inputs, ins, strict=True)):
            named, batch = _bind(pattern, axes, t, number)
            sizes.update((name, t.shape[axis]) for axis, name in named)
            batches.append(batch)
        macs: Num = 0
        elementwise: Num = 0 if self.scale is None else outs[0].numel
        left, density, others = batches[0], given[0], iter(given[1:])
        for step, right in zip(pattern.steps, [*batches[1:], ()], strict=False):
            mine, theirs, out = {*step.left}, {*(step.right or ())}, {*step.out}
            shared = mine & theirs
            for names, batch in ((mine, left), (theirs, right)):
                if names - shared - out:
                    elementwise += _count(names, sizes, batch)
            left = _stretched(left, right)
            if theirs:
                density = density.both(next(others))
            if shared - out:
                macs += density.share(_count(shared | out, sizes, left))
                density = DENSE
            elif theirs:
                elementwise += _count(out, sizes, left)
        return Cost(macs, elementwise)

    def lower(self, b: Emitter, *operands: Handle) -> Handle:
        value = operands[0]
        for k, step in enumerate(parse_einsum(self.pattern).steps):
            if step.right is None:
                value = b.call("torch.einsum", step.equation, value)
            elif step.is_matmul:
                value = b.call("torch.matmul", value, operands[k + 1])
            else:
                value = b.call("torch.einsum", step.equation, value, operands[k + 1])
        return value if self.scale is None else b.call("operator.mul", value, b.scalar(self.scale))


def _bind(
    pattern: EinsumPattern, axes: Axes, t: TensorType, number: int
) -> tuple[list[tuple[int, str]], tuple[Num, ...]]:
    """(axis, name) of the named axes of an operand, and the sizes that its ``...`` stands for."""
    extra = t.rank - len(axes)
    if ELLIPSIS not in axes:
        if extra:
            fail(f'operand {number} does not fit the pattern "{pattern.text}"', f"{len(axes)} axes", t)
        return list(enumerate(axes)), ()
    if extra < -1:
        fail(f'operand {number} does not fit the pattern "{pattern.text}"', f"{len(axes) - 1} axes or more", t)
    at = axes.index(ELLIPSIS)
    names = [(k if k < at else k + extra, name) for k, name in enumerate(axes) if k != at]
    return names, t.shape[at : at + extra + 1]


def _stretched(a: tuple[Num, ...], b: tuple[Num, ...]) -> tuple[Num, ...]:
    """What two shapes that do broadcast broadcast to."""
    width = max(len(a), len(b))
    a, b = (1,) * (width - len(a)) + a, (1,) * (width - len(b)) + b
    return tuple(n if m == 1 else m for m, n in zip(a, b, strict=True))


def _count(names: set[str], sizes: dict[str, Num], batch: tuple[Num, ...]) -> Num:
    return prod(sizes[name] for name in names if name != ELLIPSIS) * (prod(batch) if ELLIPSIS in names else 1)


class Outer(Op, name="outer"):
    """All products of two vectors: [N] and [M] → [N, M]."""

    operands = (operand("input", "N", dtype="number"), operand("vec2", "M", dtype="number"))

    def infer(self, cx: Context, input: TensorType, vec2: TensorType) -> TensorType:
        layout = tuple((k, found) for k, t in enumerate((input, vec2)) if (found := t.layout_of(0)) is not None)
        return TensorType(promote(input.dtype, vec2.dtype), (*input.shape, *vec2.shape), layout)

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(elementwise=outs[0].numel)

    def lower(self, b: Emitter, input: Handle, vec2: Handle) -> Handle:
        return b.call("torch.outer", input, vec2)


class Bilinear(Op, name="bilinear"):
    """``input1ᵀ weight[k] input2 + bias[k]`` for each output k: [..., I] and [..., J] → [..., out_features].

    MACs: first ``input1`` with the weight, then the result with ``input2``: J·(I + 1) per output element.
    """

    out_features: Num = attr(SIZE, doc="size of the last axis of the output", draw=[1, 3, 4])
    bias: bool = attr(BOOL, True, doc="add a learned bias")
    init: Init | None = attr(OptionalKind(INIT), None, doc="law of the weight; torch's default if left out", inert=True)
    bias_init: Init | None = attr(
        OptionalKind(INIT), None, doc="law of the bias; torch's default if left out", inert=True
    )
    operands = (operand("input1", "... I"), operand("input2", "... J"))

    def infer(self, cx: Context, input1: TensorType, input2: TensorType) -> TensorType:
        same_dtype(input1, input2)
        if input1.rank != input2.rank:
            fail("`bilinear` takes operands that agree but in the last axis", str(input1), input2)
        for axis, (m, n) in enumerate(zip(input1.shape[:-1], input2.shape[:-1], strict=True)):
            require_equal(cx, m, n, f"axes {axis} of the operands of `bilinear`")
        return input1.with_shape(*input1.shape[:-1], self.out_features)

    def weights(self, input1: TensorType, input2: TensorType) -> tuple[Weight, ...]:
        shape = (self.out_features, input1.shape[-1], input2.shape[-1])
        weight = Weight("weight", shape, bias_init(self.init, shape[1]))
        if not self.bias:
            return (weight,)
        return weight, Weight("bias", (self.out_features,), bias_init(self.bias_init, shape[1]))

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        n = outs[0].numel
        return Cost(n * ins[1].shape[-1] * (ins[0].shape[-1] + 1), n if self.bias else 0)

    def lower(self, b: Emitter, input1: Handle, input2: Handle) -> Handle:
        return b.module(
            "torch.nn.Bilinear",
            input1,
            input2,
            in1_features=b.in_types[0].shape[-1],
            in2_features=b.in_types[1].shape[-1],
            out_features=self.out_features,
            bias=self.bias,
        )

    def functional(self, b: Emitter, input1: Handle, input2: Handle) -> Handle:
        bias = b.weight("bias") if self.bias else None
        return b.call("torch.nn.functional.bilinear", input1, input2, b.weight("weight"), bias)
