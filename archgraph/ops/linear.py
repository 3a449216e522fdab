"""Linear layers."""

from __future__ import annotations

import math
from typing import Any

from archgraph.ir.dim import Num
from archgraph.ir.types import TensorType
from archgraph.ops.base import Context, Cost, Emitter, Op, Weight, attr, operand
from archgraph.ops.kinds import BOOL, INIT, SIZE, Init, OptionalKind

#: torch's default for weights of linear and convolution layers: U(±1/sqrt(fan_in)).
KAIMING: Init = ("kaiming_uniform", (("a", math.sqrt(5)), ("fan", 0.0)))


def bias_init(given: Init | None, fan_in: Num) -> Init:
    """The declared law of a bias, or torch's default U(±1/sqrt(fan_in))."""
    if given is not None:
        return given
    bound = (1 / fan_in) ** 0.5
    return "uniform", (("a", -bound), ("b", bound))


class Linear(Op, name="linear"):
    """``x @ weight.T + bias`` over the last axis: [..., in_features] → [..., out_features]."""

    out_features: Num = attr(SIZE, doc="size of the last axis of the output")
    bias: bool = attr(BOOL, True, doc="add a learned bias")
    init: Init | None = attr(OptionalKind(INIT), None, doc="law of the weight; torch's default if left out", inert=True)
    bias_init: Init | None = attr(OptionalKind(INIT), None, doc="law of the bias; torch's default if left out", inert=True)
    operands = (operand("x", "... C"),)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        return x.with_shape(*x.shape[:-1], self.out_features)

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        fan_in = x.shape[-1]
        weight = Weight("weight", (self.out_features, fan_in), self.init or KAIMING)
        if not self.bias:
            return (weight,)
        return weight, Weight("bias", (self.out_features,), bias_init(self.bias_init, fan_in))

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        n = outs[0].numel
        return Cost(n * ins[0].shape[-1], n if self.bias else 0)

    def lower(self, b: Emitter, x: Any) -> Any:
        return b.module(
            "torch.nn.Linear", x, in_features=b.in_types[0].shape[-1], out_features=self.out_features, bias=self.bias
        )

    def functional(self, b: Emitter, x: Any) -> Any:
        return b.call("torch.nn.functional.linear", x, b.weight("weight"), b.weight("bias") if self.bias else None)
