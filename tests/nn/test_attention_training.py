"""Attention with gradients."""

from __future__ import annotations

import pytest
import torch

from anytag.nn.transformer import Attention


@pytest.mark.parametrize("how", ["whole", "causal", "boolean mask", "added mask"])
def test_attention_is_the_same_in_training(how):
    """Training on a processor takes another way to the same values and gradients."""
    torch.manual_seed(0)
    attention = Attention(width=8, dropout=0.0)
    hidden, memory = torch.randn(2, 4, 8), torch.randn(2, 4, 8)
    allowed = torch.tensor([[True, True, True, True], [True, True, False, False]])[:, None, None]
    mask = {"boolean mask": allowed, "added mask": torch.zeros(allowed.shape).masked_fill(~allowed, -1e4)}.get(how)
    results = []
    for training in (True, False):
        attention.train(training).zero_grad()
        seen = attention(hidden, attention.keys_values(memory, 2), 2, mask=mask, causal=how == "causal")
        seen.square().sum().backward()
        results.append([seen.detach(), *(parameter.grad.clone() for parameter in attention.parameters())])
    for trained, judged in zip(*results, strict=True):
        torch.testing.assert_close(trained, judged, rtol=1e-4, atol=1e-5)
