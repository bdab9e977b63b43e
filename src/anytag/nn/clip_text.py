"""CLIP's text encoder (Radford et al., 2021, section 2.4), which computes the label embeddings of RAM and RAM++.

Unlike BERT's (:mod:`anytag.nn.transformer`), its layers normalize before attention and feed-forward, and attention is
causal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from anytag.errors import ModelError
from anytag.language.tokenizers.padding import batches_by_length
from anytag.model.config import ClipTextConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Files of a model directory.
WEIGHTS, TOKENIZER = "clip_text.safetensors", "label_tokenizer.json"

#: Texts that are embedded together.
_BATCH = 128


class ClipTextLayer(nn.Module):
    """Pre-norm self-attention and feed-forward with residual connections."""

    def __init__(self, config: ClipTextConfig):
        super().__init__()
        width, self.heads = config.width, config.heads
        self.quick = config.activation == "quick_gelu"
        self.attention_norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.inner = nn.Linear(width, config.inner)
        self.output = nn.Linear(config.inner, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``[B, L, width]`` to the same shape."""
        normed = self.attention_norm(hidden)
        query, key, value = (
            part(normed).reshape(*hidden.shape[:2], self.heads, -1).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.attention_output(attended.transpose(1, 2).reshape(hidden.shape))
        inner = self.inner(self.feed_forward_norm(hidden))
        # OpenAI's models use this approximation of GELU (Hendrycks & Gimpel, 2016, section 2).
        inner = inner * torch.sigmoid(1.702 * inner) if self.quick else F.gelu(inner)
        return hidden + self.output(inner)


class ClipTextTransformer(nn.Module):
    """Map token ids to one vector per text.

    Raises:
        ModelError: If the config's sizes contradict each other.
    """

    def __init__(self, config: ClipTextConfig):
        super().__init__()
        if config.width % config.heads:
            raise ModelError(f"CLIP text encoder: width {config.width} does not divide into {config.heads} heads")
        if config.end_token >= config.vocabulary:
            raise ModelError(
                f"CLIP text encoder: the end token {config.end_token} is not in a vocabulary of {config.vocabulary}"
            )
        self.config = config
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        self.layers = nn.ModuleList(ClipTextLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.projection = nn.Linear(config.width, config.embedding, bias=False)

    def features(self, ids: Tensor) -> Tensor:
        """Map ids ``[B, L]`` to unnormalized embeddings ``[B, embedding]``, CLIP's "text features".

        Args:
            ids: At most ``positions`` per text, each with an end token; ids after it are ignored.
        """
        hidden = self.words(ids) + self.positions.weight[: ids.shape[1]]
        for layer in self.layers:
            hidden = layer(hidden)
        end = (ids == self.config.end_token).int().argmax(1)
        last = hidden.gather(1, end[:, None, None].expand(-1, 1, hidden.shape[-1]))[:, 0]
        return self.projection(self.norm(last))

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids ``[B, L]`` to unit vectors ``[B, embedding]``."""
        return F.normalize(self.features(ids), dim=-1)


class ClipTextEncoder:
    """Embed texts; implements :class:`~anytag.language.label_texts.embedding_cache.TextEncoder`.

    Args:
        model: In eval mode, on any device.
        tokenizer: Adds start and end tokens; it is set to truncate to the model's ``positions``.
    """

    def __init__(self, model: ClipTextTransformer, tokenizer: Tokenizer):
        self.model, self.tokenizer = model, tokenizer
        tokenizer.enable_truncation(model.config.positions)
        tokenizer.no_padding()

    @classmethod
    def load(cls, folder: str | Path, config: ClipTextConfig) -> ClipTextEncoder:
        """Read ``clip_text.safetensors`` and ``label_tokenizer.json`` of a model directory.

        Raises:
            ModelError: If one is missing, damaged or does not fit ``config``.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        folder = Path(folder)
        for name in (WEIGHTS, TOKENIZER):
            if not (folder / name).is_file():
                raise ModelError(f"{folder / name}: missing; this model cannot embed new categories")
        try:
            state = load_file(folder / WEIGHTS)
        except SafetensorError as error:
            raise ModelError(f"{folder / WEIGHTS}: damaged ({error}); convert or download the model again") from None
        with torch.device("meta"):
            model = ClipTextTransformer(config)
        check_state(model, {name: tuple(tensor.shape) for name, tensor in state.items()}, str(folder / WEIGHTS))
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
        try:
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # The library raises nothing more precise.
            raise ModelError(f"{folder / TOKENIZER}: not a tokenizer ({error}); convert the model again") from None
        return cls(model.eval().requires_grad_(False), tokenizer)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of sizes, tokenizer and weights."""
        digest = hashlib.sha256(self.model.config.model_dump_json().encode())
        digest.update(self.tokenizer.to_str().encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors ``[len(texts), embedding]``, computed in batches of similar length."""
        encoded = [self.tokenizer.encode(text).ids for text in texts]
        vectors = np.empty((len(encoded), self.model.config.embedding), np.float32)
        device = self.model.words.weight.device
        for places, ids in batches_by_length(encoded, _BATCH):
            vectors[places] = self.model(torch.from_numpy(ids).to(device)).float().cpu().numpy()
        return vectors


def check_state(model: nn.Module, shapes: dict[str, tuple[int, ...]], source: str) -> None:
    """Check the shapes of a state dict against a module.

    Raises:
        ModelError: If a weight is missing, unexpected or has the wrong shape.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name in sorted(expected.keys() - shapes.keys()):
        raise ModelError(f"{source}: the weight {name} is missing; the file is not whole or not of this model")
    for name in sorted(shapes.keys() - expected.keys()):
        raise ModelError(f"{source}: the weight {name} is not part of this model")
    for name, shape in expected.items():
        if shapes[name] != shape:
            raise ModelError(f"{source}: the weight {name} has the shape {shapes[name]} instead of {shape}")
