"""Joining values along an axis and taking them apart again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

from archgraph.ir.density import Density, joined
from archgraph.ir.dim import Dim, Num, ceildiv, divides, eq
from archgraph.ir.types import Layout, TensorType, promote
from archgraph.ops.axes import (
    AXIS,
    as_layouts,
    axis_of,
    common_layouts,
    part_layout,
    resized,
    same_shape_but,
    with_axis,
    without_axis,
)
from archgraph.ops.base import Context, Emitter, Op, attr, fail, operand
from archgraph.ops.drawing import divisors, pick
from archgraph.ops.kinds import COUNT, SIZE, AttributeValueError, Kind
from archgraph.ops.strides import Strides


def _promoted(types: tuple[TensorType, ...]) -> str:
    dtype = types[0].dtype
    for t in types[1:]:
        dtype = promote(dtype, t.dtype)
    return dtype


class Cat(Op, name="cat"):
    """Join values along an existing axis: [B, N, C] and [B, M, C] with `dim: 1` → [B, N + M, C].

    Tokens joined before a token grid become its prefix.
    """

    dim: int = attr(AXIS, 0, doc="axis to join along", draw=[0, -1])
    operands = (operand("xs", dtype="any", variadic=True),)
    free = True

    def infer(self, cx: Context, *xs: TensorType) -> TensorType:
        axis = axis_of(xs[0], self.dim)
        same_shape_but(cx, xs, axis, "`cat`")
        length: Num = 0
        for x in xs:
            length = length + x.shape[axis]
        layouts = common_layouts(xs, axis)
        last = xs[-1].layout_of(axis)
        if last is not None and all(x.layout_of(axis) is None for x in xs[:-1]):
            layouts[axis] = Layout(length - xs[-1].shape[axis] + last.prefix, last.grid)
        shape = (*xs[0].shape[:axis], length, *xs[0].shape[axis + 1 :])
        return TensorType(_promoted(xs), shape, as_layouts(layouts))

    def densities(
        self, given: tuple[Density, ...], ins: tuple[Any, ...], outs: tuple[TensorType, ...]
    ) -> tuple[Density, ...]:
        return (joined([(d, x.numel) for d, x in zip(given, ins, strict=True)]),)

    def lower(self, b: Emitter, *xs: Any) -> Any:
        return xs[0] if len(xs) == 1 else b.call("torch.cat", list(xs), dim=self.dim)


class Prepend(Op, name="prepend"):
    """Put tokens in front of a sequence: [B, N, C] and [1, P, C] with `dim: 1` → [B, P + N, C].

    Axes of length 1 of the tokens are expanded (the batch of a learned token). A token grid gets P more prefix tokens.
    """

    dim: int = attr(AXIS, 1, doc="axis of the tokens", draw=[1])
    operands = (operand("x", dtype="any"), operand("tokens", dtype="any"))
    free = True

    def infer(self, cx: Context, x: TensorType, tokens: TensorType) -> TensorType:
        axis = axis_of(x, self.dim)
        if tokens.rank != x.rank:
            fail("`prepend` takes tokens with as many axes as the sequence", f"{x.rank} axes", tokens)
        for a, (n, m) in enumerate(zip(x.shape, tokens.shape, strict=True)):
            if a != axis and m != 1 and m != n:
                cx.require(eq(n, m), f"axis {a} of the tokens {tokens} must be 1 or that of {x}")
        more = tokens.shape[axis]
        layout = x.layout_of(axis)
        grown = None if layout is None else Layout(layout.prefix + more, layout.grid)
        return resized(x, axis, more + x.shape[axis], grown).with_dtype(_promoted((x, tokens)))

    def densities(
        self, given: tuple[Density, ...], ins: tuple[Any, ...], outs: tuple[TensorType, ...]
    ) -> tuple[Density, ...]:
        n = ins[0].numel
        return (joined([(given[0], n), (given[1], outs[0].numel - n)]),)

    def lower(self, b: Emitter, x: Any, tokens: Any) -> Any:
        sequence, token = b.in_types
        axis = axis_of(sequence, self.dim)
        wide = [a for a, m in enumerate(token.shape) if a != axis and m == 1 and sequence.shape[a] != 1]
        if wide:
            tokens = b.method("expand", tokens, *(b.size(n) if a in wide else -1 for a, n in enumerate(sequence.shape)))
        return b.call("torch.cat", [tokens, x], dim=self.dim)


class Stack(Op, name="stack"):
    """Join values of equal shape along a new axis: n times [B, C] with `dim: 1` → [B, n, C]."""

    dim: int = attr(AXIS, 0, doc="place of the new axis", draw=[0, -1])
    operands = (operand("xs", dtype="any", variadic=True),)
    free = True

    def infer(self, cx: Context, *xs: TensorType) -> TensorType:
        same_shape_but(cx, xs, None, "`stack`")
        axis = axis_of(xs[0], self.dim, more=1)
        known = TensorType(_promoted(xs), xs[0].shape, as_layouts(common_layouts(xs, None)))
        return with_axis(known, axis, len(xs))

    def densities(
        self, given: tuple[Density, ...], ins: tuple[Any, ...], outs: tuple[TensorType, ...]
    ) -> tuple[Density, ...]:
        return (joined([(d, x.numel) for d, x in zip(given, ins, strict=True)]),)

    def lower(self, b: Emitter, *xs: Any) -> Any:
        return b.method("unsqueeze", xs[0], self.dim) if len(xs) == 1 else b.call("torch.stack", list(xs), dim=self.dim)


class SplitSizeKind(Kind):
    """The size of all pieces, or a list with the size of each."""

    expected = "a size, or a list of sizes"

    def convert(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            if not value:
                raise AttributeValueError(self.expected, value)
            return tuple(COUNT.convert(v) for v in value)
        return SIZE.convert(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [*SIZE.schema()["anyOf"], {"type": "array", "items": COUNT.schema(), "minItems": 1}]}


class Pieces(Op):
    """Base of the ops that cut an axis; they have as many outputs as there are pieces."""

    dim: int = attr(AXIS, 0, doc="axis to cut", draw=[0, -1])
    operands = (operand("x", dtype="any"),)
    outputs = ()
    free = True
    view = True
    keeps_density = True

    def pieces(self, x: TensorType, sizes: Sequence[Num]) -> tuple[TensorType, ...]:
        """The types of pieces of these sizes."""
        axis = axis_of(x, self.dim)
        n, layout = x.shape[axis], x.layout_of(axis)
        if layout is None:
            known = {size: resized(x, axis, size) for size in dict.fromkeys(sizes)}
            return tuple([known[size] for size in sizes])
        ends = accumulate(sizes)
        return tuple(
            resized(x, axis, size, part_layout(layout, end - size, end, n))
            for size, end in zip(sizes, ends, strict=True)
        )

    def aliases(self, x: TensorType, strides: Strides) -> Strides | None:
        return strides.part(axis_of(x, self.dim))


def _items(b: Emitter, found: Any) -> tuple[Any, ...]:
    return tuple(b.item(found, k) for k in range(len(b.out_types)))


class Split(Pieces, name="split"):
    """Cut an axis into pieces of given sizes: [B, N, 3·C] with `split_size: [C, 2 * C]`, `dim: -1` → two values.

    A single size cuts equal pieces, of which the last may be shorter where the length is known.
    """

    split_size: Any = attr(
        SplitSizeKind(),
        doc="size of each piece",
        draw=lambda draw, ins, attrs: pick(draw, divisors(ins[0].shape[attrs["dim"]])),
    )

    def infer(self, cx: Context, x: TensorType) -> tuple[TensorType, ...]:
        axis = axis_of(x, self.dim)
        n, size = x.shape[axis], self.split_size
        if isinstance(size, tuple):
            total: Num = 0
            for piece in size:
                total = total + piece
            cx.require(eq(total, n), f"pieces of {list(size)} must fill axis {axis} of {x}")
            return self.pieces(x, size)
        if isinstance(n, int) and isinstance(size, int):
            return self.pieces(x, [size] * (n // size) + [n % size] * (n % size > 0))
        count = n // size
        if not isinstance(count, int):
            fail(f"axis {axis} of {x} has an unknown number of pieces of {size}", hint="list the sizes, or use `chunk`")
        cx.require(divides(size, n), f"pieces of {size} must fill axis {axis} of {x}")
        return self.pieces(x, [size] * count)

    def lower(self, b: Emitter, x: Any) -> Any:
        if len(b.out_types) == 1:
            return (x,)
        size = self.split_size
        given = [b.size(n) for n in size] if isinstance(size, tuple) else b.size(size)
        return _items(b, b.method("split", x, given, dim=self.dim))


class Chunk(Pieces, name="chunk"):
    """Cut an axis into equal pieces: [B, N, 3·C] with `chunks: 3`, `dim: -1` → three times [B, N, C].

    As in torch the last piece may be shorter, where the length is known; but there are never fewer pieces than asked.
    """

    chunks: Num = attr(
        SIZE, doc="number of pieces", draw=lambda draw, ins, attrs: pick(draw, divisors(ins[0].shape[attrs["dim"]]))
    )

    def infer(self, cx: Context, x: TensorType) -> tuple[TensorType, ...]:
        axis = axis_of(x, self.dim)
        n, chunks = x.shape[axis], self.chunks
        if isinstance(chunks, Dim):
            fail("the number of pieces must be known", found=chunks)
        if not isinstance(n, int):
            cx.require(divides(chunks, n), f"{chunks} pieces must fill axis {axis} of {x}")
            return self.pieces(x, [n // chunks] * chunks)
        size = ceildiv(n, chunks)
        last = n - size * (chunks - 1)
        if last < 1:
            fail(f"axis {axis} of {x} can't be cut into {chunks} pieces", hint=f"pieces of {size} are already fewer")
        return self.pieces(x, [size] * (chunks - 1) + [last])

    def lower(self, b: Emitter, x: Any) -> Any:
        return (x,) if self.chunks == 1 else _items(b, b.method("chunk", x, self.chunks, dim=self.dim))


#: More pieces than this are a mistake, and would make a program that nobody can read.
_MOST_PIECES: Final = 4096


class Unbind(Pieces, name="unbind"):
    """Cut an axis into its elements and drop it: [3, B, N, C] → three times [B, N, C]."""

    def infer(self, cx: Context, x: TensorType) -> tuple[TensorType, ...]:
        axis = axis_of(x, self.dim)
        n = x.shape[axis]
        if not isinstance(n, int):
            fail(f"`unbind` needs a known length; axis {axis} of {x} has {n}")
        if n > _MOST_PIECES:
            fail(f"axis {axis} of {x} has too many elements to unbind", f"at most {_MOST_PIECES}", n)
        return (without_axis(x, axis),) * n

    def aliases(self, x: TensorType, strides: Strides) -> Strides | None:
        return strides.without(axis_of(x, self.dim))

    def lower(self, b: Emitter, x: Any) -> Any:
        if len(b.out_types) == 1:
            return (b.method("squeeze", x, self.dim),)
        return _items(b, b.method("unbind", x, self.dim))
