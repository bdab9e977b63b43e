"""Activation checkpointing: less memory, more time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from anytag.nn.recognition_decoder import RecognitionDecoder
from anytag.nn.swin import SwinTransformer
from anytag.nn.transformer import Attention, FeedForward


def large_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the blocks that hold most of a large model's weights and activations, each once.

    These are Swin's blocks, and attention and feed-forward of the text parts' layers. Blocks that the recognition
    decoder uses are left out: it is small, and accesses their weights without calling them.
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
    # Momentum copies consist of the same blocks, without parameters that learn.
    return [block for block in blocks if next(block.parameters(), None) is not None]


def checkpoint_activations(blocks: Iterable[nn.Module]) -> None:
    """Keep only the inputs of blocks, and recompute their activations in the backward pass.

    Losses, gradients, dropout and parameter names stay the same.
    """
    for block in blocks:
        # Not a closure: copying the model has to copy the bound method as well.
        block.forward = partial(_recomputed, block.forward)


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
