"""Parts of a value, and values with their borders cut, padded or moved around."""

from __future__ import annotations

from typing import Any

from archgraph.ir.density import DENSE, EMPTY, Density, joined
from archgraph.ir.dim import Num, ceildiv, le, upper_bound
from archgraph.ir.types import Layout, TensorType
from archgraph.ops.axes import AXES, AXIS, DECIDED, axes_of, axis_of, part_layout, position, resized, without_axis
from archgraph.ops.base import Context, Emitter, Op, attr, fail, operand
from archgraph.ops.drawing import pick
from archgraph.ops.kinds import COUNT, FLOAT, INT, SIZE, ListKind, OptionalKind, WordKind
from archgraph.ops.strides import Strides


class Part(Op):
    """Base of the ops that take a part along one axis."""

    dim: int = attr(AXIS, doc="axis to take from", draw=[0, -1])
    operands = (operand("x", dtype="any"),)
    free = True
    view = True
    keeps_density = True

    def aliases(self, x: TensorType, strides: Strides) -> Strides | None:
        return strides.part(axis_of(x, self.dim))


class Select(Part, name="select"):
    """One element along an axis, which is dropped: [B, N, C] with `dim: 1, index: 0` → [B, C]."""

    index: Num = attr(INT, doc="which element; negative from the end", draw=[0, -1])

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        axis = axis_of(x, self.dim)
        at = self._at(x, axis)
        for cond in (le(0, at), le(at + 1, x.shape[axis])):
            if cond is not True:
                cx.require(cond, f"index {self.index} must lie on axis {axis} of {x}")
        return without_axis(x, axis)

    def aliases(self, x: TensorType, strides: Strides) -> Strides | None:
        return strides.without(axis_of(x, self.dim))

    def _at(self, x: TensorType, axis: int) -> Num:
        high = upper_bound(self.index)
        return x.shape[axis] + self.index if high is not None and high < 0 else self.index

    def lower(self, b: Emitter, x: Any) -> Any:
        if isinstance(self.index, int):
            return b.method("select", x, self.dim, self.index)
        return b.method("select", x, self.dim, b.size(self._at(b.in_types[0], axis_of(b.in_types[0], self.dim))))


class Slice(Part, name="slice"):
    """The elements `start` … `stop` of an axis, every `step`-th, as Python's `x[start:stop:step]`.

    Negative ends count from the back; unlike in Python both must lie on the axis. Prefix tokens that are cut off a
    token grid leave its layout.
    """

    start: Num = attr(INT, 0, doc="first element", draw=[0, 1])
    stop: Num | None = attr(OptionalKind(INT), None, doc="first element left out; the end if left out", draw=[None])
    step: Num = attr(SIZE, 1, doc="distance of the elements taken", draw=[1, 2])

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        axis, start, stop = self._ends(cx, x)
        cx.require(le(start, stop), f"start {start} comes after stop {stop} on axis {axis} of {x}")
        if self.step != 1:
            return resized(x, axis, ceildiv(stop - start, self.step))
        return resized(x, axis, stop - start, part_layout(x.layout_of(axis), start, stop, x.shape[axis]))

    def aliases(self, x: TensorType, strides: Strides) -> Strides | None:
        if self.start == 0 and self.stop is None and self.step == 1:
            return strides
        return strides.part(axis_of(x, self.dim), every=self.step == 1)

    def _ends(self, cx: Context, x: TensorType) -> tuple[int, Num, Num]:
        axis = axis_of(x, self.dim)
        stop = x.shape[axis] if self.stop is None else position(cx, x, axis, self.stop, "stop")
        return axis, position(cx, x, axis, self.start, "start"), stop

    def lower(self, b: Emitter, x: Any) -> Any:
        t = b.in_types[0]
        axis, start, stop = self._ends(DECIDED, t)
        whole = stop == t.shape[axis]
        if start == 0 and whole and self.step == 1:
            return x
        part = slice(
            None if start == 0 else _end(b, self.start, start),
            None if whole or self.stop is None else _end(b, self.stop, stop),
            None if self.step == 1 else b.size(self.step),
        )
        return b.call("operator.getitem", x, part if axis == 0 else (*[slice(None)] * axis, part))


def _end(b: Emitter, written: Num, counted: Num) -> Any:
    """An end as written where that is a number; else counted from the front."""
    return written if isinstance(written, int) else b.size(counted)


class Narrow(Part, name="narrow"):
    """`length` elements from `start` on: [B, N, C] with `dim: 1` → [B, length, C]."""

    start: Num = attr(INT, 0, doc="first element; negative from the end", draw=[0])
    length: Num = attr(COUNT, doc="number of elements", draw=[1])

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        axis = axis_of(x, self.dim)
        start = position(cx, x, axis, self.start, "start")
        stop = start + self.length
        cx.require(le(stop, x.shape[axis]), f"{self.length} elements from {start} on must lie on axis {axis} of {x}")
        return resized(x, axis, self.length, part_layout(x.layout_of(axis), start, stop, x.shape[axis]))

    def lower(self, b: Emitter, x: Any) -> Any:
        t = b.in_types[0]
        if self.length == t.shape[axis_of(t, self.dim)]:
            return x
        return b.method("narrow", x, self.dim, b.size(self.start), b.size(self.length))


