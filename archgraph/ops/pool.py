"""Pooling over one, two and three spatial axes, and its inverse."""

from __future__ import annotations

from typing import Any, ClassVar

from archgraph.ir.dim import Num, dmin, eq, le, lt, prod
from archgraph.ir.types import TensorType
from archgraph.ops.base import Context, Cost, Emitter, Handle, attr, fail, operand
from archgraph.ops.drawing import Draw, at_most, pick
from archgraph.ops.kinds import BOOL, SIZE, OptionalKind
from archgraph.ops.strides import Strides
from archgraph.ops.window import PerAxis, Sizes, Spatial, pad, same_pads, shortest, symmetric, window_sizes

TypesSoFar = tuple[TensorType, ...]


def _draw_kernel(draw: Draw, ins: TypesSoFar, attrs: dict[str, Any]) -> int:
    return pick(draw, at_most([2, 3, 1], *ins[0].shape[2:]) or [1])


def _draw_padding(draw: Draw, ins: TypesSoFar, attrs: dict[str, Any]) -> int:
    kernel = attrs["kernel_size"]
    return pick(draw, [0, 1] if kernel in (2, 3) else [0])


def _draw_dilation(draw: Draw, ins: TypesSoFar, attrs: dict[str, Any]) -> int:
    fits = attrs["kernel_size"] in (1, 2, 3) and at_most([2 * attrs["kernel_size"]], *ins[0].shape[2:])
    return pick(draw, [1, 2] if fits else [1])


class Window(Spatial):
    """What max and average pooling have in common: a window that slides."""

    kernel_size: Sizes = attr(PerAxis(1), doc="size of the window", draw=_draw_kernel)
    stride: Sizes | None = attr(
        PerAxis(1, optional=True), None, doc="step of the window; its size if left out", draw=[None, 1, 2]
    )
    padding: Sizes | str
    ceil_mode: bool
    operands = (operand("x", "B C S"),)

    @property
    def step(self) -> Sizes:
        return self.kernel_size if self.stride is None else self.stride

    def sizes(self, cx: Context, x: TensorType, dilation: Sizes) -> list[Num]:
        """Number of window positions on each axis, by torch's rules."""
        if isinstance(self.padding, str):
            return window_sizes(cx, x, self.kernel_size, self.step, dilation, self.padding)
        for k, p in zip(self.kernel_size, self.padding, strict=True):
            cond = p == 0 or le(2 * p, k)
            if cond is not True:
                cx.require(cond, f"a padding of {p} must be at most half the kernel_size {k}")
        if not self.ceil_mode:
            return window_sizes(cx, x, self.kernel_size, self.step, dilation, self.padding)
        sizes: list[Num] = []
        for n, k, s, p, d in zip(x.shape[2:], self.kernel_size, self.step, self.padding, dilation, strict=True):
            # Rounded up, but the last window starts before the padding at the end.
            size = (n + p - 1 + dmin(p + s - d * (k - 1) - 1, 0)) // s + 1
            cond = le(1, size)
            if cond is not True:
                cx.require(cond, f"a window of {d * (k - 1) + 1} must fit into the {n} elements")
            sizes.append(size)
        return sizes

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(elementwise=outs[0].numel * prod(self.kernel_size))


class _MaxPool(Window):
    padding: Sizes | str = attr(
        PerAxis(0, words=("same",)),
        0,
        doc="elements of minus infinity at both ends; `same` is TensorFlow's: ceil(size / stride) positions",
        draw=_draw_padding,
    )
    dilation: Sizes = attr(PerAxis(1), 1, doc="distance between neighbouring window elements", draw=_draw_dilation)
    ceil_mode: bool = attr(BOOL, False, doc="round the number of positions up")
    return_indices: bool = attr(BOOL, False, doc="give the positions of the maxima too, for `max_unpool`")
    outputs = ("out", "indices")

    def infer(self, cx: Context, x: TensorType) -> TensorType | tuple[TensorType, ...]:
        if self.return_indices and self.padding == "same":
            fail("return_indices excludes `padding: same`", "a number", hint="positions count without padding")
        out = x.with_shape(*x.shape[:2], *self.sizes(cx, x, self.dilation))
        return (out, out.with_dtype("int64")) if self.return_indices else out

    def workspace(
        self, ins: tuple[Any, ...], outs: tuple[TensorType, ...], strides: tuple[Strides, ...]
    ) -> tuple[TensorType, ...]:
        """torch finds the positions of the maxima in any case."""
        return () if self.return_indices else (outs[0].with_dtype("int64"),)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        options = self.given("stride", "padding", "dilation", "ceil_mode")
        if self.padding == "same":
            pads = same_pads(b.in_types[0], self.kernel_size, self.step, self.dilation)
            del options["padding"]
            padding = symmetric(pads)
            if padding is None or not all(map(_allowed, padding, self.kernel_size)):
                x = pad(b, x, pads, value=float("-inf"))
            elif any(padding):
                options["padding"] = shortest(padding)
        function = f"torch.nn.functional.max_pool{self.rank}d"
        if not self.return_indices:
            return b.call(function, x, shortest(self.kernel_size), **options)
        both = b.call(f"{function}_with_indices", x, shortest(self.kernel_size), **options)
        return b.item(both, 0), b.item(both, 1)


