"""Activation functions.

The work per element is that of the function's definition in torch's documentation: every ``+ - * /``, comparison,
minimum, maximum, selection and elementary function (exp, log, sqrt, tanh, erf …) counts one.
"""

from __future__ import annotations

from typing import Any, ClassVar

from archgraph.ir.dim import divides
from archgraph.ir.types import TensorType
from archgraph.ops.axes import AXIS, axis_of
from archgraph.ops.base import Context, Cost, Emitter, Handle, Op, attr, operand
from archgraph.ops.drawing import Draw, any_axis, pick
from archgraph.ops.keywords import keywords
from archgraph.ops.kinds import FLOAT, WordKind


class Activation(Op):
    """Base of functions that keep the shape of their one operand.

    A subclass states the torch ``function`` it lowers to and its ``work`` per element in its class line; attributes
    that differ from their defaults become keyword arguments.
    """

    function: ClassVar[str]
    work: ClassVar[int]
    operands = (operand("x"),)

    def __init_subclass__(
        cls, name: str | None = None, function: str | None = None, work: int = 1, **kwargs: Any
    ) -> None:
        cls.function = function or f"torch.nn.functional.{name}"
        cls.work = work
        super().__init_subclass__(name=name, **kwargs)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        return x

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(elementwise=self.work * outs[0].numel)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        return b.call(self.function, x, **keywords(b, self))


class Relu(Activation, name="relu"):
    """``max(x, 0)``."""

    keeps_density = True


class Relu6(Activation, name="relu6", work=2):
    """``min(max(x, 0), 6)``."""

    keeps_density = True


class LeakyRelu(Activation, name="leaky_relu", work=3):
    """``x`` where it is positive, else ``negative_slope * x``."""

    keeps_density = True
    negative_slope: Any = attr(FLOAT, 0.01, doc="slope below zero", inert=True, draw=[0.01, 0.2])


class Elu(Activation, name="elu", work=4):
    """``x`` where it is positive, else ``alpha * expm1(x)``."""

    keeps_density = True
    alpha: Any = attr(FLOAT, 1.0, doc="minus the limit far below zero", inert=True, draw=[1.0, 0.5])


class Selu(Activation, name="selu", work=5):
    """ELU with the fixed scales of self-normalising networks (arXiv 1706.02515)."""

    keeps_density = True


class Celu(Activation, name="celu", work=5):
    """``x`` where it is positive, else ``alpha * expm1(x / alpha)``."""

    keeps_density = True
    alpha: Any = attr(FLOAT, 1.0, doc="minus the limit far below zero", inert=True, draw=[1.0, 0.5])


class Gelu(Activation, name="gelu", work=5):
    """``x`` times the normal distribution function of ``x``: 5 operations, 9 with the tanh approximation."""

    keeps_density = True
    approximate: str = attr(
        WordKind("none", "tanh"), "none", doc="`none` is exact (erf), `tanh` the approximation of GPT-2"
    )

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(elementwise=(self.work if self.approximate == "none" else 9) * outs[0].numel)


class Silu(Activation, name="silu", work=5):
    """``x * sigmoid(x)``, also called swish."""

    keeps_density = True


class Sigmoid(Activation, name="sigmoid", function="torch.sigmoid", work=4):
    """``1 / (1 + exp(-x))``."""


class Tanh(Activation, name="tanh", function="torch.tanh"):
    """Hyperbolic tangent."""

    keeps_density = True


class Hardswish(Activation, name="hardswish", work=5):
    """``x * min(max(x + 3, 0), 6) / 6``."""

    keeps_density = True


class Hardsigmoid(Activation, name="hardsigmoid", work=4):
    """``min(max(x + 3, 0), 6) / 6``."""


class Hardtanh(Activation, name="hardtanh", work=2):
    """``x`` clamped to [``min_val``, ``max_val``]."""

    keeps_density = True
    min_val: Any = attr(FLOAT, -1.0, doc="lower bound", inert=True, draw=[-1.0, 0.0])
    max_val: Any = attr(FLOAT, 1.0, doc="upper bound", inert=True, draw=[1.0, 6.0])


class Softplus(Activation, name="softplus", work=4):
    """``log(1 + exp(beta * x)) / beta``; linear where ``beta * x`` exceeds the threshold."""

    beta: Any = attr(FLOAT, 1.0, doc="sharpness of the bend", inert=True, draw=[1.0, 2.0])
    threshold: Any = attr(FLOAT, 20.0, doc="where the exponential is no longer computed", inert=True, draw=[20.0])


class Mish(Activation, name="mish", work=4):
    """``x * tanh(log(1 + exp(x)))``."""

    keeps_density = True


class Softsign(Activation, name="softsign", work=3):
    """``x / (1 + abs(x))``."""

    keeps_density = True


class Tanhshrink(Activation, name="tanhshrink", work=2):
    """``x - tanh(x)``."""

    keeps_density = True


class Hardshrink(Activation, name="hardshrink", work=3):
    """``x`` where it lies outside [``-lambd``, ``lambd``], else 0."""

    keeps_density = True
    lambd: Any = attr(FLOAT, 0.5, doc="half the width of the interval", inert=True, draw=[0.5, 0.1])


class Softshrink(Activation, name="softshrink", work=4):
    """``x`` moved towards 0 by ``lambd``; 0 where it is nearer than that."""

    keeps_density = True
    lambd: Any = attr(FLOAT, 0.5, doc="how far", inert=True, draw=[0.5, 0.1])


class Threshold(Activation, name="threshold", work=2):
    """``x`` where it exceeds ``threshold``, else ``value``."""

    threshold: Any = attr(FLOAT, doc="the least that passes", inert=True, draw=[0.0, 0.1])
    value: Any = attr(FLOAT, doc="what stands in its place", inert=True, draw=[0.0, -1.0])


class LogSigmoid(Activation, name="log_sigmoid", function="torch.nn.functional.logsigmoid", work=4):
    """``log(1 / (1 + exp(-x)))``, computed as ``-log1p(exp(-x))``."""


class Softmax(Activation, name="softmax", function="torch.softmax", work=5):
    """Exponentials over one axis, divided by their sum.

    Five operations per element: the maximum, its subtraction, exp, the sum, the division.
    """

    dim: int = attr(AXIS, doc="axis that sums to one", draw=any_axis)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        axis_of(x, self.dim)
        return x


class Softmin(Softmax, name="softmin", function="torch.nn.functional.softmin", work=6):
    """Softmax of ``-x`` over one axis."""


class LogSoftmax(Softmax, name="log_softmax", function="torch.log_softmax", work=5):
    """Logarithm of the softmax over one axis.

    Five operations per element, as `softmax`; one logarithm per row is left out.
    """


def _draw_even_axis(draw: Draw, in_types: tuple[TensorType, ...], attrs: dict[str, Any]) -> int:
    even = [a for a, n in enumerate(in_types[0].shape) if divides(2, n) is True]
    return pick(draw, even or [-1])


class Glu(Activation, name="glu", work=5):
    """First half of an axis times the sigmoid of its second half: [..., 2n, ...] → [..., n, ...].

    Five operations per element of the output.
    """

    dim: int = attr(AXIS, -1, doc="axis that is halved", draw=_draw_even_axis)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        axis = axis_of(x, self.dim)
        n = x.shape[axis]
        cx.require(divides(2, n), f"glu halves axis {axis}, which has {n} elements")
        return x.with_shape(*x.shape[:axis], n // 2, *x.shape[axis + 1 :])
