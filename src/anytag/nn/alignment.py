"""Does a text fit a picture? Contrast of both as wholes (ITC) and matching through cross-attention (ITM).

Tag2Text names this branch (section 3.3) and never released it; it follows BLIP (Li et al., 2022, section 3.1), whose
numbers are the defaults here: 256-d unit vectors, temperature 0.07 held within [0.001, 0.5], hard negatives drawn in
the batch. Momentum copies and queues are in :mod:`anytag.nn.momentum`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anytag.nn.captioner import TextDecoder
from anytag.nn.transformer import TransformerLayer, TransformerLayers

#: The temperature is kept within these (BLIP's pre-training).
TEMPERATURE_RANGE = (0.001, 0.5)

#: Added to the probability of every negative, so that each may be drawn (BLIP's pre-training).
_FLOOR = 1e-4


class AlignmentEncoder(nn.Module):
    """Reads a text alone, to compare it with a picture as wholes, or together with a picture, to judge the pair.

    All but self-attention is the text decoder's: word embeddings, cross-attention, feed-forward (BLIP's rule). The
    decoder looks at tags and pictures fused, this at the picture itself. Where the picture's features are not as wide
    as what the decoder looks at, a linear layer of this encoder's own brings them there; BLIP's are as wide, and
    Tag2Text does not say.

    Args:
        decoder: The text decoder to share with, layer by layer.
        feature_width: Width of a picture's features.
        embedding: Width of the unit vectors.
        match_id: Id of ``[ENC]``, which a text starts with where it is judged together with a picture.
        temperature: Of the contrast, to start with.

    Attributes:
        temperature: As learned; see :meth:`clamp_temperature`.
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
        """Features ``[B, N, F]``, the picture as a whole first, to unit vectors ``[B, embedding]``, in float32."""
        return F.normalize(self.picture_projection(features[:, 0]).float(), dim=-1)

    def embed_texts(self, ids: Tensor) -> Tensor:
        """Texts to unit vectors ``[B, embedding]``, in float32.

        Args:
            ids: ``[CLS] … [SEP]``, ``[B, T]``, padded with 0.
        """
        return F.normalize(self.text_projection(self._read(ids)[:, 0]).float(), dim=-1)

    def match(self, ids: Tensor, features: Tensor) -> Tensor:
        """Judge pairs.

        Args:
            ids: ``[CLS] … [SEP]``, ``[P, T]``, padded with 0; ``[ENC]`` takes the first place.
            features: ``[P, N, F]``.

        Returns:
            Logits ``[P, 2]``: does not fit, fits. The second one ranks answers in retrieval.
        """
        ids = torch.cat([torch.full_like(ids[:, :1], self.match_id), ids[:, 1:]], 1)
        memory = features if self.memory_projection is None else self.memory_projection(features)
        return self.match_score(self._read(ids, memory)[:, 0])

    @torch.no_grad()
    def clamp_temperature(self) -> Tensor:
        """The temperature, brought back into :data:`TEMPERATURE_RANGE` if a step has led out of it."""
        self.temperature.clamp_(*TEMPERATURE_RANGE)
        return self.temperature

    def _read(self, ids: Tensor, memory: Tensor | None = None) -> Tensor:
        hidden = self.embedding(ids)
        mask = (ids != 0)[:, None, None]
        for layer in self.layers:
            past = layer.self_attention.keys_values(hidden, self.heads)
            hidden = layer.self_attention(hidden, past, self.heads, mask)
            if memory is not None:
                seen = layer.cross_attention.keys_values(memory, self.heads)
                hidden = layer.cross_attention(hidden, seen, self.heads)
            hidden = layer.feed_forward(hidden)
        return hidden


class Keys(NamedTuple):
    """What a batch is contrasted with: momentum embeddings of the batch, then of batches before it.

    Attributes:
        pictures: Unit vectors ``[K, D]``.
        texts: Unit vectors ``[K, D]``, a text a picture.
        positives: ``[B, K]``, true where a key belongs to the picture of the batch's row.
        first: Where the batch's own rows start among the keys.
    """

    pictures: Tensor
    texts: Tensor
    positives: Tensor
    first: int = 0


