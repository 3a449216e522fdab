"""Einops patterns: parsing, axis sizes, token-grid layouts, and the chain of torch calls that does a rearrangement.

``b (h w) c -> b c h w``: words name axes, parentheses compose them (the first is the slowest), ``...`` stands for any
axes, ``1`` for an axis of size 1. A pattern is parsed once; what depends on the rank only (see `plan`) is kept as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, NoReturn

from archgraph.ir.dim import Num, divides, eq, prod
from archgraph.ir.types import Layout, TensorType, is_sequence
from archgraph.ops.base import Context, fail

#: The axes that one axis of a tensor is composed of; empty for an axis of size 1.
Group = tuple[str, ...]
ELLIPSIS: Final = "..."
#: The ellipsis in parentheses: all its axes are one axis of the tensor.
COMPOSED: Final = "(...)"
_TOKEN: Final = re.compile(r"\s*(\.\.\.|[()\[\]]|[A-Za-z_]\w*|\d+)")


class Side(NamedTuple):
    """One operand or result of a pattern.

    ``groups`` has one entry per axis of the tensor, ``marked`` the axes in square brackets, ``sizes`` the axes that are
    written as a number (``2`` becomes an axis of its own, named by the number and as many primes as needed).
    """

    groups: tuple[Group, ...]
    marked: frozenset[str]
    sizes: tuple[tuple[str, int], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for group in self.groups for name in group)


MAX_PATTERN: Final = 1000
"""Characters of one side of a pattern."""


def parse_side(text: str, pattern: str, brackets: bool = False, start: int = 0) -> Side:
    """Parse one operand of ``pattern``; numbers are made distinct from the ``start``-th on.

    Raises
    ------
    OpError
        Naming the pattern and what is wrong in it.
    """
    groups: list[Group] = []
    sizes: list[tuple[str, int]] = []
    marked: set[str] = set()
    inside: list[str] | None = None
    marking = False
    at = 0
    if len(text) > MAX_PATTERN:
        wrong(f"{text[:40]}…", f"longer than {MAX_PATTERN} characters")
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            wrong(pattern, f"`{text[at:].strip()[0]}` has no meaning here")
        word, at = found[1], found.end()
        if word == "(":
            if inside is not None or marking:
                wrong(pattern, "parentheses don't nest")
            inside = []
        elif word == ")":
            if inside is None:
                wrong(pattern, "a `)` without its `(`")
            groups.append(tuple(inside))
            inside = None
        elif word in "[]":
            if not brackets or inside is not None or marking == (word == "["):
                wrong(pattern, f"`{word}` has no meaning here")
            marking = word == "["
        elif word == "1":
            if marking:
                wrong(pattern, "an axis of size 1 can't be indexed")
            if inside is None:
                groups.append(())
        else:
            if word.isdigit():
                size = int(word)
                if size == 0:
                    wrong(pattern, "an axis can't be empty")
                word += "'" * (start + len(sizes))
                sizes.append((word, size))
            if marking:
                if word == ELLIPSIS:
                    wrong(pattern, "`...` can't be indexed")
                marked.add(word)
            if inside is None:
                groups.append((word,))
            else:
                inside.append(COMPOSED if word == ELLIPSIS else word)
    if inside is not None or marking:
        wrong(pattern, "a bracket is not closed")
    side = Side(tuple(groups), frozenset(marked), tuple(sizes))
    names = side.names
    if ELLIPSIS in names and COMPOSED in names:
        wrong(pattern, "`...` stands twice on one side")
    if twice := [n for n in names if names.count(n) > 1]:
        wrong(pattern, f"`{twice[0]}` stands twice on one side")
    return side


def wrong(pattern: str, why: str) -> NoReturn:
    """Raise `OpError` about a pattern itself."""
    fail(f'pattern "{pattern}": {why}', key="pattern")


def expand(side: Side, rank: int, pattern: str, axes: int | None = None) -> tuple[tuple[Group, ...], int]:
    """The groups with ``...`` replaced by as many axes as ``rank`` leaves, or by ``axes`` where that is known."""
    groups = side.groups
    if ELLIPSIS not in side.names:
        if COMPOSED in side.names and axes is None:
            wrong(pattern, "`...` can't stand in parentheses before the arrow")
        if axes is None and len(groups) != rank:
            fail(f'pattern "{pattern}" takes {len(groups)} axes', f"{len(groups)} axes", f"{rank} axes", key="pattern")
    elif axes is None:
        axes = rank - len(groups) + 1
        if axes < 0:
            fail(f'pattern "{pattern}" takes {len(groups) - 1} axes or more', found=f"{rank} axes", key="pattern")
    filled = tuple(f"...{k}" for k in range(axes or 0))
    found: list[Group] = []
    for group in groups:
        if group == (ELLIPSIS,):
            found.extend((name,) for name in filled)
        else:
            found.append(tuple(n for name in group for n in (filled if name == COMPOSED else (name,))))
    return tuple(found), axes or 0


class Plan(NamedTuple):
    """A pattern with one operand, for a tensor of known rank: its axes before and after, numbers, and layout rules."""

    pattern: str
    left: tuple[Group, ...]
    right: tuple[Group, ...]
    #: Axes after the arrow that are not before it, and the reverse.
    new: tuple[str, ...]
    gone: tuple[str, ...]
    #: Axes whose size the pattern itself states.
    sizes: Mapping[str, int]
    grids: tuple[tuple[int, int, Group], ...]
    #: All axes.
    names: frozenset[str]


@lru_cache(maxsize=1024)
def plan(pattern: str, rank: int) -> Plan:
    """The plan of ``pattern`` for an operand with ``rank`` axes.

    Raises
    ------
    OpError
        If the pattern is malformed or does not fit the rank.
    """
    sides = pattern.split("->")
    if len(sides) != 2:
        wrong(pattern, "one arrow `->` is needed")
    before = parse_side(sides[0], pattern)
    after = parse_side(sides[1], pattern, start=len(before.sizes))
    left, axes = expand(before, rank, pattern)
    if {ELLIPSIS, COMPOSED} & {*after.names} and ELLIPSIS not in before.names:
        wrong(pattern, "`...` stands only after the arrow")
    right, _ = expand(after, rank, pattern, axes)
    old = {name for group in left for name in group}
    kept = {name for group in right for name in group}
    return Plan(
        pattern,
        left,
        right,
        tuple(n for group in right for n in group if n not in old),
        tuple(n for group in left for n in group if n not in kept),
        dict(before.sizes + after.sizes),
        tuple(_grid_rules(left, right)),
        frozenset(old | kept),
    )


# -- sizes -------------------------------------------------------------------------------------------------------


def axis_sizes(p: Plan, cx: Context, x: TensorType, lengths: Mapping[str, Num]) -> dict[str, Num]:
    """The size of every axis of the pattern, from the operand's shape, its layouts and the given ``lengths``."""
    known: dict[str, Num] = {**p.sizes, **lengths}
    if lengths:
        for name in lengths:
            if name not in p.names:
                fail(
                    f'pattern "{p.pattern}" has no axis `{name}`',
                    f"one of {', '.join(sorted(p.names))}",
                    name,
                    key="pattern",
                )
    sizes = solve(p.pattern, p.left, cx, x, known)
    for name in p.new:
        if name not in known:
            fail(
                f'the size of `{name}` in "{p.pattern}" is not known',
                hint=f"write it beside the pattern: `{name}: …`, or `axes_lengths: {{{name}: …}}`",
                key="pattern",
            )
        sizes[name] = known[name]
    return sizes


