"""What objectives learn from: pictures as pixels, tags as ones and zeros, words as ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anytag.errors import UsageError
from anytag.language.tokenizers.bert_tokenizer import TEXT_TOKENS, OfficialTokenizer
from anytag.language.tokenizers.padding import padded
from anytag.nn.model import RecognitionModel


@dataclass(frozen=True)
class Batch:
    """Pictures, and what is known of them; a row of zeros in an optional tensor means that this picture has none.

    Attributes:
        pixels: Normalized, ``[B, 3, R, R]``; ``None`` where they come from a cache.
        tags: 1 where a picture has a tag, ``[B, K]``: of all tags, or of ``tag_ids``. Tag2Text learns the tags of the
            sampled caption, RAM and RAM++ the union of all that is known (``union_label_id``).
        tag_ids: The columns' tags ``[K]``; ``None``: all, in the vocabulary's order.
        tags_known: ``[B]``, false for pictures whose tags nobody knows; for them the row of ``tags``, though zeros,
            does not mean that the picture shows nothing. ``None``: all are known.
        captions: ``[DEC] … [SEP]``, ``[B, L]``, padded with 0.
        tag_tokens: Tags of that very caption, ``[ENC] dog | car [SEP]``, ``[B, T]``, padded with 0
            (``parse_label_id``).
        texts: The caption for contrast and matching, ``[CLS] … [SEP]``, ``[B, T]``, padded with 0.
        picture_numbers: ``[B]``, a number from 0 for each picture of the data; rows that have the same are not wrong
            answers for each other.
        teacher: CLIP's embeddings of the pictures, not normalized, ``[B, F]``.
        text_embeddings: CLIP's embeddings of the captions, ``[B, D]``.
        maps: What the lower image encoder made of the pictures, ``[B, C, H, W]``.
        tokens: What the whole image encoder made of them, ``[B, N, C]``.
    """

    pixels: Tensor | None = None
    tags: Tensor | None = None
    tag_ids: Tensor | None = None
    tags_known: Tensor | None = None
    captions: Tensor | None = None
    tag_tokens: Tensor | None = None
    texts: Tensor | None = None
    picture_numbers: Tensor | None = None
    teacher: Tensor | None = None
    text_embeddings: Tensor | None = None
    maps: Tensor | None = None
    tokens: Tensor | None = None

    @property
    def pictures(self) -> Tensor:
        """The pixels.

        Raises:
            UsageError: If there are none.
        """
        if self.pixels is None:
            raise UsageError("this objective looks at pictures, and the batch has none")
        return self.pixels


def picture_features(model: RecognitionModel, batch: Batch) -> Tensor:
    """Features ``[B, 1 + N, F]`` of a batch's pictures, from whatever the batch has of them."""
    if batch.tokens is not None:
        return model.features(batch.tokens)
    if batch.maps is not None:
        return model.features(model.image_encoder.upper_stages(batch.maps))
    return model.encode(batch.pictures)[0]


def caption_tensors(
    tokenizer: OfficialTokenizer,
    captions: Sequence[str],
    tags: Sequence[Sequence[str]],
    *,
    official: bool = False,
) -> dict[str, Tensor]:
    """The parts of a :class:`Batch` that come from words: ``captions``, ``tag_tokens`` and ``texts``.

    Args:
        tokenizer: Words to ids.
        captions: One a picture, cleaned (:func:`~anytag.language.tokenizers.pre_caption.pre_caption`); an empty one
            means that the picture has none.
        tags: Names of the caption's tags, in the vocabulary's order.
        official: Leave the prompt out of ``captions``, as the official code does; see ``official`` in
            :class:`~anytag.training.families.objectives.Tag2TextConfig`.

    Raises:
        UsageError: If there are not as many tag lists as captions.
    """
    if len(captions) != len(tags):
        raise UsageError(f"{len(captions)} captions, but {len(tags)} lists of tags")
    there = [bool(caption.strip()) for caption in captions]
    written = [
        tokenizer.encode_caption(caption, official=official) if has else []
        for caption, has in zip(captions, there, strict=True)
    ]
    texts = [
        tokenizer.encode(caption, TEXT_TOKENS) if has else [] for caption, has in zip(captions, there, strict=True)
    ]
    return {
        "captions": _padded(written, tokenizer.pad_id),
        "tag_tokens": torch.tensor([tokenizer.encode_tags(names) for names in tags]),
        "texts": _padded(texts, tokenizer.pad_id),
    }


def _padded(rows: Sequence[Sequence[int]], pad: int) -> Tensor:
    # One column at least, in which a row that has no caption says so.
    return torch.from_numpy(padded([*rows, [pad]], pad)[:-1])
