"""Label queries: the vectors that ask the recognition decoder for a tag."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


class LearnedLabelQueries(nn.Module):
    """One learned vector a tag (Tag2Text section 3.3): nothing but these tags can be asked for.

    Args:
        tags: Number of tags.
        width: Width of the queries.
    """

    def __init__(self, tags: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(tags, width))

    def forward(self, ids: Tensor | None = None) -> Tensor:
        """Queries ``[T, width]`` of some tags, or of all."""
        return self.weight if ids is None else self.weight[ids]


class EmbeddedLabelQueries(nn.Module):
    """Queries from one text embedding a tag (RAM section 3.2): any text can be asked for.

    The embeddings are frozen, as in the papers' training; the projection learns.

    Args:
        tags: Number of tags.
        text_width: Width of the text embeddings.
        width: Width of the queries; if it equals ``text_width`` there is no projection.
    """

    def __init__(self, tags: int, text_width: int, width: int):
        super().__init__()
        self.embeddings = nn.Parameter(torch.zeros(tags, text_width), requires_grad=False)
        self.projection = nn.Linear(text_width, width) if text_width != width else nn.Identity()

    def project(self, embeddings: Tensor) -> Tensor:
        """Text embeddings ``[..., text_width]`` to queries ``[..., width]``."""
        return self.projection(embeddings).relu()

    def forward(self, ids: Tensor | None = None) -> Tensor:
        """Queries ``[T, width]`` of some tags, or of all."""
        return self.project(self.embeddings if ids is None else self.embeddings[ids])


class DescribedLabelQueries(EmbeddedLabelQueries):
    """Queries from several descriptions a tag, weighted by what the picture shows (RAM++ section 3.3).

    Args:
        tags: Number of tags.
        descriptions: Descriptions a tag.
        text_width: Width of their embeddings and of the picture's.
        width: Width of the queries.
    """

    def __init__(self, tags: int, descriptions: int, text_width: int, width: int):
        super().__init__(tags, text_width, width)
        self.embeddings = nn.Parameter(torch.zeros(tags, descriptions, text_width), requires_grad=False)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def mix(self, picture: Tensor, embeddings: Tensor) -> Tensor:
        """The tags' embeddings as a picture weighs them.

        Args:
            picture: ``[B, text_width]``, the whole picture's feature.
            embeddings: ``[T, descriptions, text_width]``.

        Returns:
            ``[B, T, text_width]``: the mean of a tag's descriptions, weighted by a softmax over their similarities.
        """
        tags, count, width = embeddings.shape
        picture = self.scale.exp() * F.normalize(picture, dim=-1)
        weights = (picture @ embeddings.reshape(-1, width).T).reshape(-1, tags, count).softmax(-1)
        # One product per tag over all pictures: nothing of the size pictures x tags x descriptions x width arises.
        return torch.bmm(weights.transpose(0, 1), embeddings).transpose(0, 1)

    def forward(self, picture: Tensor, ids: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Queries ``[B, T, width]`` of some tags, or of all, for pictures ``[B, text_width]``."""
        return self.project(self.mix(picture, self.embeddings if ids is None else self.embeddings[ids]))


def label_text(name: str, kind: str) -> str:
    """The text that stands for a tag: it keeps the senses of one word apart ("train", "to train")."""
    return f"to {name}" if kind == "action" else f"{name} looking" if kind == "attribute" else name
