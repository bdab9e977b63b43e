"""Weights in the layout of OpenAI's CLIP, which DiHT and MKT use, converted to that of ``transformers``.

Attention has one matrix for queries, keys and values; the projections are stored transposed. Sizes are inferred from
the shapes; a head has 64 channels, as in every published model (except where a small one is narrower than that).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytag.checkpoints.clip import open_tokenizer
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
    """Rename the transformer layers of one encoder; other names are left out."""
    renamed = {}
    for name, tensor in state.items():
        if found := _INPUTS.fullmatch(name):
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"{prefix}.encoder.layers.{found[1]}.self_attn.{part}_proj.{found[2]}"] = piece
        elif (found := _LAYER.fullmatch(name)) and found[2] in _IN_LAYER:
            renamed[f"{prefix}.encoder.layers.{found[1]}.{_IN_LAYER[found[2]]}.{found[3]}"] = tensor
    return renamed


def picture_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the image encoder (``conv1`` … ``ln_post``) without its projection.

    Raises:
        KeyError: If a weight is missing.
    """
    renamed = {
        "vision_model.embeddings.class_embedding": state["class_embedding"],
        "vision_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["conv1.weight"],
    }
    for ours, theirs in (("pre_layrnorm", "ln_pre"), ("post_layernorm", "ln_post")):
        for kind in ("weight", "bias"):
            renamed[f"vision_model.{ours}.{kind}"] = state[f"{theirs}.{kind}"]
    return renamed | layer_weights(state, "vision_model")


def text_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the text encoder with its projection.

    Raises:
        KeyError: If a weight is missing.
    """
    renamed = {
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "text_model.final_layer_norm.weight": state["ln_final.weight"],
        "text_model.final_layer_norm.bias": state["ln_final.bias"],
        "text_projection.weight": state["text_projection"].T,
    }
    return renamed | layer_weights(state, "text_model")


def _sizes(weights: Mapping[str, Tensor], encoder: str, width: int, activation: str) -> dict[str, Any]:
    layers = [int(name.split(".")[3]) for name in weights if name.startswith(f"{encoder}.encoder.")]
    return {
        "hidden_size": width,
        "intermediate_size": weights[f"{encoder}.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": 1 + max(layers, default=-1),
        "num_attention_heads": max(1, width // 64),
        "hidden_act": activation,
    }


def build_clip(weights: Mapping[str, Tensor], activation: str, source: Path) -> Any:
    """Build a ``CLIPModel`` with the sizes of the weights, and load them.

    Args:
        weights: Renamed: both encoders, both projections and the scale.
        activation: ``quick_gelu`` (OpenAI) or ``gelu`` (DiHT).

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
        raise ModelError(f"{source}: {len(positions)} positions do not form a square")
    config = CLIPConfig(
        projection_dim=weights["text_projection.weight"].shape[0],
        vision_config={
            **_sizes(weights, "vision_model", patches.shape[0], activation),
            "patch_size": patches.shape[-1],
            "image_size": side * patches.shape[-1],
        },
        text_config={
            **_sizes(weights, "text_model", words.shape[1], activation),
            "vocab_size": words.shape[0],
            "max_position_embeddings": len(weights["text_model.embeddings.position_embedding.weight"]),
            # The text embedding is the output at the end token, the last of the vocabulary.
            "eos_token_id": words.shape[0] - 1,
            "bos_token_id": words.shape[0] - 2,
        },
    )
    model = CLIPModel(config)
    buffers = {name: t for name, t in model.state_dict().items() if name.endswith("position_ids")}
    load_strictly(model, {**buffers, **weights}, source)
    return model


class ClipTokenizer:
    """Convert texts to ids ``[T, L]``, truncated to the model's length and padded with 0 after the end token.

    The official code of DiHT and MKT pads to the full length, too; nothing depends on it.

    Args:
        folder: A directory with CLIP's tokenizer.

    Raises:
        ModelError: If there is no tokenizer, or it belongs to another model.
    """

    def __init__(self, folder: Path, text_config: Any):
        self.length = int(text_config.max_position_embeddings)
        self._tokenizer = open_tokenizer(folder, self.length)
        pieces = self._tokenizer.get_vocab_size()
        if pieces > text_config.vocab_size:
            raise ModelError(f"{folder}: the tokenizer has {pieces} pieces, the checkpoint {text_config.vocab_size}")

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Tokenize texts."""
        ids = torch.zeros(len(texts), self.length, dtype=torch.long)
        for row, encoded in zip(ids, self._tokenizer.encode_batch(list(texts)), strict=True):
            row[: len(encoded.ids)] = torch.tensor(encoded.ids)
        return ids
