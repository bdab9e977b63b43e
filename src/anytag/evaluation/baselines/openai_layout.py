"""Weights in the layout of OpenAI's CLIP, which DiHT and MKT keep, brought to that of ``transformers``.

Attention has one matrix for queries, keys and values; the projections are stored transposed. Sizes are read off the
shapes; a head has 64 channels, as in every published model (except where a small one is too narrow for it).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytag.errors import ModelError, needs_extra
from anytag.evaluation.baselines.base import load_strictly

_IN_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)")
_INPUTS = re.compile(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)")


def layer_weights(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The transformer layers of one tower, renamed; other names are left out."""
    renamed = {}
    for name, tensor in state.items():
        if found := _INPUTS.fullmatch(name):
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"{prefix}.encoder.layers.{found[1]}.self_attn.{part}_proj.{found[2]}"] = piece
        elif (found := _LAYER.fullmatch(name)) and found[2] in _IN_LAYER:
            renamed[f"{prefix}.encoder.layers.{found[1]}.{_IN_LAYER[found[2]]}.{found[3]}"] = tensor
    return renamed


def picture_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The picture's tower (``conv1`` … ``ln_post``) without its projection.

    Raises:
        KeyError: If one is missing.
    """
    kept = {
        "vision_model.embeddings.class_embedding": state["class_embedding"],
        "vision_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["conv1.weight"],
    }
    for ours, theirs in (("pre_layrnorm", "ln_pre"), ("post_layernorm", "ln_post")):
        for kind in ("weight", "bias"):
            kept[f"vision_model.{ours}.{kind}"] = state[f"{theirs}.{kind}"]
    return kept | layer_weights(state, "vision_model")


def text_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text's tower with its projection.

    Raises:
        KeyError: If one is missing.
    """
    kept = {
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "text_model.final_layer_norm.weight": state["ln_final.weight"],
        "text_model.final_layer_norm.bias": state["ln_final.bias"],
        "text_projection.weight": state["text_projection"].T,
    }
    return kept | layer_weights(state, "text_model")


def _heads(width: int) -> int:
    return max(1, width // 64)


def _depth(weights: Mapping[str, Tensor], tower: str) -> int:
    return 1 + max((int(name.split(".")[3]) for name in weights if name.startswith(f"{tower}.encoder.")), default=-1)


def build_clip(weights: Mapping[str, Tensor], activation: str, source: Path) -> Any:
    """A ``CLIPModel`` of the sizes that the weights have, filled with them.

    Args:
        weights: Renamed: both towers, both projections and the scale.
        activation: ``quick_gelu`` (OpenAI) or ``gelu`` (DiHT).
        source: For messages.

    Raises:
        ModelError: If weights are missing, or do not fit each other.
    """
    with needs_extra("This baseline", "baselines"):
        from transformers import CLIPConfig, CLIPModel
    patches = weights["vision_model.embeddings.patch_embedding.weight"]
    positions = weights["vision_model.embeddings.position_embedding.weight"]
    words = weights["text_model.embeddings.token_embedding.weight"]
    side = round((len(positions) - 1) ** 0.5)
    if side * side + 1 != len(positions):
        raise ModelError(f"{source}: {len(positions)} positions are those of no square picture")
    layers = {tower: _depth(weights, tower) for tower in ("vision_model", "text_model")}
    config = CLIPConfig(
        projection_dim=weights["text_projection.weight"].shape[0],
        vision_config={
            "hidden_size": patches.shape[0],
            "intermediate_size": weights["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
            "num_hidden_layers": layers["vision_model"],
            "num_attention_heads": _heads(patches.shape[0]),
            "patch_size": patches.shape[-1],
            "image_size": side * patches.shape[-1],
            "hidden_act": activation,
        },
        text_config={
            "vocab_size": words.shape[0],
            "hidden_size": words.shape[1],
            "intermediate_size": weights["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
            "num_hidden_layers": layers["text_model"],
            "num_attention_heads": _heads(words.shape[1]),
            "max_position_embeddings": len(weights["text_model.embeddings.position_embedding.weight"]),
            "hidden_act": activation,
            # The text is read off at its end token, the last of the vocabulary.
            "eos_token_id": words.shape[0] - 1,
            "bos_token_id": words.shape[0] - 2,
        },
    )
    model = CLIPModel(config)
    buffers = {name: t for name, t in model.state_dict().items() if name.endswith("position_ids")}
    load_strictly(model, {**buffers, **weights}, source)
    return model


def no_scale() -> Tensor:
    """The scale of a model whose checkpoint has none; cosines do not depend on it."""
    return torch.tensor(0.0)
