"""Attention whose dropout follows the module's mode."""

from __future__ import annotations

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
