"""Nodes that use another node's weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archgraph.ir.diagnostics import Span
from archgraph.ops.base import Op, OpError, check_operands
from archgraph.spec.frame import Frame
from archgraph.spec.plan_op import OpPlan, output_names
from archgraph.spec.plan_refs import near
from archgraph.spec.values import (
    UNKNOWN,
    Record,
    Ref,
)


class SharePlan(OpPlan):
    """``share: node``: the same op, attributes and weights again."""

    __slots__ = ("owner",)

    def __init__(self, at: Callable[[], Span | None], owner: str) -> None:
        super().__init__(at)
        self.owner = owner

    def run(self, f: Frame, it: Any, name: str) -> Any:
        from archgraph.spec.block_call import call_block

        owner = next((n for n in f.nodes if n.name == self.owner and n.share is None), None)
        if owner is None:
            value = f.env.get(self.owner)
            if value is UNKNOWN:
                return UNKNOWN
            if isinstance(value, Ref) and value.ref[0] >= 0:
                owner = f.nodes[value.ref[0]]
        if owner is None:
            raise OpError(
                f"there is no node `{self.owner}` above to share weights with",
                hint=near(self.owner, [n.name for n in f.nodes]),
                code="share/unknown",
            )
        made = f.made.get(owner.name)
        if made is not None:
            values = self._block_inputs(f, it, name, made.block)
            if values is None:
                return UNKNOWN
            return call_block(f, name, made.block, made.args, values, self.flags, share=owner.share or (owner.name,))
        op = owner.op
        if not isinstance(op, Op) or owner.callees:
            raise OpError(
                f"`{self.owner}` can't be shared; only ops and blocks have weights to share", code="share/form"
            )
        refs = self._operands(f, it, name, type(op))
        if refs is None:
            return UNKNOWN
        types = tuple(None if r is None else r.type for r in refs)
        check_operands(type(op), types)
        outs = op.infer(f, *types)
        before = tuple(None if r is None else f.type_of(r) for r in owner.inputs)
        mine = [(w.name, w.shape) for w in op.weights(*types)]
        theirs = [(w.name, w.shape) for w in op.weights(*before)]
        if mine != theirs:
            raise OpError(
                f"the weights of `{self.owner}` do not fit here",
                _shapes(theirs),
                _shapes(mine),
                "`share` takes the same weights: the input has other channels here",
                code="share/shape",
            )
        many = isinstance(outs, tuple)
        index = f.add(
            f.unique(name),
            op,
            tuple(None if r is None else r.ref for r in refs),
            outs if many else (outs,),  # type: ignore[arg-type]
            share=owner.share or (owner.name,) if mine else None,
            flags=self.flags,
        )
        out = f.refs(index)
        return out[0] if not many else Record(zip(output_names(op, len(out)), out, strict=True))


def _shapes(weights: list[tuple[str, tuple[Any, ...]]]) -> str:
    return ", ".join(f"{name} [{', '.join(map(str, shape))}]" for name, shape in weights)
