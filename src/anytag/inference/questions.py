"""Questions about pictures: checked once, before any picture is read, and then answered batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Backend, Encoded, FloatArray
from anytag.errors import ModelError, UsageError
from anytag.foundations import arguments
from anytag.foundations.shortage import explain_shortages
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

#: Maps encoded pictures and their paths to one answer per picture.
Question = Callable[[Encoded, Sequence[str]], list[Answer]]

#: A sentence to search pictures by: its vector, the tags that it names, and the weight of each.
EmbeddedText = tuple[FloatArray, list[VocabularyTag], float]


def keeps_blank(question: Callable[..., object]) -> bool:
    """Whether blank pictures are scored like others: only if the user gave tags, categories or a threshold."""
    return bool(getattr(question, "explicit", False))


class TagOptions(TypedDict, total=False):
    """Options of :meth:`Questions.tags`."""

    categories: Sequence[str] | None
    kinds: Sequence[TagKind] | None
    threshold: float | None
    top: int | None


class CaptionOptions(TypedDict, total=False):
    """Options of :meth:`Questions.caption`, the tags aside."""

    threshold: float | None
    top: int | None
    kinds: Sequence[TagKind] | None
    num_beams: int | None
    sample: bool
    seed: int | None


class Questions:
    """Create the questions that one model can answer; arguments as for :class:`anytag.Recognizer`."""

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
        self.labels = LabelSpace(directory, backend, tags, self.texts, self.scorer.class_similarity)
        self._captioner: Captioner | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    @property
    def captioner(self) -> Captioner:
        """Writes captions; loaded on first use."""
        if self._captioner is None:
            self._captioner = Captioner(self.directory, self.backend, self.texts)
        return self._captioner

    @cached_property
    def joint_embedding(self) -> JointEmbedding | None:
        """Shared space of pictures and sentences, in models that have one."""
        return JointEmbedding.load(self.directory)

    @cached_property
    def _mapper(self) -> TagMapper:
        return TagMapper(self.labels.vocabulary)

    @explain_shortages()
    def embed_text(self, text: str) -> EmbeddedText:
        """Embed a sentence or phrase for searching pictures.

        Returns:
            Its vector ``[D]`` in the joint embedding, the tags that it names, and the weight of each tag.

        Raises:
            UsageError: If the text is empty.
            ModelError: If the model has no joint embedding.
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

    @explain_shortages()
    def tags(
        self,
        categories: Sequence[str] | None = None,
        kinds: Sequence[TagKind] | None = None,
        threshold: float | None = None,
        top: int | None = None,
    ) -> Question[Recognition]:
        """The tags of a picture; see :meth:`anytag.Recognizer.tag`."""
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

    @explain_shortages()
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
        """A caption and the tags; see :meth:`anytag.Recognizer.caption`."""
        tag_question = self.tags(None, kinds, threshold, top)
        assert isinstance(tag_question, _TagQuestion)
        options = self.captioner.options(num_beams, sample, seed)
        given = None if tags is None else self.labels.guides(arguments.texts("tags", tags))
        return _CaptionQuestion(tag_question, self.captioner, given, options)

    @explain_shortages()
    def match(self, texts: Sequence[str]) -> Question[Matches]:
        """How well texts fit; see :meth:`anytag.Recognizer.match`."""
        texts = arguments.texts("texts", texts)
        if not texts or not all(text.strip() for text in texts):
            raise UsageError("texts: give at least one text, none of them empty")
        queries = self.texts.sentences(texts)
        coverage = TagCoverage(self.labels.vocabulary)
        named = [{tag.id for tag in coverage.named(text)} for text in texts]
        # Scores of tags do not depend on each other, so only tags that a text names are scored.
        tags = self.labels.of([self.labels.vocabulary[id] for id in sorted(set().union(*named))])

        def matches(fits: FloatArray, found: Sequence[Tag]) -> tuple[Match, ...]:
            return tuple(
                Match(text, float(fit), tuple(tag for tag in found if tag.id in ids))
                for text, fit, ids in zip(texts, fits, named, strict=True)
            )

        def answer(encoded: Encoded, paths: Sequence[str]) -> list[Matches]:
            fits = self.scorer.match(encoded, queries)
            scores = self.scorer.scores(encoded, tags, least=tags.thresholds)
            return [
                Matches(path, matches(fit, tags.select(row)))
                for path, fit, row in zip(paths, fits, scores, strict=True)
            ]

        return answer

    @explain_shortages()
    def score(self, tag: str) -> Question[Tag]:
        """The score of one tag; see :meth:`anytag.Look.score`."""
        label = self._label(tag)
        return lambda encoded, _: [label.tag(0, float(row[0])) for row in self.scorer.scores(encoded, label)]

    @explain_shortages()
    def locate(self, tag: str) -> Question[HeatMap]:
        """A heat map of one tag; see :meth:`anytag.Recognizer.locate`."""
        label = self._label(tag)
        return lambda encoded, _: self._heat_maps(encoded, label)

    def _heat_maps(self, encoded: Encoded, label: LabelSet) -> list[HeatMap]:
        weights = self.backend.attention(encoded.features, label.queries)[:, 0]
        scores, limit = self.scorer.scores(encoded, label)[:, 0], float(label.thresholds[0])
        # Attention weights sum to 1 whether the tag is there or not, so maps of low-scoring tags are dimmed.
        strengths = np.minimum(scores / limit, 1) if limit > 0 else np.ones_like(scores)
        # The first token stands for the whole picture, the others for the cells of a square grid, row by row.
        side = math.isqrt(weights.shape[1] - 1)
        maps = [to_heat_map(np.reshape(row[1:], (side, -1))) for row in weights]
        return [heat * np.float32(strength) for heat, strength in zip(maps, strengths, strict=True)]

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
    explicit: bool

    def __call__(self, encoded: Encoded, paths: Sequence[str]) -> list[Recognition]:
        scores = self.scorer.scores(encoded, self.labels, least=self.limits())
        return [Recognition(path, self.select(row)) for path, row in zip(paths, scores, strict=True)]

    def limits(self) -> NDArray[np.float64]:
        """Thresholds ``[T]``."""
        return self.labels.limits(self.threshold)

    def select(self, scores: FloatArray) -> tuple[Tag, ...]:
        """The tags of one picture, from scores ``[T]``."""
        return self.labels.select(scores, self.threshold, self.top)


