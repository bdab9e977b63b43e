"""Captions guided by tags, and what they cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Backend, Cache, FloatArray, Step
from anytag.errors import ModelError, UsageError
from anytag.foundations.log_odds import EDGE, log_odds, lowered
from anytag.inference.generation import DecodingOptions, Generated, generate_several
from anytag.inference.label_set import LabelSet
from anytag.inference.plain_captions import plain_caption
from anytag.inference.text_queries import TextQueries
from anytag.language.tags.coverage import TagCoverage
from anytag.language.tags.tag_words import LOWEST, TagWords
from anytag.language.tokenizers.bert_tokenizer import OfficialTokenizer
from anytag.language.tokenizers.tokenizer import CaptionTokenizer
from anytag.model.directory import ModelDirectory
from anytag.model.vocabulary import VocabularyTag
from anytag.recognition import Tag

#: Tags that guide a caption at the most: more confuse it.
_MOST_GUIDES = 12

#: What a forbidden word's score is lowered by; finite, so that beams without any other word can still be compared.
_NEVER = np.float32(-1e4)


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption of one picture.

    Attributes:
        text: The sentence.
        followed: The tags that it follows.
        covered: Those of them which it names, in their order.
    """

    text: str
    followed: tuple[VocabularyTag, ...]
    covered: tuple[VocabularyTag, ...]


class CaptionLanguage(Protocol):
    """How a model's captions and tag lists are spelled."""

    pad_id: int
    end_id: int

    @property
    def banned_ids(self) -> tuple[int, ...]:
        """Ids that no caption contains."""

    def prompt(self) -> list[int]:
        """What every caption starts with."""

    def tag_list(self, names: Sequence[str], given: bool) -> list[int]:
        """Tags as the interaction encoder reads them."""

    def text(self, ids: Sequence[int]) -> str:
        """The caption that was written, without its prompt."""

    def pieces(self) -> dict[str, int]:
        """Ids by word piece."""


class _LiteLanguage:
    """Pruned word pieces; a list says whether its tags were given or found."""

    def __init__(self, tokenizer: CaptionTokenizer, limit: int):
        self.tokenizer, self.limit = tokenizer, limit
        self.pad_id, self.end_id, self.banned_ids = tokenizer.pad_id, tokenizer.end_id, tokenizer.special_ids

    def prompt(self) -> list[int]:
        return [self.tokenizer.start_id]

    def tag_list(self, names: Sequence[str], given: bool) -> list[int]:
        return self.tokenizer.join_tags([self.tokenizer.encode(name) for name in names], given, self.limit)

    def text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids)

    def pieces(self) -> dict[str, int]:
        return self.tokenizer.pieces


class _OfficialLanguage:
    """BERT's word pieces, as the official Tag2Text reads and writes them."""

    def __init__(self, tokenizer: OfficialTokenizer):
        self.tokenizer = tokenizer
        self.pad_id, self.end_id, self.banned_ids = tokenizer.pad_id, tokenizer.end_id, ()

    def prompt(self) -> list[int]:
        return self.tokenizer.encode_prompt()

    def tag_list(self, names: Sequence[str], given: bool) -> list[int]:
        return self.tokenizer.encode_tags(names)

    def text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode_caption(ids)

    def pieces(self) -> dict[str, int]:
        return self.tokenizer.pieces


