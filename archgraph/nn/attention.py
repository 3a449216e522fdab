"""Attention that keeps its work in the cache where it can, and dropout that follows the module's mode."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

_LOG2_E = math.log2(math.e)
#: Elements of one operand of a chunk: half a MiB of float32, so that a chunk and what is made of it stay in the cache.
_CHUNK = 1 << 17
#: Heads (of all samples) that a chunk holds at most.
_HEADS = 8
#: So many queries or keys are few, and so many are many; otherwise torch's kernel is as fast.
_FEW, _MANY = 64, 2048
#: The same with a bias, which torch's kernel takes at half the speed.
_FEW_BIASED, _MANY_BIASED = 128, 128
#: Sums of powers of two between these are exact to the last digits, whatever was left out or added up.
_LEAST, _MOST = 2.0**-60, 2.0**100


class ScaledDotProductAttention(nn.Module):
    """`torch.nn.functional.scaled_dot_product_attention` with dropout of the attention weights in training only.

    Parameters
    ----------
    dropout_p : float
        Probability that an attention weight is dropped.
    is_causal, scale, enable_gqa
        As in the function.
    """

    def __init__(
        self, dropout_p: float, is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False
    ) -> None:
        super().__init__()
        self.dropout_p = dropout_p
        self.is_causal = is_causal
        self.scale = scale
        self.enable_gqa = enable_gqa

    def forward(self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        if not (self.training or self.is_causal or self.enable_gqa):
            return scaled_dot_product_attention(query, key, value, attn_mask, self.scale)
        return torch.nn.functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask,
            self.dropout_p if self.training else 0.0,
            self.is_causal,
            scale=self.scale,
            enable_gqa=self.enable_gqa,
        )

    def extra_repr(self) -> str:
        return f"dropout_p={self.dropout_p}"


def _eager(*tensors: Any) -> bool:
    """Whether these are plain numbers in memory, and nobody looks on: no gradient, tracer, transform or autocast."""
    if torch.compiler.is_compiling():
        return False
    for x in tensors:
        if type(x) not in (Tensor, nn.Parameter) or x.device.type != "cpu" or x.dtype is not tensors[0].dtype:
            return False  # a proxy of a tracer has no sizes to look at
    return not (
        (torch.is_grad_enabled() and any(x.requires_grad for x in tensors))
        # torch leaves this function without types
        or any(forward_ad.unpack_dual(x).tangent is not None for x in tensors)  # type: ignore[no-untyped-call]
        or torch.is_autocast_enabled("cpu")
        or torch._C._functorch.peek_interpreter_stack() is not None
    )


# -- softmax attention between few and many ----------------------------------------------------------------------------


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """`torch.nn.functional.scaled_dot_product_attention`, faster on a CPU where few attend to many or many to few.

    torch's kernel takes queries and keys in blocks made for many of both. With 49 of one of them (agents, latents,
    slots), and where no gradient is asked for, the long sequence is walked in chunks instead: the scores of a chunk,
    of all heads, stay in the cache, and softmax needs neither a maximum nor a second walk.

    - few queries: powers of two of the scores, and their sums, are added up over the chunks and divided at the end;
    - few keys: their mean is taken off them first. That changes no weight, and the greatest score of a query is then
      never below zero.

    Sums that leave the range where this is exact (scores of more than 40 from one another) send the rest to
    torch's kernel, as does everything else.

    Parameters
    ----------
    query, key, value, attn_mask, scale
        As in the function.

    Returns
    -------
    torch.Tensor
        [..., N, E].
    """
    if _few(query, key, value, attn_mask):
        factor = _LOG2_E * (query.shape[-1] ** -0.5 if scale is None else scale)
        walk = _gathered if query.shape[2] < key.shape[2] else _spread
        return walk(query, key, value, attn_mask, factor, scale)
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask, scale=scale)


def _few(query: Any, key: Any, value: Any, mask: Any) -> bool:
    if not _eager(query, key, value, *(() if mask is None else (mask,))) or query.dim() != 4:
        return False
    if query.dtype not in (torch.float32, torch.float64):
        return False  # powers of two need the range
    few, many = sorted((query.shape[2], key.shape[2]))
    fits: bool = few <= _FEW and many >= _MANY if mask is None else few <= _FEW_BIASED and many >= _MANY_BIASED
    full = min(query.numel(), value.numel()) > 0
    return fits and full and bool(query.shape[:2] == key.shape[:2] == value.shape[:2])


def _rows(many: int, most: int) -> int:
    """Length of the chunks of a sequence, ``most`` at most but for rounding: all about as long."""
    most = max(64, most * torch.get_num_threads())
    return -(-many // -(-many // most) // 16) * 16


def _exact(sums: Tensor) -> bool:
    least, most = torch.aminmax(sums)
    return least.item() > _LEAST and most.item() < _MOST


def _gathered(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, factor: float, scale: float | None
) -> Tensor:
    """Few queries: their scores with a chunk of keys, and sums over the chunks."""
    batch, heads, few, size = query.shape
    many, wide = key.shape[2], value.shape[3]
    together = min(heads, _HEADS)
    rows = _rows(many, 2 * _CHUNK // (together * max(size, wide)))
    out = query.new_empty(batch, few, heads, wide).transpose(1, 2)  # laid out as torch's kernel does
    scores = query.new_empty(together * few * rows)
    biases = None if mask is None else mask.expand(batch, heads, few, many)
    for sample in range(batch):
        for at in range(0, heads, together):
            part = sample, slice(at, at + together)
            q, k, v = query[part] * factor, key[part], value[part]
            bias = None if biases is None else biases[part]
            total, result = q.new_zeros(len(q), few, 1), q.new_zeros(len(q), few, wide)
            for start in range(0, many, rows):
                these = slice(start, start + rows)
                keys, values = k[:, these], v[:, these]
                weights = scores[: len(q) * few * keys.shape[1]].view(len(q), few, -1)
                keys.sum()  # products read what is not in the cache at a third of the speed of a sum
                torch.bmm(q, keys.transpose(1, 2), out=weights)
                if bias is not None:
                    weights.add_(bias[:, :, these], alpha=_LOG2_E)
                total += weights.exp2_().sum(-1, keepdim=True)
                if start == 0 and not _exact(total):
                    break
                values.sum()
                result.baddbmm_(weights, values)
            if _exact(total) and math.isfinite(result.sum().item()):
                torch.div(result, total, out=out[part])
            else:
                out[part] = _torchs(query[part], key[part], value[part], bias, scale)
    return out


def _spread(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, factor: float, scale: float | None
) -> Tensor:
    """Few keys: all weights of a chunk of queries, transposed."""
    batch, heads, many, size = query.shape
    few, wide = key.shape[2], value.shape[3]
    together = min(heads, _HEADS)
    rows = _rows(many, _CHUNK // (together * max(size, wide)))
    out = query.new_empty(batch, many, heads, wide).transpose(1, 2)
    scores = query.new_empty(together * few * rows)
    biases = None if mask is None else mask.expand(batch, heads, many, few)
    for sample in range(batch):
        for at in range(0, heads, together):
            part = sample, slice(at, at + together)
            q, k, v, place = query[part], key[part], value[part], out[part]
            bias = None if biases is None else biases[part]
            centred = (k - k.mean(1, keepdim=True)).mul_(factor)
            for start in range(0, many, rows):
                these = slice(start, start + rows)
                queries = q[:, these]
                weights = scores[: len(q) * few * queries.shape[1]].view(len(q), few, -1)
                queries.sum()
                torch.bmm(centred, queries.transpose(1, 2), out=weights)
                if bias is not None:
                    weights.add_(bias[:, these].transpose(1, 2), alpha=_LOG2_E)
                total = weights.exp2_().sum(1, keepdim=True)
                if not _exact(total):
                    rest = slice(start, None)
                    place[:, rest] = _torchs(q[:, rest], k, v, None if bias is None else bias[:, rest], scale)
                    break
                weights.mul_(total.reciprocal_())
                torch.bmm(weights.transpose(1, 2), v, out=place[:, these])
    return out


def _torchs(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
    """torch's kernel on the heads of one sample."""
    mask = None if bias is None else bias.unsqueeze(0)
    operands = query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0)
    return torch.nn.functional.scaled_dot_product_attention(*operands, attn_mask=mask, scale=scale).squeeze(0)


