"""Image–text alignment: contrastive learning (ITC) and matching through cross-attention (ITM).

Tag2Text describes this branch (section 3.3) but never released it; it follows BLIP (Li et al., 2022, section 3.1),
whose values are the defaults here: 256-d unit vectors, temperature 0.07 clamped to [0.001, 0.5], hard negatives sampled
from the batch. Momentum encoders and queues are in :mod:`anytag.nn.momentum`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anytag.nn.captioner import TextDecoder
from anytag.nn.transformer import TransformerLayer, TransformerLayers

#: Limits of the temperature (BLIP's pre-training).
TEMPERATURE_RANGE = (0.001, 0.5)

#: Added to the sampling weight of every negative, so that none is impossible (BLIP's pre-training).
_FLOOR = 1e-4


class AlignmentEncoder(nn.Module):
    """Encode a text alone, for contrastive learning, or together with a picture, for matching.

    Word embeddings, cross-attention and feed-forward are shared with the text decoder; only self-attention is not (as
    in BLIP). The decoder attends to fused tags and image features, this encoder to the image features. If their widths
    differ, a linear layer projects the features; in BLIP they are equal, and Tag2Text does not specify this.

    Args:
        embedding: Width of the unit vectors.
        match_id: Id of ``[ENC]``, the first token of a text that is matched with a picture.
    """

    def __init__(
        self,
        decoder: TextDecoder,
        feature_width: int,
        embedding: int = 256,
        match_id: int = 30523,
        temperature: float = 0.07,
    ):
        super().__init__()
        self.heads, self.match_id = decoder.heads, match_id
        self.embedding = decoder.embedding
        cross = next(iter(decoder.layers)).cross_attention
        width, memory_width = cross.query.in_features, cross.key.in_features
        self.layers = TransformerLayers(
            TransformerLayer(width, 0, dropout=cross.dropout, norm_eps=cross.norm.eps, shared=layer)
            for layer in decoder.layers
        )
        self.memory_projection = nn.Linear(feature_width, memory_width) if feature_width != memory_width else None
        self.picture_projection = nn.Linear(feature_width, embedding)
        self.text_projection = nn.Linear(width, embedding)
        self.match_score = nn.Linear(width, 2)
        self.temperature = nn.Parameter(torch.tensor(temperature))
        shared = {id(module) for module in decoder.modules()}
        for module in self.modules():
            if isinstance(module, nn.Linear) and id(module) not in shared:
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def embed_pictures(self, features: Tensor) -> Tensor:
        """Features ``[B, N, F]``, first token for the whole picture, to float32 unit vectors ``[B, embedding]``."""
        return F.normalize(self.picture_projection(features[:, 0]).float(), dim=-1)

    def embed_texts(self, ids: Tensor) -> Tensor:
        """Texts to float32 unit vectors ``[B, embedding]``.

        Args:
            ids: ``[CLS] … [SEP]``, ``[B, T]``, padded with 0.
        """
        return F.normalize(self.text_projection(self._read(ids)[:, 0]).float(), dim=-1)

    def match(self, ids: Tensor, features: Tensor) -> Tensor:
        """Score pairs of texts and pictures.

        Args:
            ids: ``[CLS] … [SEP]``, ``[P, T]``, padded with 0; ``[CLS]`` is replaced by ``[ENC]``.
            features: ``[P, N, F]``.

        Returns:
            Logits ``[P, 2]``: no match, match. The second one ranks results in retrieval.
        """
        ids = torch.cat([torch.full_like(ids[:, :1], self.match_id), ids[:, 1:]], 1)
        memory = features if self.memory_projection is None else self.memory_projection(features)
        return self.match_score(self._read(ids, memory)[:, 0])

    @torch.no_grad()
    def clamp_temperature(self) -> Tensor:
        """Clamp the temperature to :data:`TEMPERATURE_RANGE` and return it."""
        self.temperature.clamp_(*TEMPERATURE_RANGE)
        return self.temperature

    def _read(self, ids: Tensor, memory: Tensor | None = None) -> Tensor:
        hidden = self.embedding(ids)
        mask = (ids != 0)[:, None, None]
        for layer in self.layers:
            past = layer.self_attention.keys_values(hidden, self.heads)
            hidden = layer.self_attention(hidden, past, self.heads, mask)
            if memory is not None:
                keys_values = layer.cross_attention.keys_values(memory, self.heads)
                hidden = layer.cross_attention(hidden, keys_values, self.heads)
            hidden = layer.feed_forward(hidden)
        return hidden


class Keys(NamedTuple):
    """Momentum embeddings that a batch is contrasted with: those of the batch, then of earlier batches.

    Attributes:
        pictures: Unit vectors ``[K, D]``.
        texts: Unit vectors ``[K, D]``, one per picture.
        positives: ``[B, K]``, true where a key belongs to the same picture as the batch's row.
        first: Position of the batch's first row among the keys.
    """

    pictures: Tensor
    texts: Tensor
    positives: Tensor
    first: int = 0


class Contrast(NamedTuple):
    """Result of :func:`contrastive_loss`.

    Attributes:
        text_logits: ``[B, K]``, similarity of every key's text to a picture of the batch.
        picture_logits: ``[B, K]``, similarity of every key's picture to a text of the batch.
    """

    loss: Tensor
    text_logits: Tensor
    picture_logits: Tensor


def contrastive_loss(
    pictures: Tensor, texts: Tensor, keys: Keys, temperature: Tensor | float, soft_share: float = 0.0
) -> Contrast:
    """Contrastive loss with soft labels from momentum embeddings (ALBEF, Li et al., 2021, equations 1 and 6).

    The targets are uniform over a row's positives, mixed with the softmax of the momentum embeddings' similarities.

    Args:
        pictures: Unit vectors ``[B, D]``.
        texts: Unit vectors ``[B, D]``, one per picture.
        keys: Momentum embeddings to contrast with; every row needs a positive.
        soft_share: Weight of the soft labels in [0, 1]; 0.4 in BLIP.
    """
    own = slice(keys.first, keys.first + len(pictures))
    # Dividing by a temperature of 0.01 multiplies rounding errors by 100, so this is float32 even under autocast.
    with torch.autocast(pictures.device.type, enabled=False):
        text_logits, picture_logits = pictures @ keys.texts.T / temperature, texts @ keys.pictures.T / temperature
        with torch.no_grad():
            hard = keys.positives.to(keys.texts.dtype) / keys.positives.sum(1, keepdim=True)
            similar_texts = (keys.pictures[own] @ keys.texts.T / temperature).softmax(1)
            similar_pictures = (keys.texts[own] @ keys.pictures.T / temperature).softmax(1)
            text_targets = hard.lerp(similar_texts, soft_share)
            picture_targets = hard.lerp(similar_pictures, soft_share)
        loss = (F.cross_entropy(text_logits, text_targets) + F.cross_entropy(picture_logits, picture_targets)) / 2
    return Contrast(loss, text_logits, picture_logits)


def draw_negatives(logits: Tensor, excluded: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Sample one hard negative per row.

    Args:
        logits: ``[B, B]``, similarity of each column to a row.
        excluded: ``[B, B]``, true for positives.
        generator: ``None``: PyTorch's global one.

    Returns:
        Columns ``[B]``, sampled with weights softmax + 1e-4 (BLIP); -1 for a row without negatives.
    """
    weights = (logits.detach().float().softmax(1) + _FLOOR).masked_fill(excluded, 0.0)
    empty = excluded.all(1)
    weights[empty] = 1.0  # Sampling from no weights is an error; the result is masked below.
    weights = weights.nan_to_num(nan=1.0)  # The contrastive loss is NaN then, too, and ends the run.
    return torch.multinomial(weights, 1, generator=generator).squeeze(1).masked_fill(empty, -1)


