"""Attention cores."""

from __future__ import annotations

from typing import Any

from archgraph.ir.density import Density
from archgraph.ir.dim import Num, divides, eq, prod
from archgraph.ir.types import TensorType
from archgraph.ops.base import Context, Cost, Emitter, Handle, Op, attr, fail, operand
from archgraph.ops.drawing import Draw, pick
from archgraph.ops.kinds import BOOL, FLOAT, OptionalKind, WordKind
from archgraph.ops.strides import Strides


def _draw_causal(draw: Draw, ins: tuple[TensorType | None, ...], attrs: dict[str, Any]) -> bool:
    return pick(draw, [False, True]) if len(ins) < 4 or ins[3] is None else False


class ScaledDotProductAttention(Op, name="scaled_dot_product_attention"):
    """``softmax(query keyᵀ · scale + mask) value``: [..., H, N, E], [..., H, S, E], [..., H, S, V] → [..., H, N, V].

    ``attn_mask`` broadcasts to [..., H, N, S]: bool (true takes part) or a float bias that is added. With
    ``enable_gqa`` key and value may have fewer heads, each serving as many query heads as there are more of them.

    MACs: N·S·(E + V) per head, masked or causal too; expected MACs are those of the true elements of a bool mask whose
    density is known. Element-wise, per query and key: the scale, the mask, and 5 for
    the softmax (maximum, its subtraction, exp, sum, division).

    Notes
    -----
    Dropout falls on the attention weights, in training only. Generated code has no branches, so a ``dropout_p`` other
    than 0 makes the call a leaf module; in eval both do the same.

    Between a short sequence (128 at most) and one that is longer, or of unknown length, the call goes through
    `archgraph.nn.attention.scaled_dot_product_attention`, which is torch's function but for speed on a CPU.
    """

    dropout_p: Any = attr(FLOAT, 0.0, doc="probability that an attention weight is dropped in training", inert=True)
    is_causal: bool = attr(BOOL, False, doc="query i sees keys 0…i; excludes attn_mask", draw=_draw_causal)
    scale: Any = attr(
        OptionalKind(FLOAT), None, doc="factor of the scores; 1/sqrt(E) if left out", inert=True, draw=[None, 0.5]
    )
    enable_gqa: bool = attr(
        BOOL,
        False,
        doc="key and value may have fewer heads than query",
        draw=lambda draw, ins, attrs: pick(draw, [False, True] if ins[0].rank > 2 else [False]),
    )
    operands = (
        operand("query", "... N E"),
        operand("key", "... S E"),
        operand("value", "... S V"),
        operand("attn_mask", "... N S", dtype="any", optional=True),
    )

    def infer(
        self, cx: Context, query: TensorType, key: TensorType, value: TensorType, attn_mask: TensorType | None = None
    ) -> TensorType:
        rank = query.rank
        if query is key and key is value and attn_mask is None and rank >= 2 and not self.enable_gqa:
            return query
        types = (query, key, value)
        if rank < 2 or key.rank != rank or value.rank != rank:
            fail("query, key and value need as many axes", "[..., N, E], [..., S, E], [..., S, V]", _show(types))
        if key.dtype != query.dtype or value.dtype != query.dtype:
            fail("query, key and value need one dtype", query.dtype, _show(types))
        heads = rank - 3
        for axis in range(rank - 2):
            if axis == heads and self.enable_gqa:
                continue
            for other, who in ((key, "key"), (value, "value")):
                _require_equal(cx, query.shape[axis], other.shape[axis], f"axis {axis} of query and {who}", types)
        if self.enable_gqa:
            if heads < 0:
                fail("enable_gqa needs an axis of heads", "[..., H, N, E]", query)
            _require_equal(cx, key.shape[heads], value.shape[heads], "heads of key and value", types)
            cond = divides(key.shape[heads], query.shape[heads])
            if cond is not True:
                cx.require(
                    cond, f"the {key.shape[heads]} heads of the key must divide the {query.shape[heads]} of the query"
                )
        _require_equal(cx, query.shape[-1], key.shape[-1], "sizes E of query and key", types)
        _require_equal(cx, key.shape[-2], value.shape[-2], "lengths S of key and value", types)
        if attn_mask is not None:
            self._check_mask(cx, attn_mask, query, (*query.shape[:-1], key.shape[-2]))
        out = query.with_shape(*query.shape[:-1], value.shape[-1])
        return out.with_layout(rank - 1, value.layout_of(-1)) if query.layout_of(-1) or value.layout_of(-1) else out

    def _check_mask(self, cx: Context, mask: TensorType, query: TensorType, scores: tuple[Num, ...]) -> None:
        if self.is_causal:
            fail("is_causal excludes attn_mask", "one of the two")
        if mask.dtype not in ("bool", query.dtype):
            fail("attn_mask is bool or a bias to add", f"bool or {query.dtype}", mask)
        fits: bool = 2 <= mask.rank <= len(scores)
        if fits:
            for n, size in zip(mask.shape, scores[-mask.rank :], strict=True):
                cond = n == 1 or eq(n, size)
                fits = fits and cond is not False
                if cond is not False and cond is not True:
                    cx.require(cond, "attn_mask must broadcast to the scores")
        if not fits:
            fail("attn_mask does not broadcast to the scores", f"[{', '.join(map(str, scores))}]", mask)

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        query, value = ins[0], ins[2]
        scores = prod(query.shape[:-1]) * value.shape[-2]
        masked = len(ins) > 3 and ins[3] is not None
        return Cost(scores * (query.shape[-1] + value.shape[-1]), scores * (7 if masked else 6))

    def workspace(
        self, ins: tuple[Any, ...], outs: tuple[TensorType, ...], strides: tuple[Strides, ...]
    ) -> tuple[TensorType, ...]:
        """Kernels that never hold all scores ask for neighbours on the last axis; without, scores are made twice.

        Ours for a short and a long sequence walks the long one.
        """
        if all(s.inner for s in strides[:3]) or self._few_and_many(*ins):
            return ()
        scores = outs[0].with_shape(*ins[0].shape[:-1], ins[1].shape[-2])
        return (scores, scores)

    def expected(self, given: tuple[Density, ...], ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        if len(given) < 4 or ins[3] is None or ins[3].dtype != "bool":
            return self.cost(ins, outs)
        query, value = ins[0], ins[2]
        scores = given[3].share(prod(query.shape[:-1]) * value.shape[-2])
        return Cost(scores * (query.shape[-1] + value.shape[-1]), scores * 7)

    def lower(self, b: Emitter, query: Handle, key: Handle, value: Handle, attn_mask: Handle = None) -> Handle:
        options: dict[str, Any] = {}
        if self.is_causal:
            options["is_causal"] = True
        if self.scale is not None:
            options["scale"] = b.scalar(self.scale)
        if self.enable_gqa:
            options["enable_gqa"] = True
        if self.dropout_p != 0.0:
            operands = (query, key, value) if attn_mask is None else (query, key, value, attn_mask)
            options["dropout_p"] = b.scalar(self.dropout_p)
            return b.module("archgraph.nn.attention.ScaledDotProductAttention", *operands, **options)
        if attn_mask is not None:
            options["attn_mask"] = attn_mask
        of = "archgraph.nn.attention" if self._few_and_many(*b.in_types) else "torch.nn.functional"
        return b.call(f"{of}.scaled_dot_product_attention", query, key, value, **options)

    def _few_and_many(
        self, query: TensorType, key: TensorType, value: TensorType, attn_mask: TensorType | None = None
    ) -> bool:
        """Whether one sequence is short and the other long, or may be: a function of ours then looks at the sizes."""
        masked = attn_mask is not None and attn_mask.dtype == "bool"
        if self.is_causal or self.enable_gqa or masked or query.rank != 4:
            return False
        n, s = query.shape[-2], key.shape[-2]
        return any(_short(few) and not _short(many) for few, many in ((n, s), (s, n)))


class KernelizedAttention(Op, name="kernelized_attention"):
    """``phi(query) (phi(key)ᵀ value)`` over ``max(phi(query) · Σ phi(key), floor)``: linear in N and S.

    [..., N, D], [..., S, D], [..., S, E] → [..., N, E]. Rows of the attention that this stands for sum to one where
    their denominator is above the floor. ``feature_map``: ``relu``, ``elu_plus_one`` (arXiv 2006.16236), or
    ``identity`` for operands that are mapped already.

    MACs: S·D·E + N·D·E + N·D per head. Element-wise: the map of every element of query and key (relu 1, elu + 1: 5),
    the sum of the keys, and per element of the result a division; one comparison per row.
    """

    feature_map: str = attr(WordKind("relu", "elu_plus_one", "identity"), "relu", doc="phi")
    floor: Any = attr(FLOAT, 1e-6, doc="the least denominator", inert=True, draw=[1e-6, 1.0])
    operands = (operand("query", "... N D"), operand("key", "... S D"), operand("value", "... S E"))

    def infer(self, cx: Context, query: TensorType, key: TensorType, value: TensorType) -> TensorType:
        types = (query, key, value)
        if query.rank < 2 or key.rank != query.rank or value.rank != query.rank:
            fail("query, key and value need as many axes", "[..., N, D], [..., S, D], [..., S, E]", _show(types))
        if key.dtype != query.dtype or value.dtype != query.dtype:
            fail("query, key and value need one dtype", query.dtype, _show(types))
        for axis in range(query.rank - 2):
            for other, who in ((key, "key"), (value, "value")):
                _require_equal(cx, query.shape[axis], other.shape[axis], f"axis {axis} of query and {who}", types)
        _require_equal(cx, query.shape[-1], key.shape[-1], "sizes D of query and key", types)
        _require_equal(cx, key.shape[-2], value.shape[-2], "lengths S of key and value", types)
        return query.with_shape(*query.shape[:-1], value.shape[-1])

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        query, key, value = ins
        wide = value.shape[-1]
        mapped = {"relu": 1, "elu_plus_one": 5, "identity": 0}[self.feature_map]
        rows = prod(query.shape[:-1])
        return Cost(
            key.numel * wide + query.numel * wide + query.numel,
            mapped * (query.numel + key.numel) + key.numel + outs[0].numel + rows,
        )

    def lower(self, b: Emitter, query: Handle, key: Handle, value: Handle) -> Handle:
        given = self.attrs()
        options = {key: b.scalar(value) if key == "floor" else value for key, value in given.items()}
        return b.call("archgraph.nn.attention.kernelized_attention", query, key, value, **options)


def _short(length: Num) -> bool:
    return isinstance(length, int) and length <= 128


def _require_equal(cx: Context, a: Num, b: Num, what: str, types: tuple[TensorType, ...]) -> None:
    if a is b:
        return
    cond = eq(a, b)
    if cond is False:
        fail(f"{what} must be equal: {a} and {b}", found=_show(types))
    if cond is not True:
        cx.require(cond, f"{what} must be equal")


def _show(types: tuple[TensorType, ...]) -> str:
    return ", ".join(map(str, types))
