"""Activation checkpointing: less memory, more time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from anytag.nn.recognition_decoder import RecognitionDecoder
from anytag.nn.swin import SwinTransformer
from anytag.nn.transformer import Attention, FeedForward


def large_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks that a large model's weights and activations lie in, each once.

    Swin's blocks; attention and feed-forward of the text parts' layers. Those that the recognition decoder has a share
    in are left out: it is small, and reaches into them past their calls.
    """
    small = {
        id(part) for module in model.modules() if isinstance(module, RecognitionDecoder) for part in module.modules()
    }
    blocks: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, SwinTransformer):
            blocks += [block for stage in module.layers for block in stage.blocks]  # type: ignore[union-attr]
        elif isinstance(module, Attention | FeedForward) and id(module) not in small:
            blocks.append(module)
    # Momentum copies are built of the same blocks, and have nothing to learn.
    return [block for block in blocks if next(block.parameters(), None) is not None]


def checkpoint_activations(blocks: Iterable[nn.Module]) -> None:
    """Let blocks forget what happens inside them, and compute it again in the backward pass.

    Losses and gradients stay the same, dropout included; names of parameters, too.

    Args:
        blocks: Modules whose inputs are kept instead; see :func:`large_blocks`.
    """
    for block in blocks:
        block.forward = _Recomputed(block.forward)


class _Recomputed:
    """A forward pass that keeps its inputs alone."""

    def __init__(self, forward: Callable[..., Any]):
        self.forward = forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*args, **kwargs)
        return checkpoint(self.forward, *args, use_reentrant=False, **kwargs)
