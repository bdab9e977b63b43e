"""Text encoders of a run, and text embeddings of tags for label queries."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from anytag.checkpoints.clip import ClipText, read_clip_text
from anytag.errors import ModelError
from anytag.language.label_texts.description_files import lines_of, read_descriptions
from anytag.language.label_texts.descriptions import from_wordnet
from anytag.language.label_texts.embedding_cache import EmbeddingCache, OpenSetEmbedder, TextEncoder
from anytag.model.config import LabelQueryConfig
from anytag.model.directory import ModelDirectory
from anytag.model.vocabulary import VocabularyTag
from anytag.nn.clip_text import TOKENIZER, WEIGHTS, ClipTextEncoder, ClipTextTransformer
from anytag.nn.label_queries import label_text
from anytag.nn.text_encoder import SentenceEncoder, embed_texts, load_sentence_encoder, sentence_encoder_folder
from anytag.training.recipes.config import SENTENCE_ENCODER


class SentenceTexts:
    """The sentence encoder of the ``lite`` models (extra ``lite-sources``), loaded on first use."""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights."""
        return hashlib.sha256((sentence_encoder_folder() / "model.safetensors").read_bytes()).hexdigest()

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed texts as unit vectors ``[len(texts), 384]``."""
        found: npt.NDArray[np.float32] = embed_texts(self._encoder, self._tokenizer, list(texts)).numpy()
        return found

    @cached_property
    def _encoder(self) -> SentenceEncoder:
        return load_sentence_encoder(sentence_encoder_folder())

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer.from_file(str(sentence_encoder_folder() / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer


def clip_encoder(clip: ClipText) -> ClipTextEncoder:
    """Build a CLIP text encoder from its state."""
    with torch.random.fork_rng(devices=[]):  # Randomness must not depend on what is cached.
        model = ClipTextTransformer(clip.config)
    model.load_state_dict(clip.state)
    return ClipTextEncoder(model.eval().requires_grad_(False), clip.tokenizer)


def find_texts(texts: str | Path | None, start: ModelDirectory | None) -> tuple[TextEncoder | None, ClipText | None]:
    """Return the text encoder of a run, and CLIP's state if it has to be saved with the model.

    ``texts`` is a CLIP directory, or :data:`~anytag.training.recipes.config.SENTENCE_ENCODER`; by default the encoder
    is that of the model to start from, if it has one.

    Raises:
        ModelError: If it cannot be read.
    """
    if isinstance(texts, Path):
        clip = read_clip_text(texts)
        return clip_encoder(clip), clip
    if texts == SENTENCE_ENCODER or (texts is None and start is not None and start.config.labels.kind == "text"):
        return SentenceTexts(), None
    config = start.config.labels.clip_text if start is not None else None
    if start is None or config is None:
        return None, None
    for name in (WEIGHTS, TOKENIZER):
        start.file(name)  # Compares checksums.
    return ClipTextEncoder.load(start.path, config), None


def embed_tags(
    tags: Sequence[VocabularyTag],
    labels: LabelQueryConfig,
    encoder: TextEncoder | None,
    cache: Path,
    descriptions: Path | None = None,
) -> Tensor | None:
    """Embed the texts of tags for label queries.

    Args:
        tags: The tags.
        labels: Config of the label queries.
        encoder: Text encoder.
        cache: Folder of cached embeddings.
        descriptions: A file of descriptions, for RAM++; ``None``: templates.

    Returns:
        ``[T, D]``, for ``described`` queries ``[T, descriptions, D]``; ``None`` for learned ones, or without tags.

    Raises:
        ModelError: If there is no encoder, or its width does not fit.
    """
    if labels.kind == "learned" or not tags:
        return None
    if encoder is None:
        raise ModelError(
            f"tags are asked for by their text ({labels.kind} queries), and there is no text encoder; name a CLIP "
            "directory as teacher.clip"
        )
    embedder = OpenSetEmbedder(encoder, EmbeddingCache(cache))
    if labels.kind == "described":
        found = embedder.for_descriptions(_described(tags, labels.descriptions, descriptions))
    elif isinstance(encoder, ClipTextEncoder):
        found = embedder.for_ram([tag.name for tag in tags])
    else:
        found = encoder.embed([label_text(tag.name, tag.kind) for tag in tags])
    if found.shape[-1] != labels.width:
        raise ModelError(
            f"the text encoder gives embeddings of width {found.shape[-1]}, the model asks in {labels.width}"
        )
    return torch.from_numpy(np.ascontiguousarray(found, np.float32))


def _described(tags: Sequence[VocabularyTag], count: int, file: Path | None) -> list[list[str]]:
    if file is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # The recipe chose templates.
            return [list(made.lines) for made in from_wordnet(tags, None, count)]
    rows = lines_of(tags, read_descriptions(file))
    for tag, lines in zip(tags, rows, strict=True):
        if len(lines) < count:
            raise ModelError(f"{file}: {tag.name!r} has {len(lines)} descriptions, the model weighs {count}")
    return [lines[:count] for lines in rows]
