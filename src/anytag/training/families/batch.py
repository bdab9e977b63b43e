"""Batches of the training objectives: pictures as pixels, tags as multi-hot rows, texts as token ids."""

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
    """Pictures with their annotations. In optional tensors, a row of zeros means that the picture has none.

    Attributes:
        pixels: Normalized, ``[B, 3, R, R]``; ``None`` if features come from a cache.
        tags: Multi-hot tags, ``[B, K]``: of all tags, or of ``tag_ids``. Tag2Text learns the tags of the sampled
            caption, RAM and RAM++ the union of all known tags (``union_label_id``).
        tag_ids: Tag ids of the columns, ``[K]``; ``None``: all, in the vocabulary's order.
        tags_known: ``[B]``, false for pictures whose tags are unknown: their zeros in ``tags`` are not negatives.
            ``None``: all are known.
        captions: ``[DEC] … [SEP]``, ``[B, L]``, padded with 0.
        tag_tokens: Tags of the caption, ``[ENC] dog | car [SEP]``, ``[B, T]``, padded with 0 (``parse_label_id``).
        texts: The caption for contrast and matching, ``[CLS] … [SEP]``, ``[B, T]``, padded with 0.
        picture_numbers: ``[B]``, from 0; rows with the same number are not negatives for each other.
        teacher: CLIP's picture embeddings, not normalized, ``[B, F]``.
        text_embeddings: CLIP's caption embeddings, ``[B, D]``.
        maps: Output of the lower image encoder, ``[B, C, H, W]``.
        tokens: Output of the whole image encoder, ``[B, N, C]``.
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
    """Compute features ``[B, 1 + N, F]`` from a batch's tokens, maps or pixels."""
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
    """Tokenize captions and their tags to ``captions``, ``tag_tokens`` and ``texts`` of a :class:`Batch`.

    Args:
        tokenizer: Of the model.
        captions: One per picture, cleaned (:func:`~anytag.language.tokenizers.pre_caption.pre_caption`); empty if the
            picture has none.
        tags: Names of the caption's tags, in the vocabulary's order.
        official: Leave the prompt out of ``captions``, as the official code does; see
            :class:`~anytag.training.recipes.config.CaptioningConfig`.

    Raises:
        UsageError: If there are not as many tag lists as captions.
    """
    if len(captions) != len(tags):
        raise UsageError(f"{len(captions)} captions, but {len(tags)} lists of tags")
    blank = [not caption.strip() for caption in captions]
    known = list(zip(captions, blank, strict=True))
    written = [[] if empty else tokenizer.encode_caption(caption, official=official) for caption, empty in known]
    texts = [[] if empty else tokenizer.encode(caption, TEXT_TOKENS) for caption, empty in known]
    return {
        "captions": _padded(written, tokenizer.pad_id),
        "tag_tokens": torch.tensor([tokenizer.encode_tags(names) for names in tags]),
        "texts": _padded(texts, tokenizer.pad_id),
    }


def _padded(rows: Sequence[Sequence[int]], pad: int) -> Tensor:
    # With at least one column, whose padding shows that a row has no caption.
    return torch.from_numpy(padded([*rows, [pad]], pad)[:-1])
