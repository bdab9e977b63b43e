"""Channels made alike, so that one scale fits them all: what makes 8 bits enough for transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from anytag.nn.swin import SwinTransformer


@torch.no_grad()
def smooth_activations(encoder: SwinTransformer, pictures: Iterable[Tensor], strength: float = 0.5) -> None:
    """Shrink the large channels of activations and enlarge the weights that read them (SmoothQuant, Xiao et al. 2023).

    In trained transformers a few channels are many times as large as the others, and with one scale for all of them 8
    bits leave the others hardly any. Channel j is divided by ``max |x_j| ** strength / max |w_j| ** (1 - strength)``,
    and the weights that read it are multiplied by that. The division is done by the normalization in front, so that
    the network computes the same as before, up to rounding, in the same time.

    Args:
        encoder: Changed in place: parameters of normalizations and of the linear layers behind them.
        pictures: To measure activations on, normalized, ``[B, 3, R, R]`` each.
        strength: How much of the difficulty moves from the activations to the weights: 0 nothing, 1 all.
    """
    pairs = list(_normalized_inputs(encoder))
    largest = [torch.zeros_like(norm.weight) for norm, _ in pairs]
    hooks = [norm.register_forward_hook(_watch(seen)) for (norm, _), seen in zip(pairs, largest, strict=True)]
    try:
        for picture in pictures:
            encoder(picture)
    finally:
        for hook in hooks:
            hook.remove()
    for (norm, linear), seen in zip(pairs, largest, strict=True):
        weights = linear.weight.abs().amax(0)
        factors = seen**strength / weights ** (1 - strength)
        # A channel that is always zero, or that nobody reads, has nothing to share.
        factors = torch.where((seen > 0) & (weights > 0), factors, 1.0)
        norm.weight = nn.Parameter(norm.weight / factors)
        norm.bias = nn.Parameter(norm.bias / factors)
        linear.weight = nn.Parameter(linear.weight * factors)


def _normalized_inputs(encoder: SwinTransformer) -> Iterator[tuple[nn.LayerNorm, nn.Linear]]:
    """Normalizations that one linear layer alone reads, with that layer."""
    stages: Iterable[Any] = encoder.layers
    for stage in stages:
        for block in stage.blocks:
            yield block.attention_norm, block.attention.query_key_value
            yield block.feed_forward_norm, block.feed_forward.inner
        if stage.merging is not None:
            yield stage.merging.norm, stage.merging.reduction


def _watch(largest: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def seen(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        largest.copy_(torch.maximum(largest, output.abs().flatten(0, -2).amax(0)))

    return seen
