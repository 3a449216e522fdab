"""Order along axes: the largest elements, sorting, running sums and products, triangles of matrices."""

from __future__ import annotations

from typing import Any

from archgraph.ir.density import DENSE, Density
from archgraph.ir.dim import Num, le
from archgraph.ir.types import TensorType, is_float
from archgraph.ops.axes import AXIS, axis_of, resized, without_axis
from archgraph.ops.base import Context, Cost, Emitter, Op, attr, fail, operand
from archgraph.ops.drawing import any_axis
from archgraph.ops.kinds import BOOL, FLOAT, INT, SIZE, OptionalKind


class Ordering(Op):
    """Base of the ops that compare elements along one axis; one comparison per element of the operand."""

    dim: int = attr(AXIS, -1, doc="axis along which elements are compared", draw=any_axis)
    operands = (operand("x", dtype="number"),)

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(0, ins[0].numel)

    def axis(self, x: TensorType) -> int:
        """The axis counted from the front."""
        return axis_of(x, self.dim)


class Selecting(Ordering):
    """Base of the ops that select the k largest elements."""

    k: Num = attr(SIZE, doc="how many elements", draw=[1])
    largest: bool = attr(BOOL, True, doc="the largest elements; else the smallest", inert=True)

    def check(self, cx: Context, x: TensorType) -> int:
        """Require that there are ``k`` elements; the axis."""
        axis = self.axis(x)
        fits = le(self.k, x.shape[axis])
        if fits is not True:
            cx.require(fits, f"k = {self.k} elements must be on axis {axis} of {x}")
        return axis

    def share(self, x: TensorType) -> Density:
        """The k selected of the elements along the axis."""
        n = x.shape[self.axis(x)]
        return DENSE if self.k == n else Density(self.k, n)

    def select(self, b: Emitter, x: Any, **more: Any) -> Any:
        """Values and indices of the selected elements."""
        options = more if self.largest else {"largest": False, **more}
        return b.method("topk", x, b.size(self.k), dim=self.dim, **options)


class TopK(Selecting, name="topk"):
    """The k largest elements of an axis and their indices: [..., N] → [..., k] and int64 [..., k].

    One comparison per element of the operand.
    """

    sorted: bool = attr(BOOL, True, doc="in descending order; else in any", inert=True)
    outputs = ("values", "indices")

    def infer(self, cx: Context, x: TensorType) -> tuple[TensorType, ...]:
        values = resized(x, self.check(cx, x), self.k)
        return values, values.with_dtype("int64")

    def lower(self, b: Emitter, x: Any) -> Any:
        found = self.select(b, x) if self.sorted else self.select(b, x, sorted=False)
        return b.item(found, 0), b.item(found, 1)


class TopKMask(Selecting, name="topk_mask"):
    """Where the k largest elements of an axis are: [..., N] → bool [..., N], exactly k true per row, ties or not.

    One comparison per element. The density of the mask is k/N.
    """

    sparsifies = True

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        self.check(cx, x)
        return x.with_dtype("bool")

    def densities(
        self, given: tuple[Density, ...], ins: tuple[Any, ...], outs: tuple[TensorType, ...]
    ) -> tuple[Density, ...]:
        return (self.share(ins[0]),)

    def lower(self, b: Emitter, x: Any) -> Any:
        indices = b.item(self.select(b, x, sorted=False), 1)
        nowhere = b.method("expand_as", b.constant("source.full", False, "bool"), x)
        return b.method("scatter", nowhere, self.dim, indices, True)


class KeepTopK(Selecting, name="keep_topk"):
    """The k largest elements of an axis at their places, others set to `value`: [..., N] → [..., N].

    Exactly k are kept per row, ties or not. One comparison per element. With a value of 0 the density is k/N.
    """

    sparsifies = True

    value: Any = attr(FLOAT, 0.0, doc="what the others become", inert=True, draw=[0.0, -1.0])
    operands = (operand("x"),)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        self.check(cx, x)
        return x

    def densities(
        self, given: tuple[Density, ...], ins: tuple[Any, ...], outs: tuple[TensorType, ...]
    ) -> tuple[Density, ...]:
        return (self.share(ins[0]) if self.value == 0.0 else DENSE,)

    def lower(self, b: Emitter, x: Any) -> Any:
        found = self.select(b, x, sorted=False)
        value = b.scalar(self.value)
        rest = b.call("torch.zeros_like", x) if value == 0.0 else b.call("torch.full_like", x, value)
        return b.method("scatter", rest, self.dim, b.item(found, 1), b.item(found, 0))