class Contrast(NamedTuple):
    """What :func:`contrastive_loss` gives.

    Attributes:
        loss: A scalar.
        text_logits: ``[B, K]``, how well every key's text fits a picture of the batch.
        picture_logits: ``[B, K]``, how well every key's picture fits a text of the batch.
    """

    loss: Tensor
    text_logits: Tensor
    picture_logits: Tensor


def contrastive_loss(
    pictures: Tensor, texts: Tensor, keys: Keys, temperature: Tensor | float, soft_share: float = 0.0
) -> Contrast:
    """Image–text contrast with soft labels from momentum embeddings (ALBEF, Li et al., 2021, equations 1 and 6).

    Each row is to point at its positives, all alike, and for a share at what the momentum embeddings find similar.

    Args:
        pictures: Unit vectors ``[B, D]``.
        texts: Unit vectors ``[B, D]``, a text a picture.
        keys: What they are contrasted with; every row needs a positive.
        temperature: Similarities are divided by it.
        soft_share: Share of the soft labels in [0, 1]; 0.4 in BLIP.
    """
    own = slice(keys.first, keys.first + len(pictures))
    # A temperature of 0.01 makes a hundred times as much of every rounding: float32 whatever the rest runs in.
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
    """One wrong answer a row, the likelier the better it seems to fit.

    Args:
        logits: ``[B, B]``, how well every column's answer fits a row's query.
        excluded: ``[B, B]``, true for answers that are right.
        generator: Draws come from it; ``None``: from PyTorch's global one.

    Returns:
        Columns ``[B]``, drawn with weights softmax + 1e-4 (BLIP); -1 for a row that has no wrong answer.
    """
    weights = (logits.detach().float().softmax(1) + _FLOOR).masked_fill(excluded, 0.0)
    hopeless = excluded.all(1)
    weights[hopeless] = 1.0  # A draw from nothing is an error; what is drawn here is not used.
    weights = weights.nan_to_num(nan=1.0)  # The contrast's loss is not a number either then, and ends the run.
    return torch.multinomial(weights, 1, generator=generator).squeeze(1).masked_fill(hopeless, -1)


def matching_loss(
    encoder: AlignmentEncoder,
    ids: Tensor,
    features: Tensor,
    contrast: Contrast,
    first: int = 0,
    same_picture: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Image–text matching on every true pair, every text with a wrong picture and every picture with a wrong text.

    The wrong ones come from the batch and are hard: those that the contrast holds for similar (ALBEF section 3.2).
    A row for which the batch has no wrong answer gives its true pair alone.

    Args:
        encoder: Judges pairs.
        ids: The texts ``[B, T]``, see :meth:`AlignmentEncoder.match`.
        features: The pictures ``[B, N, F]``; text and picture of a row belong together.
        contrast: Of the same batch.
        first: Where the batch's own rows start among the contrast's keys.
        same_picture: ``[B, B]``, true where two rows show the same picture: neither is wrong for the other. A row is
            never wrong for itself.
        generator: Negatives are drawn from it, pictures first.

    Returns:
        Mean cross entropy over the ``3 B`` pairs.
    """
    rows = torch.arange(len(ids), device=ids.device)
    excluded = rows[:, None] == rows
    if same_picture is not None:
        excluded = excluded | same_picture
    own = slice(first, first + len(ids))
    wrong_pictures = draw_negatives(contrast.picture_logits[:, own], excluded, generator)
    wrong_texts = draw_negatives(contrast.text_logits[:, own], excluded, generator)
    answered = wrong_pictures >= 0  # The same rows for both: ``excluded`` is symmetric.
    texts = torch.cat([rows, rows[answered], wrong_texts[answered]])
    pictures = torch.cat([rows, wrong_pictures[answered], rows[answered]])
    fits = torch.arange(len(texts), device=ids.device) < len(rows)
    return F.cross_entropy(encoder.match(ids[texts], features[pictures]).float(), fits.long())
