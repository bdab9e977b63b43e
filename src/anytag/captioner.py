"""Captions guided by tags, and what they cover."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anytag.backends.base import Backend, FloatArray
from anytag.errors import ModelError
from anytag.generation import DecodingOptions, generate
from anytag.language.parser import load_parser
from anytag.language.tokenizer import CaptionTokenizer, clean_caption
from anytag.language.vocabulary_builder import TagMapper
from anytag.model_directory import ModelDirectory
from anytag.vocabulary import VocabularyTag


class Captioner:
    """Writes captions for one model.

    Args:
        directory: The model.
        backend: Runs it.

    Raises:
        ModelError: If the model has no captioner.
    """

    def __init__(self, directory: ModelDirectory, backend: Backend):
        if directory.config.captioner is None:
            raise ModelError(f"{directory.path}: this model tags pictures but does not write captions")
        self.config = directory.config
        self.limit = directory.config.captioner.positions
        self.vocabulary = directory.vocabulary
        self.backend = backend
        self.tokenizer = CaptionTokenizer.load(directory.file("tokenizer.json"))
        self._mapper: TagMapper | None = None

    def options(self, num_beams: int | None = None, sample: bool = False, seed: int | None = None) -> DecodingOptions:
        """The model's decoding defaults with some of them changed."""
        decoding = self.config.decoding
        return DecodingOptions(
            num_beams=decoding.num_beams if num_beams is None else num_beams,
            max_length=decoding.max_length,
            min_length=decoding.min_length,
            length_penalty=decoding.length_penalty,
            repetition_penalty=decoding.repetition_penalty,
            sample=sample,
            seed=seed,
        )

    def caption(
        self, features: FloatArray, tags: Sequence[Sequence[str]], given: bool, options: DecodingOptions
    ) -> list[str]:
        """One caption a picture.

        Args:
            features: ``[B, N, W]``.
            tags: Per picture, names of tags to follow; may be empty.
            given: Whether the tags are wanted in the caption, or only what a recogniser proposes.
            options: How to search.
        """
        lists = [
            self.tokenizer.join_tags([self.tokenizer.encode(name) for name in names], given, self.limit)
            for names in tags
        ]
        captions = []
        # One picture at a time: lists of other lengths would pad each other, and 1,000 tokens a second are plenty.
        for row, ids in enumerate(lists):
            step = self.backend.fuse(np.array([ids], np.int64), features[row : row + 1], options.rows_per_picture)
            result = generate(
                step,
                np.array([self.tokenizer.start_id], np.int64),
                num_pictures=1,
                eos_id=self.tokenizer.end_id,
                pad_id=self.tokenizer.pad_id,
                options=options,
                banned=self.tokenizer.special_ids,
            )[0]
            captions.append(self.tokenizer.decode(result.tokens))
        return captions

    def covered(self, caption: str, tags: Sequence[VocabularyTag]) -> list[str]:
        """Which of the tags a caption names: by name, alias, inflection, or something that implies them."""
        if self._mapper is None:
            self._mapper = TagMapper(self.vocabulary)
        named = self._mapper(load_parser("light").parse(caption))
        words = f" {clean_caption(caption)} "
        return [
            tag.name
            for tag in tags
            if tag.id in named or any(f" {clean_caption(name)} " in words for name in (tag.name, *tag.aliases))
        ]
