"""Patterns of indexing, in einx's notation: `b [n] c, b j -> b j c`.

The first operand is the table, its axes in square brackets are indexed. Either as many index operands follow as there
are such axes (`[h w] c, p, p -> p c`), or one with an axis of coordinates (`[h w] c, p [2] -> p c`). Axes that table
and index share are batch axes: each element looks up its own part of the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from archgraph.ir.dim import Num, eq, prod
from archgraph.ir.types import Layout, TensorType
from archgraph.ops import einops_lowering
from archgraph.ops.axes import DECIDED
from archgraph.ops.base import Context, Emitter, Handle, fail
from archgraph.ops.einops_patterns import COMPOSED, ELLIPSIS, Group, expand, parse_side, solve, wrong


class IndexPlan(NamedTuple):
    """A pattern of indexing, for operands of known rank.

    ``operands`` and ``result`` are axes before and after the arrow; ``marked`` the indexed axes in the table's order;
    ``batch`` the table's axes that an index has too, ``free`` those that none has; ``rows`` the axes of the indices
    that the table has not; ``coordinate`` the axis of an index operand that numbers the indexed axes.
    """

    pattern: str
    operands: tuple[tuple[Group, ...], ...]
    result: tuple[Group, ...] | None
    marked: Group
    batch: Group
    free: Group
    rows: Group
    coordinate: str | None
    sizes: Mapping[str, int]

    @property
    def table(self) -> tuple[Group, ...]:
        """The table's axes as they are indexed: the marked ones merged, at the place of the first."""
        names = [name for group in self.operands[0] for name in group]
        return tuple(
            self.marked if name == self.marked[0] else (name,)
            for name in names
            if name not in self.marked or name == self.marked[0]
        )


@lru_cache(maxsize=1024)
def index_plan(pattern: str, ranks: tuple[int, ...], updates: bool) -> IndexPlan:
    """The plan of ``pattern`` for operands of these ranks; with ``updates`` the last one holds the values to write.

    Raises
    ------
    OpError
        If the pattern is malformed or does not fit the operands.
    """
    before, arrow, after = pattern.partition("->")
    if not arrow and not updates:
        wrong(pattern, "one arrow `->` is needed")
    texts = before.split(",")
    if len(texts) != len(ranks):
        fail(
            f'pattern "{pattern}" takes {len(texts)} operand{"s" * (len(texts) != 1)}',
            f"{len(texts)} operand{'s' * (len(texts) != 1)}",
            f"{len(ranks)} operands",
            key="pattern",
        )
    sides = []
    sizes: dict[str, int] = {}
    for text in [*texts, *([after] if arrow else [])]:
        side = parse_side(text, pattern, brackets=True, start=len(sizes))
        sizes.update(side.sizes)
        sides.append(side)
    groups: list[tuple[Group, ...]] = []
    axes: int | None = None
    for side, rank in zip(sides, (*ranks, None), strict=False):
        filled = axes if {ELLIPSIS, COMPOSED} & {*side.names} else None
        found, count = expand(side, rank if rank is not None else len(side.groups), pattern, filled)
        if rank is not None and len(found) != rank:
            fail(
                f'pattern "{pattern}" takes {len(found)} axes for `{_text(found)}`', found=f"{rank} axes", key="pattern"
            )
        axes = count if ELLIPSIS in side.names else axes
        groups.append(found)
    result = groups.pop() if arrow else None
    return _plan(pattern, tuple(groups), result, [side.marked for side in sides[: len(ranks)]], sizes, updates)


def _text(groups: Sequence[Group]) -> str:
    return " ".join("1" if not g else g[0] if len(g) == 1 else f"({' '.join(g)})" for g in groups)


def _plan(
    pattern: str,
    operands: tuple[tuple[Group, ...], ...],
    result: tuple[Group, ...] | None,
    marks: list[frozenset[str]],
    sizes: Mapping[str, int],
    updates: bool,
) -> IndexPlan:
    flat = [tuple(name for group in groups for name in group) for groups in operands]
    marked = tuple(name for name in flat[0] if name in marks[0])
    if not marked:
        wrong(pattern, "the indexed axes of the first operand stand in square brackets")
    indices = flat[1:-1] if updates else flat[1:]
    index_marks = [name for names in marks[1 : 1 + len(indices)] for name in names]
    coordinate = index_marks[0] if index_marks else None
    if coordinate is not None and (len(index_marks) > 1 or len(indices) > 1):
        wrong(pattern, "only a single index operand has an axis of coordinates")
    if coordinate is None and len(indices) != len(marked):
        wrong(pattern, f"{len(marked)} indexed axes take {len(marked)} index operands, or one with `[{len(marked)}]`")
    seen = dict.fromkeys(name for names in indices for name in names if name != coordinate)
    if twice := [name for name in marked if name in seen]:
        wrong(pattern, f"the indexed axis `{twice[0]}` can't be an axis of an index")
    unmarked = [name for name in flat[0] if name not in marked]
    plan = IndexPlan(
        pattern,
        operands,
        result,
        marked,
        tuple(name for name in unmarked if name in seen),
        tuple(name for name in unmarked if name not in seen),
        tuple(name for name in seen if name not in unmarked),
        coordinate,
        sizes,
    )
    if updates:
        _same_axes(pattern, flat[-1], (*plan.batch, *plan.free, *plan.rows), "the updates")
        if result is not None and result != operands[0]:
            wrong(pattern, "the result is composed as the first operand")
    else:
        assert result is not None
        names = tuple(name for group in result for name in group)
        _same_axes(pattern, names, (*plan.batch, *plan.free, *plan.rows), "the result")
    return plan


