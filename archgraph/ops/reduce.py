"""Reductions by einops patterns."""

from __future__ import annotations

from itertools import groupby
from typing import Any, Final, NamedTuple

from archgraph.ir.types import TensorType, is_float
from archgraph.ops import einops_lowering
from archgraph.ops.base import Context, Cost, Emitter, Handle, attr, fail
from archgraph.ops.drawing import pick
from archgraph.ops.einops_patterns import Group, Plan, axis_sizes, plan, result_type
from archgraph.ops.kinds import BOOL, TEXT, WordKind
from archgraph.ops.shape import Patterned, known_sizes


class Reduction(NamedTuple):
    """How one reduction is typed, counted and called.

    ``work`` and ``closing`` are elementary operations per element of the operand and of the result.
    """

    method: str
    work: int
    closing: int = 0
    #: Dtype of the result: ``same``, ``sum`` (integers widen to int64), ``float`` (takes floats only) or ``bool``.
    dtype: str = "same"
    #: Reducing no axis leaves the values as they are.
    neutral: bool = True


_REDUCTIONS: Final = {
    "mean": Reduction("mean", 1, 1, "float"),
    "sum": Reduction("sum", 1, dtype="sum"),
    "max": Reduction("amax", 1),
    "min": Reduction("amin", 1),
    "prod": Reduction("prod", 1, dtype="sum"),
    "var": Reduction("var", 4, 2, "float", neutral=False),
    "std": Reduction("std", 4, 3, "float", neutral=False),
    "logsumexp": Reduction("logsumexp", 4, 2, "float"),
    "any": Reduction("any", 1, dtype="bool", neutral=False),
    "all": Reduction("all", 1, dtype="bool", neutral=False),
}

#: Patterns to draw for an operand of each rank.
_PATTERNS: Final = {
    1: ["n -> ", "n -> 1"],
    2: ["b c -> b", "b c -> c 1", "b c -> 1 c"],
    3: ["b n c -> b c", "b n c -> b 1 c", "b n c -> c b"],
    4: ["b c h w -> b c", "b c h w -> b c 1 1", "b c h w -> b (h w) 1"],
}


class Reduce(Patterned, name="reduce"):
    """Reduce axes by an einops pattern: `b n c -> b c`; those that stand only before the arrow go.

    Operations per element of the operand, and per element of the result: sum, prod, max, min, any, all 1 and 0; mean 1
    and 1; var 4 and 2 (mean; subtract, square, add); std 4 and 3; logsumexp 4 and 2 (max, subtract, exp, add; then
    log and add).
    """

    pattern: str = attr(
        TEXT,
        doc="einops pattern; the axes that stand only before the arrow are reduced",
        draw=lambda draw, ins, attrs: pick(draw, _PATTERNS.get(ins[0].rank, ["b ... -> b"])),
    )
    reduction: str = attr(
        WordKind(*_REDUCTIONS),
        doc="what is done along the reduced axes",
        draw=lambda draw, ins, attrs: pick(draw, _drawable(ins[0])),
    )
    unbiased: bool = attr(BOOL, False, doc="var and std divide by n - 1 instead of n", inert=True)
    free = False

    def infer(self, cx: Context, x: TensorType) -> TensorType:
        p = plan(self.pattern, x.rank)
        rule = _REDUCTIONS[self.reduction]
        if p.new:
            fail(f'`{p.new[0]}` stands only after the arrow of "{p.pattern}"', hint="an op that does this is `repeat`")
        if not p.gone and not rule.neutral:
            fail(f'"{p.pattern}" reduces no axis of {x}, which is no {self.reduction}')
        if rule.dtype == "float" and not is_float(x.dtype):
            fail(f"{self.reduction} takes float values", "float", x)
        return result_type(p, x, axis_sizes(p, cx, x, self.lengths), self._dtype(p, x))

    def _dtype(self, p: Plan, x: TensorType) -> str:
        rule = _REDUCTIONS[self.reduction].dtype
        if rule == "bool":
            return "bool"
        widens = rule == "sum" and bool(p.gone) and not is_float(x.dtype) and x.dtype != "complex"
        return "int64" if widens else x.dtype

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        if not plan(self.pattern, ins[0].rank).gone:
            return Cost()
        rule = _REDUCTIONS[self.reduction]
        return Cost(0, rule.work * ins[0].numel + rule.closing * outs[0].numel)

    def lower(self, b: Emitter, x: Any) -> Any:
        p, sizes = known_sizes(self, b.in_types[0])
        pieces, reduced = _pieces(p)
        x = einops_lowering.emit(b, x, p.left, pieces, sizes, self.lengths)
        if not reduced:
            return einops_lowering.emit(b, x, pieces, p.right, sizes)
        left_over = tuple(() if axis in reduced else piece for axis, piece in enumerate(pieces))
        keep = left_over == p.right
        x = self._call(b, x, reduced, keep, len(pieces))
        if keep:
            return x
        remaining = tuple(piece for axis, piece in enumerate(pieces) if axis not in reduced)
        return einops_lowering.emit(b, x, remaining, p.right, sizes)

    def _call(self, b: Emitter, x: Handle, axes: tuple[int, ...], keep: bool, rank: int) -> Handle:
        method = _REDUCTIONS[self.reduction].method
        options: dict[str, Any] = {"keepdim": True} if keep else {}
        if method in ("var", "std"):
            options["correction"] = int(self.unbiased)
        if method == "prod":
            # torch's prod takes one axis; from the last on, so that the others keep their numbers.
            for axis in reversed(axes):
                x = b.method(method, x, axis, **options)
            return x
        return b.method(method, x, axes[0] if len(axes) == 1 else axes, **options)


def _drawable(x: TensorType) -> list[str]:
    return list(_REDUCTIONS) if is_float(x.dtype) else ["sum", "max", "min", "any", "all"]


def _pieces(p: Plan) -> tuple[tuple[Group, ...], tuple[int, ...]]:
    """The operand's axes cut into reduced and remaining parts, and which of them are reduced."""
    gone = set(p.gone)
    pieces: list[Group] = []
    for group in p.left:
        if group:
            pieces.extend(tuple(names) for _, names in groupby(group, key=gone.__contains__))
        else:
            pieces.append(())
    return tuple(pieces), tuple(axis for axis, piece in enumerate(pieces) if gone & {*piece})
