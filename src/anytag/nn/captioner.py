"""Interaction encoder and text decoder, which write captions from tags and a picture (Tag2Text section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anytag.nn.recognition_decoder import RecognitionDecoder
from anytag.nn.transformer import KeysValues, TextEmbedding, TransformerLayer, TransformerLayers


class InteractionEncoder(nn.Module):
    """Fuse tags with each other and with the picture.

    Its lowest layers share cross-attention and feed-forward with the recognition decoder (Tag2Text section 3.3).

    Args:
        embedding: Word embeddings; may be shared with the text decoder.
        layers: Number of layers; ``None``: only the shared ones.
        inner: Width of the feed-forward's inner layer in the other layers.
        attention_dropout: Dropout of the attention weights; ``None``: ``dropout``.
    """

    def __init__(
        self,
        embedding: TextEmbedding,
        decoder: RecognitionDecoder,
        heads: int,
        dropout: float = 0.1,
        layers: int | None = None,
        inner: int = 0,
        attention_dropout: float | None = None,
    ):
        super().__init__()
        self.heads = heads
        self.embedding = embedding
        width = embedding.words.embedding_dim
        memory_width = decoder.layers[0].cross_attention.key.in_features
        own = (layers or len(decoder.layers)) - len(decoder.layers)
        self.layers = TransformerLayers(
            [
                TransformerLayer(width, 0, dropout=dropout, shared=layer, attention_dropout=attention_dropout)
                for layer in decoder.layers
            ]
            + [
                TransformerLayer(
                    width, inner, memory_width=memory_width, dropout=dropout, attention_dropout=attention_dropout
                )
                for _ in range(own)
            ]
        )

    def forward(self, ids: Tensor, features: Tensor) -> Tensor:
        """Fuse tags with a picture.

        Args:
            ids: Tag tokens ``[B, T]``, padded with 0.
            features: ``[B, N, width]``.

        Returns:
            ``[B, T, width]``; undefined at padding.
        """
        hidden = self.embedding(ids)
        mask = (ids != 0)[:, None, None]
        for layer in self.layers:
            hidden = layer.self_attention(
                hidden, layer.self_attention.keys_values(hidden, self.heads), self.heads, mask
            )
            memory = layer.cross_attention.keys_values(features, self.heads)
            hidden = layer.cross_attention(hidden, memory, self.heads)
            hidden = layer.feed_forward(hidden)
        return hidden


class TextDecoder(nn.Module):
    """A causal language model with cross-attention to the fused tags and picture, its memory.

    Args:
        embedding: Word embeddings, also used by the output layer.
        attention_dropout: Dropout of the attention weights; ``None``: ``dropout``.
    """

    def __init__(
        self,
        embedding: TextEmbedding,
        width: int,
        layers: int,
        heads: int,
        inner: int,
        memory_width: int,
        dropout: float = 0.1,
        attention_dropout: float | None = None,
    ):
        super().__init__()
        self.heads = heads
        self.embedding = embedding
        self.layers = TransformerLayers(
            TransformerLayer(
                width, inner, memory_width=memory_width, dropout=dropout, attention_dropout=attention_dropout
            )
            for _ in range(layers)
        )
        self.transform = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(embedding.words.num_embeddings))

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states ``[..., width]`` to logits over the vocabulary."""
        return F.linear(self.norm(F.gelu(self.transform(hidden))), self.embedding.words.weight, self.bias)

    def memory(self, fused: Tensor) -> list[KeysValues]:
        """Keys and values per layer of the memory ``[B, N, memory_width]``, computed once per caption."""
        return [layer.cross_attention.keys_values(fused, self.heads) for layer in self.layers]

    def forward(self, ids: Tensor, memory: list[KeysValues], mask: Tensor | None = None) -> Tensor:
        """Hidden states of a whole sequence, for training.

        Args:
            ids: ``[B, T]``.
            memory: From :meth:`memory`.
            mask: ``[B, 1, 1, N]``, true where the memory may be attended to.

        Returns:
            ``[B, T, width]``; position t depends on positions 0 … t.
        """
        hidden = self.embedding(ids)
        for layer, keys_values in zip(self.layers, memory, strict=True):
            past = layer.self_attention.keys_values(hidden, self.heads)
            hidden = layer.self_attention(hidden, past, self.heads, causal=True)
            hidden = layer.feed_forward(layer.cross_attention(hidden, keys_values, self.heads, mask))
        return hidden

    def step(
        self, ids: Tensor, past: list[KeysValues], memory: list[KeysValues], mask: Tensor | None = None
    ) -> tuple[Tensor, list[KeysValues]]:
        """Decode new tokens with cached keys and values.

        Args:
            ids: New tokens ``[B, T]``.
            past: Keys and values ``[B, heads, P, d]`` per layer of the P previous tokens; P may be 0.
            memory: From :meth:`memory`.
            mask: As in :meth:`forward`.

        Returns:
            Logits ``[B, vocabulary]`` after the last token, and the longer ``past``.
        """
        before, new = past[0][0].shape[2], ids.shape[1]
        hidden = self.embedding(ids, start=before)
        columns = torch.arange(before + new, device=ids.device)
        causal = columns[None] <= torch.arange(new, device=ids.device)[:, None] + before
        grown = []
        for layer, (keys, values), keys_values in zip(self.layers, past, memory, strict=True):
            key, value = layer.self_attention.keys_values(hidden, self.heads)
            grown.append((torch.cat([keys, key], 2), torch.cat([values, value], 2)))
            hidden = layer.self_attention(hidden, grown[-1], self.heads, causal[None, None])
            hidden = layer.feed_forward(layer.cross_attention(hidden, keys_values, self.heads, mask))
        return self.logits(hidden[:, -1]), grown