def matching_loss(
    encoder: AlignmentEncoder,
    ids: Tensor,
    features: Tensor,
    contrast: Contrast,
    first: int = 0,
    same_picture: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Image–text matching loss: the mean cross entropy over ``B`` positive and up to ``2 B`` negative pairs.

    Each text is paired with a hard negative picture and each picture with a hard negative text from the batch, sampled
    by contrastive similarity (ALBEF section 3.2). Rows without negatives in the batch only give their positive pair.

    Args:
        ids: Texts ``[B, T]``, see :meth:`AlignmentEncoder.match`.
        features: Pictures ``[B, N, F]``, one per text.
        contrast: Of the same batch.
        first: Position of the batch's first row among the contrast's keys.
        same_picture: ``[B, B]``, true where two rows have the same picture, so that neither is a negative.
        generator: For sampling the negatives, pictures first.
    """
    rows = torch.arange(len(ids), device=ids.device)
    excluded = rows[:, None] == rows
    if same_picture is not None:
        excluded = excluded | same_picture
    own = slice(first, first + len(ids))
    wrong_pictures = draw_negatives(contrast.picture_logits[:, own], excluded, generator)
    wrong_texts = draw_negatives(contrast.text_logits[:, own], excluded, generator)
    has_negatives = wrong_pictures >= 0  # The same rows for both, since ``excluded`` is symmetric.
    texts = torch.cat([rows, rows[has_negatives], wrong_texts[has_negatives]])
    pictures = torch.cat([rows, wrong_pictures[has_negatives], rows[has_negatives]])
    is_match = torch.arange(len(texts), device=ids.device) < len(rows)
    return F.cross_entropy(encoder.match(ids[texts], features[pictures]).float(), is_match.long())