class Pad(Op, name="pad"):
    """Add elements at the ends of axes (negative: take away), torch's order: `[left, right, top, bottom, …]`.

    The list starts with the last axis: [B, N, C] with `pad: [0, 0, 1, 0]` → [B, 1 + N, C]. Elements in front of a token
    grid become its prefix.
    """

    pad: tuple[Num, ...] = attr(
        ListKind(INT),
        doc="elements before and after each axis, the last axis first",
        draw=lambda draw, ins, attrs: pick(draw, [[1, 0], [0, 2], [0, 0]] + [[0, 1, 1, 0]] * (ins[0].rank > 1)),
    )
    mode: str = attr(
        WordKind("constant", "reflect", "replicate", "circular"),
        "constant",
        doc="what the new elements are; all but constant pad one to three last axes after batch and channel",
        draw=["constant"],
    )
    value: float = attr(FLOAT, 0.0, doc="value of the new elements, for the mode constant", inert=True)
    operands = (operand("x", dtype="any"),)
    free = True

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        padded, odd = divmod(len(self.pad), 2)
        if odd or padded > x.rank:
            fail("`pad` lists two numbers for each padded axis", f"at most {2 * x.rank} numbers", list(self.pad))
        if self.mode != "constant" and (padded > 3 or x.rank not in (padded + 1, padded + 2)):
            all_axes = f"{2 * (x.rank - 2)} numbers"
            fail(f"mode {self.mode} pads all axes after batch and channel", all_axes, list(self.pad))
        for k in range(padded):
            axis = x.rank - 1 - k
            before, after = self.pad[2 * k], self.pad[2 * k + 1]
            n = x.shape[axis]
            self._check(cx, x, axis, before, after)
            grown = n + before + after
            if isinstance(grown, int) and grown < 0:
                fail(f"axis {axis} of {x} can't lose {-before - after} elements")
            x = resized(x, axis, grown, _padded(x.layout_of(axis), n, before, after))
        return x

    def _check(self, cx: Context, x: TensorType, axis: int, before: Num, after: Num) -> None:
        if self.mode in ("reflect", "circular"):
            most = x.shape[axis] - (self.mode == "reflect")
            for amount in (before, after):
                cx.require(le(amount, most), f"mode {self.mode} can't add {amount} elements to axis {axis} of {x}")

    def densities(
        self, given: tuple[Density, ...], ins: tuple[Any, ...], outs: tuple[TensorType, ...]
    ) -> tuple[Density, ...]:
        if self.mode != "constant":
            return given
        n = ins[0].numel
        return (joined([(given[0], n), (EMPTY if self.value == 0.0 else DENSE, outs[0].numel - n)]),)

    def lower(self, b: Emitter, x: Any) -> Any:
        pad = list(self.pad)
        while pad[-2:] == [0, 0] and self.mode == "constant":
            del pad[-2:]
        if not any(n != 0 for n in pad):
            return x
        options: dict[str, Any] = {} if self.mode == "constant" else {"mode": self.mode}
        if self.value != 0.0:
            options["value"] = b.scalar(self.value)
        return b.call("torch.nn.functional.pad", x, [b.size(n) for n in pad], **options)


def _padded(layout: Layout | None, n: Num, before: Num, after: Num) -> Layout | None:
    """A token grid stays one if elements come or go in front only."""
    if layout is None or after != 0:
        return None
    return part_layout(Layout(layout.prefix + before, layout.grid), 0, n, n)


class Roll(Op, name="roll"):
    """Move elements along axes, those pushed over the end coming in again in front: `torch.roll`."""

    shifts: tuple[Num, ...] = attr(
        ListKind(INT, scalar=True), doc="steps along each axis", draw=lambda draw, ins, attrs: [1]
    )
    dims: tuple[int, ...] = attr(AXES, doc="the axes", draw=lambda draw, ins, attrs: [-1])
    operands = (operand("x", dtype="any"),)
    free = True
    keeps_density = True

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        axes = axes_of(x, self.dims)
        if len(axes) != len(self.shifts):
            fail("`roll` takes one shift per axis", f"{len(axes)} shifts", list(self.shifts))
        return TensorType(x.dtype, x.shape, tuple(item for item in x.layout if item[0] not in axes))

    def lower(self, b: Emitter, x: Any) -> Any:
        if not any(n != 0 for n in self.shifts):
            return x
        shifts = tuple(n if isinstance(n, int) else b.size(n) for n in self.shifts)
        return b.call("torch.roll", x, shifts=shifts, dims=self.dims)


class Flip(Op, name="flip"):
    """Reverse the order along axes."""

    dims: tuple[int, ...] = attr(AXES, doc="the axes", draw=lambda draw, ins, attrs: [-1])
    operands = (operand("x", dtype="any"),)
    free = True
    keeps_density = True

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        axes = axes_of(x, self.dims)
        return TensorType(x.dtype, x.shape, tuple(item for item in x.layout if item[0] not in axes))

    def lower(self, b: Emitter, x: Any) -> Any:
        return b.method("flip", x, self.dims)
