"""Programs made runnable: on columns of numbers block by block, and on single Python integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from archgraph.analysis.emit import UFUNCS, numpy_source, python_source
from archgraph.analysis.program import Interval, Program

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Rows at a time: so many that Python's part is small, so few that scratch arrays stay in the cache.
ROWS: Final = 8192


class Compiled:
    """A program as two functions, each compiled when it is first called."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.names = tuple(program.results)
        self._scalar: Any = None
        self._vector: Any = None
        self._scratch: dict[type, tuple[list[Any], list[Any]]] = {}

    @property
    def source(self) -> str:
        """The NumPy source."""
        return numpy_source(self.program).text

    def scalar(self, values: Sequence[int]) -> dict[str, Any]:
        """Results for one value of each column, as Python ints of any size."""
        if self._scalar is None:
            self._scalar = _function(python_source(self.program), {"__builtins__": {"max": max, "min": min}})
        found = dict(zip(self.names, self._scalar(*values), strict=True))
        found["valid"] = bool(found["valid"])
        return found

    def run(
        self,
        columns: Sequence[NDArray[Any]],
        out: Mapping[str, NDArray[Any]],
        start: int,
        stop: int,
        exact: bool = False,
    ) -> bool:
        """Fill rows ``start`` to ``stop`` of ``out``; False, and nothing filled, where 64 bits may not do.

        With ``exact`` it computes with Python integers, which ``out`` must take.
        """
        import numpy as np

        if not exact and not self.program.fits([_range(c[start:stop]) for c in columns]):
            return False
        if self._vector is None:
            self._vector = _numpy_function(numpy_source(self.program).text)
        with np.errstate(divide="ignore", over="ignore"):
            for low in range(start, stop, ROWS):
                high = min(low + ROWS, stop)
                kind: Any = object if exact else np.int64
                block = [np.ascontiguousarray(c[low:high], dtype=kind) for c in columns]
                integers, truths = self._arrays(kind, high - low)
                target = {name: array[low:high] for name, array in out.items()}
                self._vector(block, target, integers, truths)
        return True

    def _arrays(self, kind: Any, rows: int) -> tuple[list[Any], list[Any]]:
        """Scratch arrays for a block of so many rows."""
        import numpy as np

        if kind not in self._scratch:
            source = numpy_source(self.program)
            self._scratch[kind] = (
                [np.empty(ROWS, kind) for _ in range(source.integers)],
                [np.empty(ROWS, bool) for _ in range(source.truths)],
            )
        integers, truths = self._scratch[kind]
        return ([a[:rows] for a in integers], [a[:rows] for a in truths]) if rows < ROWS else (integers, truths)


def _range(column: NDArray[Any]) -> Interval:
    return int(column.min()), int(column.max())


def _function(source: str, names: dict[str, Any]) -> Any:
    """The function ``run`` of a source made by `archgraph.analysis.emit`."""
    exec(compile(source, "<compiled cost>", "exec"), names)
    return names["run"]


def _numpy_function(source: str) -> Any:
    import numpy as np

    names = {name: getattr(np, name) for name in UFUNCS}
    return _function(source, {"__builtins__": {}, **names, "ceil_log2": ceil_log2, "floor_divide": _floor_divide})


def _floor_divide(a: Any, b: Any, out: NDArray[Any]) -> None:
    """Division, 0 for a divisor of 0, which Python objects would refuse."""
    import numpy as np

    if out.dtype == object and not isinstance(b, int):
        zero = np.equal(b, 0).astype(bool)
        np.floor_divide(a, np.where(zero, 1, b), out)
        out[zero] = 0
    else:
        np.floor_divide(a, b, out)


def ceil_log2(x: NDArray[Any], out: NDArray[Any]) -> None:
    """The logarithm to base 2 rounded up, 0 below 1."""
    import numpy as np

    rest = np.maximum(x - 1, 0)
    found = np.zeros(len(out), np.int64)
    while rest.any():
        found += (rest != 0).astype(np.int64)
        rest = rest >> 1
    out[:] = found
