"""Systems to evaluate: they predict scores of categories, or captions, for pictures.

The project's own models are systems, and so is every rival in :mod:`anytag.evaluation.baselines`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from anytag.errors import ModelError, UsageError
from anytag.evaluation.caption_tags import CategoryParser
from anytag.foundations.wording import listed
from anytag.inference.recognizer import Recognizer
from anytag.model.vocabulary import TagVocabulary
from anytag.pictures import PictureSource
from anytag.recognition import Failure

Paradigm = Literal["alignment", "captioning", "tagging", "detection"]
Scores = NDArray[np.float32]


class System(Protocol):
    """A system to evaluate.

    Attributes:
        title: Name in tables.
        paradigm: How it recognizes.
        identity: Its weights and settings; cached scores depend on it.
        parser: Finds categories in its captions, if it scores them that way; set by :meth:`set_categories`.
    """

    title: str
    paradigm: Paradigm
    identity: str
    parser: CategoryParser | None

    def set_categories(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Set the categories to score, which may repeat, and other names for some.

        Returns:
            Categories that the system cannot score; their columns are NaN.
        """

    def scores(self, pictures: Iterable[PictureSource]) -> Iterator[Scores | Failure]:
        """Yield the scores of each picture, ``[C]``, or why it could not be read."""

    def captions(self, pictures: Iterable[PictureSource]) -> Iterator[str | Failure]:
        """Yield a caption of each picture.

        Raises:
            UsageError: If the system writes no captions.
        """

    def thresholds(self) -> NDArray[np.float64] | None:
        """Return the system's own thresholds, ``[C]``, if it has any."""


class ModelSystem:
    """A model of the project: Tag2Text, RAM, RAM++ or lite.

    Args:
        as_captioner: Score categories by the captions, as the papers do for Tag2Text's captioning row.
    """

    def __init__(self, recognizer: Recognizer, as_captioner: bool = False):
        config = recognizer.directory.config
        self.recognizer, self.title = recognizer, config.name
        self.paradigm: Paradigm = "captioning" if as_captioner else "tagging"
        fingerprint = recognizer.directory.fingerprint
        self.identity = f"{config.family} {config.name} {recognizer.backend.__class__.__name__} {fingerprint}"
        self._categories: list[str] = []
        self._columns: list[int | None] = []
        self._limits: list[float] = []
        self._texts: list[str] = []
        self.parser: CategoryParser | None = None

    @property
    def is_open(self) -> bool:
        """Whether the model can score categories outside its vocabulary."""
        labels = self.recognizer.directory.config.labels
        return labels.kind == "text" or (labels.kind != "learned" and labels.clip_text is not None)

    def set_categories(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Score categories of the vocabulary as tags, others as texts where the model reads texts."""
        self._texts = []
        vocabulary = self.recognizer.vocabulary
        if self.paradigm == "captioning":
            self.parser = CategoryParser(names, synonyms, vocabulary)
            return []
        texts: list[str | None] = [
            vocabulary[tag].name if tag is not None else name if self.is_open else None
            for name, tag in zip(names, map_categories(names, vocabulary, synonyms), strict=True)
        ]
        self._categories = list(dict.fromkeys(text for text in texts if text is not None))
        if not self._categories:
            raise ModelError(f"{self.title}: the vocabulary has none of the categories ({listed(names)})")
        # One label for every text, in their order.
        self._limits = self.recognizer.labels.categories(self._categories).thresholds.tolist()
        self._columns = [None if text is None else self._categories.index(text) for text in texts]
        return [name for name, column in zip(names, self._columns, strict=True) if column is None]

    def set_texts(self, texts: Sequence[str]) -> None:
        """Compare pictures with whole texts instead of categories, for retrieval."""
        self._texts = list(texts)

    def scores(self, pictures: Iterable[PictureSource]) -> Iterator[Scores | Failure]:
        """Yield probabilities of the categories, or of matching the texts."""
        if self._texts:
            for match in self.recognizer.match(iter(pictures), self._texts):
                yield match if isinstance(match, Failure) else np.array([m.score for m in match.matches], np.float32)
            return
        if self.parser is not None:
            yield from parsed_scores(self.captions(pictures), self.parser)
            return
        for recognition in self.recognizer.tag(iter(pictures), categories=self._categories, threshold=0.0):
            if isinstance(recognition, Failure):
                yield recognition
                continue
            values = [tag.score for tag in recognition.tags]  # One for every text, in their order.
            yield np.array([np.nan if c is None else values[c] for c in self._columns], np.float32)

    def captions(self, pictures: Iterable[PictureSource]) -> Iterator[str | Failure]:
        """Yield captions guided by the predicted tags."""
        for recognition in self.recognizer.caption(iter(pictures)):
            yield recognition if isinstance(recognition, Failure) else recognition.caption or ""

    def thresholds(self) -> NDArray[np.float64] | None:
        """Return the tags' own thresholds; ``None`` where captions are scored."""
        if self.parser is not None:
            return None
        return np.array([np.inf if c is None else self._limits[c] for c in self._columns])


def map_categories(
    names: Sequence[str], vocabulary: TagVocabulary, synonyms: Mapping[str, Sequence[str]]
) -> list[int | None]:
    """Find each class's tag id by its name, then by its synonyms; ``None`` where the vocabulary has none."""
    tags = []
    for name in names:
        found = (vocabulary.find(text) for text in (name, *synonyms.get(name, ())))
        tags.append(next((tag.id for tag in found if tag is not None), None))
    return tags


def kinds_of(names: Sequence[str], vocabulary: TagVocabulary, synonyms: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the kind (object, scene, action, attribute) of each class that the vocabulary has."""
    tags = map_categories(names, vocabulary, synonyms)
    return {name: vocabulary[tag].kind for name, tag in zip(names, tags, strict=True) if tag is not None}


def parsed_scores(captions: Iterable[str | Failure], parser: CategoryParser) -> Iterator[Scores | Failure]:
    """Score 1 for categories that a caption names, 0 for all others."""
    for caption in captions:
        yield caption if isinstance(caption, Failure) else parser([caption])[0].astype(np.float32)


def default_vocabulary() -> TagVocabulary:
    """Return the shipped model's vocabulary, whose synonyms and implications are used to parse captions."""
    from anytag.model.directory import find_model

    return find_model(None).vocabulary


def folder_identity(path: str | Path) -> str:
    """Identify weights by names, sizes and modification times of the files, without reading them.

    Raises:
        UsageError: If the path does not exist.
    """
    place = Path(path)
    if not place.exists():
        raise UsageError(f"{path}: no such file or folder; give the path of the weights")
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
    return " ".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)
