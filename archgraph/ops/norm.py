"""Normalisation layers.

Work is counted per element: computing mean and variance and normalising are five operations (the sum, the subtraction
of the mean, the square, its sum, the division by the deviation), a learned weight and a learned bias one each. What is
done once per row or channel (dividing by the count, ``eps``, the square root) is left out.
"""

from __future__ import annotations

from typing import Any, ClassVar

from archgraph.ir.dim import Dim, Num, divides, le, prod
from archgraph.ir.types import TensorType
from archgraph.ops.axes import AXES, AXIS, axes_of, axis_of
from archgraph.ops.base import Context, Cost, Emitter, Handle, Op, Weight, attr, fail, operand
from archgraph.ops.drawing import Draw, any_axis, divisors, pick
from archgraph.ops.keywords import keywords
from archgraph.ops.kinds import BOOL, FLOAT, INIT, SIZE, Init, OptionalKind

STANDARDIZE = 5


class Norm(Op):
    """Base of normalisations: the shape stays."""

    operands = (operand("x"),)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        return x


def _affine(shape: tuple[Num, ...], init: Init, bias_init: Init | None) -> tuple[Weight, ...]:
    weight = Weight("weight", shape, init)
    return (weight,) if bias_init is None else (weight, Weight("bias", shape, bias_init))


# -- over axes of each sample ------------------------------------------------------------------------------------


def _draw_axes(draw: Draw, in_types: tuple[TensorType, ...], attrs: dict[str, Any]) -> tuple[int, ...]:
    rank = in_types[0].rank
    return pick(draw, [(-1,), *([(-2, -1)] if rank > 1 else []), *((a,) for a in range(rank))])


class OverAxes(Norm):
    """Base of normalisations over axes of their own choice, with a weight of those axes' shape."""

    module: ClassVar[str]
    function: ClassVar[str]
    dim: tuple[int, ...] = attr(
        AXES,
        -1,
        doc="axes that are normalised together, in ascending order; 1 normalises the channels of a map [B, C, H, W] "
        "at each pixel",
        draw=_draw_axes,
    )
    eps: Any
    elementwise_affine: bool

    def normalized_axes(self, x: TensorType) -> tuple[int, ...]:
        """The normalised axes, counted from the front."""
        found = axes_of(x, self.dim)
        if len(found) != 1 and (not found or list(found) != sorted(found)):
            fail("`dim` must name axes in ascending order", found=list(self.dim))
        return found

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        self.normalized_axes(x)
        return x

    def normalized(self, x: TensorType) -> tuple[Num, ...]:
        """Lengths of the normalised axes: torch's ``normalized_shape``, and the shape of the weight."""
        shape = x.shape
        return tuple([shape[a] for a in self.normalized_axes(x)])

    def lower(self, b: Emitter, x: Handle) -> Handle:
        t = b.in_types[0]
        assert t is not None
        axes, shape = self.normalized_axes(t), self.normalized(t)
        if axes[-1] - axes[0] + 1 != len(axes) or axes[-1] != t.rank - 1:
            return self.functional(b, x)
        if not self.elementwise_affine and any(isinstance(n, Dim) for n in shape):
            return self.functional(b, x)  # the module wants its shape when it is built
        return b.module(
            self.module,
            x,
            normalized_shape=shape[0] if len(shape) == 1 else shape,
            **keywords(b, self, "eps", "elementwise_affine", "bias"),
        )

    def functional(self, b: Emitter, x: Handle) -> Handle:
        t = b.in_types[0]
        assert t is not None
        axes = self.normalized_axes(t)
        order = [*(a for a in range(t.rank) if a not in axes), *axes]
        moved = order != list(range(t.rank))
        # Strided views around torch's fused kernel: 1.1 to 2 times as fast as explicit mean and variance over axis 1
        if moved:
            x = b.method("permute", x, *order)
        weights = [b.weight(w.name) for w in self.weights(t)]
        sizes = [b.size(n) for n in self.normalized(t)]
        x = b.call(self.function, x, sizes, *weights, **keywords(b, self, "eps"))
        return b.method("permute", x, *(order.index(a) for a in range(t.rank))) if moved else x


