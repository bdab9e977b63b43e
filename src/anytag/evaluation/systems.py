"""What can be evaluated: a system takes pictures in and gives scores of categories, or captions.

The project's own models are systems, and so is every rival of :mod:`anytag.evaluation.baselines`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from anytag.errors import ModelError, UsageError
from anytag.evaluation.caption_tags import CategoryParser
from anytag.evaluation.category_map import map_categories
from anytag.foundations.wording import shown
from anytag.inference.recognizer import Recognizer
from anytag.model.vocabulary import TagVocabulary
from anytag.pictures import PictureSource
from anytag.recognition import Failure, Recognition

Paradigm = Literal["alignment", "captioning", "tagging", "detection"]
Scores = NDArray[np.float32]


class System(Protocol):
    """Something that is evaluated.

    Attributes:
        title: As tables call it.
        paradigm: How it recognizes.
        identity: Tells it apart from others where scores are kept: its weights and its settings.
        parser: Makes categories of its captions, if that is how it scores them; set by :meth:`ask`.
    """

    title: str
    paradigm: Paradigm
    identity: str
    parser: CategoryParser | None

    def ask(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Say which categories are wanted.

        Args:
            names: The categories, in words; one may stand twice.
            synonyms: Other names for some.

        Returns:
            Those that the system cannot score; their columns are NaN.
        """

    def scores(self, pictures: Iterable[PictureSource]) -> Iterator[Scores | Failure]:
        """Per picture ``[C]``, higher is surer, or why it could not be read."""

    def captions(self, pictures: Iterable[PictureSource]) -> Iterator[str | Failure]:
        """Per picture a caption.

        Raises:
            UsageError: If the system writes none.
        """

    def thresholds(self) -> NDArray[np.float64] | None:
        """``[C]``, the system's own; ``None`` if it has none."""


class ModelSystem:
    """A model of the project: Tag2Text, RAM, RAM++ or lite.

    Args:
        recognizer: The model.
        as_captioner: Score categories by what captions name, as the papers do for Tag2Text's captioning row.
    """

    def __init__(self, recognizer: Recognizer, as_captioner: bool = False):
        config = recognizer.directory.config
        self.recognizer, self.title = recognizer, config.name
        self.paradigm: Paradigm = "captioning" if as_captioner else "tagging"
        made_of = recognizer.directory.fingerprint
        self.identity = f"{config.family} {config.name} {recognizer.backend.__class__.__name__} {made_of}"
        self._asked: list[str] = []
        self._columns: list[int | None] = []
        self._limits: list[float] = []
        self._texts: list[str] = []
        self.parser: CategoryParser | None = None

    @property
    def is_open(self) -> bool:
        """Whether categories outside the vocabulary can be asked for."""
        labels = self.recognizer.directory.config.labels
        return labels.kind == "text" or (labels.kind != "learned" and labels.clip_text is not None)

    def ask(self, names: Sequence[str], synonyms: dict[str, tuple[str, ...]]) -> list[str]:
        """Categories that the vocabulary has are asked for as tags, the others as texts where the model reads texts."""
        self._texts = []
        if self.paradigm == "captioning":
            self.parser = CategoryParser(names, synonyms, self.recognizer.vocabulary)
            return []
        found = map_categories(names, self.recognizer.vocabulary, synonyms)
        wanted: list[str | None] = [
            self.recognizer.vocabulary[tag].name if tag is not None else name if self.is_open else None
            for name, tag in zip(names, found.tags, strict=True)
        ]
        self._asked = list(dict.fromkeys(text for text in wanted if text is not None))
        if not self._asked:
            raise ModelError(f"{self.title}: the vocabulary has none of the categories ({shown(names)})")
        # One label for every text, in their order.
        self._limits = self.recognizer.labels.categories(self._asked).thresholds.tolist()
        self._columns = [None if text is None else self._asked.index(text) for text in wanted]
        return [name for name, column in zip(names, self._columns, strict=True) if column is None]

    def ask_texts(self, texts: Sequence[str]) -> None:
        """Ask for whole texts instead of categories, for retrieval."""
        self._texts = list(texts)

    def scores(self, pictures: Iterable[PictureSource]) -> Iterator[Scores | Failure]:
        """Probabilities of the categories that were asked for, or how well the texts fit."""
        if self._texts:
            for match in self.recognizer.match(iter(pictures), self._texts):
                yield match if isinstance(match, Failure) else np.array([m.score for m in match.matches], np.float32)
            return
        if self.parser is not None:
            yield from parsed_scores(self.captions(pictures), self.parser)
            return
        for seen in self.recognizer.tag(iter(pictures), categories=self._asked, threshold=0.0):
            if isinstance(seen, Failure):
                yield seen
                continue
            values = [tag.score for tag in seen.tags]  # One for every text, in their order.
            yield np.array([np.nan if c is None else values[c] for c in self._columns], np.float32)

    def captions(self, pictures: Iterable[PictureSource]) -> Iterator[str | Failure]:
        """Captions that follow the tags found."""
        for seen in self.recognizer.caption(iter(pictures)):
            yield seen if isinstance(seen, Failure) else _text(seen)

    def thresholds(self) -> NDArray[np.float64] | None:
        """The tags' own thresholds."""
        if self.parser is not None:
            return None
        return np.array([np.inf if c is None else self._limits[c] for c in self._columns])


def _text(seen: Recognition) -> str:
    return seen.caption or ""


def parsed_scores(captions: Iterable[str | Failure], parser: CategoryParser) -> Iterator[Scores | Failure]:
    """1 for categories that a caption names, 0 for all others."""
    for caption in captions:
        yield caption if isinstance(caption, Failure) else parser([caption])[0].astype(np.float32)


def default_vocabulary() -> TagVocabulary:
    """The shipped model's vocabulary, whose synonyms and implications make tags of captions."""
    from anytag.model.directory import find_model

    return find_model(None).vocabulary


def folder_identity(path: str | Path) -> str:
    """What tells weights apart without reading them whole: names, sizes and times of the files.

    Raises:
        UsageError: If there is nothing.
    """
    place = Path(path)
    if not place.exists():
        raise UsageError(f"{path}: no such file or folder; give the path of the weights")
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
    return " ".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)