class Captioner:
    """Writes captions for one model.

    Args:
        directory: The model.
        backend: Runs it.
        texts: Makes queries of captions, so that the recognition decoder can say which of several fits the picture
            best, where the model's ``decoding.alignment`` says so. ``None``: the likeliest caption is taken.

    Raises:
        ModelError: If the model has no captioner, or its captions may become longer than it can write.
    """

    def __init__(self, directory: ModelDirectory, backend: Backend, texts: TextQueries | None = None):
        if directory.config.captioner is None:
            raise ModelError(f"{directory.path}: this model tags pictures but does not write captions")
        longest = directory.config.decoding.max_length
        if longest > directory.config.captioner.positions:
            raise ModelError(
                f"{directory.path / 'config.json'}: decoding.max_length is {longest}, but the text decoder knows "
                f"{directory.config.captioner.positions} positions; set it to that or less"
            )
        self.config, self.captioner_config = directory.config, directory.config.captioner
        self.vocabulary = directory.vocabulary
        self.backend, self.texts = backend, texts
        path, sizes = directory.file("tokenizer.json"), self.captioner_config
        self.language: CaptionLanguage = (
            _OfficialLanguage(OfficialTokenizer.load(path, sizes.prompt, sizes.tag_length))
            if sizes.tokenizer == "bert"
            else _LiteLanguage(CaptionTokenizer.load(path), sizes.positions)
        )
        self._coverage = TagCoverage(self.vocabulary)

    def options(self, num_beams: int | None = None, sample: bool = False, seed: int | None = None) -> DecodingOptions:
        """The model's decoding defaults with some of them changed.

        Raises:
            UsageError: If a value is out of its range, or would have no effect.
        """
        decoding = self.config.decoding
        options = DecodingOptions(
            num_beams=decoding.num_beams if num_beams is None else num_beams,
            max_length=decoding.max_length,
            min_length=decoding.min_length,
            length_penalty=decoding.length_penalty,
            repetition_penalty=decoding.repetition_penalty,
            sample=sample,
            seed=seed,
        )
        if sample and num_beams is not None:
            raise UsageError("num_beams is the width of a search, but sample draws captions; leave one of them out")
        if seed is not None and not sample:
            raise UsageError("seed is about captions that are drawn; add sample, or leave it out")
        return options

    def guides(self, found: Sequence[Tag]) -> list[VocabularyTag]:
        """The tags that guide a caption on their own, of those found or nearly found in a picture, best first."""
        ids = [tag.id for tag in found if tag.id is not None]
        if self.captioner_config.guides == "all":
            return [self.vocabulary[id] for id in sorted(ids)]
        kept = self.vocabulary.most_specific(ids)
        return [self.vocabulary[id] for id in ids if id in kept][:_MOST_GUIDES]

    def caption(
        self,
        features: FloatArray,
        tags: Sequence[VocabularyTag],
        given: bool,
        options: DecodingOptions,
        margins: NDArray[np.float64] | None = None,
        unfamiliarity: float = 0.0,
    ) -> Caption:
        """Write a caption of one picture.

        Where the model's ``decoding.support`` says so, a caption that nobody asked for in other words claims only what
        is believed: words that name anything else are not written. If the likeliest one still claims more, one that
        follows the best thing alone is tried, and then a plain sentence is given. A picture's best thing, if captions
        seldom name it, is all that its caption follows, and has to be in it. Pictures that are too unlike
        captioned ones (``decoding.plain_from``) get a plain sentence at once.

        Args:
            features: ``[1, N, W]``.
            tags: What to follow; may be empty.
            given: Whether the tags are wanted in the caption, or only what a recognizer proposes.
            options: How to search.
            margins: ``[tags]`` of the whole vocabulary, by how much each tag's log-odds exceed its threshold's, NaN
                where it was not asked for; they weigh words where the model's ``decoding.agreement`` says so.
            unfamiliarity: How unlike captioned pictures the picture is, in [0, 1].
        """
        if given or margins is None or self.config.decoding.support is None:
            return self._write(features, tags, given, options, margins)
        found = [tag for tag in tags if margins[tag.id] >= 0]
        if unfamiliarity >= self.config.decoding.plain_from:
            return self._plain(found)
        best = [tag for tag in found[:1] if tag.kind == "object"]
        seldom = any(tag.support < self.config.decoding.seldom for tag in best)
        # Captions that follow all tags leave out what captions seldom name: only one about that thing is tried.
        tries: list[tuple[Sequence[VocabularyTag], bool]] = [] if seldom else [(tags, False)]
        if best:
            tries.append((best, True))
        for followed, wanted in tries:
            caption = self._write(features, followed, wanted, options, margins, self._support)
            if self._believed(caption.text, best if seldom else (), margins):
                return caption
        return self._plain(found)

    def _plain(self, found: Sequence[VocabularyTag]) -> Caption:
        text = plain_caption(found)
        named = self.covered(text, found)
        return Caption(text, named, named)

    @cached_property
    def _support(self) -> NDArray[np.float64]:
        """The margin ``[tags]`` that each tag needs for a caption to claim it."""
        decoding = self.config.decoding
        needed = np.full(len(self.vocabulary), -(decoding.support or 0.0))
        if decoding.known_support is not None:
            known = self.vocabulary.with_implied([tag.id for tag in self.vocabulary if tag.classes])
            needed[[id for id in known if self.vocabulary[id].kind == "object"]] = -decoding.known_support
        return needed

    def _believed(self, text: str, named: Sequence[VocabularyTag], margins: NDArray[np.float64]) -> bool:
        """Whether a caption claims only what has support, and names what it has to."""
        if not text or any(margins[tag.id] < self._support[tag.id] for tag in self._coverage.claims(text)):
            return False
        return not named or bool(self.covered(text, named))

    def _write(
        self,
        features: FloatArray,
        tags: Sequence[VocabularyTag],
        given: bool,
        options: DecodingOptions,
        margins: NDArray[np.float64] | None,
        support: NDArray[np.float64] | None = None,
    ) -> Caption:
        """A caption of one picture, as the text decoder likes it best.

        Args:
            features: As for :meth:`caption`, like the others.
            tags: Likewise.
            given: Likewise.
            options: Likewise.
            margins: Likewise.
            support: The margin ``[tags]`` below which no tag is named; ``None``: all words are free.
        """
        language = self.language
        # One picture at a time: lists of other lengths would pad each other, and 1,000 tokens a second are plenty.
        ids = np.array([language.tag_list([tag.name for tag in tags], given)], np.int64)
        step = self.backend.fuse(ids, features, options.rows_per_picture)
        if margins is not None and (self.config.decoding.agreement or support is not None):
            step = self._agreeing(step, margins, tags if given else (), support)
        [found] = generate_several(
            step,
            np.array(language.prompt(), np.int64),
            num_pictures=1,
            eos_id=language.end_id,
            pad_id=language.pad_id,
            options=options,
            banned=language.banned_ids,
        )
        return self._choose(found, features, tags, given, None if support is None else margins)

    def margins(self, scores: FloatArray, labels: LabelSet, limits: NDArray[np.float64]) -> NDArray[np.float64]:
        """By how much the log-odds of all tags exceed those of their thresholds: ``[B, tags]``, NaN for others.

        Args:
            scores: ``[B, T]`` of the labels.
            labels: Tags of the vocabulary, all or some of them; other labels are passed over.
            limits: ``[T]``, the scores from which on they count as found.
        """
        result = np.full((len(scores), len(self.vocabulary)), np.nan)
        asked = [place for place, id in enumerate(labels.ids) if id is not None]
        ids = [id for id in labels.ids if id is not None]
        result[:, ids] = (log_odds(scores, EDGE) - log_odds(limits, EDGE))[:, asked]
        return result

    def least_scores(self, limits: NDArray[np.float64]) -> NDArray[np.float64]:
        """The score ``[T]`` below which it makes no difference to a caption how low a label's score is.

        Args:
            limits: ``[T]``, the scores from which on labels count as found.
        """
        decoding = self.config.decoding
        depth = max(-LOWEST, decoding.support or 0.0, decoding.known_support or 0.0, decoding.guide_room)
        return lowered(limits, depth)

    def _agreeing(
        self,
        step: Step,
        margins: NDArray[np.float64],
        wanted: Sequence[VocabularyTag],
        support: NDArray[np.float64] | None,
    ) -> Step:
        """The step with words weighed by the tags that they name; what is wanted is never held back."""
        margins = margins.copy()
        for tag in wanted:
            if tag.id >= len(self.vocabulary):
                continue  # Words that are not tags.
            shown = sorted(self.vocabulary.with_implied([tag.id]))
            margins[shown] = np.fmax(margins[shown], 0.0)
        weights = np.float32(self.config.decoding.agreement) * self._tag_words.weights(margins)
        if support is not None:
            weights[self._tag_words.forbidden(margins, support)] = _NEVER

        def agreeing(ids: NDArray[np.int64], cache: Cache) -> tuple[NDArray[np.float32], Cache]:
            scores, cache = step(ids, cache)
            return scores + weights, cache

        return agreeing

    @cached_property
    def _tag_words(self) -> TagWords:
        return TagWords(self.vocabulary, self.language.pieces())

    def _choose(
        self,
        found: Sequence[Generated],
        features: FloatArray,
        tags: Sequence[VocabularyTag],
        given: bool,
        margins: NDArray[np.float64] | None,
    ) -> Caption:
        """Of several captions the one that names most of what is wanted; of those, the likeliest that fits best.

        Where nothing is wanted, those that can be believed by their margins go first.
        """
        texts = [self.language.text(caption.tokens) for caption in found]
        weight = self.config.decoding.alignment
        if not weight or self.texts is None or len(texts) == 1:
            return Caption(texts[0], tuple(tags), self.covered(texts[0], tags))
        fits = self.backend.recognize(features, self.texts.sentences(texts))[0]
        values = [one.score + weight * float(fit) for one, fit in zip(found, fits, strict=True)]
        if not given:
            believed = [margins is None or self._believed(text, (), margins) for text in texts]
            best = max(zip(believed, values, texts, strict=True))[2]
            return Caption(best, tuple(tags), self.covered(best, tags))
        captions = [Caption(text, tuple(tags), self.covered(text, tags)) for text in texts]
        return max(zip(captions, values, strict=True), key=lambda one: (len(one[0].covered), one[1]))[0]

    def covered(self, caption: str, tags: Sequence[VocabularyTag]) -> tuple[VocabularyTag, ...]:
        """Which of the tags a caption names: by name, alias, inflection, or something that implies them."""
        return tuple(self._coverage.named(caption, tags))