class LayerNorm(OverAxes, name="layer_norm"):
    """Zero mean and unit variance over some axes of each sample, then a learned scale and shift: the shape stays.

    By default over the last axis, as ``torch.nn.LayerNorm``; over axis 1 it is the channels-first layer norm of
    convolutional networks (``LayerNorm2d``). Seven operations per element, five without scale and shift.
    """

    module = "torch.nn.LayerNorm"
    function = "torch.nn.functional.layer_norm"
    eps: Any = attr(FLOAT, 1e-5, doc="added to the variance", inert=True, draw=[1e-5, 1e-6])
    elementwise_affine: bool = attr(BOOL, True, doc="learn a scale and a shift per normalised element")
    bias: bool = attr(BOOL, True, doc="learn the shift too")
    init: Init = attr(INIT, "ones", doc="law of the scale", inert=True)
    bias_init: Init = attr(INIT, "zeros", doc="law of the shift", inert=True)

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        if not self.elementwise_affine:
            return ()
        return _affine(self.normalized(x), self.init, self.bias_init if self.bias else None)

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        affine = 1 + self.bias if self.elementwise_affine else 0
        return Cost(elementwise=(STANDARDIZE + affine) * outs[0].numel)


class RmsNorm(OverAxes, name="rms_norm"):
    """Division by the root mean square over some axes of each sample, then a learned scale: the shape stays.

    Four operations per element (the square, its sum, the division, the scale), three without scale.
    Source: arXiv 1910.07467.
    """

    module = "torch.nn.RMSNorm"
    function = "torch.nn.functional.rms_norm"
    eps: Any = attr(
        OptionalKind(FLOAT), None, doc="added to the mean square; null: the dtype's machine epsilon", inert=True
    )
    elementwise_affine: bool = attr(BOOL, True, doc="learn a scale per normalised element")
    init: Init = attr(INIT, "ones", doc="law of the scale", inert=True)

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        return _affine(self.normalized(x), self.init, None) if self.elementwise_affine else ()

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(elementwise=(3 + self.elementwise_affine) * outs[0].numel)


class Normalize(Norm, name="normalize"):
    """Division by the ``p``-norm over one axis, at least ``eps``: the shape stays.

    Three operations per element: the power, its sum, the division.
    """

    p: Any = attr(FLOAT, 2.0, doc="which norm", inert=True, draw=[2.0, 1.0])
    dim: int = attr(AXIS, 1, doc="axis whose norm becomes one", draw=any_axis)
    eps: Any = attr(FLOAT, 1e-12, doc="least divisor", inert=True, draw=[1e-12])

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        axis_of(x, self.dim)
        return x

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(elementwise=3 * outs[0].numel)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        return b.call("torch.nn.functional.normalize", x, **keywords(b, self, "p", "dim", "eps"))


# -- over groups of channels -------------------------------------------------------------------------------------


class GroupNorm(Norm, name="group_norm"):
    """Zero mean and unit variance over each group of channels and all positions of [B, C, ...]: the shape stays.

    Seven operations per element, five without scale and shift. Source: arXiv 1803.08494.
    """

    num_groups: Num = attr(
        SIZE, doc="groups of channels", draw=lambda draw, ins, attrs: pick(draw, divisors(ins[0].shape[1]))
    )
    eps: Any = attr(FLOAT, 1e-5, doc="added to the variance", inert=True, draw=[1e-5, 1e-6])
    affine: bool = attr(BOOL, True, doc="learn a scale and a shift per channel")
    init: Init = attr(INIT, "ones", doc="law of the scale", inert=True)
    bias_init: Init = attr(INIT, "zeros", doc="law of the shift", inert=True)
    operands = (operand("x", "B C ..."),)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        _at_least(x, 2, "group_norm")
        channels = x.shape[1]
        cx.require(divides(self.num_groups, channels), f"{self.num_groups} groups must divide the {channels} channels")
        return x

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        return _affine((x.shape[1],), self.init, self.bias_init) if self.affine else ()

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(elementwise=(STANDARDIZE + 2 * self.affine) * outs[0].numel)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        t = b.in_types[0]
        assert t is not None
        options = keywords(b, self, "eps", "affine")
        return b.module("torch.nn.GroupNorm", x, num_groups=self.num_groups, num_channels=t.shape[1], **options)

    def functional(self, b: Emitter, x: Handle) -> Handle:
        weights = [b.weight("weight"), b.weight("bias")] if self.affine else []
        return b.call("torch.nn.functional.group_norm", x, self.num_groups, *weights, **keywords(b, self, "eps"))


