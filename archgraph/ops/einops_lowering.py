"""The cheapest chain of torch calls for a rearrangement of axes.

Axes that stay neighbours are moved as one. Splitting is ``unflatten`` with the factors that were given (one may be
``-1``), merging is ``flatten``, so that neither the batch nor any inferred size is baked into the program.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from archgraph.ir.dim import Num, prod
from archgraph.ops.base import Emitter, Handle
from archgraph.ops.einops_patterns import Group
from archgraph.ops.strides import Strides, contiguous


class Step(NamedTuple):
    """One call: ``kind`` is the tensor method; ``dims`` its axes; ``pieces`` the factors of an ``unflatten``."""

    kind: str
    dims: tuple[int, ...] = ()
    pieces: tuple[Group, ...] = ()


@lru_cache(maxsize=1024)
def steps(left: tuple[Group, ...], right: tuple[Group, ...]) -> tuple[Step, ...]:
    """The calls that bring a tensor composed as ``left`` to ``right``, which has the same axes."""
    if left == right:
        return ()
    found: list[Step] = []
    left, right = _keep_ones(left, right)
    ones = tuple(axis for axis, group in enumerate(left) if not group)
    if ones:
        found.append(Step("squeeze", ones))
    before = [group for group in left if group]
    after = [group for group in right if group]
    units = _units(before, after)
    place = {name: k for k, unit in enumerate(units) for name in unit}

    axes = _split(before, place, found)
    axes = _merge(axes, place, found)
    home = {name: k for k, group in enumerate(after) for name in group}
    wanted = sorted(range(len(axes)), key=lambda k: _position(axes[k][0], after))
    if step := _permutation(wanted):
        found.append(step)
    axes = [axes[k] for k in wanted]
    axes = _split(axes, home, found)
    _merge(axes, home, found)
    found.extend(Step("unsqueeze", (axis,)) for axis, group in enumerate(right) if not group)
    return tuple(found)


def _keep_ones(left: tuple[Group, ...], right: tuple[Group, ...]) -> tuple[tuple[Group, ...], tuple[Group, ...]]:
    """Name the axes of size 1 that follow the same axis on both sides, so that they stay."""
    after, before = _ones(right), _ones(left)
    named_left, named_right = list(left), list(right)
    for previous, axes in before.items():
        for axis, other in zip(axes, after.get(previous, ()), strict=False):
            named_left[axis] = named_right[other] = (f"1:{axis}",)
    return tuple(named_left), tuple(named_right)


def _ones(groups: Sequence[Group]) -> dict[str, list[int]]:
    """Axes of size 1 by the name of the axis before them."""
    found: dict[str, list[int]] = {}
    previous = ""
    for axis, group in enumerate(groups):
        if group:
            previous = group[-1]
        else:
            found.setdefault(previous, []).append(axis)
    return found


def _position(name: str, groups: Sequence[Group]) -> tuple[int, int]:
    return next((k, group.index(name)) for k, group in enumerate(groups) if name in group)


def _units(before: Sequence[Group], after: Sequence[Group]) -> list[Group]:
    """Runs of axes that are moved as one axis.

    Two neighbours on both sides stay together if they share an axis before (then a run of whole axes is split after
    the move) or after (then it is merged before the move); in a run with both kinds the first kind is split at once.
    """
    came = {name: k for k, group in enumerate(before) for name in group}
    goes = {name: k for k, group in enumerate(after) for name in group}
    order = [name for group in before for name in group]
    follower = _followers(after)
    runs: list[list[str]] = []
    for name in order:
        last = runs[-1][-1] if runs else None
        glued = last is not None and follower.get(last) == name
        if glued and last is not None and (came[last] == came[name] or goes[last] == goes[name]):
            runs[-1].append(name)
        else:
            runs.append([name])
    units: list[Group] = []
    for run in runs:
        pairs = list(pairwise(run))
        merged = any(came[a] != came[b] for a, b in pairs)
        unit = [run[0]]
        for a, b in pairs:
            if merged and goes[a] != goes[b]:
                units.append(tuple(unit))
                unit = []
            unit.append(b)
        units.append(tuple(unit))
    return units


def _followers(groups: Sequence[Group]) -> dict[str, str]:
    order = [name for group in groups for name in group]
    return dict(pairwise(order))


def _split(axes: Sequence[Group], owner: Mapping[str, int], found: list[Step]) -> list[Group]:
    """Split each axis where its parts have different owners."""
    result: list[Group] = []
    for axis in range(len(axes) - 1, -1, -1):
        pieces = tuple(tuple(names) for _, names in groupby(axes[axis], key=owner.__getitem__))
        if len(pieces) > 1:
            found.append(Step("unflatten", (axis,), pieces))
        result[:0] = pieces
    return result


def _merge(axes: Sequence[Group], owner: Mapping[str, int], found: list[Step]) -> list[Group]:
    """Merge neighbouring axes with one owner."""
    runs = [list(run) for _, run in groupby(range(len(axes)), key=lambda k: owner[axes[k][0]])]
    for run in reversed(runs):
        if len(run) > 1:
            last = run[-1] == len(axes) - 1
            found.append(Step("flatten", (run[0],) if last else (run[0], run[-1])))
    return [tuple(name for k in run for name in axes[k]) for run in runs]


def _permutation(wanted: Sequence[int]) -> Step | None:
    moved = [k for k, source in enumerate(wanted) if source != k]
    if not moved:
        return None
    return Step("transpose", tuple(moved)) if len(moved) == 2 else Step("permute", tuple(wanted))


def aliases(left: tuple[Group, ...], right: tuple[Group, ...], strides: Strides) -> Strides:
    """How the result lies: a step that merges axes which no longer lie in order copies."""
    found = strides
    for kind, dims, pieces in steps(left, right):
        rank = len(found.axes)
        if kind == "flatten":
            last = dims[1] if len(dims) > 1 else rank - 1
            merged = found.merged(dims[0], last)
            found = contiguous(rank - (last - dims[0]))._replace(copied=True) if merged is None else merged
        elif kind == "unflatten":
            found = found.split(dims[0], len(pieces))
        elif kind == "unsqueeze":
            found = found.with_ones(dims[0] % (rank + 1))
        elif kind == "squeeze":
            found = found.permuted([axis for axis in range(rank) if axis not in dims])
        else:
            order = list(dims) if kind == "permute" else list(range(rank))
            if kind == "transpose":
                order[dims[0]], order[dims[1]] = dims[1], dims[0]
            found = found.permuted(order)
    return found


def emit(
    b: Emitter,
    x: Handle,
    left: tuple[Group, ...],
    right: tuple[Group, ...],
    sizes: Mapping[str, Num],
    given: Collection[str] = (),
) -> Handle:
    """Emit the steps from ``left`` to ``right``; ``given`` are the axes whose sizes are the user's own numbers."""
    for kind, dims, pieces in steps(left, right):
        if kind == "unflatten":
            x = b.method("unflatten", x, dims[0], factors(b, pieces, sizes, given))
        elif kind == "squeeze" and len(dims) > 1:
            x = b.method("squeeze", x, dims)
        else:
            x = b.method(kind, x, *dims)
    return x


def factors(
    b: Emitter, pieces: Sequence[Group], sizes: Mapping[str, Num], given: Collection[str] = ()
) -> tuple[Any, ...]:
    """Sizes of the parts of one axis; one that was not given, or is symbolic, is ``-1``, but for an empty axis."""
    values = [prod(sizes[name] for name in piece) for piece in pieces]
    if 0 in values:
        return tuple(b.size(value) for value in values)  # -1 would be ambiguous
    loose = [k for k, piece in enumerate(pieces) if any(name not in given for name in piece)]
    loose += [k for k, value in enumerate(values) if not isinstance(value, int)]
    return tuple(-1 if loose and k == loose[0] else b.size(value) for k, value in enumerate(values))
