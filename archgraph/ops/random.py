"""Dropout in its forms, and random values.

Dropout passes its input unchanged in evaluation, so it costs nothing by declaration; a rate of 0 leaves no module.
"""

from __future__ import annotations

from typing import Any, ClassVar

from archgraph.ir.types import TensorType
from archgraph.ops.base import Context, Cost, Emitter, Op, attr, fail, operand
from archgraph.ops.kinds import FLOAT
from archgraph.ops.strides import Strides


class DropoutBase(Op):
    """Base of the ops that zero at random in training and scale the rest by 1/(1 - p)."""

    p: Any = attr(FLOAT, 0.5, doc="probability of being zeroed", inert=True, draw=[0.1, 0.0, 0.5])
    operands = (operand("x"),)
    free = True
    keeps_density = True

    #: torch's module.
    module: ClassVar[str] = ""

    def aliases(self, x: TensorType, strides: Strides) -> Strides | None:
        return strides

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        if isinstance(self.p, float) and not 0.0 <= self.p <= 1.0:
            fail(f"`{self.op_name}` takes a probability", "0 to 1", self.p)
        return x

    def lower(self, b: Emitter, x: Any) -> Any:
        p = b.scalar(self.p)
        return x if p == 0 else b.module(self.module, x, p=p)


class Dropout(DropoutBase, name="dropout"):
    """Zero single elements: [...] → [...]."""

    module = "torch.nn.Dropout"


class Dropout1d(DropoutBase, name="dropout1d"):
    """Zero whole channels of sequences: [B, C, L] → [B, C, L]."""

    operands = (operand("x", "B C L"),)
    module = "torch.nn.Dropout1d"


class Dropout2d(DropoutBase, name="dropout2d"):
    """Zero whole channels of maps: [B, C, H, W] → [B, C, H, W]."""

    operands = (operand("x", "B C H W"),)
    module = "torch.nn.Dropout2d"


class Dropout3d(DropoutBase, name="dropout3d"):
    """Zero whole channels of volumes: [B, C, D, H, W] → [B, C, D, H, W]."""

    operands = (operand("x", "B C D H W"),)
    module = "torch.nn.Dropout3d"


class DropPath(DropoutBase, name="drop_path"):
    """Zero whole samples, the elements of the first axis: stochastic depth, arXiv 1603.09382.

    torch's channel dropout on one sample whose channels are the samples.
    """

    p: Any = attr(FLOAT, 0.0, doc="probability of a sample's being zeroed", inert=True, draw=[0.1, 0.0, 0.5])

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        if x.rank == 0:
            fail("`drop_path` takes a batch of samples", "one axis or more", x)
        return super().infer(cx, x)

    def lower(self, b: Emitter, x: Any) -> Any:
        p = b.scalar(self.p)
        if p == 0:
            return x
        shape = b.in_types[0].shape
        rank = len(shape)
        if rank == 1:
            return b.module("torch.nn.Dropout", x, p=p)
        if rank > _MOST_AXES:
            # torch has channel dropout for up to three axes behind the channels.
            x = b.method("flatten", x, _MOST_AXES - 1)
        x = b.module(f"torch.nn.Dropout{min(rank, _MOST_AXES) - 1}d", b.method("unsqueeze", x, 0), p=p)
        x = b.method("squeeze", x, 0)
        if rank > _MOST_AXES:
            x = b.method("unflatten", x, _MOST_AXES - 1, (-1, *(b.size(n) for n in shape[_MOST_AXES:])))
        return x


_MOST_AXES = 4


class RandomLike(Op):
    """Base of the ops that draw a value for each element; one operation per element."""

    operands = (operand("x"),)
    function: ClassVar[str] = ""

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        return x

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(0, outs[0].numel)

    def lower(self, b: Emitter, x: Any) -> Any:
        return b.call(self.function, x)


class RandnLike(RandomLike, name="randn_like"):
    """Standard normal values of the operand's shape; one operation per element."""

    function = "torch.randn_like"


class RandLike(RandomLike, name="rand_like"):
    """Uniform values in [0, 1) of the operand's shape; one operation per element."""

    function = "torch.rand_like"


class Bernoulli(RandomLike, name="bernoulli"):
    """1 with the operand's value as probability, else 0; no gradient flows through. One operation per element."""

    undrawable = "the operand holds probabilities"
    function = "torch.bernoulli"
