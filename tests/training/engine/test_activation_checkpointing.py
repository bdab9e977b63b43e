"""Activation checkpointing: the same losses and gradients with less memory."""

from __future__ import annotations

import copy

import pytest
import torch
from fixtures_official import small_model
from toy_objectives import TOKENIZER, small_batch

from anytag.nn.momentum import MomentumCopy
from anytag.nn.swin import SwinTransformer
from anytag.training.engine.activation_checkpointing import checkpoint_activations, large_blocks
from anytag.training.families.objectives import RamPlusObjective, Tag2TextObjective
from anytag.training.recipes.config import RamPlusConfig, Tag2TextConfig


def learn(model, family):
    """Loss, gradients, and bytes stored for the backward pass."""
    objective = (
        RamPlusObjective(RamPlusConfig()) if family == "ram_plus" else Tag2TextObjective(Tag2TextConfig(), TOKENIZER)
    )
    kept = []

    def keep(tensor):
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    torch.manual_seed(4)
    batch = small_batch()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _ = objective(model, batch)
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, sum(kept)


@pytest.mark.parametrize("family", ["tag2text", "ram_plus"])
def test_losses_and_gradients_stay_and_memory_goes(family):
    """With dropout: the recomputed forward pass draws the same."""
    model = small_model(family, dropout=0.2).train()
    other = copy.deepcopy(model)
    checkpoint_activations(large_blocks(other))
    assert other.state_dict().keys() == model.state_dict().keys()
    loss, gradients, kept = learn(model, family)
    other_loss, other_gradients, other_kept = learn(other, family)
    assert other_loss == loss
    assert other_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert torch.equal(other_gradients[name], gradient), name
    assert other_kept < 0.7 * kept


def test_blocks():
    model = small_model("tag2text")
    blocks = large_blocks(model)
    assert len(blocks) == len({id(block) for block in blocks})
    swin = model.image_encoder
    assert isinstance(swin, SwinTransformer)
    assert all(block in blocks for stage in swin.layers for block in stage.blocks)
    assert all(layer.feed_forward in blocks for layer in model.text_decoder.layers)
    # Blocks that the recognition decoder shares with the interaction encoder are not checkpointed.
    shared = list(model.recognition_decoder.layers)
    assert not any(layer.feed_forward in blocks or layer.cross_attention in blocks for layer in shared)
    assert all(layer.self_attention in blocks for layer in model.interaction_encoder.layers)
    assert large_blocks(MomentumCopy(model)) == []


def test_copies_compute_with_their_own_weights():
    model = small_model("ram_plus")
    checkpoint_activations(large_blocks(model))
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.image_encoder.parameters():
            parameter.zero_()
    pixels = small_batch().pixels
    assert not torch.allclose(model.image_encoder(pixels), other.image_encoder(pixels))
    with torch.no_grad():
        assert bool((other.image_encoder(pixels) == 0).all())