def _at_least(x: TensorType, rank: int, name: str) -> None:
    if x.rank < rank:
        fail(f"`{name}` takes at least {rank} axes", "[" + ", ".join(["B", "C", "N"][:rank]) + ", ...]", x)


# -- over the batch, or over each map ----------------------------------------------------------------------------


class PerChannel(Norm):
    """Base of batch and instance normalisation. Classes carry the names of torch's modules."""

    eps: Any
    momentum: Any
    affine: bool
    track_running_stats: bool
    init: Init
    bias_init: Init

    def __init_subclass__(cls, name: str | None = None, axes: str = "", **kwargs: Any) -> None:
        cls.operands = (operand("x", f"B C {axes}"),)
        super().__init_subclass__(name=name, **kwargs)

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        shape = (x.shape[1],)
        found = _affine(shape, self.init, self.bias_init) if self.affine else ()
        if not self.track_running_stats:
            return found
        return (
            *found,
            Weight("running_mean", shape, ("zeros", ()), buffer=True),
            Weight("running_var", shape, ("ones", ()), buffer=True),
            Weight("num_batches_tracked", (), ("zeros", ()), dtype="int64", buffer=True),
        )

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        normalize = 2 if self.track_running_stats else STANDARDIZE
        return Cost(elementwise=(normalize + 2 * self.affine) * outs[0].numel)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        t = b.in_types[0]
        assert t is not None
        options = keywords(b, self, "eps", "momentum", "affine", "track_running_stats")
        return b.module(f"torch.nn.{type(self).__name__}", x, num_features=t.shape[1], **options)

    def given(self, b: Emitter) -> dict[str, Handle]:
        """Weights given as values, by the functions' parameter names."""
        statistics = ("running_mean", "running_var") if self.track_running_stats else ()
        return {name: b.weight(name) for name in (*statistics, *(("weight", "bias") if self.affine else ()))}


class BatchNorm(PerChannel):
    """Base of the batch normalisations."""

    eps: Any = attr(FLOAT, 1e-5, doc="added to the variance", inert=True, draw=[1e-5, 1e-3])
    momentum: Any = attr(
        OptionalKind(FLOAT),
        0.1,
        doc="weight of the newest batch in the running statistics; null: their plain average",
        inert=True,
        draw=[0.1, None],
    )
    affine: bool = attr(BOOL, True, doc="learn a scale and a shift per channel")
    track_running_stats: bool = attr(BOOL, True, doc="use averaged statistics of the training batches in eval mode")
    init: Init = attr(INIT, "ones", doc="law of the scale", inert=True)
    bias_init: Init = attr(INIT, "zeros", doc="law of the shift", inert=True)

    def functional(self, b: Emitter, x: Handle) -> Handle:
        given = self.given(b)
        options = keywords(b, self, "eps")
        if self.track_running_stats:
            return b.call("torch.nn.functional.batch_norm", x, **given, **options)
        absent = {"running_mean": None, "running_var": None}
        return b.call("torch.nn.functional.batch_norm", x, **absent, **given, training=True, **options)


_BATCH_NORM = """

    Four operations per element with given statistics (the count is that of eval mode; two without scale and shift),
    seven where `track_running_stats` is off (five). Called with given weights it uses the running statistics among
    them in train mode too, and leaves them as they are. Source: arXiv 1502.03167.
    """


