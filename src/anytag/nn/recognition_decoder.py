"""The recognition decoder: which labels does the picture show?

Query2Label's decoder (Liu et al., 2021) as Tag2Text uses it: label queries look at the picture through a few layers
of cross-attention and feed-forward, without self-attention, so that the score of one label does not depend on which
others are asked for (Tag2Text section 3.3, RAM section 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anytag.nn.transformer import KeysValues, TransformerLayer, TransformerLayers


class PerTagScore(nn.Module):
    """A linear score with weights of each tag's own (Query2Label's group-wise linear layer).

    Args:
        tags: Number of tags.
        width: Width of what is scored.
    """

    def __init__(self, tags: int, width: int):
        super().__init__()
        self.in_features = width
        self.weight = nn.Parameter(torch.zeros(tags, width))
        self.bias = nn.Parameter(torch.zeros(tags))

    def forward(self, hidden: Tensor, ids: Tensor | None = None) -> Tensor:
        """``[B, T, width]`` of some tags, or of all, to ``[B, T, 1]``."""
        weight, bias = (self.weight, self.bias) if ids is None else (self.weight[ids], self.bias[ids])
        return (hidden * weight).sum(-1, keepdim=True) + bias[:, None]


class RecognitionDecoder(nn.Module):
    """Scores label queries against a picture's features.

    Args:
        width: Width of the queries.
        layers: Number of layers (2 in the papers).
        heads: Attention heads.
        inner: Width of the feed-forward's inner layer.
        memory_width: Width of the picture's features.
        dropout: Dropout in training.
        tags: Number of tags with a score head of their own; 0: one head for all.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        inner: int,
        memory_width: int,
        dropout: float = 0.1,
        tags: int = 0,
    ):
        super().__init__()
        self.heads = heads
        self.layers = TransformerLayers(
            TransformerLayer(width, inner, self_attention=False, memory_width=memory_width, dropout=dropout)
            for _ in range(layers)
        )
        self.score: nn.Module = PerTagScore(tags, width) if tags else nn.Linear(width, 1)

    def project(self, queries: Tensor) -> Tensor:
        """The first layer's query projection ``[T, width]``: the same for every picture, so computed once."""
        return next(iter(self.layers)).cross_attention.query(queries)

    def keys_values(self, features: Tensor) -> list[KeysValues]:
        """Per layer, the picture's keys and values; ``features`` is ``[B, N, memory_width]``."""
        return [layer.cross_attention.keys_values(features, self.heads) for layer in self.layers]

    def embed(
        self,
        features: Tensor,
        queries: Tensor,
        projected: Tensor | None = None,
        memory: list[KeysValues] | None = None,
    ) -> Tensor:
        """What every query sees: ``[B, T, width]``.

        Args:
            features: ``[B, N, memory_width]``.
            queries: ``[T, width]``, the same for all pictures, or ``[B, T, width]``.
            projected: :meth:`project` of the queries, if it is at hand.
            memory: :meth:`keys_values` of the features, if they are at hand.
        """
        memory = self.keys_values(features) if memory is None else memory
        return self._through(features, queries, projected, memory)[0]

    def attention(self, features: Tensor, queries: Tensor, projected: Tensor | None = None) -> Tensor:
        """Where the last layer looks: weights ``[B, T, N]``, the mean of its heads; arguments as for :meth:`embed`.

        A query's weights sum to 1 over the picture's N tokens.
        """
        *lower, (keys, _) = self.keys_values(features)
        hidden, first = self._through(features, queries, projected, lower)
        asked = self.layers[len(lower)].cross_attention.query(hidden) if first is None else first
        split = asked.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return (split @ keys.transpose(2, 3) / keys.shape[-1] ** 0.5).softmax(-1).mean(1)

    def _through(
        self, features: Tensor, queries: Tensor, projected: Tensor | None, memory: list[KeysValues]
    ) -> tuple[Tensor, Tensor | None]:
        """Hidden states after as many layers as there are keys and values; their query projection while it is known."""
        known = self.project(queries) if projected is None else projected
        if queries.dim() == 2:
            queries, known = (x.expand(features.shape[0], -1, -1) for x in (queries, known))
        hidden, first = queries, known
        for index, (layer, keys_values) in enumerate(zip(self.layers, memory, strict=False)):
            asked = first if index == 0 else None
            hidden = layer.feed_forward(layer.cross_attention(hidden, keys_values, self.heads, queries=asked))
        return hidden, None if memory else first

    def forward(
        self, features: Tensor, queries: Tensor, projected: Tensor | None = None, ids: Tensor | None = None
    ) -> Tensor:
        """Logits ``[B, T]``; arguments as for :meth:`embed`, and the tags' ids where each has a head of its own."""
        hidden = self.embed(features, queries, projected)
        scores = self.score(hidden, ids) if isinstance(self.score, PerTagScore) else self.score(hidden)
        return scores.squeeze(-1)
