"""Attention whose dropout follows the module's mode, and attention that sums keys and values up first."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


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


#: Elements of one operand of a chunk: half a MiB of float32, so that a chunk and what is made of it stay in the cache.
_CHUNK = 1 << 17
#: Heads (of all samples) that a chunk holds at most.
_HEADS = 8


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
    if _walks(query, key, value):
        return _walked(query, key, value, feature_map, floor)
    q, k = _mapped(query, feature_map), _mapped(key, feature_map)
    total = (q @ k.sum(-2).unsqueeze(-1)).clamp(min=floor)
    return (q @ (k.transpose(-2, -1) @ value)) / total


def _walks(query: Any, key: Any, value: Any) -> bool:
    if not isinstance(query, Tensor) or torch.compiler.is_compiling() or query.device.type != "cpu":
        return False  # a proxy of a tracer has no sizes to look at
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        return False
    return query.dim() >= 3 and max(query.numel(), key.numel()) >= 2 * _CHUNK


def _mapped(x: Tensor, feature_map: str) -> Tensor:
    if feature_map == "relu":
        return x.relu()
    return x if feature_map == "identity" else torch.nn.functional.elu(x) + 1


def _mapped_here(x: Tensor, feature_map: str) -> Tensor:
    return torch.nn.functional.elu(x).add_(1) if feature_map == "elu_plus_one" else _mapped(x, feature_map)


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
            phi = _mapped_here(k[:, start : start + rows], feature_map)
            state[..., :wide].baddbmm_(phi.transpose(1, 2), v[:, start : start + rows])
            state[..., wide] += phi.sum(1)
        for start in range(0, q.shape[1], rows):
            both = torch.bmm(_mapped_here(q[:, start : start + rows], feature_map), state)
            place = out[at : at + heads, start : start + rows]
            torch.div(both[..., :wide], both[..., wide:].clamp_(min=floor), out=place)
    return out.view(*query.shape[:-1], wide)
