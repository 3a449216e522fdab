"""Convolutions and transposed convolutions over one, two and three spatial axes."""

from __future__ import annotations

from typing import Any

from archgraph.ir.dim import Num, divides, dmax, le, lt, prod
from archgraph.ir.types import TensorType
from archgraph.ops.base import Context, Cost, Emitter, Handle, Weight, attr, operand
from archgraph.ops.drawing import Draw, at_most, divisors, pick
from archgraph.ops.kinds import BOOL, INIT, SIZE, Init, OptionalKind, WordKind
from archgraph.ops.linear import KAIMING, bias_init
from archgraph.ops.window import Pads, PerAxis, Sizes, Spatial, pad, same_pads, shortest, symmetric, window_sizes

TypesSoFar = tuple[TensorType, ...]


def _draw_kernel(draw: Draw, ins: TypesSoFar, attrs: dict[str, Any]) -> int:
    return pick(draw, at_most([1, 2, 3, 5], *ins[0].shape[2:]))


def _draw_dilation(draw: Draw, ins: TypesSoFar, attrs: dict[str, Any]) -> int:
    kernel = attrs["kernel_size"]
    largest = max(kernel) if isinstance(kernel, tuple) else kernel
    return pick(draw, [1, *(d for d in (2, 3) if at_most([d * (largest - 1) + 1], *ins[0].shape[2:]))])


def _draw_groups(draw: Draw, ins: TypesSoFar, attrs: dict[str, Any]) -> int:
    return pick(draw, divisors(ins[0].shape[1], attrs["out_channels"]))


def _draw_padding_mode(draw: Draw, ins: TypesSoFar, attrs: dict[str, Any]) -> str:
    small = attrs["padding"] in (0, 1) and at_most([2], *ins[0].shape[2:])
    return pick(draw, ["zeros", "reflect", "replicate", "circular"] if small else ["zeros", "replicate"])


class Convolution(Spatial):
    """What the convolutions have in common, whatever the number of spatial axes and the direction."""

    out_channels: Num = attr(SIZE, doc="channels of the output", draw=[4, 6, 8, 1])
    kernel_size: Sizes = attr(PerAxis(1), doc="size of the kernel", draw=_draw_kernel)
    stride: Sizes = attr(PerAxis(1), 1, doc="step between neighbouring positions of the kernel", draw=[1, 2, 3])
    operands = (operand("x", "B C S"),)

    groups: Num
    bias: bool
    init: Init | None
    bias_init: Init | None

    def check_groups(self, cx: Context, channels: Num) -> None:
        """Require that the groups divide both numbers of channels."""
        groups = self.groups
        if groups == 1:
            return
        for n, which in ((channels, "input"), (self.out_channels, "output")):
            cond = divides(groups, n)
            if cond is not True:
                cx.require(cond, f"{groups} groups must divide the {n} channels of the {which}")

    def weights_of(self, shape: tuple[Num, ...]) -> tuple[Weight, ...]:
        """The kernel of that shape, and the bias."""
        weight = Weight("weight", shape, self.init or KAIMING)
        if not self.bias:
            return (weight,)
        # torch takes the second axis for the fan-in of a transposed convolution too
        return weight, Weight("bias", (self.out_channels,), bias_init(self.bias_init, prod(shape[1:])))


