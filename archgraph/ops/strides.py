"""How values lie in memory, told without sizes: which axes are neighbours there.

torch's views (`permute`, `select`, `unflatten` …) keep the memory of a value and change how it is walked; merging axes
is a view if they follow each other in memory, else a copy. Both depend on the chain of views alone, so the answer is
the same for numbers and symbols. (Axes that happen to have length 1 would let torch view more; that is left out.)
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

#: What follows the innermost axis: its neighbours are neighbours in memory.
ELEMENT: Final = -1


class Strides(NamedTuple):
    """The layout of one value.

    Attributes
    ----------
    axes : tuple of tuple of int
        For each axis the runs of memory that it walks, from the outside in; none for an axis of length 1.
    follows : tuple of (int, int)
        The run that comes right inside of another one, or `ELEMENT`; a run without an entry has a gap there.
    copied : bool
        The memory is not that of the value that the chain of views began with.
    """

    axes: tuple[tuple[int, ...], ...]
    follows: tuple[tuple[int, int], ...]
    copied: bool = False

    @property
    def inner(self) -> bool:
        """Whether neighbours on the last axis are neighbours in memory."""
        return bool(self.axes and self.axes[-1]) and dict(self.follows).get(self.axes[-1][-1]) == ELEMENT

    def permuted(self, order: list[int]) -> Strides:
        """Axes in another order."""
        return self._replace(axes=tuple([self.axes[k] for k in order]))

    def split(self, axis: int, pieces: int) -> Strides:
        """One axis as several."""
        if not self.axes[axis]:
            return self._replace(axes=(*self.axes[:axis], *((),) * pieces, *self.axes[axis + 1 :]))
        new = tuple(range(self._free, self._free + pieces))
        old = self.axes[axis]
        follows = []
        for run, inside in self.follows:
            if run == old[-1]:
                run = new[-1]
            elif run in old:
                continue
            follows.append((run, new[0] if inside == old[0] else inside))
        follows += pairwise(new)
        axes = (*self.axes[:axis], *((run,) for run in new), *self.axes[axis + 1 :])
        return self._replace(axes=axes, follows=tuple(follows))

    def merged(self, start: int, end: int) -> Strides | None:
        """Axes ``start`` … ``end`` as one, or None where that copies."""
        inside = dict(self.follows)
        runs: tuple[int, ...] = ()
        for more in self.axes[start : end + 1]:
            if runs and more and inside.get(runs[-1]) != more[0]:
                return None
            runs += more
        return self._replace(axes=(*self.axes[:start], runs, *self.axes[end + 1 :]))

    def part(self, axis: int, every: bool = True) -> Strides:
        """Some of the elements of an axis; ``every`` one of a range, or with steps between them."""
        runs = self.axes[axis]
        if not runs:
            return self
        kept = [pair for pair in self.follows if pair[1] != runs[0] and (every or pair[0] != runs[-1])]
        return self._replace(follows=tuple(kept))

    def windows(self, axis: int, every: bool) -> Strides:
        """Windows that slide along an axis, by one element or more; their elements are a new last one."""
        cut = self.part(axis, every)
        old = self.axes[axis]
        inside = dict(self.follows).get(old[-1]) if old else None
        if not old:
            return cut.with_ones(len(cut.axes))
        more = () if inside is None else ((self._free, inside),)
        return cut._replace(axes=(*cut.axes, (self._free,)), follows=(*cut.follows, *more))

    @property
    def _free(self) -> int:
        """A number that no run has."""
        runs = [run for runs in self.axes for run in runs]
        return 1 + max((*runs, *(run for pair in self.follows for run in pair)), default=0)

    def without(self, axis: int) -> Strides:
        """One element of an axis, which is dropped."""
        cut = self.part(axis, every=False)
        return cut._replace(axes=(*cut.axes[:axis], *cut.axes[axis + 1 :]))

    def with_ones(self, axis: int, count: int = 1) -> Strides:
        """New axes of length 1, or axes along which nothing moves."""
        return self._replace(axes=(*self.axes[:axis], *((),) * count, *self.axes[axis:]))


def contiguous(rank: int) -> Strides:
    """A new value's layout."""
    follows = tuple([(k, k + 1 if k < rank - 1 else ELEMENT) for k in range(rank)])
    return Strides(tuple([(k,) for k in range(rank)]), follows)
