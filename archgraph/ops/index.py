"""Looking values up and writing them by index."""

from __future__ import annotations

from typing import Any

from archgraph.ir.dim import Num, le, prod
from archgraph.ir.types import TensorType, is_float
from archgraph.ops.axes import AXIS, axis_of, resized
from archgraph.ops.base import Context, Cost, Emitter, Handle, Op, attr, fail, operand
from archgraph.ops.index_patterns import IndexPlan, Lookup, index_plan, index_sizes, known_layouts, with_rows
from archgraph.ops.kinds import INT, SIZE, TEXT, ListKind, MapKind, OptionalKind, WordKind


class Indexing(Op):
    """Base of the ops with a pattern of indexing."""

    pattern: str = attr(TEXT, doc="pattern in einx's notation; the indexed axes stand in square brackets")
    axes_lengths: tuple[tuple[str, Num], ...] = attr(
        MapKind(SIZE), {}, doc="sizes of axes whose names are taken by other keys; others stand beside the pattern"
    )
    extra = SIZE
    undrawable = "pattern, table and indices belong together"

    @property
    def lengths(self) -> dict[str, Num]:
        """The given sizes of axes, from both places."""
        return {**self.axes, **dict(self.axes_lengths)}


class Gather(Indexing, name="gather"):
    """Look values up by index, einx's `get_at`: `b [n] c, b j -> b j c`.

    Index operands hold positions on the axes in square brackets, from 0 on: one operand per such axis
    (`[h w] c, p, p -> p c`), or one with an axis of coordinates (`[h w] c, p [2] -> p c`). Axes that table and index
    share are looked up each for itself.
    """

    operands = (operand("x", dtype="any"), operand("index", dtype="int", variadic=True))
    free = True
    looks_up = True
    keeps_density = True

    def infer(self, cx: Context, *types: TensorType) -> TensorType:
        p = index_plan(self.pattern, tuple([t.rank for t in types]), False)
        sizes = index_sizes(p, cx, types, self.lengths)
        assert p.result is not None
        known = known_layouts(p, types)
        layouts = tuple((a, known[g[0]]) for a, g in enumerate(p.result) if len(g) == 1 and g[0] in known)
        return TensorType(types[0].dtype, [prod(sizes[name] for name in group) for group in p.result], layouts)

    def lower(self, b: Emitter, *args: Any) -> Any:
        x = args[0]
        p = index_plan(self.pattern, tuple([t.rank for t in b.in_types]), False)
        look = Lookup(b, p, self.lengths, args)
        assert p.result is not None
        if look.rows_at_once:
            x = look.arrange(x, p.operands[0], ((*p.batch, *p.marked), *((name,) for name in p.free)))
            x = b.method("index_select", x, 0, look.flat_rows())
            return look.arrange(x, ((*p.batch, *p.rows), *((name,) for name in p.free)), p.result)
        x = look.arrange(x, p.operands[0], p.table)
        axis = p.table.index(p.marked)
        found = with_rows(p.table, p)
        if p.batch:
            return look.arrange(b.method("gather", x, axis, look.index_as(*found)), found, p.result)
        if axis == 0 and len(p.table) == 2 and len(look.order) > 1 and is_float(b.in_types[0].dtype):
            x = b.call("torch.nn.functional.embedding", look.index, x)
            return look.arrange(x, (*look.order, *p.table[1:]), p.result)
        x = b.method("index_select", x, axis, look.index_as(p.rows))
        return look.arrange(x, found, p.result)