class Sort(Ordering, name="sort"):
    """The elements of an axis in order, and their indices: [..., N] → [..., N] and int64 [..., N].

    Counted as one comparison per element, as `topk`.
    """

    descending: bool = attr(BOOL, False, doc="the largest first", inert=True)
    stable: bool = attr(BOOL, False, doc="equal elements keep their order", inert=True)
    outputs = ("values", "indices")

    def infer(self, cx: Context, x: TensorType) -> tuple[TensorType, ...]:
        axis = self.axis(x)
        values = resized(x, axis, x.shape[axis])
        return values, values.with_dtype("int64")

    def lower(self, b: Emitter, x: Any) -> Any:
        found = b.method("sort", x, **_sorting(self))
        return b.item(found, 0), b.item(found, 1)


class ArgSort(Ordering, name="argsort"):
    """Indices that put the elements of an axis in order: [..., N] → int64 [..., N].

    Counted as one comparison per element, as `topk`.
    """

    descending: bool = attr(BOOL, False, doc="the largest first", inert=True)
    stable: bool = attr(BOOL, False, doc="equal elements keep their order", inert=True)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        axis = self.axis(x)
        return resized(x, axis, x.shape[axis]).with_dtype("int64")

    def lower(self, b: Emitter, x: Any) -> Any:
        return b.method("argsort", x, **_sorting(self))


def _sorting(op: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"dim": op.dim}
    if op.descending:
        options["descending"] = True
    if op.stable:
        options["stable"] = True
    return options


class Arg(Op):
    """Base of `argmax` and `argmin`."""

    dim: int | None = attr(
        OptionalKind(AXIS), None, doc="axis that is searched; all, flattened, if left out", draw=any_axis
    )
    keepdim: bool = attr(BOOL, False, doc="the axis stays, with length 1")
    operands = (operand("x", dtype="number"),)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        if self.dim is None:
            return TensorType("int64", (1,) * x.rank if self.keepdim else ())
        axis = axis_of(x, self.dim)
        return (resized(x, axis, 1) if self.keepdim else without_axis(x, axis)).with_dtype("int64")

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(0, ins[0].numel)

    def lower(self, b: Emitter, x: Any) -> Any:
        given = () if self.dim is None else (self.dim,)
        return b.method(self.op_name, x, *given, **({"keepdim": True} if self.keepdim else {}))


class ArgMax(Arg, name="argmax"):
    """Index of the largest element: [..., N] with `dim: -1` → int64 [...]; one comparison per element."""


class ArgMin(Arg, name="argmin"):
    """Index of the smallest element: [..., N] with `dim: -1` → int64 [...]; one comparison per element."""


class Running(Op):
    """Base of `cumsum` and `cumprod`; integers are summed as int64."""

    dim: int = attr(AXIS, doc="axis along which is accumulated", draw=any_axis)
    operands = (operand("x", dtype="any"),)

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        axis_of(x, self.dim)
        return x if is_float(x.dtype) or x.dtype == "complex" else x.with_dtype("int64")

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(0, ins[0].numel)

    def lower(self, b: Emitter, x: Any) -> Any:
        return b.method(self.op_name, x, self.dim)


class CumSum(Running, name="cumsum"):
    """Running sums along an axis: [..., N] → [..., N]; one addition per element."""


class CumProd(Running, name="cumprod"):
    """Running products along an axis: [..., N] → [..., N]; one product per element."""


class Triangle(Op):
    """Base of `tril` and `triu`."""

    diagonal: Num = attr(INT, 0, doc="the diagonal at the border; above the main one if positive", draw=[0, 1, -1])
    operands = (operand("x", "... M N", dtype="any"),)
    free = True

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        if x.rank < 2:
            fail(f"`{self.op_name}` takes matrices", "two axes or more", x)
        return x

    def lower(self, b: Emitter, x: Any) -> Any:
        return b.method(self.op_name, x, *(() if self.diagonal == 0 else (b.size(self.diagonal),)))


class TriL(Triangle, name="tril"):
    """The lower triangle of matrices, the rest zero: [..., M, N] → [..., M, N]."""


class TriU(Triangle, name="triu"):
    """The upper triangle of matrices, the rest zero: [..., M, N] → [..., M, N]."""
