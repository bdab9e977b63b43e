"""Scaled dot-product attention, by the implementation that is fastest on the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
    training: bool = False,
) -> Tensor:
    """Scaled dot-product attention, ``[..., T, D]``.

    Args:
        query: ``[..., T, D]``.
        key: ``[..., N, D]``.
        value: ``[..., N, D]``.
        mask: Added to the logits, or boolean (true: may attend), broadcast to ``[..., T, N]``.
        causal: Query t attends to the first t + 1 keys only.
        dropout: Dropout of the weights, in training.
        training: Whether gradients are needed. On a CPU they are computed from plain matrix products, which takes a
            third of the time of PyTorch's fused kernel.
    """
    if not (training and torch.is_grad_enabled() and query.device.type == "cpu"):
        share = dropout if training else 0.0
        return F.scaled_dot_product_attention(query, key, value, mask, share, causal)
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if causal:
        before = torch.ones(logits.shape[-2:], dtype=torch.bool).tril()
        logits = logits.masked_fill(~before, -torch.inf)
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
    return F.dropout(logits.softmax(-1), dropout) @ value
