"""Label queries: one vector per label, with which the recognition decoder scores it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TextLabelQueries(nn.Module):
    """Queries from text embeddings, so that any text can be scored (RAM section 3.2).

    Tags of the training vocabulary may have a learned offset. It is dropped at random in training, so that queries
    from the text alone, as for new categories, stay useful.

    Args:
        tags: Number of tags with an offset; 0: none.
        offset_dropout: Probability of dropping a tag's offset.
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
        """Map text embeddings ``[T, text_width]`` to queries ``[T, width]``.

        Args:
            embeddings: Unit vectors.
            ids: Tag ids ``[T]``, to add their offsets; ``None``: no offsets.
        """
        # Unit vectors of width n have entries of about n ** -0.5; scale them to about one.
        query = self.projection(embeddings * embeddings.shape[-1] ** 0.5)
        if ids is not None and self.offsets is not None:
            offset = self.offsets(ids)
            if self.training:
                kept = torch.rand(len(ids), 1, device=ids.device) >= self.offset_dropout
                offset = offset * kept
            query = query + offset
        return self.norm(query)


class LearnedLabelQueries(nn.Module):
    """One learned vector per tag (Tag2Text section 3.3), without support for other categories."""

    def __init__(self, tags: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(tags, width))

    def forward(self, ids: Tensor | None = None) -> Tensor:
        """Queries ``[T, width]`` of all tags, or of those with some ids."""
        return self.weight if ids is None else self.weight[ids]


class EmbeddedLabelQueries(nn.Module):
    """Queries from one text embedding per tag, so that any text can be scored (RAM section 3.2).

    The embeddings are frozen, as in the papers; the projection is trained. Without a difference between ``text_width``
    and ``width`` there is no projection.
    """

    def __init__(self, tags: int, text_width: int, width: int):
        super().__init__()
        self.embeddings = nn.Parameter(torch.zeros(tags, text_width), requires_grad=False)
        self.projection = nn.Linear(text_width, width) if text_width != width else nn.Identity()

    def project(self, embeddings: Tensor) -> Tensor:
        """Map text embeddings ``[..., text_width]`` to queries ``[..., width]``."""
        return self.projection(embeddings).relu()

    def forward(self, ids: Tensor | None = None) -> Tensor:
        """Queries ``[T, width]`` of all tags, or of those with some ids."""
        return self.project(self.embeddings if ids is None else self.embeddings[ids])


class DescribedLabelQueries(EmbeddedLabelQueries):
    """Queries from several descriptions per tag, weighted by their similarity to the picture (RAM++ section 3.3)."""

    def __init__(self, tags: int, descriptions: int, text_width: int, width: int):
        super().__init__(tags, text_width, width)
        self.embeddings = nn.Parameter(torch.zeros(tags, descriptions, text_width), requires_grad=False)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def mix(self, picture: Tensor, embeddings: Tensor) -> Tensor:
        """Average the descriptions of each tag, weighted by a softmax over their similarities to the picture.

        Args:
            picture: ``[B, text_width]``, the feature of the whole picture.
            embeddings: ``[T, descriptions, text_width]``.

        Returns:
            ``[B, T, text_width]``.
        """
        tags, count, width = embeddings.shape
        picture = self.scale.exp() * F.normalize(picture, dim=-1)
        weights = (picture @ embeddings.reshape(-1, width).T).reshape(-1, tags, count).softmax(-1)
        # One product per tag over all pictures avoids an array of pictures x tags x descriptions x width.
        return torch.bmm(weights.transpose(0, 1), embeddings).transpose(0, 1)

    def forward(self, picture: Tensor, ids: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Queries ``[B, T, width]`` of all tags, or of those with some ids, for pictures ``[B, text_width]``."""
        return self.project(self.mix(picture, self.embeddings if ids is None else self.embeddings[ids]))


def label_text(name: str, kind: str) -> str:
    """The text to embed for a tag; it tells the senses of a word apart ("train", "to train")."""
    return f"to {name}" if kind == "action" else f"{name} looking" if kind == "attribute" else name
