"""Linear layers, embeddings, and learned factors per channel."""

from __future__ import annotations

import math
from typing import Any

from archgraph.ir.density import Density
from archgraph.ir.dim import Num, eq
from archgraph.ir.types import Layout, TensorType
from archgraph.ops.axes import AXIS, axis_of
from archgraph.ops.base import Context, Cost, Emitter, Handle, Op, Weight, attr, fail, operand
from archgraph.ops.drawing import any_axis, pick
from archgraph.ops.keywords import keywords
from archgraph.ops.kinds import BOOL, FLOAT, INIT, INT, SIZE, Init, OptionalKind

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

    out_features: Num = attr(SIZE, doc="size of the last axis of the output", draw=[4, 1, 6])
    bias: bool = attr(BOOL, True, doc="add a learned bias")
    init: Init | None = attr(OptionalKind(INIT), None, doc="law of the weight; torch's default if left out", inert=True)
    bias_init: Init | None = attr(
        OptionalKind(INIT), None, doc="law of the bias; torch's default if left out", inert=True
    )
    operands = (operand("x", "... C"),)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        return x.with_last(self.out_features)

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        fan_in = x.shape[-1]
        weight = Weight("weight", (self.out_features, fan_in), self.init or KAIMING)
        if not self.bias:
            return (weight,)
        return weight, Weight("bias", (self.out_features,), bias_init(self.bias_init, fan_in))

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        n = outs[0].numel
        return Cost(n * ins[0].shape[-1], n if self.bias else 0)

    def expected(self, given: tuple[Density, ...], ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        macs, elementwise = self.cost(ins, outs)
        return Cost(given[0].share(macs), elementwise)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        return b.module(
            "torch.nn.Linear", x, in_features=b.in_types[0].shape[-1], out_features=self.out_features, bias=self.bias
        )

    def functional(self, b: Emitter, x: Handle) -> Handle:
        return b.call("torch.nn.functional.linear", x, b.weight("weight"), b.weight("bias") if self.bias else None)


class Embedding(Op, name="embedding"):
    """Rows of a learned table: int64 [...] → [..., embedding_dim].

    The row ``padding_idx`` gets no gradient. Unlike in torch it starts like the others, by the law of the weight.
    """

    num_embeddings: Num = attr(SIZE, doc="rows of the table; indices are below it", draw=[2, 7, 16])
    embedding_dim: Num = attr(SIZE, doc="size of the last axis of the output", draw=[4, 1, 6])
    padding_idx: int | None = attr(OptionalKind(INT), None, doc="row without gradient", inert=True, draw=[None, 0, -1])
    init: Init | None = attr(OptionalKind(INIT), None, doc="law of the table; N(0, 1) if left out", inert=True)
    operands = (operand("x", "...", dtype="int"),)
    free = True
    looks_up = True

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        row, rows = self.padding_idx, self.num_embeddings
        if row is not None and isinstance(rows, int) and not -rows <= row < rows:
            fail(f"there is no row {row} for padding_idx", f"a row from {-rows} to {rows - 1}")
        known = dict(x.layout)  # what is looked up are sequences, which make no grid when they are put in a row
        layout = tuple((a, known.get(a) or Layout(0, (n,))) for a, n in enumerate(x.shape) if a > 0 or a in known)
        return TensorType("float", (*x.shape, self.embedding_dim), layout)

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        law: Init = self.init or ("normal", (("mean", 0.0), ("std", 1.0)))
        return (Weight("weight", (self.num_embeddings, self.embedding_dim), law),)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        return b.module(
            "torch.nn.Embedding",
            x,
            **keywords(b, self, "num_embeddings", "embedding_dim", "padding_idx"),
        )

    def functional(self, b: Emitter, x: Handle) -> Handle:
        return b.call("torch.nn.functional.embedding", x, b.weight("weight"), **keywords(b, self, "padding_idx"))


class LayerScale(Op, name="layer_scale"):
    """Learned factor per channel: [..., C, ...] → [..., C, ...], the weight [C] under the node's own path.

    Source: CaiT, arXiv 2103.17239.
    """

    init_value: Any = attr(FLOAT, 1e-5, doc="start of every factor", inert=True, draw=[1e-5, 1.0])
    dim: int = attr(AXIS, -1, doc="axis of the channels", draw=any_axis)
    operands = (operand("x", "... C"),)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        axis_of(x, self.dim)
        return x

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        return (Weight("", (x.shape[self.dim],), ("constant", (("val", self.init_value),))),)

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(elementwise=outs[0].numel)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        return self.functional(b, x)

    def functional(self, b: Emitter, x: Handle) -> Handle:
        rank = b.in_types[0].rank
        behind = rank - 1 - self.dim % rank
        weight = b.weight("")
        if behind:
            weight = b.method("view", weight, -1, *(1,) * behind)
        return b.call("operator.mul", x, weight)


class PRelu(Op, name="prelu"):
    """``x`` where it is positive, else a learned ``weight * x``: [B, C, ...] → [B, C, ...].

    Three operations per element: comparison, product, selection.
    """

    num_parameters: Num = attr(
        SIZE,
        1,
        doc="1, or the number of channels for one slope each",
        draw=lambda draw, ins, attrs: pick(draw, [1, ins[0].shape[1]]) if ins[0].rank > 1 else 1,
    )
    init: Init = attr(INIT, {"constant": 0.25}, doc="law of the slopes", inert=True)
    operands = (operand("x", "..."),)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        if self.num_parameters != 1:
            if x.rank < 2:
                fail("one slope per channel needs an axis of channels", "[B, C, ...]", x)
            cond = eq(self.num_parameters, x.shape[1])
            if cond is not True:
                cx.require(cond, f"num_parameters {self.num_parameters} must be 1 or the {x.shape[1]} channels of {x}")
        return x

    def weights(self, x: TensorType) -> tuple[Weight, ...]:
        return (Weight("weight", (self.num_parameters,), self.init),)

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(elementwise=3 * outs[0].numel)

    def lower(self, b: Emitter, x: Handle) -> Handle:
        return b.module("torch.nn.PReLU", x, **keywords(b, self, "num_parameters"))

    def functional(self, b: Emitter, x: Handle) -> Handle:
        return b.call("torch.nn.functional.prelu", x, b.weight("weight"))