def solve(
    pattern: str, groups: Sequence[Group], cx: Context, x: TensorType, known: Mapping[str, Num]
) -> dict[str, Num]:
    """Sizes of the axes in ``groups`` for the tensor ``x``; at most one per group is inferred by division."""
    sizes: dict[str, Num] = {}
    shape = x.shape
    for axis, group in enumerate(groups):
        n = shape[axis]
        if len(group) == 1:
            name = group[0]
            if name in known:
                _require_equal(pattern, cx, x, axis, known[name], name)
            sizes[name] = n
            continue
        unknown = [name for name in group if name not in known]
        if len(unknown) > 1:
            sizes.update(_from_layout(pattern, cx, x, axis, group, unknown, known))
            continue
        rest: Num = 1
        for name in group:
            given = sizes[name] = known.get(name, 0)
            if name in known:
                rest *= given
        if not unknown:
            _require_equal(pattern, cx, x, axis, rest, _written(group))
        else:
            fits = divides(rest, n) if rest != 1 else True
            if fits is not True:
                cx.require(
                    fits, f'{rest} must divide {n} (axis {axis} of {x}), split as `{_written(group)}` in "{pattern}"'
                )
            sizes[unknown[0]] = n // rest
    return sizes


def _require_equal(pattern: str, cx: Context, x: TensorType, axis: int, given: Num, what: str) -> None:
    same = eq(x.shape[axis], given)
    if same is not True:
        cx.require(same, f'`{what}` in "{pattern}" is {given}, but axis {axis} of {x} has {x.shape[axis]}')


