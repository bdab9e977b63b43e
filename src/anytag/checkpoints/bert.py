"""Initialize the text parts of a new model from bert-base-uncased (Tag2Text section 3.3).

Self-attention, feed-forward and word embeddings come from BERT. Cross-attention and the embeddings of the two tokens
that BERT does not have stay randomly initialized. Token types are dropped, as in BLIP.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from anytag.checkpoints.weight_files import read_weights
from anytag.errors import ModelError
from anytag.nn.model import RecognitionModel
from anytag.nn.text_encoder import convert_bert_state

#: Parts of the language model's head, with their names in :class:`~anytag.nn.captioner.TextDecoder`.
_HEAD = {
    "cls.predictions.transform.dense": "transform",
    "cls.predictions.transform.LayerNorm": "norm",
    "cls.predictions": "",
}

#: Parts of a model to initialize.
_PARTS = ("recognition_decoder", "interaction_encoder", "text_decoder")


def load_bert(folder: Path, model: RecognitionModel) -> int:
    """Load BERT's weights into the text parts of a model, in place.

    Args:
        folder: bert-base-uncased in ``transformers`` format (``model.safetensors``).
        model: As wide as BERT; layers beyond BERT's do not change.

    Returns:
        Number of parameters loaded.

    Raises:
        ModelError: If the file cannot be read, is not a BERT, or has another width.
    """
    state = _read(folder)
    words = state.get("embedding.words.weight")
    if words is None:
        raise ModelError(f"{folder}: has no word embeddings, so it is not a BERT")
    filled: set[int] = set()
    for part in _PARTS:
        module = getattr(model, part, None)
        if module is None:
            continue
        for name, parameter in module.named_parameters():
            given = state.get(name)
            if given is None or id(parameter) in filled:
                continue
            if given.shape[1:] != parameter.shape[1:] or given.shape[0] > parameter.shape[0]:
                raise ModelError(
                    f"{folder}: {name} has the shape {tuple(given.shape)}, too large or too narrow for the "
                    f"{tuple(parameter.shape)} of {part}; the model is not of BERT's size"
                )
            with torch.no_grad():
                parameter[: len(given)] = given
            filled.add(id(parameter))
    if not filled:
        raise ModelError(f"{folder}: nothing in it fits this model")
    return len(filled)


def _read(folder: Path) -> dict[str, Tensor]:
    try:
        raw = read_weights(folder)
    except ModelError as error:
        raise ModelError(f"{error}; give a folder of bert-base-uncased") from None
    encoder: dict[str, Tensor] = {}
    head: dict[str, Tensor] = {}
    for official, tensor in raw.items():
        # Old files call the weight and bias of a normalization gamma and beta.
        name = official.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        part, _, leaf = name.rpartition(".")
        if part in _HEAD:
            head[f"{_HEAD[part]}.{leaf}".removeprefix(".")] = tensor
        elif not name.startswith("cls."):
            encoder[name.removeprefix("bert.")] = tensor
    return convert_bert_state(encoder) | head
