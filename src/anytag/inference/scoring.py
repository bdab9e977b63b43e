"""Turn the logits of labels into scores on one scale."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Backend, Encoded, FloatArray, Queries
from anytag.foundations.log_odds import EDGE, log_odds, sigmoid
from anytag.inference.evidence import PartialLogOdds, TagEvidence
from anytag.inference.label_set import LabelSet
from anytag.inference.taught_tags import TaughtTags
from anytag.model.directory import ModelDirectory

#: Tolerance in log-odds for comparisons with a bound, since scores are rounded.
_ROUNDING = 1e-3


class Scorer:
    """Score labels and whole texts for encoded pictures."""

    def __init__(self, directory: ModelDirectory, backend: Backend):
        self.directory, self.backend = directory, backend

    @cached_property
    def tag_evidence(self) -> TagEvidence | None:
        """Predictors beside the recognition decoder, in models that have them."""
        return TagEvidence.load(self.directory)

    @cached_property
    def taught(self) -> TaughtTags | None:
        """Tags that a user taught the model."""
        return TaughtTags.load(self.directory)

    def logits(
        self,
        encoded: Encoded,
        labels: LabelSet,
        logits: FloatArray | None = None,
        least: NDArray[np.float64] | None = None,
    ) -> FloatArray:
        """Compute logits ``[B, T]``: the recognition decoder's, or the combined log-odds of all predictors.

        Tags that a user taught the model have logits of their own.

        Args:
            logits: ``[B, T]`` of the recognition decoder, if it was run already.
            least: ``[T]``, logits below which exact values are not needed. Labels that cannot reach them in any of the
                pictures are left out when the decoder runs, and get the upper bound of their logit.
        """
        if self.tag_evidence is None:
            result = self.backend.recognize(encoded.features, labels.queries) if logits is None else logits
        else:
            partial = self.tag_evidence.without_decoder(encoded, labels.ids, labels.classes_of_all)
            result = self._run_decoder(encoded, labels, partial, least) if logits is None else partial(logits)
        return result if self.taught is None else self.taught(encoded, result, labels.ids)

    def class_similarity(self, texts: Queries) -> FloatArray | None:
        """Similarity ``[C, T]`` of texts to the classifier's classes; ``None`` in models that do not support it."""
        similarity = None if self.tag_evidence is None else self.tag_evidence.open.similarity
        return None if similarity is None or texts.embeddings is None else similarity(texts.embeddings)

    def unfamiliarity(self, encoded: Encoded) -> FloatArray:
        """Probability ``[B]`` that pictures differ from captioned training pictures; 0 in models without evidence."""
        if self.tag_evidence is None:
            return np.zeros(len(encoded.features), np.float32)
        return self.tag_evidence.unfamiliarity(encoded)

    def _run_decoder(
        self, encoded: Encoded, labels: LabelSet, partial: PartialLogOdds, least: NDArray[np.float64] | None
    ) -> FloatArray:
        """Log-odds ``[B, T]``; the decoder runs only for labels that may reach ``least``."""
        odds = partial.upper_bound()
        needed = np.ones(len(labels.names), np.bool_) if least is None else (odds >= least - _ROUNDING).any(0)
        places = np.flatnonzero(needed)
        if len(places):
            logits = self.backend.recognize(encoded.features, labels.queries.take(places))
            odds[:, places] = partial.take(places)(logits)
        return odds

    def class_evidence(self, encoded: Encoded, labels: LabelSet) -> FloatArray:
        """Log-probabilities ``[B, T]`` of the classes of labels that captions name often; 0 for all other labels.

        A thousandth is added to the probabilities first.
        """
        sums = labels.classes_of_frequent
        result = np.zeros((len(encoded.features), len(labels.names)), np.float32)
        if len(sums.labels):
            result[:, sums.labels] = np.log(sums(encoded.classes) + 1e-3)
        return result

    def scores(
        self,
        encoded: Encoded,
        labels: LabelSet,
        logits: FloatArray | None = None,
        least: NDArray[np.float64] | None = None,
    ) -> FloatArray:
        """Compute scores ``[B, T]``: the sigmoid of calibrated logits or, for rare labels, the classifier's if higher.

        Logits are shifted to a common scale first (:mod:`anytag.evaluation.calibration`). For labels that captions
        seldom name, the probability of their classes is moved in log-odds so that ``class_threshold`` falls on the
        label's own threshold; the higher of both scores counts.

        Args:
            logits: ``[B, T]`` of the recognition decoder, if it was run already.
            least: ``[T]``, scores below which only an upper bound is computed, which is much faster.
        """
        if least is not None:
            with np.errstate(divide="ignore"):  # A score of 0 has log-odds of minus infinity.
                least = log_odds(least) / self.directory.config.score_slope + labels.shifts
        logits = self.logits(encoded, labels, logits, least)
        if weight := self.directory.config.class_weight:
            logits = logits + np.float32(weight) * self.class_evidence(encoded, labels)
        scores = sigmoid((logits - labels.shifts) * self.directory.config.score_slope)
        sums = labels.classes_of_rare
        if len(sums.labels) and len(scores):
            own, sure = log_odds(labels.thresholds[sums.labels], EDGE), log_odds(self.directory.config.class_threshold)
            odds = log_odds(sums(encoded.classes), EDGE) - sure + own
            scores[:, sums.labels] = np.maximum(scores[:, sums.labels], sigmoid(odds))
        return scores.astype(np.float32)

    def match(self, encoded: Encoded, texts: Queries) -> FloatArray:
        """Score how well texts fit pictures, ``[B, T]`` in [0, 1].

        The recognition decoder scores them (RAM++ section 3.2), or Tag2Text's alignment encoder. Logits are not
        calibrated: shifts and thresholds are fitted on tags only.
        """
        logits = self.backend.recognize(encoded.features, texts).astype(np.float64)
        return sigmoid(logits).astype(np.float32)
