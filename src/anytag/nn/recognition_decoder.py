"""The recognition decoder, which scores label queries against a picture.

Query2Label's decoder (Liu et al., 2021) as in Tag2Text: label queries attend to the picture through a few layers of
cross-attention and feed-forward. Without self-attention, the score of a label does not depend on the other labels
(Tag2Text section 3.3, RAM section 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anytag.nn.transformer import KeysValues, TransformerLayer, TransformerLayers


class PerTagScore(nn.Module):
    """A linear score with separate weights for each tag (Query2Label's group-wise linear layer)."""

    def __init__(self, tags: int, width: int):
        super().__init__()
        self.in_features = width
        self.weight = nn.Parameter(torch.zeros(tags, width))
        self.bias = nn.Parameter(torch.zeros(tags))

    def forward(self, hidden: Tensor, ids: Tensor | None = None) -> Tensor:
        """Map ``[B, T, width]`` of all tags, or of those with some ids ``[T]``, to ``[B, T, 1]``."""
        weight, bias = (self.weight, self.bias) if ids is None else (self.weight[ids], self.bias[ids])
        return (hidden * weight).sum(-1, keepdim=True) + bias[:, None]


class RecognitionDecoder(nn.Module):
    """Score label queries against image features.

    Args:
        layers: Number of layers (2 in the papers).
        tags: Number of tags with separate score heads; 0: one head for all labels.
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
        """The first layer's query projection ``[T, width]``, which is the same for every picture."""
        return next(iter(self.layers)).cross_attention.query(queries)

    def keys_values(self, features: Tensor) -> list[KeysValues]:
        """Keys and values per layer of image features ``[B, N, memory_width]``."""
        return [layer.cross_attention.keys_values(features, self.heads) for layer in self.layers]

    def embed(
        self,
        features: Tensor,
        queries: Tensor,
        projected: Tensor | None = None,
        memory: list[KeysValues] | None = None,
    ) -> Tensor:
        """Hidden states ``[B, T, width]`` before the score.

        Args:
            features: ``[B, N, memory_width]``.
            queries: ``[T, width]``, the same for all pictures, or ``[B, T, width]``.
            projected: :meth:`project` of the queries, if already computed.
            memory: :meth:`keys_values` of the features, if already computed.
        """
        memory = self.keys_values(features) if memory is None else memory
        return self._through(features, queries, projected, memory)[0]

    def attention(self, features: Tensor, queries: Tensor, projected: Tensor | None = None) -> Tensor:
        """Attention weights ``[B, T, N]`` of the last layer, averaged over heads; they sum to 1 over the N tokens.

        Arguments as for :meth:`embed`.
        """
        *lower, (keys, _) = self.keys_values(features)
        hidden, first = self._through(features, queries, projected, lower)
        projection = self.layers[len(lower)].cross_attention.query(hidden) if first is None else first
        split = projection.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return (split @ keys.transpose(2, 3) / keys.shape[-1] ** 0.5).softmax(-1).mean(1)

    def _through(
        self, features: Tensor, queries: Tensor, projected: Tensor | None, memory: list[KeysValues]
    ) -> tuple[Tensor, Tensor | None]:
        """Run as many layers as ``memory`` has; without any, the first layer's query projection is returned, too."""
        first = self.project(queries) if projected is None else projected
        if queries.dim() == 2:
            queries, first = (x.expand(features.shape[0], -1, -1) for x in (queries, first))
        hidden = queries
        for index, (layer, keys_values) in enumerate(zip(self.layers, memory, strict=False)):
            projection = first if index == 0 else None
            hidden = layer.feed_forward(layer.cross_attention(hidden, keys_values, self.heads, queries=projection))
        return hidden, None if memory else first

    def forward(
        self, features: Tensor, queries: Tensor, projected: Tensor | None = None, ids: Tensor | None = None
    ) -> Tensor:
        """Logits ``[B, T]``; arguments as for :meth:`embed`, and tag ids ``[T]`` for separate score heads."""
        hidden = self.embed(features, queries, projected)
        scores = self.score(hidden, ids) if isinstance(self.score, PerTagScore) else self.score(hidden)
        return scores.squeeze(-1)
