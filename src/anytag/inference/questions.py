"""What can be asked of pictures: settled once, before any is read, and then answered for as many as there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Backend, Encoded, FloatArray, Queries
from anytag.errors import ModelError, UsageError
from anytag.foundations import arguments
from anytag.foundations.shortage import explained_shortage
from anytag.inference.captioner import Captioner
from anytag.inference.decoding_options import DecodingOptions
from anytag.inference.joint_embedding import JointEmbedding
from anytag.inference.label_set import LabelSet
from anytag.inference.label_space import LabelSpace
from anytag.inference.scoring import Scorer
from anytag.inference.tag_choice import TagChoice
from anytag.inference.text_queries import TextQueries
from anytag.language.parsing.parser import load_parser
from anytag.language.tags.coverage import TagCoverage
from anytag.language.tags.vocabulary_builder import TagMapper
from anytag.model.directory import ModelDirectory
from anytag.model.vocabulary import VocabularyTag
from anytag.pictures.heat_maps import HeatMap, to_heat_map
from anytag.recognition import Match, Matches, Recognition, Tag, TagKind

Answer = TypeVar("Answer")

#: Gives an answer for every encoded picture, whose paths come along.
Question = Callable[[Encoded, Sequence[str]], list[Answer]]


#: What a sentence finds pictures by: its vector, the tags that it names, and what each of those counts.
EmbeddedText = tuple[FloatArray, list[VocabularyTag], float]


def keeps_blank(question: Callable[..., object]) -> bool:
    """Whether answers keep what models see in blank pictures: where tags or a threshold were asked for expressly."""
    return bool(getattr(question, "expressly", False))


class TagOptions(TypedDict, total=False):
    """Options of :meth:`Questions.tags`."""

    categories: Sequence[str] | None
    kinds: Sequence[TagKind] | None
    threshold: float | None
    top: int | None


class CaptionOptions(TypedDict, total=False):
    """Options of :meth:`Questions.caption` beside the tags to follow."""

    threshold: float | None
    top: int | None
    kinds: Sequence[TagKind] | None
    num_beams: int | None
    sample: bool
    seed: int | None


class Questions:
    """Makes questions for one model.

    Args:
        directory: The model.
        backend: Runs it.
        tags: Which of the vocabulary's tags to look for, and what to call them.
        descriptions: A file of descriptions for the user's categories (RAM++).
    """

    def __init__(
        self,
        directory: ModelDirectory,
        backend: Backend,
        tags: TagChoice | None = None,
        descriptions: str | Path | None = None,
    ):
        self.directory, self.backend = directory, backend
        self._arguments = (directory, backend, tags, descriptions)
        self.texts = TextQueries(directory, backend, descriptions)
        self.scorer = Scorer(directory, backend)
        self.labels = LabelSpace(directory, backend, tags, self.texts, self.scorer.likeness)
        self._captioner: Captioner | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    @property
    def captioner(self) -> Captioner:
        """The part that writes captions, loaded when it is first needed."""
        if self._captioner is None:
            self._captioner = Captioner(self.directory, self.backend, self.texts)
        return self._captioner

    @cached_property
    def joint_embedding(self) -> JointEmbedding | None:
        """The space of pictures and sentences, in models that have one."""
        return JointEmbedding.of(self.directory)

    @cached_property
    def _mapper(self) -> TagMapper:
        return TagMapper(self.labels.vocabulary)

    @explained_shortage()
    def embed_text(self, text: str) -> EmbeddedText:
        """What a sentence finds pictures by.

        Args:
            text: Any sentence or phrase.

        Returns:
            Its vector ``[D]`` beside those of pictures, the tags that it names, and what each of those counts.

        Raises:
            UsageError: If the text is empty.
            ModelError: If the model has no such space.
        """
        if not arguments.text("text", text).strip():
            raise UsageError("text must not be empty; give a sentence or a phrase")
        joint = self.joint_embedding
        if joint is None:
            raise ModelError(
                f"{self.directory.path}: cannot find pictures by a sentence, because it has no joint embedding; train "
                "one with recipes/lite_search.py, or search for tags"
            )
        ids = self._mapper(load_parser("light").parse(text), implied=False)
        [vector] = joint.texts(self.texts.sentences([text]).vectors())
        return vector, [self.labels.vocabulary[id] for id in sorted(ids)], joint.config.tag_weight

    @explained_shortage()
    def tags(
        self,
        categories: Sequence[str] | None = None,
        kinds: Sequence[TagKind] | None = None,
        threshold: float | None = None,
        top: int | None = None,
    ) -> Question[Recognition]:
        """Which tags are there? See :meth:`anytag.Recognizer.tag`."""
        if categories is not None and kinds is not None:
            raise UsageError("categories and kinds exclude each other: categories are asked for whatever their kind")
        if threshold is not None:
            threshold = arguments.number("threshold", threshold, 0, 1)
        if top is not None:
            top = arguments.whole_number("top", top, 1)
        if categories is None:
            labels = self.labels.all(None if kinds is None else arguments.kinds("kinds", kinds))
        else:
            labels = self.labels.categories(arguments.texts("categories", categories))
        return _TagQuestion(self.scorer, labels, threshold, top, categories is not None or threshold is not None)

    @explained_shortage()
    def caption(
        self,
        tags: Sequence[str] | None = None,
        threshold: float | None = None,
        top: int | None = None,
        kinds: Sequence[TagKind] | None = None,
        num_beams: int | None = None,
        sample: bool = False,
        seed: int | None = None,
    ) -> Question[Recognition]:
        """What does a sentence about it say? See :meth:`anytag.Recognizer.caption`."""
        found = self.tags(None, kinds, threshold, top)
        assert isinstance(found, _TagQuestion)
        options = self.captioner.options(num_beams, sample, seed)
        given = None if tags is None else self.labels.guides(arguments.texts("tags", tags))
        return _CaptionQuestion(found, self.captioner, given, options)

    @explained_shortage()
    def match(self, texts: Sequence[str]) -> Question[Matches]:
        """How well do texts fit? See :meth:`anytag.Recognizer.match`."""
        texts = arguments.texts("texts", texts)
        if not texts or not all(text.strip() for text in texts):
            raise UsageError("texts: give at least one text, none of them empty")
        queries = self.texts.sentences(texts)
        coverage = TagCoverage(self.labels.vocabulary)
        named = [{tag.id for tag in coverage.named(text)} for text in texts]
        # Scores do not depend on what else is asked for, so no other tag needs to be.
        tags = self.labels.of([self.labels.vocabulary[id] for id in sorted(set().union(*named))])
        return _MatchQuestion(self.scorer, texts, queries, tags, named)

    @explained_shortage()
    def score(self, tag: str) -> Question[Tag]:
        """What is the score of one tag, whether it counts as found or not? See :meth:`anytag.Look.score`."""
        return _ScoreQuestion(self.scorer, self._label(tag))

    @explained_shortage()
    def locate(self, tag: str) -> Question[HeatMap]:
        """Where is a tag seen? See :meth:`anytag.Recognizer.locate`."""
        return _LocateQuestion(self.scorer, self._label(tag))

    def _label(self, tag: str) -> LabelSet:
        if not arguments.text("tag", tag).strip():
            raise UsageError("tag must not be empty; give a tag, or any words")
        return self.labels.categories([tag])


@dataclass(frozen=True)
class _TagQuestion:
    scorer: Scorer
    labels: LabelSet
    threshold: float | None
    top: int | None
    expressly: bool

    def __call__(self, encoded: Encoded, paths: Sequence[str]) -> list[Recognition]:
        scores = self.scorer.scores(encoded, self.labels, least=self.limits())
        return [Recognition(path, self.found(row)) for path, row in zip(paths, scores, strict=True)]

    def limits(self) -> NDArray[np.float64]:
        """``[T]``, the score from which on each label counts as found."""
        return self.labels.limits(self.threshold)

    def found(self, scores: FloatArray) -> tuple[Tag, ...]:
        """The tags of one picture, from scores ``[T]``."""
        return self.labels.found(scores, self.threshold, self.top)


@dataclass(frozen=True)
class _CaptionQuestion:
    """``given`` are the tags that captions are to follow, by the names asked for; ``None``: those found."""

    tags: _TagQuestion
    captioner: Captioner
    given: Mapping[str, VocabularyTag] | None
    options: DecodingOptions

    @property
    def expressly(self) -> bool:
        return self.given is not None or self.tags.expressly

    def __call__(self, encoded: Encoded, paths: Sequence[str]) -> list[Recognition]:
        limits = self.tags.limits()
        least = np.minimum(limits, self.captioner.least_scores(limits))
        scores = self.tags.scorer.scores(encoded, self.tags.labels, least=least)
        margins, results = self.captioner.margins(scores, self.tags.labels, limits), []
        unlike = self.tags.scorer.unfamiliarity(encoded)
        for row, path in enumerate(paths):
            found = self.tags.found(scores[row])
            names: dict[int | None, str]
            if self.given is None:
                # What nearly reaches its threshold is proposed to the text decoder, and not mentioned otherwise.
                guides = self.captioner.guides(self._nearly_found(scores[row], found))
                names = {tag.id: tag.name for tag in found}
            else:
                guides, names = list(self.given.values()), {tag.id: name for name, tag in self.given.items()}
            features = encoded.features[row : row + 1]
            caption = self.captioner.caption(
                features, guides, self.given is not None, self.options, margins[row], float(unlike[row])
            )
            given, covered = (
                tuple(names[tag.id] for tag in tags if tag.id in names) for tags in (caption.followed, caption.covered)
            )
            results.append(Recognition(path, found, caption.text, given, covered))
        return results

    def _nearly_found(self, scores: FloatArray, found: Sequence[Tag]) -> Sequence[Tag]:
        """The tags that may guide a caption: those found and, unless the user chose how many, what hardly misses."""
        question = self.tags
        if question.threshold is not None or question.top is not None:
            return found
        return question.labels.found(scores, room=self.captioner.config.decoding.guide_room)


@dataclass(frozen=True)
class _MatchQuestion:
    """``tags`` are all that some text names, ``named`` the ids of those that each text names."""

    scorer: Scorer
    texts: Sequence[str]
    queries: Queries
    tags: LabelSet
    named: Sequence[set[int]]

    def __call__(self, encoded: Encoded, paths: Sequence[str]) -> list[Matches]:
        fits = self.scorer.match(encoded, self.queries)
        scores = self.scorer.scores(encoded, self.tags, least=self.tags.thresholds)
        return [
            Matches(path, self._matches(fit, self.tags.found(row)))
            for path, fit, row in zip(paths, fits, scores, strict=True)
        ]

    def _matches(self, fits: FloatArray, found: Sequence[Tag]) -> tuple[Match, ...]:
        return tuple(
            Match(text, float(fit), tuple(tag for tag in found if tag.id in ids))
            for text, fit, ids in zip(self.texts, fits, self.named, strict=True)
        )


@dataclass(frozen=True)
class _ScoreQuestion:
    scorer: Scorer
    label: LabelSet

    def __call__(self, encoded: Encoded, paths: Sequence[str]) -> list[Tag]:
        return [self.label.tag(0, float(row[0])) for row in self.scorer.scores(encoded, self.label)]


@dataclass(frozen=True)
class _LocateQuestion:
    scorer: Scorer
    label: LabelSet

    def __call__(self, encoded: Encoded, paths: Sequence[str]) -> list[HeatMap]:
        weights = self.scorer.backend.attention(encoded.features, self.label.queries)[:, 0]
        scores, limit = self.scorer.scores(encoded, self.label)[:, 0], float(self.label.thresholds[0])
        # Attention looks somewhere, whether anything is there or not; what is not seen should not look like it.
        strengths = np.minimum(scores / limit, 1) if limit > 0 else np.ones_like(scores)
        # The first token stands for the whole picture, the others for the cells of a square grid, row by row.
        side = math.isqrt(weights.shape[1] - 1)
        maps = [to_heat_map(np.reshape(row[1:], (side, -1))) for row in weights]
        return [heat * np.float32(strength) for heat, strength in zip(maps, strengths, strict=True)]