def _same_axes(pattern: str, found: Sequence[str], wanted: Sequence[str], what: str) -> None:
    for name in wanted:
        if name not in found:
            wrong(pattern, f"{what} must have the axis `{name}`")
    for name in found:
        if name not in wanted:
            wrong(pattern, f"{what} can't have the axis `{name}`")


def index_sizes(p: IndexPlan, cx: Context, types: Sequence[TensorType], lengths: Mapping[str, Num]) -> dict[str, Num]:
    """The size of every axis, required to agree between the operands."""
    sizes: dict[str, Num] = {}
    for groups, x in zip(p.operands, types, strict=True):
        sizes.update(solve(p.pattern, groups, cx, x, {**p.sizes, **lengths, **sizes}))
    if p.coordinate is not None:
        count = eq(sizes[p.coordinate], len(p.marked))
        cx.require(count, f'"{p.pattern}" indexes {len(p.marked)} axes, so its axis of coordinates has that many')
    return sizes


def known_layouts(p: IndexPlan, types: Sequence[TensorType]) -> dict[str, Layout]:
    """Layouts of axes that are axes of an operand by themselves."""
    found: dict[str, Layout] = {}
    for groups, x in zip(p.operands, types, strict=True):
        for axis, layout in x.layout:
            if len(groups[axis]) == 1:
                found.setdefault(groups[axis][0], layout)
    return found


# -- lowering ----------------------------------------------------------------------------------------------------


class Lookup:
    """The operands of an indexing while it is lowered: split into their axes, several indices made one."""

    def __init__(self, b: Emitter, p: IndexPlan, lengths: Mapping[str, Num], args: Sequence[Handle]) -> None:
        self.b = b
        self.p = p
        self.lengths = lengths
        self.sizes = index_sizes(p, DECIDED, b.in_types, lengths)
        self.order: tuple[Group, ...] = tuple((name,) for name in self._index_axes())
        count = 1 if p.coordinate is not None else len(p.marked)
        self.index = self._index(args[1 : 1 + count])

    def arrange(self, x: Handle, left: tuple[Group, ...], right: tuple[Group, ...]) -> Handle:
        """Emit a rearrangement."""
        return einops_lowering.emit(self.b, x, left, right, self.sizes, self.lengths)

    def index_as(self, *right: Group) -> Handle:
        """The index, composed as ``right``."""
        return self.arrange(self.index, self.order, right)

    def _index_axes(self) -> tuple[str, ...]:
        p = self.p
        count = 1 if p.coordinate is not None else len(p.marked)
        names = (name for groups in p.operands[1 : 1 + count] for group in groups for name in group)
        return tuple(dict.fromkeys(name for name in names if name != p.coordinate))

    def _index(self, given: Sequence[Handle]) -> Handle:
        """One index into the merged marked axes."""
        b, p = self.b, self.p
        parts = []
        for k, x in enumerate(given):
            if b.in_types[1 + k].dtype != "int64":
                x = b.method("long", x)
            split = tuple((name,) for group in p.operands[1 + k] for name in group)
            x = self.arrange(x, p.operands[1 + k], split)
            if p.coordinate is not None:
                axis = split.index((p.coordinate,))
                rest = split[:axis] + split[axis + 1 :]
                columns = [b.method("select", x, axis, j) for j in range(len(p.marked))]
                parts = [self.arrange(column, rest, self.order) for column in columns]
            else:
                padded = tuple(name if name in split else () for name in self.order)
                parts.append(self.arrange(x, split, padded))
        found = parts[0]
        for part, name in zip(parts[1:], p.marked[1:], strict=True):
            found = b.call("operator.add", b.call("operator.mul", found, b.size(self.sizes[name])), part)
        return found

    @property
    def rows_at_once(self) -> bool:
        """Whether whole rows of the table are moved, so that batch and indexed axes are best merged."""
        return bool(self.p.batch) and bool(self.p.free)

    def flat_rows(self) -> Handle:
        """Indices into the batch axes merged with the indexed ones, one list for all: [batch · rows]."""
        b, p = self.b, self.p
        n = prod(self.sizes[name] for name in p.marked)
        index = self.index_as(p.batch, p.rows)
        total = n * prod(self.sizes[name] for name in p.batch)
        device = b.call("builtins.getattr", index, "device")
        starts = b.call("torch.arange", 0, b.size(total), b.size(n), device=device)
        return b.method("flatten", b.call("operator.add", index, b.method("unsqueeze", starts, 1)))


def with_rows(table: tuple[Group, ...], p: IndexPlan) -> tuple[Group, ...]:
    """The table's axes with the rows of the index at the place of the indexed axes."""
    return tuple(p.rows if group == p.marked else group for group in table)
