"""Queries for texts outside the vocabulary: new categories and whole sentences."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING

from anytag.backends.base import Backend, Queries
from anytag.errors import ModelError, UsageError
from anytag.language.label_texts.description_files import read_descriptions
from anytag.language.label_texts.descriptions import from_wordnet
from anytag.language.label_texts.embedding_cache import EmbeddingCache, OpenSetEmbedder
from anytag.language.parsing.rules import ParsedTag
from anytag.language.tags.kinds import guess_kinds
from anytag.language.tokenizers.bert_tokenizer import TEXT_TOKENS, OfficialTokenizer
from anytag.language.tokenizers.padding import padded
from anytag.language.tokenizers.pre_caption import pre_caption
from anytag.model.directory import ModelDirectory
from anytag.model.names import normalize_name

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Texts that are embedded together; a layer's activations take some tens of megabytes.
_TEXT_BATCH = 128


class TextQueries:
    """Turn texts into queries as the model expects them.

    Args:
        descriptions: File of descriptions for the user's own categories; templates describe the others. RAM++ only.

    Raises:
        UsageError: If the model does not use descriptions.
        VocabularyError: If the file is missing or malformed.
    """

    def __init__(self, directory: ModelDirectory, backend: Backend, descriptions: str | Path | None = None):
        self.directory, self.backend, self.config = directory, backend, directory.config.labels
        if descriptions is not None and self.config.kind != "described":
            raise UsageError(f"{descriptions}: a {directory.config.family} model does not use descriptions; RAM++ does")
        self._written = {} if descriptions is None else described_texts(descriptions, self.config.descriptions)

    def categories(self, names: Sequence[str]) -> Queries:
        """Queries of new categories.

        RAM embeds an ensemble of 63 prompts per category, RAM++ its descriptions; both are cached on disk.

        Raises:
            ModelError: If the model only supports the tags of its vocabulary.
        """
        names, kind = [_readable(name) for name in names], self.config.kind
        if kind == "learned":
            raise ModelError(
                f"{self.directory.path}: has one learned query per tag, so it only knows its own tags "
                f"(not {names[0]!r}); RAM, RAM++ and the shipped model know any category"
            )
        if kind == "text":
            return self._embed(names)
        embedder = OpenSetEmbedder(self.backend.text_encoder(), EmbeddingCache())
        if kind == "embedded":
            return self.backend.embedding_queries(embedder.for_ram(names))
        return self.backend.embedding_queries(embedder.for_descriptions(self._descriptions(names)))

    def sentences(self, texts: Sequence[str]) -> Queries:
        """Queries of whole texts, for :meth:`~anytag.inference.scoring.Scorer.match`.

        Raises:
            ModelError: If the model only supports the tags of its vocabulary.
        """
        texts, kind = [_readable(text) for text in texts], self.config.kind
        if kind == "learned":
            tokenizer = OfficialTokenizer.load(self.directory.file("tokenizer.json"))
            return self.backend.text_queries(padded([tokenizer.encode(pre_caption(t), TEXT_TOKENS) for t in texts]))
        if kind == "text":
            return self._embed(texts)
        # Sentences are embedded without prompts or descriptions.
        embeddings = self.backend.text_encoder().embed(texts)
        return self.backend.embedding_queries(embeddings[:, None] if kind == "described" else embeddings)

    def _embed(self, texts: Sequence[str]) -> Queries:
        """Queries from the model's own text encoder (lite)."""
        encoded = [self._tokenizer.encode(text).ids for text in texts]
        parts = [
            self.backend.text_queries(padded(encoded[start : start + _TEXT_BATCH]))
            for start in range(0, len(encoded), _TEXT_BATCH)
        ]
        return reduce(lambda first, second: first.join(second), parts)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        if not self.directory.has("label_tokenizer.json"):
            raise ModelError(
                f"{self.directory.path}: this model has no text encoder for new categories; copy the model again, or "
                "ask for its own tags"
            )
        return Tokenizer.from_file(str(self.directory.file("label_tokenizer.json")))

    def _descriptions(self, names: Sequence[str]) -> list[Sequence[str]]:
        """Descriptions of categories: the user's, or else those from templates."""
        unwritten = [name for name in names if normalize_name(name) not in self._written]
        named = [ParsedTag(name, kind) for name, kind in zip(unwritten, guess_kinds(unwritten), strict=True)]
        with warnings.catch_warnings():
            # Only templates are available at run time; "anytag vocabulary describe" writes better descriptions.
            warnings.simplefilter("ignore", UserWarning)
            made = {one.tag: one.lines for one in from_wordnet(named, None, self.config.descriptions)}
        return [self._written.get(normalize_name(name)) or made[name] for name in names]


def _readable(text: str) -> str:
    """Replace bytes of a command line that are not UTF-8 by question marks, since tokenizers reject them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def described_texts(path: str | Path, count: int) -> dict[str, tuple[str, ...]]:
    """Read descriptions by normalized name, ``count`` each, from a file like that of ``anytag vocabulary describe``.

    Raises:
        VocabularyError: If the file is missing or malformed.
        UsageError: If a category has another number of descriptions.
    """
    described = {normalize_name(one.tag): one.lines for one in read_descriptions(path)}
    for name, lines in described.items():
        if len(lines) != count:
            raise UsageError(f"{path}: {name!r} has {len(lines)} descriptions, but the model uses {count} per category")
    return described