def _allowed(padding: Num, kernel_size: Num) -> bool:
    """Whether torch's own poolings take a padding; their dilation does not matter."""
    return le(2 * padding, kernel_size) is True


class MaxPool1d(_MaxPool, name="max_pool1d", rank=1):
    """Maximum over a sliding window: [B, C, W] → [B, C, W'].

    With ``return_indices`` also the positions of the maxima, int64. One operation per output and window element.
    """


class MaxPool2d(_MaxPool, name="max_pool2d", rank=2):
    """Maximum over a sliding window: [B, C, H, W] → [B, C, H', W'].

    With ``return_indices`` also the positions of the maxima in the flattened map, int64. One operation per output and
    window element.
    """


class MaxPool3d(_MaxPool, name="max_pool3d", rank=3):
    """Maximum over a sliding window: [B, C, D, H, W] → [B, C, D', H', W'].

    With ``return_indices`` also the positions of the maxima in the flattened volume, int64. One operation per output
    and window element.
    """


class _AvgPool(Window):
    padding: Sizes = attr(PerAxis(0), 0, doc="zeros at both ends", draw=_draw_padding)
    ceil_mode: bool = attr(BOOL, False, doc="round the number of positions up")
    count_include_pad: bool = attr(BOOL, True, doc="padding counts in the divisor", inert=True)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        if self.rank == 3:  # a limit of torch's avg_pool3d alone, which its padding does not lift
            for k, n in zip(self.kernel_size, x.shape[2:], strict=True):
                cond = le(k, n)
                if cond is not True:
                    cx.require(cond, f"avg_pool3d takes no axis of {n} that is shorter than its kernel_size {k}")
        return x.with_shape(*x.shape[:2], *self.sizes(cx, x, (1,) * self.rank))

    def lower(self, b: Emitter, x: Handle) -> Handle:
        names = [a.name for a in self.attributes if a.name != "kernel_size"]
        function = f"torch.nn.functional.avg_pool{self.rank}d"
        return b.call(function, x, shortest(self.kernel_size), **self.given(*names))


class AvgPool1d(_AvgPool, name="avg_pool1d", rank=1):
    """Mean over a sliding window: [B, C, W] → [B, C, W'].

    One operation per output and window element.
    """


class AvgPool2d(_AvgPool, name="avg_pool2d", rank=2):
    """Mean over a sliding window: [B, C, H, W] → [B, C, H', W'].

    One operation per output and window element.
    """

    divisor_override: Num | None = attr(
        OptionalKind(SIZE), None, doc="divisor instead of the number of elements", inert=True, draw=[None, 3]
    )


class AvgPool3d(_AvgPool, name="avg_pool3d", rank=3):
    """Mean over a sliding window: [B, C, D, H, W] → [B, C, D', H', W'].

    One operation per output and window element.
    """

    divisor_override: Num | None = attr(
        OptionalKind(SIZE), None, doc="divisor instead of the number of elements", inert=True, draw=[None, 3]
    )


class Adaptive(Spatial):
    """What adaptive pooling has in common: as many windows as are asked for, spread evenly."""

    output_size: tuple[Num | None, ...] = attr(
        PerAxis(1, none=True), doc="positions on each axis; null keeps the axis", draw=[1, 2, 3]
    )
    kind: ClassVar[str]
    operands = (operand("x", "B C S"),)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        sizes = (n if size is None else size for n, size in zip(x.shape[2:], self.output_size, strict=True))
        return x.with_shape(*x.shape[:2], *sizes)

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(elementwise=ins[0].numel + outs[0].numel)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        sizes = [None if size is None else b.size(size) for size in self.output_size]
        short = sizes[0] if isinstance(sizes[0], int) and all(size == sizes[0] for size in sizes) else sizes
        return b.call(f"torch.nn.functional.adaptive_{self.kind}_pool{self.rank}d", x, short)