def _from_layout(
    pattern: str,
    cx: Context,
    x: TensorType,
    axis: int,
    group: Group,
    unknown: list[str],
    known: Mapping[str, Num],
) -> dict[str, Num]:
    layout = x.layout_of(axis)
    if layout is not None and len(layout.grid) == len(group):
        if layout.prefix == 0:
            for name, n in zip(group, layout.grid, strict=True):
                if name in known:
                    cx.require(eq(n, known[name]), f'`{name}` in "{pattern}" is {known[name]}, but the grid has {n}')
            return dict(zip(group, layout.grid, strict=True))
        fail(
            f"axis {axis} of {x} has {layout.prefix} prefix tokens before its grid",
            hint=f"take them off first: {{op: slice, dim: {axis}, start: {layout.prefix}}}",
            key="pattern",
        )
    names = " or ".join(f"`{name}`" for name in unknown)
    fail(
        f'pattern "{pattern}" needs the size of {names}',
        found=x,
        hint=f"write it beside the pattern: `{unknown[0]}: …`; only a token grid's axis knows its factors",
        key="pattern",
    )


def _written(group: Group) -> str:
    return (group[0] if len(group) == 1 else f"({' '.join(group)})") if group else "1"


# -- layouts -----------------------------------------------------------------------------------------------------


def _grid_rules(left: Sequence[Group], right: Sequence[Group]) -> Iterable[tuple[int, int, Group]]:
    """What is known of each axis after the arrow: ``(axis, source, names)``.

    ``names`` empty: the layout of the axis ``source`` before the arrow. Otherwise the axis is the grid of these names
    if no axis ``source, source + 1, …`` before the arrow had a layout (a window partition); for a negative one
    (neighbouring axes flattened, from ``-1 - source`` on) if none of them is a sequence.
    """
    place = {name: (axis, k) for axis, group in enumerate(left) for k, name in enumerate(group)}
    for axis, group in enumerate(right):
        if any(name not in place for name in group) or not group:
            continue
        if group in left:
            yield axis, left.index(group), ()
            continue
        axes = [place[name][0] for name in group]
        if len(group) == 1 or axes != list(range(axes[0], axes[0] + len(axes))):
            continue
        sources = left[axes[0] : axes[-1] + 1]
        if all(len(g) == 1 for g in sources):
            yield axis, -1 - axes[0], group
        elif len({len(g) for g in sources}) == 1 and len({place[name][1] for name in group}) == 1:
            yield axis, axes[0], group


def result_type(p: Plan, x: TensorType, sizes: Mapping[str, Num], dtype: str | None = None) -> TensorType:
    """The type after the arrow: shape by ``sizes``, layouts kept, made or forgotten."""
    shape = tuple([sizes[group[0]] if len(group) == 1 else prod([sizes[name] for name in group]) for group in p.right])
    layouts: list[tuple[int, Layout]] = []
    for axis, source, names in p.grids:
        if not names:
            kept = x.layout_of(source)
            if kept is not None:
                layouts.append((axis, kept))
        elif (
            not x.layout
            or (source < 0 and not any(is_sequence(x, a) for a in range(-1 - source, -1 - source + len(names))))
            or (source >= 0 and all(x.layout_of(a) is None for a in range(source, source + len(names))))
        ):
            layouts.append((axis, Layout(0, [sizes[name] for name in names])))
    return TensorType(dtype or x.dtype, shape, tuple(layouts))
