"""Higher-order ops: nodes with regions, and weights as values."""

from __future__ import annotations

from typing import Any, ClassVar

from archgraph.ir.dim import Num
from archgraph.ir.types import TensorType, normalize_axis
from archgraph.ops.base import Context, Emitter, Op, attr, fail
from archgraph.ops.kinds import BOOL, COUNT, DTYPE, INT, SHAPE, TEXT, ListKind


class GetWeight(Op, name="get_weight"):
    """The weight of another node of the same graph as a value: [shape]. Written ``node.weight`` in a spec."""

    path: str = attr(TEXT, doc="dotted path of the weight from this graph")
    shape: tuple[Num, ...] = attr(SHAPE, doc="its shape")
    dtype: str = attr(DTYPE, "float", doc="its dtype")
    free = True
    source = True
    undrawable = "refers to another node"

    @property
    def reads(self) -> str:
        return self.path

    def infer(self, cx: Context) -> TensorType:
        return TensorType(self.dtype, self.shape)

    def lower(self, b: Emitter) -> Any:
        return b.call("getattr", self.path)


Types = tuple[TensorType, ...]


class Regional(Op):
    """Base of ops with regions: graphs that the op calls, with operands and results of the op's choosing."""

    free = True
    undrawable = "takes regions"
    #: Path segments of each region's nodes below the node; as many as there are regions.
    segments: ClassVar[tuple[tuple[str, ...], ...]] = ((),)

    def taken(self, *types: TensorType) -> tuple[Types, ...]:
        """What each region takes, by the types of the operands.

        Raises
        ------
        OpError
            If the operands don't fit.
        """
        raise AssertionError(f"{self.op_name}.taken")

    def given(self, types: Types, *results: Types) -> Types:
        """The node's types, by those of the operands and of what each region gives.

        Raises
        ------
        OpError
            If the regions don't fit.
        """
        raise AssertionError(f"{self.op_name}.given")

    def infer(self, cx: Context, *types: Any) -> TensorType | Types:
        fail(f"`{self.op_name}` is typed by its regions")

    def lower(self, b: Emitter, *args: Any) -> Any:
        fail(f"`{self.op_name}` is lowered by the emitter")


class Scan(Regional, name="scan"):
    """A loop along an axis: walks ``xs``, carries state, collects ``ys`` (torch's ``scan``).

    Its region takes one slice of every walked value (the axis removed), then the carried values, then what it reads
    outside; it returns the next carried values, then one slice of every collected value. Operands are grouped alike;
    outputs are the last carried values, then the collected ones with the axis restored.
    """

    dim: int = attr(INT, 0, doc="axis of the walked and collected values")
    reverse: bool = attr(BOOL, False, doc="walk from the end; collected values keep the order of what is walked")
    xs: int = attr(COUNT, doc="number of walked operands")
    carry: int = attr(COUNT, doc="number of carried operands")

    def length(self, types: Types) -> Num:
        """Number of turns."""
        return types[0].shape[self.dim]

    def taken(self, *types: TensorType) -> tuple[Types, ...]:
        if self.xs < 1 or self.xs + self.carry > len(types):
            fail("a scan walks something", f"{self.xs} walked and {self.carry} carried values", _listed(types))
        walked = types[: self.xs]
        axis = self.dim
        if normalize_axis(axis, walked[0].rank) is None:
            fail(f"`dim` {axis} is no axis of the walked values", found=_listed(walked))
        length = self.length(types)
        if any(axis >= t.rank or t.shape[axis] != length for t in walked):
            fail(f"walked values have one length along axis {axis}", found=_listed(walked))
        slices = tuple(TensorType(t.dtype, (*t.shape[:axis], *t.shape[axis + 1 :])) for t in walked)
        return ((*slices, *types[self.xs :]),)

    def given(self, types: Types, *results: Types) -> Types:
        (result,) = results
        init = types[self.xs : self.xs + self.carry]
        carried, collected = result[: self.carry], result[self.carry :]
        if carried != init:
            fail("carried values keep their types", _listed(init), _listed(carried))
        axis, length = self.dim, self.length(types)
        if any(axis > t.rank for t in collected):
            fail(f"collected values have too few axes for axis {axis}", found=_listed(collected))
        stacked = (TensorType(t.dtype, (*t.shape[:axis], length, *t.shape[axis:])) for t in collected)
        return (*carried, *stacked)


class SwitchTraining(Regional, name="switch_training"):
    """One of two regions by the module's mode: the first in training, the second in evaluation.

    Written ``switch: training``. Both regions take the same operands and have the same output types; cost is that of
    evaluation. In training the further outputs of the first region are written to the operands that ``updates``
    numbers.
    """

    updates: tuple[int, ...] = attr(ListKind(COUNT), (), doc="operands, buffers, that the first region gives anew")

    #: ``train`` and ``eval`` are methods of torch's modules.
    segments: ClassVar[tuple[tuple[str, ...], ...]] = (("in_training",), ("in_eval",))

    def taken(self, *types: TensorType) -> tuple[Types, ...]:
        return types, types

    def given(self, types: Types, *results: Types) -> Types:
        in_training, in_eval = results
        if self.updates:
            in_training, new = in_training[: -len(self.updates)], in_training[-len(self.updates) :]
            held = tuple(types[n] for n in self.updates)
            if [t.shape for t in new] != [t.shape for t in held]:
                fail("buffers keep their shapes", _listed(held), _listed(new))
        if in_training != in_eval:
            fail("both cases of `switch: training` have one type", _listed(in_eval), _listed(in_training))
        return in_eval


def _listed(types: Types) -> str:
    return ", ".join(map(str, types)) or "nothing"