class _AdaptiveAvgPool(Adaptive):
    kind = "avg"


class AdaptiveAvgPool1d(_AdaptiveAvgPool, name="adaptive_avg_pool1d", rank=1):
    """Means over evenly spread windows: [B, C, W] → [B, C, output_size].

    One operation per input element and per output element; elements in two windows count once.
    """


class AdaptiveAvgPool2d(_AdaptiveAvgPool, name="adaptive_avg_pool2d", rank=2):
    """Means over evenly spread windows: [B, C, H, W] → [B, C, *output_size].

    One operation per input element and per output element; elements in two windows count once.
    """


class AdaptiveAvgPool3d(_AdaptiveAvgPool, name="adaptive_avg_pool3d", rank=3):
    """Means over evenly spread windows: [B, C, D, H, W] → [B, C, *output_size].

    One operation per input element and per output element; elements in two windows count once.
    """


class _AdaptiveMaxPool(Adaptive):
    kind = "max"

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(elementwise=ins[0].numel)


class AdaptiveMaxPool1d(_AdaptiveMaxPool, name="adaptive_max_pool1d", rank=1):
    """Maxima over evenly spread windows: [B, C, W] → [B, C, output_size].

    One operation per input element; elements in two windows count once.
    """


class AdaptiveMaxPool2d(_AdaptiveMaxPool, name="adaptive_max_pool2d", rank=2):
    """Maxima over evenly spread windows: [B, C, H, W] → [B, C, *output_size].

    One operation per input element; elements in two windows count once.
    """


class AdaptiveMaxPool3d(_AdaptiveMaxPool, name="adaptive_max_pool3d", rank=3):
    """Maxima over evenly spread windows: [B, C, D, H, W] → [B, C, *output_size].

    One operation per input element; elements in two windows count once.
    """


class _MaxUnpool(Spatial):
    kernel_size: Sizes = attr(PerAxis(1), doc="size of the window that was pooled", draw=[2, 3])
    stride: Sizes | None = attr(PerAxis(1, optional=True), None, doc="step of that window; its size if left out")
    padding: Sizes = attr(PerAxis(0), 0, doc="padding of that pooling", draw=[0])
    output_size: Sizes | None = attr(
        PerAxis(1, optional=True), None, doc="size before the pooling, where it can't be told from the pooled one"
    )
    operands = (operand("input", "B C S"), operand("indices", "B C S", dtype="int"))
    free = True
    undrawable = "indices are positions that `max_pool` gave"

    def infer(self, cx: Context, input: TensorType, indices: TensorType) -> TensorType:
        for axis, (m, n) in enumerate(zip(input.shape, indices.shape, strict=True)):
            cond = eq(m, n)
            if cond is not True:
                cx.require(cond, f"input {input} and indices {indices} must agree on axis {axis}")
        step = self.kernel_size if self.stride is None else self.stride
        sizes: list[Num] = []
        for axis, n in enumerate(input.shape[2:]):
            size = (n - 1) * step[axis] - 2 * self.padding[axis] + self.kernel_size[axis]
            if self.output_size is not None:
                given = self.output_size[axis]
                for cond in (lt(size - step[axis], given), lt(given, size + step[axis])):
                    if cond is not True:
                        cx.require(cond, f"output_size {given} must be less than a stride of {step[axis]} from {size}")
                size = given
            sizes.append(size)
        return input.with_shape(*input.shape[:2], *sizes)

    def lower(self, b: Emitter, input: Handle, indices: Handle) -> Handle:
        options = self.given("stride", "padding")
        if self.output_size is not None:
            options["output_size"] = [b.size(n) for n in self.output_size]
        function = f"torch.nn.functional.max_unpool{self.rank}d"
        return b.call(function, input, indices, shortest(self.kernel_size), **options)


class MaxUnpool1d(_MaxUnpool, name="max_unpool1d", rank=1):
    """Puts maxima back where ``indices`` say, zeros elsewhere: [B, C, W] → [B, C, (W - 1)·stride + …]."""


class MaxUnpool2d(_MaxUnpool, name="max_unpool2d", rank=2):
    """Puts maxima back where ``indices`` say, zeros elsewhere: [B, C, H, W] → [B, C, (H - 1)·stride + …, …]."""


class MaxUnpool3d(_MaxUnpool, name="max_unpool3d", rank=3):
    """Puts maxima back where ``indices`` say, zeros elsewhere: [B, C, D, H, W] → [B, C, (D - 1)·stride + …, …, …]."""