@dataclass(frozen=True)
class _CaptionQuestion:
    """``given`` maps the user's names to the tags that guide captions; ``None``: the picture's own tags do."""

    tags: _TagQuestion
    captioner: Captioner
    given: Mapping[str, VocabularyTag] | None
    options: DecodingOptions

    @property
    def explicit(self) -> bool:
        return self.given is not None or self.tags.explicit

    def __call__(self, encoded: Encoded, paths: Sequence[str]) -> list[Recognition]:
        limits = self.tags.limits()
        least = np.minimum(limits, self.captioner.least_scores(limits))
        scores = self.tags.scorer.scores(encoded, self.tags.labels, least=least)
        margins, results = self.captioner.margins(scores, self.tags.labels, limits), []
        unfamiliarity = self.tags.scorer.unfamiliarity(encoded)
        for row, path in enumerate(paths):
            found = self.tags.select(scores[row])
            names: dict[int | None, str]
            if self.given is None:
                # Tags just below their thresholds guide the text decoder, too, but are not returned.
                guides = self.captioner.guides(self._nearly_found(scores[row], found))
                names = {tag.id: tag.name for tag in found}
            else:
                guides, names = list(self.given.values()), {tag.id: name for name, tag in self.given.items()}
            features = encoded.features[row : row + 1]
            caption = self.captioner.caption(
                features, guides, self.given is not None, self.options, margins[row], float(unfamiliarity[row])
            )
            given, covered = (
                tuple(names[tag.id] for tag in tags if tag.id in names) for tags in (caption.guides, caption.covered)
            )
            results.append(Recognition(path, found, caption.text, given, covered))
        return results

    def _nearly_found(self, scores: FloatArray, found: Sequence[Tag]) -> Sequence[Tag]:
        """The tags found and, unless the user set a threshold or number, those just below their thresholds."""
        question = self.tags
        if question.threshold is not None or question.top is not None:
            return found
        return question.labels.select(scores, slack=self.captioner.config.decoding.guide_room)