# -- attention that sums keys and values up first ----------------------------------------------------------------------


def kernelized_attention(
    query: Tensor, key: Tensor, value: Tensor, feature_map: str = "relu", floor: float = 1e-6
) -> Tensor:
    """``phi(query) (phi(key)ᵀ value) / max(phi(query) · Σ phi(key), floor)``, the sums over keys taken first.

    On a CPU, where no gradient is asked for, long sequences are walked in chunks that stay in the cache, and the
    feature map is never written to memory; that is about twice as fast. Otherwise, and while the call is traced or
    compiled, it is the plain formula.

    Parameters
    ----------
    query, key, value : torch.Tensor
        [..., N, D], [..., S, D] and [..., S, E]; the axes before are equal.
    feature_map : {"relu", "elu_plus_one", "identity"}
        phi.
    floor : float
        The least denominator.

    Returns
    -------
    torch.Tensor
        [..., N, E].
    """
    mapped = _mapped
    if _eager(query, key, value):
        if query.dim() >= 3 and max(query.numel(), key.numel()) >= 2 * _CHUNK:
            return _walked(query, key, value, feature_map, floor)
        mapped = _mapped_fast
    q, k = mapped(query, feature_map), mapped(key, feature_map)
    total = (q @ k.sum(-2).unsqueeze(-1)).clamp(min=floor)
    return (q @ (k.transpose(-2, -1) @ value)) / total


