"""torch's broadcasting of shapes, with symbols: right-aligned, an axis of one against any."""

from __future__ import annotations

from archgraph.ir.dim import Dim, Num, eq, sym
from archgraph.ops.base import Context, fail


def broadcast(cx: Context, *shapes: tuple[Num, ...]) -> tuple[Num, ...]:
    """The shape that these shapes broadcast to.

    An axis is stretched only if it is known to be 1; sizes that may or may not agree are required to (``2*(H//2)`` and
    ``H``).

    Raises
    ------
    OpError
        If two sizes differ, two different symbols included.
    """
    result = list(shapes[0])
    for shape in shapes[1:]:
        if tuple(result) == shape:
            continue
        if len(shape) > len(result):
            result = [*shape[: len(shape) - len(result)], *result]
        for axis in range(1, min(len(shape), len(result)) + 1):
            a, b = result[-axis], shape[-axis]
            if a is b or b == 1 or a == b:
                continue
            if a == 1:
                result[-axis] = b
                continue
            symbols = _is_symbol(a) and _is_symbol(b)
            cond = False if symbols else eq(a, b)
            if cond is False:
                fail(
                    "shapes don't broadcast",
                    "equal sizes or 1",
                    " against ".join(f"[{', '.join(map(str, s))}]" for s in shapes),
                    f"sizes that are equal carry one name, not `{a}` and `{b}`" if symbols else None,
                )
            if cond is not True:
                cx.require(cond, f"axes {-axis} of shapes that broadcast must be equal")
            if isinstance(b, int):
                result[-axis] = b
    return tuple(result)


def _is_symbol(n: Num) -> bool:
    return isinstance(n, Dim) and len(n.free) == 1 and n is sym(*n.free)
