"""From what the model says of labels to scores on one scale."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Backend, Encoded, FloatArray, Queries
from anytag.foundations.log_odds import EDGE, log_odds, sigmoid
from anytag.inference.evidence import TagEvidence, Weighed
from anytag.inference.label_set import LabelSet
from anytag.inference.taught_tags import TaughtTags
from anytag.model.directory import ModelDirectory

#: Scores are rounded; what comes so close to a bound, in log-odds, may stand on either side of it.
_ROUNDING = 1e-3


class Scorer:
    """Scores labels, and whole texts, for encoded pictures.

    Args:
        directory: The model; its config says how logits become scores.
        backend: Runs the recognition decoder.
    """

    def __init__(self, directory: ModelDirectory, backend: Backend):
        self.directory, self.backend = directory, backend

    @cached_property
    def tag_evidence(self) -> TagEvidence | None:
        """What is weighed beside the recognition decoder, in models that have it."""
        return TagEvidence.of(self.directory)

    @cached_property
    def taught(self) -> TaughtTags | None:
        """Tags that a user taught the model."""
        return TaughtTags.of(self.directory)

    def logits(
        self,
        encoded: Encoded,
        labels: LabelSet,
        logits: FloatArray | None = None,
        least: NDArray[np.float64] | None = None,
    ) -> FloatArray:
        """Logits ``[B, T]``: the recognition decoder's or, where a model weighs other predictors too, the sum of all.

        Tags that a user taught the model have logits of their own.

        Args:
            encoded: Pictures.
            labels: What to score.
            logits: ``[B, T]`` of the recognition decoder, if it has been run already.
            least: ``[T]``; what lies below need not be known exactly. The decoder is not asked about labels that the
                other predictors rule out in all of the pictures, and the most that it could have led to stands there.
        """
        if self.tag_evidence is None:
            found = self.backend.recognize(encoded.features, labels.queries) if logits is None else logits
        else:
            weighed = self.tag_evidence.weigh(encoded, labels.ids, labels.classes_of_all)
            found = self._ask(encoded, labels, weighed, least) if logits is None else weighed(logits)
        return found if self.taught is None else self.taught(encoded, found, labels.ids)

    def likeness(self, texts: Queries) -> FloatArray | None:
        """How like the classifier's classes texts are, ``[C, T]``; ``None`` in models that cannot tell."""
        like = None if self.tag_evidence is None else self.tag_evidence.open.likeness
        return None if like is None or texts.embeddings is None else like(texts.embeddings)

    def unfamiliarity(self, encoded: Encoded) -> FloatArray:
        """How unlike captioned pictures pictures are, ``[B]`` in [0, 1]; 0 in models that cannot tell."""
        if self.tag_evidence is None:
            return np.zeros(len(encoded.features), np.float32)
        return self.tag_evidence.unfamiliarity(encoded)

    def _ask(
        self, encoded: Encoded, labels: LabelSet, weighed: Weighed, least: NDArray[np.float64] | None
    ) -> FloatArray:
        """Log-odds ``[B, T]``, the decoder asked about no more labels than it has to be."""
        found = weighed.at_most()
        wanted = np.ones(len(labels.names), np.bool_) if least is None else (found >= least - _ROUNDING).any(0)
        places = np.flatnonzero(wanted)
        if len(places):
            found[:, places] = weighed.take(places)(
                self.backend.recognize(encoded.features, labels.queries.take(places))
            )
        return found

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

    def scores(
        self,
        encoded: Encoded,
        labels: LabelSet,
        logits: FloatArray | None = None,
        least: NDArray[np.float64] | None = None,
    ) -> FloatArray:
        """Scores ``[B, T]`` of the recognition decoder and, of labels that captions name seldom, of the classifier.

        Logits are shifted to a common scale first (:mod:`anytag.evaluation.calibration`). Where the classifier is
        surer than the decoder of a label that captions taught little of, its word counts: a class's probability is
        moved in log-odds so that ``class_threshold`` falls on the label's own threshold, so the classifier finds a
        label exactly where it is sure enough of its classes.

        Args:
            encoded: Pictures.
            labels: What to score.
            logits: ``[B, T]`` of the recognition decoder, if it has been run already.
            least: ``[T]``, scores below which a label is as good as absent: below it, a score is one that the label
                could have at most, and most of those take no time.
        """
        if least is not None:
            with np.errstate(divide="ignore"):  # A score of 0 is asked for: log-odds without a bound.
                least = log_odds(least) / self.directory.config.score_slope + labels.shifts
        logits = self.logits(encoded, labels, logits, least)
        if weight := self.directory.config.class_weight:
            logits = logits + np.float32(weight) * self.evidence(encoded, labels)
        scores = sigmoid((logits - labels.shifts) * self.directory.config.score_slope)
        sums = labels.found_by_classes
        known = sums.labels
        if len(known) and len(scores):
            own, sure = log_odds(labels.thresholds[known], EDGE), log_odds(self.directory.config.class_threshold)
            odds = log_odds(sums(encoded.classes), EDGE) - sure + own
            scores[:, known] = np.maximum(scores[:, known], sigmoid(odds))
        found: FloatArray = scores.astype(np.float32)
        return found

    def match(self, encoded: Encoded, texts: Queries) -> FloatArray:
        """How well texts fit pictures, ``[B, T]`` in [0, 1].

        The recognition decoder scores them (RAM++ section 3.2) or, in Tag2Text, the alignment encoder does. The scale
        is that of training. Thresholds and shifts are fitted on tags and say nothing of sentences.
        """
        logits = self.backend.recognize(encoded.features, texts).astype(np.float64)
        fits: FloatArray = sigmoid(logits).astype(np.float32)
        return fits
