"""Label queries: the vectors that ask the recognition decoder for a tag."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TextLabelQueries(nn.Module):
    """Queries from text embeddings of the tags, so that any text can be asked for (RAM section 3.2).

    Tags of the training vocabulary may add a learned offset. In training it is left out at random, so that the text
    alone stays a good query and unseen categories are asked for in a language that the decoder knows.

    Args:
        text_width: Width of the text embeddings.
        width: Width of the queries.
        inner: Inner width of the projection.
        tags: Number of tags with an offset of their own; 0 for none.
        offset_dropout: Probability of leaving a tag's offset out.
    """

    def __init__(self, text_width: int, width: int, inner: int, tags: int = 0, offset_dropout: float = 0.3):
        super().__init__()
        self.projection = nn.Sequential(nn.Linear(text_width, inner), nn.GELU(), nn.Linear(inner, width))
        self.norm = nn.LayerNorm(width)
        self.offsets = nn.Embedding(tags, width) if tags else None
        self.offset_dropout = offset_dropout
        if self.offsets is not None:
            nn.init.zeros_(self.offsets.weight)

    def forward(self, embeddings: Tensor, ids: Tensor | None = None) -> Tensor:
        """Text embeddings ``[T, text_width]`` to queries ``[T, width]``.

        Args:
            embeddings: Unit vectors of the texts.
            ids: The tags' ids ``[T]``, to add their offsets; ``None`` for free text.
        """
        # Unit vectors of width n have entries of about n ** -0.5: bring them to about one.
        query = self.projection(embeddings * embeddings.shape[-1] ** 0.5)
        if ids is not None and self.offsets is not None:
            offset = self.offsets(ids)
            if self.training:
                kept = torch.rand(len(ids), 1, device=ids.device) >= self.offset_dropout
                offset = offset * kept
            query = query + offset
        return self.norm(query)


def label_text(name: str, kind: str) -> str:
    """The text that stands for a tag: it keeps the senses of one word apart ("train", "to train")."""
    return f"to {name}" if kind == "action" else f"{name} looking" if kind == "attribute" else name
