"""torch's broadcasting of shapes, with symbols: right-aligned, an axis of one against any."""

from __future__ import annotations

from archgraph.ir.dim import Num, eq
from archgraph.ops.base import Context, fail


def broadcast(cx: Context, *shapes: tuple[Num, ...]) -> tuple[Num, ...]:
    """The shape that these shapes broadcast to.

    An axis is stretched only if it is known to be 1; sizes that may or may not agree are required to.

    Raises
    ------
    OpError
        If two sizes differ.
    """
    result = list(shapes[0])
    for shape in shapes[1:]:
        if len(shape) > len(result):
            result = [*shape[: len(shape) - len(result)], *result]
        for axis in range(1, min(len(shape), len(result)) + 1):
            a, b = result[-axis], shape[-axis]
            if a is b or b == 1 or a == b:
                continue
            if a == 1:
                result[-axis] = b
                continue
            cond = eq(a, b)
            if cond is False:
                fail(
                    "shapes don't broadcast",
                    "equal sizes or 1",
                    " against ".join(f"[{', '.join(map(str, s))}]" for s in shapes),
                )
            if cond is not True:
                cx.require(cond, f"axes {-axis} of shapes that broadcast must be equal")
            if isinstance(b, int):
                result[-axis] = b
    return tuple(result)