def _mapped(x: Tensor, feature_map: str) -> Tensor:
    if feature_map == "relu":
        return x.relu()
    return x if feature_map == "identity" else torch.nn.functional.elu(x) + 1


def _mapped_fast(x: Tensor, feature_map: str) -> Tensor:
    """`_mapped`, written in place: a power of two takes a fifth of the time of torch's elu."""
    if feature_map == "elu_plus_one":
        return x.clamp(max=0).mul_(_LOG2_E).exp2_().add_(x.relu())
    return _mapped(x, feature_map)


def _walked(query: Tensor, key: Tensor, value: Tensor, feature_map: str, floor: float) -> Tensor:
    queries, keys, values = (x.flatten(0, -3) for x in (query, key, value))
    threads = torch.get_num_threads()
    heads = max(1, min(queries.shape[0], _HEADS * threads))
    rows = max(64, _CHUNK * threads // (heads * max(key.shape[-1], value.shape[-1], 1)))
    wide = value.shape[-1]
    out = query.new_empty(queries.shape[0], queries.shape[1], wide)
    for at in range(0, queries.shape[0], heads):
        q, k, v = queries[at : at + heads], keys[at : at + heads], values[at : at + heads]
        state = k.new_zeros(k.shape[0], k.shape[-1], wide + 1)  # the last column: the sum of the mapped keys
        for start in range(0, k.shape[1], rows):
            phi, given = _mapped_fast(k[:, start : start + rows], feature_map), v[:, start : start + rows]
            given.sum()  # into the cache, as above
            state[..., :wide].baddbmm_(phi.transpose(1, 2), given)
            state[..., wide] += phi.sum(1)
        for start in range(0, q.shape[1], rows):
            both = torch.bmm(_mapped_fast(q[:, start : start + rows], feature_map), state)
            place = out[at : at + heads, start : start + rows]
            torch.div(both[..., :wide], both[..., wide:].clamp_(min=floor), out=place)
    return out.view(*query.shape[:-1], wide)
