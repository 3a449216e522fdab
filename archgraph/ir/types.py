"""Tensor types: dtype, shape, and the token-grid layout that an axis may carry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, final

from archgraph.ir.dim import Dim, Num, prod

#: Bytes per element. ``float`` is the model's own floating dtype (float32 unless it is cast).
DTYPE_BYTES: Final[dict[str, int]] = {
    "float": 4,
    "float32": 4,
    "float64": 8,
    "float16": 2,
    "bfloat16": 2,
    "complex": 8,
    "int64": 8,
    "int32": 4,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}
_RANK: Final[dict[str, int]] = {
    "bool": 0,
    "uint8": 1,
    "int8": 2,
    "int32": 3,
    "int64": 4,
    "float16": 5,
    "bfloat16": 5,
    "float": 6,
    "float32": 7,
    "float64": 8,
    "complex": 9,
}


def is_float(dtype: str) -> bool:
    """Whether ``dtype`` is a real floating dtype."""
    return 5 <= _RANK[dtype] <= 8


def is_int(dtype: str) -> bool:
    """Whether ``dtype`` holds integers (bool excluded)."""
    return 1 <= _RANK[dtype] <= 4


def promote(a: str, b: str) -> str:
    """The dtype of an element-wise operation on ``a`` and ``b`` (torch's promotion among tensors)."""
    if a == b:
        return a
    if {a, b} == {"float16", "bfloat16"}:
        return "float32"
    if {a, b} == {"uint8", "int8"}:
        return "int32"
    return a if _RANK[a] >= _RANK[b] else b


class _Layout(NamedTuple):
    prefix: Num
    grid: tuple[Num, ...]


@final
class Layout(_Layout):
    """A token axis as ``prefix`` tokens followed by the rows of a ``grid`` (row-major); of one side, a row by itself.

    ``prefix + prod(grid)`` is the axis' length.
    """

    __slots__ = ()

    def __new__(cls, prefix: Num, grid: Iterable[Num]) -> Layout:
        return tuple.__new__(cls, (prefix, tuple(grid)))

    @property
    def length(self) -> Num:
        return self.prefix + prod(self.grid)

    def __repr__(self) -> str:
        return f"Layout({self.prefix}, {self.grid})"

    def __str__(self) -> str:
        if len(self.grid) == 1:  # a row by itself
            return str(self.length)
        grid = "(" + " ".join(_word(g) for g in self.grid) + ")"
        return grid if self.prefix == 0 else f"{self.prefix} + {grid}"


def _word(n: Num) -> str:
    text = str(n)
    return f"[{text}]" if " " in text else text


#: Known types. Equality never rests on identity, so forgetting them is safe.
_types: dict[tuple[Any, ...], TensorType] = {}
_MAX_TYPES: Final = 100_000


@final
class TensorType:
    """The type of one tensor value, interned.

    Equality is that of dtype and shape: a layout is knowledge about an axis, not part of the type.

    Parameters
    ----------
    dtype : str
        One of `DTYPE_BYTES`.
    shape : tuple of int or Dim
        Axis lengths.
    layout : tuple of (axis, Layout), optional
        Which axes are token grids; axes counted from 0, in ascending order.
    """

    __slots__ = ("__weakref__", "_hash", "_numel", "dtype", "key", "layout", "shape")
    dtype: str
    shape: tuple[Num, ...]
    layout: tuple[tuple[int, Layout], ...]
    #: What tells this type from every other, the layout included (for memo keys).
    key: tuple[Any, ...]
    _hash: int | None
    _numel: Num | None

    def __new__(cls, dtype: str, shape: Iterable[Num], layout: tuple[tuple[int, Layout], ...] = ()) -> TensorType:
        if type(shape) is not tuple:
            shape = tuple(shape)
        key = (dtype, shape, layout)
        found = _types.get(key)
        if found is not None:
            return found
        if len(_types) > _MAX_TYPES:
            _types.clear()
        self = object.__new__(cls)
        self.dtype = dtype
        self.shape = shape
        self.layout = layout
        self.key = key
        self._hash = None
        self._numel = None
        _types[key] = self
        return self

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def numel(self) -> Num:
        """Number of elements."""
        known = self._numel
        if known is None:
            known = self._numel = prod(self.shape)
        return known

    @property
    def bytes(self) -> Num:
        """Bytes of the tensor's elements."""
        return self.numel * DTYPE_BYTES[self.dtype]

    def with_shape(self, *shape: Num) -> TensorType:
        """The same dtype with another shape; layouts of axes whose length stays are kept."""
        kept = self.layout
        if kept:
            old = self.shape
            if len(shape) != len(old):
                kept = ()
            else:
                for axis, _ in kept:
                    if shape[axis] != old[axis]:
                        kept = tuple([item for item in kept if shape[item[0]] == old[item[0]]])
                        break
        return TensorType(self.dtype, shape, kept)

    def with_last(self, length: Num) -> TensorType:
        """The same type with the last axis of another length; its layout is kept if the length stays."""
        shape = (*self.shape[:-1], length)
        kept = self.layout
        if kept and kept[-1][0] == len(shape) - 1 and length != self.shape[-1]:
            kept = kept[:-1]
        return TensorType(self.dtype, shape, kept)

    def with_dtype(self, dtype: str) -> TensorType:
        """The same shape and layout with another dtype."""
        return self if dtype == self.dtype else TensorType(dtype, self.shape, self.layout)

    def with_layout(self, axis: int, layout: Layout | None) -> TensorType:
        """The same type with the layout of one axis set or, with None, forgotten."""
        if not self.layout:
            return self if layout is None else TensorType(self.dtype, self.shape, ((axis, layout),))
        rest = [(a, lay) for a, lay in self.layout if a != axis]
        if layout is not None:
            rest.append((axis, layout))
        return TensorType(self.dtype, self.shape, tuple(sorted(rest, key=lambda item: item[0])))

    def mapped(self, size: Callable[[Num], Num]) -> TensorType:
        """The type with what a function makes of each of its sizes, those of layouts too."""
        shape = tuple(map(size, self.shape))
        layout = tuple([(a, Layout(size(lay.prefix), tuple(map(size, lay.grid)))) for a, lay in self.layout])
        return TensorType(self.dtype, shape, layout)

    def layout_of(self, axis: int) -> Layout | None:
        """The layout of an axis (negative counts from the end), if it is known."""
        if self.layout:
            axis %= len(self.shape)
            for a, layout in self.layout:
                if a == axis:
                    return layout
        return None

    def symbols(self) -> frozenset[str]:
        """Names of the symbols in the shape."""
        found: frozenset[str] = frozenset()
        for d in self.shape:
            if isinstance(d, Dim):
                found |= d.free
        return found

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, TensorType) and self.dtype == other.dtype and self.shape == other.shape

    def __hash__(self) -> int:
        known = self._hash
        if known is None:
            known = self._hash = hash((self.dtype, self.shape))
        return known

    def __reduce__(self) -> tuple[Any, ...]:
        return TensorType, (self.dtype, self.shape, self.layout)

    def __str__(self) -> str:
        dims = [str(self.layout_of(a) or d) for a, d in enumerate(self.shape)]
        text = "[" + ", ".join(dims) + "]"
        return text if self.dtype == "float" else f"{self.dtype}{text}"

    __repr__ = __str__


def is_sequence(t: TensorType, axis: int) -> bool:
    """Whether an axis is known to be a row by itself, such as the words of a text: a grid of one side."""
    layout = t.layout_of(axis)
    return layout is not None and len(layout.grid) == 1


def normalize_axis(axis: int, rank: int) -> int | None:
    """``axis`` counted from the front, or None if the rank has no such axis."""
    return axis % rank if -rank <= axis < rank else None
