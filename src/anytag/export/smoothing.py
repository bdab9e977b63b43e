"""Smooth activations across channels, so that one 8-bit scale fits all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from anytag.nn.swin import SwinTransformer


@torch.no_grad()
def smooth_activations(encoder: SwinTransformer, pictures: Iterable[Tensor], strength: float = 0.5) -> None:
    """Move outliers from activations to weights, in place (SmoothQuant, Xiao et al. 2023).

    In trained transformers a few channels are many times as large as the others, which lose most of their precision if
    all share one 8-bit scale. Channel j is divided by ``max |x_j| ** strength / max |w_j| ** (1 - strength)``, and the
    weights that read it are multiplied by that. The division is folded into the preceding normalization, so the
    network's results, up to rounding, and its speed do not change.

    Args:
        encoder: Its normalizations and the linear layers after them are changed.
        pictures: Normalized pictures ``[B, 3, R, R]`` for measuring activations.
        strength: Share of the outliers that moves to the weights, 0 to 1.
    """
    pairs = list(_normalized_inputs(encoder))
    largest = [torch.zeros_like(norm.weight) for norm, _ in pairs]
    hooks = [norm.register_forward_hook(_record(values)) for (norm, _), values in zip(pairs, largest, strict=True)]
    try:
        for picture in pictures:
            encoder(picture)
    finally:
        for hook in hooks:
            hook.remove()
    for (norm, linear), activations in zip(pairs, largest, strict=True):
        weights = linear.weight.abs().amax(0)
        factors = activations**strength / weights ** (1 - strength)
        # Channels that are always zero, or not used, are left alone.
        factors = torch.where((activations > 0) & (weights > 0), factors, 1.0)
        norm.weight = nn.Parameter(norm.weight / factors)
        norm.bias = nn.Parameter(norm.bias / factors)
        linear.weight = nn.Parameter(linear.weight * factors)


def _normalized_inputs(encoder: SwinTransformer) -> Iterator[tuple[nn.LayerNorm, nn.Linear]]:
    """Normalizations whose output only one linear layer uses, with that layer."""
    stages: Iterable[Any] = encoder.layers
    for stage in stages:
        for block in stage.blocks:
            yield block.attention_norm, block.attention.query_key_value
            yield block.feed_forward_norm, block.feed_forward.inner
        if stage.merging is not None:
            yield stage.merging.norm, stage.merging.reduction


def _record(largest: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        largest.copy_(torch.maximum(largest, output.abs().flatten(0, -2).amax(0)))

    return hook
