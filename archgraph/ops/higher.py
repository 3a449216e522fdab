"""Higher-order ops: nodes with regions, and weights as values."""

from __future__ import annotations

from typing import Any, ClassVar

from archgraph.ir.dim import Num
from archgraph.ir.types import TensorType
from archgraph.ops.base import Context, Emitter, Op, attr, fail
from archgraph.ops.kinds import BOOL, COUNT, DTYPE, INT, SHAPE, TEXT


class GetWeight(Op, name="get_weight"):
    """The weight of another node of the same graph as a value: [shape]. Written ``node.weight`` in a spec."""

    path: str = attr(TEXT, doc="dotted path of the weight from this graph")
    shape: tuple[Num, ...] = attr(SHAPE, doc="its shape")
    dtype: str = attr(DTYPE, "float", doc="its dtype")
    free = True
    source = True
    undrawable = "refers to another node"

    def infer(self, cx: Context) -> TensorType:
        return TensorType(self.dtype, self.shape)

    def lower(self, b: Emitter) -> Any:
        return b.call("getattr", self.path)


class Scan(Op, name="scan"):
    """A loop along an axis: walks ``xs``, carries state, collects ``ys`` (torch's ``scan``).

    Its region takes one slice of every walked value (the axis removed), then the carried values, then what it reads
    outside; it returns the next carried values, then one slice of every collected value. Operands are grouped alike;
    outputs are the last carried values, then the collected ones with the axis restored.
    """

    dim: int = attr(INT, 0, doc="axis of the walked and collected values")
    reverse: bool = attr(BOOL, False, doc="walk from the end; collected values keep the order of what is walked")
    xs: int = attr(COUNT, doc="number of walked operands")
    carry: int = attr(COUNT, doc="number of carried operands")
    free = True
    #: Path segments of each region's nodes below the node.
    segments: ClassVar[tuple[tuple[str, ...], ...]] = ((),)
    undrawable = "takes a region"

    def infer(self, cx: Context, *types: Any) -> TensorType | tuple[TensorType, ...]:
        fail("scan is typed by its region")

    def length(self, types: tuple[TensorType, ...]) -> Num:
        """Number of turns."""
        return types[0].shape[self.dim]

    def lower(self, b: Emitter, *args: Any) -> Any:
        fail("scan is lowered by the emitter")


class SwitchTraining(Op, name="switch_training"):
    """One of two regions by the module's mode: the first in training, the second in evaluation.

    Written ``switch: training``. Both regions take the same operands and have the same output types; cost is that of
    evaluation.
    """

    free = True
    #: Path segments of each region's nodes below the node (``train`` and ``eval`` are methods of torch's modules).
    segments: ClassVar[tuple[tuple[str, ...], ...]] = (("in_training",), ("in_eval",))
    undrawable = "takes regions"

    def infer(self, cx: Context, *types: Any) -> TensorType | tuple[TensorType, ...]:
        fail("switch_training is typed by its regions")

    def lower(self, b: Emitter, *args: Any) -> Any:
        fail("switch_training is lowered by the emitter")