class BatchNorm1d(BatchNorm, name="batch_norm1d", axes="..."):
    __doc__ = "Zero mean and unit variance per channel over a batch [B, C] or [B, C, N]: the shape stays." + _BATCH_NORM

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        if x.rank not in (2, 3):
            fail("`batch_norm1d` takes two or three axes", "[B, C] or [B, C, N]", x)
        return x


class BatchNorm2d(BatchNorm, name="batch_norm2d", axes="H W"):
    __doc__ = "Zero mean and unit variance per channel over a batch [B, C, H, W]: the shape stays." + _BATCH_NORM


class BatchNorm3d(BatchNorm, name="batch_norm3d", axes="D H W"):
    __doc__ = "Zero mean and unit variance per channel over a batch [B, C, D, H, W]: the shape stays." + _BATCH_NORM


class InstanceNorm(PerChannel):
    """Base of the instance normalisations."""

    eps: Any = attr(FLOAT, 1e-5, doc="added to the variance", inert=True, draw=[1e-5, 1e-3])
    momentum: Any = attr(
        FLOAT, 0.1, doc="weight of the newest batch in the running statistics", inert=True, draw=[0.1, 0.01]
    )
    affine: bool = attr(BOOL, False, doc="learn a scale and a shift per channel")
    track_running_stats: bool = attr(BOOL, False, doc="use averaged statistics of the training batches in eval mode")
    init: Init = attr(INIT, "ones", doc="law of the scale", inert=True)
    bias_init: Init = attr(INIT, "zeros", doc="law of the shift", inert=True)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        if not self.track_running_stats:
            n = prod(x.shape[2:])
            cx.require(le(2, n), f"one element per channel has no variance: the axes behind the channels hold {n}")
        return x

    def functional(self, b: Emitter, x: Handle) -> Handle:
        options = keywords(b, self, "eps")
        if self.track_running_stats:
            options["use_input_stats"] = False
        return b.call("torch.nn.functional.instance_norm", x, **self.given(b), **options)


_INSTANCE_NORM = """

    Five operations per element, seven with scale and shift; two and four where `track_running_stats` is on (the count
    is that of eval mode). Called with given weights it uses the running statistics among them in train mode too.
    Source: arXiv 1607.08022.
    """


class InstanceNorm1d(InstanceNorm, name="instance_norm1d", axes="N"):
    __doc__ = (
        "Zero mean and unit variance of each channel of each sample of [B, C, N]: the shape stays." + _INSTANCE_NORM
    )


class InstanceNorm2d(InstanceNorm, name="instance_norm2d", axes="H W"):
    __doc__ = (
        "Zero mean and unit variance of each channel of each sample of [B, C, H, W]: the shape stays." + _INSTANCE_NORM
    )


class InstanceNorm3d(InstanceNorm, name="instance_norm3d", axes="D H W"):
    __doc__ = (
        "Zero mean and unit variance of each channel of each sample of [B, C, D, H, W]: the shape stays."
        + _INSTANCE_NORM
    )


class LocalResponseNorm(Norm, name="local_response_norm"):
    """Division by a power of the mean square over ``size`` neighbouring channels of [B, C, ...]: the shape stays.

    ``x / (k + alpha * mean(x²)) ** beta``: ``size + 5`` operations per element.
    """

    size: Num = attr(SIZE, doc="channels in the mean", draw=[3, 5, 2])
    alpha: Any = attr(FLOAT, 1e-4, doc="weight of the mean square", inert=True, draw=[1e-4, 1.0])
    beta: Any = attr(FLOAT, 0.75, doc="exponent", inert=True, draw=[0.75, 0.5])
    k: Any = attr(FLOAT, 1.0, doc="added to the weighted mean square", inert=True, draw=[1.0, 2.0])
    operands = (operand("x", "B C N ..."),)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        _at_least(x, 3, "local_response_norm")
        return x

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(elementwise=(self.size + 5) * outs[0].numel)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        return b.call("torch.nn.functional.local_response_norm", x, **keywords(b, self))