class Scatter(Indexing, name="scatter"):
    """Write values by index, the dual of `gather`: `b [n] c, b j, b j c -> b [n] c`.

    Operands are the table, the indices and the values; the table itself stays as it is. With `add` and `max` the values
    join what is there, one operation for each; with `set` they replace it, and of several for one place any may win.
    """

    reduce: str = attr(WordKind("set", "add", "max"), "set", doc="how values join what is at their place")
    operands = (operand("x", dtype="any"), operand("index_and_values", dtype="any", variadic=True))

    def infer(self, cx: Context, *types: TensorType) -> TensorType:
        x, *indices, values = types
        if not indices:
            fail("`scatter` takes a table, indices and values", "three operands or more", f"{len(types)} operands")
        for index in indices:
            if index.dtype not in ("int64", "int32", "int8", "uint8"):
                fail("`scatter` takes int values for the index", "int", index)
        if values.dtype != x.dtype:
            fail("`scatter` takes values of the table's dtype", x.dtype, values)
        index_sizes(self._plan(types), cx, types, self.lengths)
        return x

    def _plan(self, types: tuple[Any, ...]) -> IndexPlan:
        return index_plan(self.pattern, tuple([t.rank for t in types]), True)

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        return Cost(0, 0 if self.reduce == "set" else ins[-1].numel)

    def lower(self, b: Emitter, *args: Any) -> Any:
        p = self._plan(b.in_types)
        look = Lookup(b, p, self.lengths, args)
        if self.reduce == "max":
            return self._scatter(look, args[0], args[-1])
        table, rows = p.table, with_rows(p.table, p)
        axis, index = table.index(p.marked), None
        if look.rows_at_once:
            free = tuple((name,) for name in p.free)
            table, rows, axis = ((*p.batch, *p.marked), *free), ((*p.batch, *p.rows), *free), 0
            index = look.flat_rows()
        elif p.batch:
            return self._scatter(look, args[0], args[-1])
        x = look.arrange(args[0], p.operands[0], table)
        values = look.arrange(args[-1], p.operands[-1], rows)
        method = "index_add" if self.reduce == "add" else "index_copy"
        x = b.method(method, x, axis, look.index_as(p.rows) if index is None else index, values)
        return look.arrange(x, table, p.operands[0])

    def _scatter(self, look: Lookup, x: Handle, values: Handle) -> Handle:
        """Element by element, the index stretched over the free axes."""
        b, p = look.b, look.p
        rows = with_rows(p.table, p)
        x = look.arrange(x, p.operands[0], p.table)
        values = look.arrange(values, p.operands[-1], rows)
        index = look.index_as(*(() if group[:1] and group[0] in p.free else group for group in rows))
        if p.free:
            index = b.method("expand_as", index, values)
        axis = p.table.index(p.marked)
        if self.reduce == "max":
            x = b.method("scatter_reduce", x, axis, index, values, "amax")
        else:
            x = b.method("scatter" if self.reduce == "set" else "scatter_add", x, axis, index, values)
        return look.arrange(x, p.table, p.operands[0])


class IndexSelect(Op, name="index_select"):
    """The elements of one axis with the given numbers: [B, C, H, W] with `dim: 3, index: [0, 4]` → [B, C, H, 2].

    The numbers are an attribute, or a second operand [n] of integers.
    """

    dim: int = attr(AXIS, doc="axis to take from", draw=[0, -1])
    index: tuple[Num, ...] | None = attr(
        OptionalKind(ListKind(INT, scalar=True)),
        None,
        doc="the elements, negative from the end; left out if they are an operand",
    )
    operands = (operand("x", dtype="any"), operand("indices", "n", dtype="int", optional=True))
    free = True
    looks_up = True
    keeps_density = True
    undrawable = "the indices are either an attribute or an operand"

    def infer(self, cx: Context, x: TensorType, indices: TensorType | None = None) -> TensorType:
        axis = axis_of(x, self.dim)
        if (self.index is None) == (indices is None):
            fail("`index_select` takes either the attribute `index` or a second operand")
        if indices is not None:
            return resized(x, axis, indices.shape[0])
        assert self.index is not None
        for k in self.index:
            for cond in (le(0, _front(k, x.shape[axis])), le(_front(k, x.shape[axis]) + 1, x.shape[axis])):
                if cond is not True:
                    cx.require(cond, f"index {k} must lie on axis {axis} of {x}")
        return resized(x, axis, len(self.index))

    def lower(self, b: Emitter, x: Any, indices: Any = None) -> Any:
        if self.index is not None:
            n = b.in_types[0].shape[axis_of(b.in_types[0], self.dim)]
            indices = b.constant("source.literal", tuple(_front(k, n) for k in self.index), "int64")
        elif b.in_types[1].dtype not in ("int64", "int32"):
            indices = b.method("long", indices)
        return b.method("index_select", x, self.dim, indices)


def _front(k: Num, n: Num) -> Num:
    return n + k if isinstance(k, int) and k < 0 else k


class OneHot(Op, name="one_hot"):
    """Class numbers as unit vectors: int64 [...] → int64 [..., num_classes]."""

    num_classes: Num = attr(SIZE, doc="length of the vectors", draw=[2, 5, 10])
    operands = (operand("x", dtype="int"),)
    free = True

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        return TensorType("int64", (*x.shape, self.num_classes), x.layout)

    def lower(self, b: Emitter, x: Any) -> Any:
        if b.in_types[0].dtype != "int64":
            x = b.method("long", x)
        return b.call("torch.nn.functional.one_hot", x, b.size(self.num_classes))
