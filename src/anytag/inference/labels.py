"""Which labels to ask a model for: its own vocabulary, or categories that a user names."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Backend, Encoded, FloatArray, Labels
from anytag.errors import ModelError, UsageError
from anytag.foundations.log_odds import EDGE, log_odds, sigmoid
from anytag.inference.label_set import LabelSet, join, take
from anytag.inference.tag_choice import ChosenTags, TagChoice
from anytag.language.label_texts.description_files import read_descriptions
from anytag.language.label_texts.description_templates import NamedTag
from anytag.language.label_texts.descriptions import from_wordnet
from anytag.language.label_texts.embedding_cache import EmbeddingCache, OpenSetEmbedder
from anytag.language.tags.kinds import guess_kinds
from anytag.language.tokenizers.bert_tokenizer import TEXT_TOKENS, PublishedTokenizer
from anytag.language.tokenizers.padding import padded
from anytag.language.tokenizers.pre_caption import pre_caption
from anytag.model.directory import ModelDirectory
from anytag.model.vocabulary import TagVocabulary, VocabularyTag, normalise_name
from anytag.recognition import TAG_KINDS, TagKind

#: Texts that are embedded together: what a layer of the text encoder holds of them takes some tens of megabytes.
_TEXT_BATCH = 128


class LabelSets:
    """Makes label sets for one model; what was asked for before is kept.

    Args:
        directory: The model.
        backend: Where queries come from.
        choice: Which of the vocabulary's tags to look for, and what to call them.
        descriptions: A file of descriptions for categories of the user's; other categories are described by templates.
            For models that weigh descriptions (RAM++).

    Raises:
        UsageError: If the choice does not fit the vocabulary, or there are descriptions that nothing would read.
    """

    def __init__(
        self,
        directory: ModelDirectory,
        backend: Backend,
        choice: TagChoice | None = None,
        descriptions: str | Path | None = None,
    ):
        self.directory, self.backend = directory, backend
        self.vocabulary: TagVocabulary = directory.vocabulary
        self.chosen = ChosenTags(self.vocabulary, choice)
        if descriptions is not None and directory.config.labels.kind != "described":
            raise UsageError(f"{descriptions}: a {directory.config.family} model reads no descriptions; RAM++ does")
        self._written = (
            {} if descriptions is None else described_texts(descriptions, directory.config.labels.descriptions)
        )
        self._trained: Labels | None = None
        self._tokenizer: object | None = None
        self._made: dict[tuple[str, ...], LabelSet] = {}

    @property
    def queries(self) -> Labels:
        """Queries of the whole vocabulary."""
        if self._trained is None:
            self._trained = self.backend.label_queries()
        return self._trained

    def all(self, kinds: Sequence[TagKind] | None = None) -> LabelSet:
        """The vocabulary's tags of some kinds, or all."""
        if kinds is not None and (bad := [kind for kind in kinds if kind not in TAG_KINDS]):
            raise UsageError(f"unknown kind {bad[0]!r}; kinds are {', '.join(TAG_KINDS)}")
        key = ("kinds", *sorted(TAG_KINDS if kinds is None else kinds))
        if key not in self._made:
            self._made[key] = self.of([t for t in self.chosen.tags if kinds is None or t.kind in kinds])
        return self._made[key]

    def categories(self, names: Sequence[str]) -> LabelSet:
        """Labels for names of the user's: the tag where there is one, else the text itself.

        Raises:
            UsageError: If there is no name, or one is empty.
        """
        _refuse_text("categories", names)
        cleaned = tuple(dict.fromkeys(normalise_name(name) for name in names))
        if not cleaned or "" in cleaned:
            raise UsageError("categories: give at least one name, separated by commas, none of them empty")
        key = ("categories", *cleaned)
        if key not in self._made:
            found = [self.chosen.find(name) for name in cleaned]
            # Two names of one tag are one category.
            rows: dict[str, VocabularyTag | None] = {}
            for name, tag in zip(cleaned, found, strict=True):
                rows.setdefault(self.chosen.name(tag) if tag else name, tag)
            merged = self.of([tag for tag in rows.values() if tag])
            if free := [name for name, tag in rows.items() if tag is None]:
                merged = join(merged, self._of_texts(free))
            order = [merged.names.index(name) for name in rows]
            self._made[key] = take(merged, order)
        return self._made[key]

    def texts(self, texts: Sequence[str]) -> Labels:
        """Queries of whole texts, for :meth:`alignment`.

        Raises:
            UsageError: If there is no text, or one is empty.
            ModelError: If the model knows nothing but its tags.
        """
        _refuse_text("texts", texts)
        if not texts or not all(text.strip() for text in texts):
            raise UsageError("texts: give at least one text, none of them empty")
        labels = self.directory.config.labels
        if labels.kind == "learned":
            tokenizer = PublishedTokenizer.load(self.directory.file("tokenizer.json"))
            ids = [tokenizer.encode(pre_caption(text), TEXT_TOKENS) for text in texts]
            return self.backend.texts_to_judge(padded(ids))
        if labels.kind == "text":
            return self.embed(texts)
        # No prompt and no description stands around a sentence.
        embeddings = self.backend.text_encoder().embed(texts)
        return self.backend.labels_of_embeddings(embeddings[:, None] if labels.kind == "described" else embeddings)

    def alignment(self, encoded: Encoded, texts: Labels) -> FloatArray:
        """How well texts fit pictures, ``[B, T]`` in [0, 1].

        The recognition decoder scores them (RAM++ section 3.2) or, in Tag2Text, the alignment encoder does. The scale
        is that of training. Thresholds and shifts are fitted on tags and say nothing of sentences.
        """
        logits = self.backend.recognize(encoded.features, texts).astype(np.float64)
        fits: FloatArray = sigmoid(logits).astype(np.float32)
        return fits

    def find(self, names: Sequence[str]) -> list[VocabularyTag]:
        """Tags by name or alias, each once.

        Raises:
            UsageError: If one is unknown; the message proposes others.
        """
        _refuse_text("tags", names)
        tags: dict[int, VocabularyTag] = {}
        for name in names:
            tag = self.chosen.find(name)
            if tag is None:
                known = [n for t in self.vocabulary for n in (t.name, *t.aliases)]
                near = difflib.get_close_matches(normalise_name(name), known, n=3, cutoff=0.6)
                hint = f"; did you mean {', '.join(near)}?" if near else ""
                raise UsageError(f"unknown tag {name!r}{hint} (anytag vocabulary search {name!r} shows what there is)")
            tags.setdefault(tag.id, tag)
        return list(tags.values())

    def of(self, tags: Sequence[VocabularyTag]) -> LabelSet:
        """Labels for some tags of the vocabulary."""
        default = self.directory.config.default_threshold
        return LabelSet(
            names=tuple(self.chosen.name(tag) for tag in tags),
            kinds=tuple(tag.kind for tag in tags),
            ids=tuple(tag.id for tag in tags),
            thresholds=np.array([default if t.threshold is None else t.threshold for t in tags], dtype=np.float64),
            shifts=np.array([tag.shift for tag in tags], dtype=np.float64),
            queries=self.queries.take(np.array([tag.id for tag in tags], dtype=np.int64)),
            classes=self._classes(tags),
            seldom=np.array([self._seldom(tag) for tag in tags], dtype=bool),
        )

    def _seldom(self, tag: VocabularyTag) -> bool:
        limit = self.directory.config.class_support
        return limit is None or tag.support < limit

    def _classes(self, tags: Sequence[VocabularyTag]) -> NDArray[np.float32]:
        columns = {tag.id: place for place, tag in enumerate(tags)}
        matrix = np.zeros((self.directory.config.image_encoder.classes, len(tags)), np.float32)
        for tag in self.vocabulary:
            if tag.classes:
                truth = [columns[id] for id in self.vocabulary.with_implied([tag.id]) if id in columns]
                matrix[np.ix_(tag.classes, truth)] = 1
        return matrix

    def evidence(self, encoded: Encoded, labels: LabelSet) -> FloatArray:
        """What the image encoder's classifier says of labels that captions name often: ``[B, T]``, 0 for all others.

        The logarithm of the probability of a label's classes together, which a thousandth is added to: below that the
        classifier has nothing more to say.
        """
        sums = labels.weighed_by_classes
        said = np.zeros((len(encoded.features), len(labels.names)), np.float32)
        if len(sums.labels):
            said[:, sums.labels] = np.log(sums(encoded.classes) + 1e-3)
        return said

    def logits(self, encoded: Encoded, labels: LabelSet) -> FloatArray:
        """Logits ``[B, T]`` of the recognition decoder, and what the classifier adds to them."""
        logits = self.backend.recognize(encoded.features, labels.queries)
        weight = self.directory.config.class_weight
        return logits + np.float32(weight) * self.evidence(encoded, labels) if weight else logits

    def scores(self, encoded: Encoded, labels: LabelSet) -> FloatArray:
        """Scores ``[B, T]`` of the recognition decoder and, of labels that captions name seldom, of the classifier.

        Logits are shifted to a common scale first (:mod:`anytag.evaluation.calibration`). Where the classifier is
        surer than the decoder of a label that captions taught little of, its word counts: a class's probability is
        moved in log-odds so that ``class_threshold`` falls on the label's own threshold, so the classifier finds a
        label exactly where it is sure enough of its classes.
        """
        logits = self.logits(encoded, labels)
        scores = sigmoid((logits - labels.shifts) * self.directory.config.score_slope)
        sums = labels.found_by_classes
        known = sums.labels
        if len(known) and len(scores):
            own, sure = log_odds(labels.thresholds[known], EDGE), log_odds(self.directory.config.class_threshold)
            odds = log_odds(sums(encoded.classes), EDGE) - sure + own
            scores[:, known] = np.maximum(scores[:, known], sigmoid(odds))
        found: FloatArray = scores.astype(np.float32)
        return found

    def _of_texts(self, names: Sequence[str]) -> LabelSet:
        return LabelSet(
            names=tuple(names),
            kinds=(TAG_KINDS[0],) * len(names),
            ids=(None,) * len(names),
            thresholds=np.full(len(names), self.directory.config.open_threshold),
            shifts=np.full(len(names), self.directory.config.open_shift),
            queries=self.embed(names),
            classes=np.zeros((self.directory.config.image_encoder.classes, len(names)), np.float32),
            seldom=np.ones(len(names), dtype=bool),
        )

    def embed(self, texts: Sequence[str]) -> Labels:
        """Queries of free texts.

        RAM asks with the ensemble of 63 prompts, RAM++ with descriptions; both are kept on disk once they are made.

        Raises:
            ModelError: If the model knows no categories but its tags.
        """
        from tokenizers import Tokenizer

        labels = self.directory.config.labels
        if labels.kind == "learned":
            raise ModelError(
                f"{self.directory.path}: has one learned query a tag, so it knows no categories but its tags "
                f"(not {texts[0]!r}); RAM, RAM++ and the model that ships know any"
            )
        if labels.kind != "text":
            embedder = OpenSetEmbedder(self.backend.text_encoder(), EmbeddingCache())
            if labels.kind == "embedded":
                return self.backend.labels_of_embeddings(embedder.for_ram(texts))
            lines = self._descriptions(texts, labels.descriptions)
            return self.backend.labels_of_embeddings(embedder.for_descriptions(lines))

        if self._tokenizer is None:
            if not self.directory.has("label_tokenizer.json"):
                raise ModelError(f"{self.directory.path}: this model has no text encoder for new categories")
            self._tokenizer = Tokenizer.from_file(str(self.directory.file("label_tokenizer.json")))
        assert isinstance(self._tokenizer, Tokenizer)
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        parts = [
            self.backend.embed_labels(padded(encoded[start : start + _TEXT_BATCH]))
            for start in range(0, len(encoded), _TEXT_BATCH)
        ]
        return reduce(lambda first, second: first.join(second), parts)

    def _descriptions(self, texts: Sequence[str], count: int) -> list[Sequence[str]]:
        """The user's descriptions of texts or, where there are none, templates'."""
        unwritten = [text for text in texts if normalise_name(text) not in self._written]
        named = [NamedTag(text, kind) for text, kind in zip(unwritten, guess_kinds(unwritten), strict=True)]
        with warnings.catch_warnings():
            # Templates are what there is at run time; "anytag vocabulary describe" makes better ones.
            warnings.simplefilter("ignore", UserWarning)
            made = {described.tag: described.lines for described in from_wordnet(named, None, count)}
        return [self._written.get(normalise_name(text)) or made[text] for text in texts]


def described_texts(path: str | Path, count: int) -> dict[str, tuple[str, ...]]:
    """Descriptions by normalised name, from a file that ``anytag vocabulary describe`` wrote or one like it.

    Raises:
        VocabularyError: If the file is missing or not as it should be.
        UsageError: If a text has another number of descriptions than the model weighs.
    """
    found = {normalise_name(one.tag): one.lines for one in read_descriptions(path)}
    for name, lines in found.items():
        if len(lines) != count:
            raise UsageError(f"{path}: {name!r} has {len(lines)} descriptions, but the model weighs {count} a category")
    return found


def _refuse_text(what: str, names: Sequence[str]) -> None:
    """A text is a sequence of its letters, and each of them would be asked for."""
    if isinstance(names, str):
        raise UsageError(f"{what}: give a list of names, not the one text {names!r}")
