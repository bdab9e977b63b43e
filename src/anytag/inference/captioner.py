"""Write captions guided by tags, and find the tags that they mention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Backend, Cache, FloatArray, Step
from anytag.errors import ModelError, UsageError
from anytag.foundations.log_odds import EDGE, log_odds, lowered
from anytag.inference.decoding_options import DecodingOptions
from anytag.inference.generation import Generated, generate_several
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

#: Most tags that guide a caption; more confuse it.
_MOST_GUIDES = 12

#: Added to the scores of forbidden words; finite, so that beams without any other word can still be compared.
_FORBIDDEN = np.float32(-1e4)


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption of one picture.

    Attributes:
        guides: Tags that guided it.
        covered: Guides that it mentions, in their order.
    """

    text: str
    guides: tuple[VocabularyTag, ...]
    covered: tuple[VocabularyTag, ...]


class Captioner:
    """Writes captions for one model.

    Args:
        texts: Makes queries of captions, with which the recognition decoder re-ranks the beams if the model's
            ``decoding.alignment`` is above 0; ``None``: no re-ranking.

    Raises:
        ModelError: If the model has no captioner, or ``decoding.max_length`` exceeds the text decoder's positions.
    """

    def __init__(self, directory: ModelDirectory, backend: Backend, texts: TextQueries | None = None):
        if directory.config.captioner is None:
            raise ModelError(f"{directory.path}: this model tags pictures but does not write captions")
        longest = directory.config.decoding.max_length
        if longest > directory.config.captioner.positions:
            raise ModelError(
                f"{directory.path / 'config.json'}: decoding.max_length is {longest}, but the text decoder supports "
                f"{directory.config.captioner.positions} positions; set it to that or less"
            )
        self.config, self.captioner_config = directory.config, directory.config.captioner
        self.vocabulary = directory.vocabulary
        self.backend, self.texts = backend, texts
        path, sizes = directory.file("tokenizer.json"), self.captioner_config
        self.tag_limit = sizes.positions
        self.tokenizer: CaptionTokenizer | OfficialTokenizer = (
            OfficialTokenizer.load(path, sizes.prompt, sizes.tag_length)
            if sizes.tokenizer == "bert"
            else CaptionTokenizer.load(path)
        )
        self._coverage = TagCoverage(self.vocabulary)

    def options(self, num_beams: int | None = None, sample: bool = False, seed: int | None = None) -> DecodingOptions:
        """Return the model's decoding options with some of them changed.

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
            raise UsageError("num_beams only applies to beam search, not to sample; leave one of them out")
        if seed is not None and not sample:
            raise UsageError("seed only applies to sampled captions; add sample, or leave it out")
        return options

    def guides(self, found: Sequence[Tag]) -> list[VocabularyTag]:
        """Select the tags that guide a caption from those predicted for a picture, best first."""
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

        If the model's ``decoding.support`` is set and no tags are given, the caption may only mention tags with enough
        support in ``margins``. Three captions are tried in turn: one guided by all tags, one guided by the best object
        alone, and a plain sentence made of the tags. If captions seldom name the best object, the first is skipped, and
        the second has to mention it. Both are skipped if the picture is too unfamiliar (``decoding.plain_from``).

        Args:
            features: ``[1, N, W]``.
            tags: Tags that guide the caption; may be empty.
            given: Whether the user gave the tags, rather than the recognizer.
            margins: ``[tags]`` of the whole vocabulary: log-odds of each tag's score less those of its threshold, NaN
                for tags that were not scored. They change the scores of words by the model's ``decoding.agreement``.
            unfamiliarity: Probability that the picture differs from captioned training pictures.
        """
        if given or margins is None or self.config.decoding.support is None:
            return self._write(features, tags, given, options, margins)
        found = [tag for tag in tags if margins[tag.id] >= 0]
        if unfamiliarity >= self.config.decoding.plain_from:
            return self._plain(found)
        best = [tag for tag in found[:1] if tag.kind == "object"]
        seldom = any(tag.support < self.config.decoding.seldom for tag in best)
        # A caption guided by all tags would leave out what training captions seldom name.
        attempts: list[tuple[Sequence[VocabularyTag], bool]] = [] if seldom else [(tags, False)]
        if best:
            attempts.append((best, True))
        for guides, wanted in attempts:
            caption = self._write(features, guides, wanted, options, margins, self._support)
            if self._is_supported(caption.text, best if seldom else (), margins):
                return caption
        return self._plain(found)

    def _plain(self, found: Sequence[VocabularyTag]) -> Caption:
        text = plain_caption(found)
        named = self.covered(text, found)
        return Caption(text, named, named)

    @cached_property
    def _support(self) -> NDArray[np.float64]:
        """The margin ``[tags]`` that each tag needs for a caption to mention it."""
        decoding = self.config.decoding
        needed = np.full(len(self.vocabulary), -(decoding.support or 0.0))
        if decoding.known_support is not None:
            known = self.vocabulary.with_implied([tag.id for tag in self.vocabulary if tag.classes])
            needed[[id for id in known if self.vocabulary[id].kind == "object"]] = -decoding.known_support
        return needed

    def _is_supported(self, text: str, required: Sequence[VocabularyTag], margins: NDArray[np.float64]) -> bool:
        """Whether a caption mentions only tags with support, and a required one if there are any."""
        if not text or any(margins[tag.id] < self._support[tag.id] for tag in self._coverage.claims(text)):
            return False
        return not required or bool(self.covered(text, required))

    def _write(
        self,
        features: FloatArray,
        tags: Sequence[VocabularyTag],
        given: bool,
        options: DecodingOptions,
        margins: NDArray[np.float64] | None,
        support: NDArray[np.float64] | None = None,
    ) -> Caption:
        """Generate a caption without the fallbacks of :meth:`caption`, whose arguments it takes.

        Tags with a margin below ``support`` ``[tags]`` are not mentioned; ``None``: all words are allowed.
        """
        tokenizer, names = self.tokenizer, [tag.name for tag in tags]
        banned: tuple[int, ...] = ()
        if isinstance(tokenizer, OfficialTokenizer):
            tag_list, prompt = tokenizer.encode_tags(names), tokenizer.encode_prompt()
        else:
            tag_list = tokenizer.join_tags([tokenizer.encode(name) for name in names], given, self.tag_limit)
            prompt, banned = [tokenizer.start_id], tokenizer.special_ids
        # One picture at a time, so tag lists need no padding; the decoder is fast enough at 1,000 tokens per second.
        step = self.backend.fuse(np.array([tag_list], np.int64), features, options.rows_per_picture)
        if margins is not None and (self.config.decoding.agreement or support is not None):
            step = self._adjust_words(step, margins, tags if given else (), support)
        [captions] = generate_several(
            step,
            np.array(prompt, np.int64),
            num_pictures=1,
            eos_id=tokenizer.end_id,
            pad_id=tokenizer.pad_id,
            options=options,
            banned=banned,
        )
        return self._choose(captions, features, tags, given, None if support is None else margins)

    def margins(self, scores: FloatArray, labels: LabelSet, limits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds of scores less those of thresholds, ``[B, tags]``; NaN for tags that are not among the labels.

        Args:
            scores: ``[B, T]`` of the labels.
            labels: Labels; those outside the vocabulary are ignored.
            limits: ``[T]``, their thresholds.
        """
        result = np.full((len(scores), len(self.vocabulary)), np.nan)
        places = [place for place, id in enumerate(labels.ids) if id is not None]
        ids = [id for id in labels.ids if id is not None]
        result[:, ids] = (log_odds(scores, EDGE) - log_odds(limits, EDGE))[:, places]
        return result

    def least_scores(self, limits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores ``[T]`` below which exact values make no difference to captions, from thresholds ``[T]``."""
        decoding = self.config.decoding
        depth = max(-LOWEST, decoding.support or 0.0, decoding.known_support or 0.0, decoding.guide_room)
        return lowered(limits, depth)

    def _adjust_words(
        self,
        step: Step,
        margins: NDArray[np.float64],
        wanted: Sequence[VocabularyTag],
        support: NDArray[np.float64] | None,
    ) -> Step:
        """Add the margins of tags to the scores of the words that name them, and forbid words without support.

        Words for ``wanted`` tags are never made less likely.
        """
        margins = margins.copy()
        for tag in wanted:
            if tag.id >= len(self.vocabulary):
                continue  # The user's own words.
            shown = sorted(self.vocabulary.with_implied([tag.id]))
            margins[shown] = np.fmax(margins[shown], 0.0)
        weights = np.float32(self.config.decoding.agreement) * self._tag_words.weights(margins)
        if support is not None:
            weights[self._tag_words.forbidden(margins, support)] = _FORBIDDEN

        def adjusted(ids: NDArray[np.int64], cache: Cache) -> tuple[NDArray[np.float32], Cache]:
            scores, cache = step(ids, cache)
            return scores + weights, cache

        return adjusted

    @cached_property
    def _tag_words(self) -> TagWords:
        return TagWords(self.vocabulary, self.tokenizer.pieces)

    def _choose(
        self,
        candidates: Sequence[Generated],
        features: FloatArray,
        tags: Sequence[VocabularyTag],
        given: bool,
        margins: NDArray[np.float64] | None,
    ) -> Caption:
        """Choose the candidate that mentions most of the given tags, then the one with the best score.

        The score is the likelihood plus ``decoding.alignment`` times how well the caption matches the picture. Without
        given tags, candidates supported by ``margins`` come first.
        """
        tokenizer = self.tokenizer
        decode = tokenizer.decode_caption if isinstance(tokenizer, OfficialTokenizer) else tokenizer.decode
        texts = [decode(candidate.tokens) for candidate in candidates]
        weight = self.config.decoding.alignment
        best = 0
        if weight and self.texts is not None and len(texts) > 1:
            matches = self.backend.recognize(features, self.texts.sentences(texts))[0]
            scores = [one.score + weight * float(match) for one, match in zip(candidates, matches, strict=True)]
            if given:
                ranks = [len(self.covered(text, tags)) for text in texts]
            else:
                ranks = [margins is None or self._is_supported(text, (), margins) for text in texts]
            best = max(range(len(texts)), key=lambda place: (ranks[place], scores[place]))
        return Caption(texts[best], tuple(tags), self.covered(texts[best], tags))

    def covered(self, caption: str, tags: Sequence[VocabularyTag]) -> tuple[VocabularyTag, ...]:
        """The tags that a caption mentions: by name, alias or inflection, or by a tag that implies them."""
        return tuple(self._coverage.named(caption, tags))
