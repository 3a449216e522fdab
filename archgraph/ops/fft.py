"""Fourier transforms over one and two axes, and complex numbers as pairs of real ones.

Work is the standard ``5 n log2(n)`` real operations of a complex transform of length n per row and axis, half of it for
real input or output: ``5 n ceil(log2(n))`` and ``5 (n // 2) ceil(log2(n))``, so that it is whole for every size. For
powers of two that is a radix-2 transform; the scale of ``norm`` is left out. MACs are 0: nothing is contracted.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

from archgraph.ir.dim import Num, ceil_log2, eq, le, prod
from archgraph.ir.types import TensorType
from archgraph.ops.axes import AXES, AXIS, axes_of, resized
from archgraph.ops.base import Context, Cost, Emitter, Handle, Op, attr, fail, operand
from archgraph.ops.drawing import Draw, any_axis, pick
from archgraph.ops.functions import make_complex
from archgraph.ops.kinds import SIZE, ListKind, OptionalKind, WordKind
from archgraph.ops.strides import Strides

NORM: Final = WordKind("backward", "ortho", "forward")
NORM_DOC: Final = "what is divided by the length: the inverse (backward), both by its square root (ortho), the other"


class Transform(Op):
    """Base of the transforms; a subclass states in its class line which ``side`` is real: input, output or none."""

    side: ClassVar[Literal["input", "output", "none"]]

    def __init_subclass__(
        cls, name: str | None = None, side: Literal["input", "output", "none"] = "none", **kwargs: Any
    ) -> None:
        cls.side = side
        super().__init_subclass__(name=name, **kwargs)

    def given(self) -> tuple[tuple[int, ...], tuple[Num, ...] | None]:
        """The transformed axes, and their lengths as given."""
        raise NotImplementedError

    def lengths(self, x: TensorType) -> list[tuple[int, Num]]:
        """Each transformed axis and the length of its transform."""
        dims, sizes = self.given()
        axes = axes_of(x, dims)
        if sizes is not None:
            return list(zip(axes, sizes, strict=True))
        last = len(axes) - 1
        return [
            (a, 2 * (x.shape[a] - 1) if self.side == "output" and k == last else x.shape[a]) for k, a in enumerate(axes)
        ]

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        takes = ("float", "float32") if self.side == "input" else ("float", "float32", "complex")
        if x.dtype not in takes:
            fail(f"`{self.op_name}` takes {' or '.join(takes)} values", found=x)
        out = x
        for axis, n in (pairs := self.lengths(x)):
            out = resized(out, axis, n)
        axis, n = pairs[-1]
        cx.require(le(1, n), f"a transform of axis {axis} has {n} elements: give its length with real output")
        if self.side == "input":
            out = resized(out, axis, n // 2 + 1)
        return out.with_dtype("complex" if self.side != "output" else "float" if x.dtype == "complex" else x.dtype)

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        *others, (axis, n) = self.lengths(ins[0])
        rows = prod(size for a, size in enumerate(outs[0].shape) if a != axis)
        stages: Num = 0
        for _, m in others:
            stages = stages + ceil_log2(m)
        half = n if self.side == "none" else n // 2
        columns = n if self.side == "none" else n // 2 + 1
        return Cost(elementwise=5 * rows * (half * ceil_log2(n) + columns * stages))


class Transform1d(Transform):
    """Base of the transforms over one axis."""

    operands = (operand("x", "... N", dtype="any"),)
    n: Num | None = attr(
        OptionalKind(SIZE), None, doc="length of the signal: the axis is cut or filled with zeros", draw=[None, 4, 5]
    )
    dim: int = attr(AXIS, -1, doc="axis that is transformed", draw=any_axis)
    norm: str = attr(NORM, "backward", doc=NORM_DOC, inert=True)

    def given(self) -> tuple[tuple[int, ...], tuple[Num, ...] | None]:
        return (self.dim,), None if self.n is None else (self.n,)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        options = self.attrs()
        if self.n is not None:
            options["n"] = b.size(self.n)
        return b.call(f"torch.fft.{self.op_name}", x, **options)


def _draw_axes(draw: Draw, in_types: tuple[TensorType, ...], attrs: dict[str, Any]) -> tuple[int, ...]:
    rank = in_types[0].rank
    return pick(draw, [(a, b) for a in range(rank) for b in range(rank) if a != b] or [(-2, -1)])


class Transform2d(Transform):
    """Base of the transforms over two axes."""

    operands = (operand("x", "... H W", dtype="any"),)
    s: tuple[Num, ...] | None = attr(
        OptionalKind(ListKind(SIZE)),
        None,
        doc="lengths of the signal: the axes are cut or filled with zeros",
        draw=[None, (4, 5)],
    )
    dim: tuple[int, ...] = attr(AXES, (-2, -1), doc="axes that are transformed", draw=_draw_axes)
    norm: str = attr(NORM, "backward", doc=NORM_DOC, inert=True)

    def given(self) -> tuple[tuple[int, ...], tuple[Num, ...] | None]:
        if len(self.dim) != 2 or (self.s is not None and len(self.s) != 2):
            fail(f"`{self.op_name}` transforms two axes", found=f"dim: {list(self.dim)}, s: {self.s}")
        return self.dim, self.s

    def lower(self, b: Emitter, x: Handle) -> Handle:
        options = self.attrs()
        if self.s is not None:
            options["s"] = tuple(b.size(n) for n in self.s)
        return b.call(f"torch.fft.{self.op_name}", x, **options)


class Fft(Transform1d, name="fft"):
    """Discrete Fourier transform over one axis: [..., n, ...] → complex [..., n, ...]."""


class Ifft(Transform1d, name="ifft"):
    """Inverse Fourier transform over one axis: [..., n, ...] → complex [..., n, ...]."""


class Rfft(Transform1d, name="rfft", side="input"):
    """Fourier transform of real values over one axis, half the spectrum: [..., n] → complex [..., n//2 + 1]."""


class Irfft(Transform1d, name="irfft", side="output"):
    """Inverse of `rfft`: complex [..., m, ...] → [..., n, ...], by default ``n = 2 (m - 1)``."""


class Fft2(Transform2d, name="fft2"):
    """Discrete Fourier transform over two axes: [..., h, w] → complex [..., h, w]."""


class Ifft2(Transform2d, name="ifft2"):
    """Inverse Fourier transform over two axes: [..., h, w] → complex [..., h, w]."""


class Rfft2(Transform2d, name="rfft2", side="input"):
    """Fourier transform of real values over two axes, half of the last: [..., h, w] → complex [..., h, w//2 + 1]."""


class Irfft2(Transform2d, name="irfft2", side="output"):
    """Inverse of `rfft2`: complex [..., h, m] → [..., h, w], by default ``w = 2 (m - 1)``."""


class ViewAsComplex(Op, name="view_as_complex"):
    """Pairs of numbers as complex ones: [..., 2] → complex [...]."""

    operands = (operand("x", "... C"),)
    free = True
    view = True
    keeps_density = True

    def aliases(self, x: TensorType, strides: Strides) -> Strides | None:
        return strides.without(x.rank - 1) if strides.inner else None

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        if not x.rank or make_complex(x.dtype) is None:
            fail("`view_as_complex` takes pairs of numbers in single precision", "[..., 2]", x)
        cx.require(eq(x.shape[-1], 2), f"complex numbers are pairs, but the last axis of {x} is {x.shape[-1]}")
        return TensorType("complex", x.shape[:-1], tuple(item for item in x.layout if item[0] < x.rank - 1))

    def lower(self, b: Emitter, x: Handle) -> Handle:
        # parts that lie apart in memory are no complex numbers yet; for others this is the value itself
        return b.call("torch.view_as_complex", b.method("contiguous", x))


class ViewAsReal(Op, name="view_as_real"):
    """Complex numbers as pairs of real ones: complex [...] → [..., 2]."""

    operands = (operand("x", dtype="complex"),)
    free = True
    view = True
    keeps_density = True

    def aliases(self, x: TensorType, strides: Strides) -> Strides | None:
        return strides.with_ones(x.rank)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        return TensorType("float", (*x.shape, 2), x.layout)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        # A conjugate is lazy in torch and has no parts to be viewed; for others this is the value itself
        return b.call("torch.view_as_real", b.method("resolve_conj", x))