class _Conv(Convolution):
    padding: Sizes | str = attr(
        PerAxis(0, words=("same", "valid")),
        0,
        doc="elements added at both ends; `same` is TensorFlow's, for any stride: ceil(size / stride) positions, "
        "the odd element at the end",
        draw=[0, 1, "same", "valid"],
    )
    dilation: Sizes = attr(PerAxis(1), 1, doc="distance between neighbouring kernel elements", draw=_draw_dilation)
    groups: Num = attr(SIZE, 1, doc="blocks of channels that do not see each other", draw=_draw_groups)
    bias: bool = attr(BOOL, True, doc="add a learned bias per output channel")
    padding_mode: str = attr(
        WordKind("zeros", "reflect", "replicate", "circular"),
        "zeros",
        doc="what padding is made of",
        inert=True,
        draw=_draw_padding_mode,
    )
    init: Init | None = attr(OptionalKind(INIT), None, doc="law of the kernel; torch's default if left out", inert=True)
    bias_init: Init | None = attr(
        OptionalKind(INIT), None, doc="law of the bias; torch's default if left out", inert=True
    )

    def pads(self, x: TensorType) -> Pads:
        """Elements added before and after each spatial axis."""
        if self.padding == "same":
            return same_pads(x, self.kernel_size, self.stride, self.dilation)
        if isinstance(self.padding, str):
            return ((0, 0),) * self.rank
        return tuple((p, p) for p in self.padding)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        batch, channels = x.shape[:2]
        self.check_groups(cx, channels)
        sizes = window_sizes(cx, x, self.kernel_size, self.stride, self.dilation, self.padding)
        if self.padding_mode in ("reflect", "circular"):
            spare = 1 if self.padding_mode == "reflect" else 0
            for n, (_, after) in zip(x.shape[2:], self.pads(x), strict=True):
                cx.require(le(after + spare, n), f"{self.padding_mode} padding of {after} needs more than {n} elements")
        return x.with_shape(batch, self.out_channels, *sizes)

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        return self.weights_of((self.out_channels, x.shape[1] // self.groups, *self.kernel_size))

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        n = outs[0].numel
        macs = n * (ins[0].shape[1] // self.groups) * prod(self.kernel_size)
        return Cost(macs, n if self.bias else 0)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        pads = self.pads(b.in_types[0])
        padding = symmetric(pads)
        options = self.given("stride", "dilation", "groups", "bias", "padding_mode")
        if padding is None:
            x = pad(b, x, pads, self.padding_mode)
            options.pop("padding_mode", None)
        elif any(padding):
            options["padding"] = shortest(padding)
        return b.module(
            f"torch.nn.Conv{self.rank}d",
            x,
            in_channels=b.in_types[0].shape[1],
            out_channels=self.out_channels,
            kernel_size=shortest(self.kernel_size),
            **options,
        )

    def functional(self, b: Emitter, x: Handle) -> Handle:
        pads = self.pads(b.in_types[0])
        padding = symmetric(pads)
        options = self.given("stride", "dilation", "groups")
        if padding is None or (self.padding_mode != "zeros" and any(padding)):
            x = pad(b, x, pads, self.padding_mode)
        elif any(padding):
            options["padding"] = shortest(padding)
        bias = b.weight("bias") if self.bias else None
        return b.call(f"torch.nn.functional.conv{self.rank}d", x, b.weight("weight"), bias, **options)


class Conv1d(_Conv, name="conv1d", rank=1):
    """1-D cross-correlation: [B, C_in, W] → [B, out_channels, W'].

    MACs: one per output element, input channel of its group and kernel element; the bias counts as element-wise.
    """


class Conv2d(_Conv, name="conv2d", rank=2):
    """2-D cross-correlation: [B, C_in, H, W] → [B, out_channels, H', W'].

    ``groups`` equal to the number of input channels is the depthwise convolution. MACs: one per output element, input
    channel of its group and kernel element; the bias counts as element-wise.
    """


class Conv3d(_Conv, name="conv3d", rank=3):
    """3-D cross-correlation: [B, C_in, D, H, W] → [B, out_channels, D', H', W'].

    MACs: one per output element, input channel of its group and kernel element; the bias counts as element-wise.
    """


def _draw_output_padding(draw: Draw, ins: TypesSoFar, attrs: dict[str, Any]) -> int:
    stride = attrs["stride"]
    smallest = min(stride) if isinstance(stride, tuple) else stride
    return pick(draw, list(range(smallest)))


class _ConvTranspose(Convolution):
    padding: Sizes = attr(
        PerAxis(0),
        0,
        doc="elements cut from both ends of the output",
        draw=lambda draw, ins, attrs: pick(draw, [0, 1] if attrs["kernel_size"] in (3, 5) else [0]),
    )
    output_padding: Sizes = attr(
        PerAxis(0), 0, doc="elements added at the end of the output; less than the stride", draw=_draw_output_padding
    )
    groups: Num = attr(SIZE, 1, doc="blocks of channels that do not see each other", draw=_draw_groups)
    bias: bool = attr(BOOL, True, doc="add a learned bias per output channel")
    dilation: Sizes = attr(PerAxis(1), 1, doc="distance between neighbouring kernel elements", draw=[1, 2])
    init: Init | None = attr(OptionalKind(INIT), None, doc="law of the kernel; torch's default if left out", inert=True)
    bias_init: Init | None = attr(
        OptionalKind(INIT), None, doc="law of the bias; torch's default if left out", inert=True
    )

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        self.check_groups(cx, x.shape[1])
        sizes = []
        for axis, n in enumerate(x.shape[2:]):
            k, s, p, extra, d = (
                v[axis] for v in (self.kernel_size, self.stride, self.padding, self.output_padding, self.dilation)
            )
            cond = lt(extra, dmax(s, d))
            if cond is not True:
                cx.require(cond, f"an output_padding of {extra} must be less than the stride {s} or the dilation {d}")
            size = (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
            cond = le(1, size)
            if cond is not True:
                cx.require(cond, f"a padding of {p} leaves {size} elements of axis {axis + 2}")
            sizes.append(size)
        return x.with_shape(x.shape[0], self.out_channels, *sizes)

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        return self.weights_of((x.shape[1], self.out_channels // self.groups, *self.kernel_size))

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        macs = ins[0].numel * (self.out_channels // self.groups) * prod(self.kernel_size)
        return Cost(macs, outs[0].numel if self.bias else 0)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        return b.module(
            f"torch.nn.ConvTranspose{self.rank}d",
            x,
            in_channels=b.in_types[0].shape[1],
            out_channels=self.out_channels,
            kernel_size=shortest(self.kernel_size),
            **self.given("stride", "padding", "output_padding", "groups", "bias", "dilation"),
        )

    def functional(self, b: Emitter, x: Handle) -> Handle:
        return b.call(
            f"torch.nn.functional.conv_transpose{self.rank}d",
            x,
            b.weight("weight"),
            b.weight("bias") if self.bias else None,
            **self.given("stride", "padding", "output_padding", "groups", "dilation"),
        )


class ConvTranspose1d(_ConvTranspose, name="conv_transpose1d", rank=1):
    """1-D transposed convolution: [B, C_in, W] → [B, out_channels, (W - 1)·stride - 2·padding + …].

    MACs: one per input element, output channel of its group and kernel element; the bias counts as element-wise.
    """


class ConvTranspose2d(_ConvTranspose, name="conv_transpose2d", rank=2):
    """2-D transposed convolution: [B, C_in, H, W] → [B, out_channels, (H - 1)·stride - 2·padding + …, …].

    MACs: one per input element, output channel of its group and kernel element; the bias counts as element-wise.
    """


class ConvTranspose3d(_ConvTranspose, name="conv_transpose3d", rank=3):
    """3-D transposed convolution: [B, C_in, D, H, W] → [B, out_channels, (D - 1)·stride - 2·padding + …, …, …].

    MACs: one per input element, output channel of its group and kernel element; the bias counts as element-wise.
    """
