"""Combine the evidence of several predictors for each tag by adding it up in log-odds.

The recognition decoder learns from captions and is best at what captions mention. The image encoder comes with a
classifier, which knows kinds of animals, tools or fruit that captions seldom mention, and a small network over the
whole picture can learn classes that neither was trained on. A model with ``evidence.safetensors`` combines them by a
linear model per tag, with weights a to j:

    log-odds = bias + decoder · a + picture · b + classes · c + exclusion · d + sure · (e + decoder · f + picture · g)
               + unfamiliar · (h + picture · i + classes · j)

- *decoder*: the recognition decoder's logit.
- *picture*: a small network over the picture's first token and the classifier's log-probabilities.
- *classes*: log-probability that the picture is of any of the tag's classes, so a class raises every tag it implies.
- *exclusion*: log-probability that it is of none of the classes that exclude the tag. "Bee" excludes "cat", because
  they have only general tags ("animal") in common; "kitchen" excludes nothing.
- *sure*: the classifier's highest probability times the probability of none of the tag's classes: high where something
  else fills the picture.
- *unfamiliar*: probability in [0, 1], from a linear probe, that the picture differs from captioned training pictures.
  Captions describe everyday scenes; elsewhere the other predictors get more weight.

If the calibrated classifier alone gives a tag higher log-odds than this sum, its value is used, so classes without any
training picture are recognized, too. A tag's log-odds depend only on its own weights, not on which other tags are
scored.

The decoder is by far the slowest predictor, and for most tags the others already settle the matter. The range of its
logits is known from the pictures that the weights were fitted on, so an upper bound of the sum is known before it runs
(:meth:`PartialLogOdds.upper_bound`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Encoded, FloatArray
from anytag.foundations.log_odds import sigmoid
from anytag.inference.embedding import picture_inputs
from anytag.inference.label_set import ClassSums
from anytag.inference.open_evidence import OPEN_PREDICTORS, OpenEvidence, floored_log
from anytag.model.arrays import check_shapes, dequantize
from anytag.model.config import EvidenceConfig
from anytag.model.directory import ModelDirectory
from anytag.model.vocabulary import TagVocabulary

#: The file with the weights in a model directory.
EVIDENCE_FILE = "evidence.safetensors"

#: Range of a logit without bounds; finite, so that a weight of 0 cancels it.
_UNBOUNDED = np.array([-1e30, 1e30], np.float32)

#: Columns of a tag's weights, in order.
PREDICTORS = (
    *("decoder", "picture", "classes", "exclusion", "sure", "sure_decoder", "sure_picture"),
    *("unfamiliar", "unfamiliar_picture", "unfamiliar_classes"),
)


class TagEvidence:
    """Combine the predictors of one model.

    ``I`` is the width of :func:`~anytag.inference.embedding.picture_inputs`, ``H`` that of the network's hidden layer,
    ``T`` the number of tags.

    Args:
        config: Temperature, floors and exclusive tags.
        arrays: ``hidden_weight`` int8 ``[H, I]`` with ``hidden_scale`` ``[H]`` and ``hidden_bias`` ``[H]``;
            ``output_weight`` int8 ``[T, H]`` with ``output_scale`` and ``output_bias`` ``[T]``; ``weights`` ``[T, 10]``
            (:data:`PREDICTORS`) and ``biases`` ``[T]``; ``alone`` ``[T, 2]``, slope and intercept of *classes* where
            the classifier counts alone. Optional: ``decoder_range`` ``[T, 2]``, the decoder's lowest and highest logit
            per tag; ``unfamiliar_weight`` ``[I]`` and ``unfamiliar_bias`` ``[1]`` of the linear probe; the arrays of
            :meth:`OpenEvidence.from_arrays <anytag.inference.open_evidence.OpenEvidence.from_arrays>`.

    Raises:
        ModelError: If arrays are missing or do not fit the vocabulary and each other.
    """

    def __init__(
        self, config: EvidenceConfig, arrays: dict[str, NDArray[Any]], vocabulary: TagVocabulary, classes: int
    ):
        self.config, self.vocabulary, self.classes = config, vocabulary, classes
        shapes = {name: np.shape(array) for name, array in arrays.items()}
        hidden, tags = shapes.get("hidden_bias", (0,))[0], len(vocabulary)
        inputs = shapes.get("hidden_weight", (0, 0))[-1]
        defaults = {
            "decoder_range": np.tile(_UNBOUNDED, (tags, 1)),
            "unfamiliar_weight": np.zeros(inputs, np.float32),
            "unfamiliar_bias": np.array([-np.inf], np.float32),
        }
        arrays = defaults | arrays
        expected: dict[str, tuple[int, ...]] = {
            "hidden_weight": (hidden, inputs),
            "hidden_scale": (hidden,),
            "hidden_bias": (hidden,),
            "output_weight": (tags, hidden),
            "output_scale": (tags,),
            "output_bias": (tags,),
            "weights": (tags, len(PREDICTORS)),
            "biases": (tags,),
            "alone": (tags, 2),
            "decoder_range": (tags, 2),
            "unfamiliar_weight": (inputs,),
            "unfamiliar_bias": (1,),
        }
        optional: dict[str, tuple[int, ...]] = {"open_weights": (len(OPEN_PREDICTORS),), "open_bias": (1,)}
        expected |= {name: shape for name, shape in optional.items() if name in arrays}
        if "class_names" in arrays:
            expected |= {"class_names": (classes, shapes["class_names"][-1]), "class_names_scale": (classes,)}
        check_shapes(EVIDENCE_FILE, arrays, expected)
        self._hidden = np.ascontiguousarray(dequantize(arrays, "hidden").T)
        self._output = dequantize(arrays, "output")
        self._hidden_bias = arrays["hidden_bias"].astype(np.float32)
        self._output_bias = arrays["output_bias"].astype(np.float32)
        self._weights, self._biases = arrays["weights"].astype(np.float32), arrays["biases"].astype(np.float32)
        self._alone = arrays["alone"].astype(np.float32)
        self._range = arrays["decoder_range"].astype(np.float32)
        self._unfamiliar_weight = arrays["unfamiliar_weight"].astype(np.float32)
        self._unfamiliar_bias = arrays["unfamiliar_bias"].astype(np.float32)
        self.open = OpenEvidence.from_arrays(arrays, config)

    @classmethod
    def load(cls, directory: ModelDirectory) -> TagEvidence | None:
        """Load a model's evidence; ``None`` if it has none.

        Raises:
            ModelError: If the file is missing, altered or does not fit the model.
        """
        config = directory.config
        if config.evidence is None:
            return None
        arrays = directory.arrays(EVIDENCE_FILE)
        return cls(config.evidence, arrays, directory.vocabulary, config.image_encoder.classes)

    def without_decoder(self, encoded: Encoded, ids: Sequence[int | None], classes: ClassSums) -> PartialLogOdds:
        """Evaluate all predictors except the recognition decoder.

        Args:
            ids: Tag ids of the labels; ``None`` for texts outside the vocabulary.
            classes: Sums class probabilities per label.
        """
        shape = (len(encoded.features), len(ids))
        result = PartialLogOdds(
            np.empty(shape, np.float32),
            np.empty(shape, np.float32),
            np.full(shape, -np.inf, np.float32),
            np.tile(_UNBOUNDED, (len(ids), 1)),
        )
        if not all(shape):
            return result
        probabilities = apply_temperature(encoded.classes, self.config.temperature)
        own = label_probabilities(probabilities, classes, len(ids))
        inputs = picture_inputs(encoded, self.config.least)
        unfamiliar = unfamiliarity(inputs, self._unfamiliar_weight, self._unfamiliar_bias)[:, None]
        is_open = np.array([id is None for id in ids])
        if is_open.any():
            of_texts = self.open.without_decoder(floored_log(own[:, is_open], self.open.floor), unfamiliar)
            result.decoder_weights[:, is_open], result.offsets[:, is_open] = of_texts
        places = np.flatnonzero(~is_open)
        if not len(places):
            return result
        tags = np.array([id for id in ids if id is not None], np.int64)
        excluded = self._exclusion_probabilities(probabilities, tags)
        classifier = classifier_features(probabilities, own[:, places], excluded, self.config.floor)
        sure, picture = classifier.sure, self._picture_logits(inputs, tags)
        weights = dict(zip(PREDICTORS, self._weights[tags].T, strict=True))
        result.decoder_weights[:, places] = weights["decoder"] + sure * weights["sure_decoder"]
        result.offsets[:, places] = (
            self._biases[tags]
            + picture
            * (weights["picture"] + sure * weights["sure_picture"] + unfamiliar * weights["unfamiliar_picture"])
            + classifier.classes * (weights["classes"] + unfamiliar * weights["unfamiliar_classes"])
            + classifier.exclusion * weights["exclusion"]
            + sure * weights["sure"]
            + unfamiliar * weights["unfamiliar"]
        )
        result.classifier_alone[:, places] = classifier.classes * self._alone[tags, 0] + self._alone[tags, 1]
        result.decoder_range[places] = self._range[tags]
        return result

    def from_decoder_alone(self, logits: NDArray[np.float64], ids: Sequence[int]) -> NDArray[np.float64]:
        """Log-odds ``[B, T]`` where no other predictor was run, as for regions of a picture.

        Args:
            logits: ``[B, T]`` of the recognition decoder.
        """
        weights = self._weights[ids].astype(np.float64)
        odds = logits * weights[:, 0] + self._biases[ids] + np.log(self.config.floor) * weights[:, 2]
        return np.asarray(odds, np.float64)

    def unfamiliarity(self, encoded: Encoded) -> FloatArray:
        """Probability ``[B]`` that each picture differs from captioned training pictures."""
        inputs = picture_inputs(encoded, self.config.least)
        return unfamiliarity(inputs, self._unfamiliar_weight, self._unfamiliar_bias)

    def _picture_logits(self, inputs: FloatArray, tags: NDArray[np.int64]) -> FloatArray:
        hidden = np.maximum(inputs @ self._hidden + self._hidden_bias, 0)
        # Computing all tags is less work than copying the rows of some.
        logits: FloatArray = (hidden @ self._output.T + self._output_bias)[:, tags]
        return logits

    def _exclusion_probabilities(self, probabilities: FloatArray, tags: NDArray[np.int64]) -> FloatArray:
        """Total probability ``[B, T]`` of the classes that exclude each tag."""
        classes, table, columns = self._exclusive
        excluded = np.zeros((len(probabilities), table.shape[1] + 1), np.float32)
        excluded[:, :-1] = probabilities[:, classes] @ table
        result: FloatArray = excluded[:, columns[tags]]
        return result

    @cached_property
    def _exclusive(self) -> tuple[NDArray[np.intp], FloatArray, NDArray[np.intp]]:
        """Classes that exclude tags ``[C]``, their table ``[C, K]``, and each tag's column (K if it has none)."""
        table = exclusive_classes(self.vocabulary, self.classes, self.config.exclusive, self.config.general)
        classes, tags = np.flatnonzero(table.any(1)), np.flatnonzero(table.any(0))
        columns = np.full(table.shape[1], len(tags))
        columns[tags] = np.arange(len(tags))
        return classes, np.ascontiguousarray(table[np.ix_(classes, tags)]), columns


@dataclass(frozen=True)
class PartialLogOdds:
    """Log-odds of labels as a function of the recognition decoder's logits.

    Attributes:
        decoder_weights: ``[B, T]``, weight of the decoder's logit.
        offsets: ``[B, T]``, sum of all other terms.
        classifier_alone: ``[B, T]``, log-odds from the classifier alone; the result is at least this.
        decoder_range: ``[T, 2]``, lowest and highest logit that the decoder may return.
    """

    decoder_weights: FloatArray
    offsets: FloatArray
    classifier_alone: FloatArray
    decoder_range: FloatArray

    def __call__(self, logits: FloatArray) -> FloatArray:
        """Log-odds ``[B, T]`` for the decoder's logits ``[B, T]``."""
        odds: FloatArray = np.maximum(self.offsets + self.decoder_weights * logits, self.classifier_alone)
        return odds

    def upper_bound(self) -> FloatArray:
        """The highest log-odds ``[B, T]`` for any logit in the decoder's range."""
        lowest, highest = self.decoder_range.T
        return self(np.where(self.decoder_weights > 0, highest, lowest))

    def take(self, places: NDArray[np.intp]) -> PartialLogOdds:
        """Select labels by position."""
        weights, offsets, alone = self.decoder_weights, self.offsets, self.classifier_alone
        return PartialLogOdds(weights[:, places], offsets[:, places], alone[:, places], self.decoder_range[places])


@dataclass(frozen=True)
class ClassifierFeatures:
    """The terms that come from the classifier, ``[B, T]`` each; see the head of the module."""

    classes: FloatArray
    exclusion: FloatArray
    sure: FloatArray


def unfamiliarity(inputs: FloatArray, weight: FloatArray, bias: FloatArray) -> FloatArray:
    """Probability ``[B]`` that pictures differ from captioned training pictures, by a linear probe.

    Args:
        inputs: ``[B, I]``, from :func:`~anytag.inference.embedding.picture_inputs`.
        weight: ``[I]``.
        bias: ``[1]``.
    """
    return sigmoid(np.clip(inputs @ weight + bias, -30, 30))


def apply_temperature(probabilities: FloatArray, temperature: float) -> FloatArray:
    """Class probabilities ``[B, C]`` at another temperature; below 1 sharpens them."""
    odds = np.log(np.maximum(probabilities, np.float32(1e-30))) / np.float32(temperature)
    raised = np.exp(odds - odds.max(1, keepdims=True))
    result: FloatArray = raised / raised.sum(1, keepdims=True)
    return result


def label_probabilities(probabilities: FloatArray, classes: ClassSums, labels: int) -> FloatArray:
    """Total probability ``[B, T]`` of each label's classes; 0 for labels without any."""
    own = np.zeros((len(probabilities), labels), np.float32)
    if len(classes.labels):
        own[:, classes.labels] = classes(probabilities)
    return own


def classifier_features(
    probabilities: FloatArray, own: FloatArray, excluded: FloatArray, floor: float
) -> ClassifierFeatures:
    """Compute the classifier's terms of the log-odds.

    Args:
        probabilities: ``[B, C]``, from :func:`apply_temperature`.
        own: ``[B, T]``, from :func:`label_probabilities`.
        excluded: ``[B, T]``, total probability of the classes that exclude each tag (:func:`exclusive_classes`).
        floor: Added to ``own``.
    """
    return ClassifierFeatures(
        classes=floored_log(own, floor),
        exclusion=np.log1p(np.float32(-0.999) * excluded),
        sure=probabilities.max(1, keepdims=True) * np.maximum(1 - own, 0),
    )


def exclusive_classes(vocabulary: TagVocabulary, classes: int, root: int | None, general: Sequence[int]) -> FloatArray:
    """Table ``[C, T]`` of which classes exclude which tags (1: excludes).

    A class excludes the tags below ``root`` with which it shares no implied tag, general ones aside. "Hen" and "cat"
    share only "animal", so they exclude each other; "beagle" and "puppy" share "dog" and may both be true.

    Args:
        root: Only tags that imply this one exclude each other; ``None``: none do.
        general: Tags below ``root``, itself included, that are not kinds of it ("pet") and do not count as shared.
    """
    result = np.zeros((classes, len(vocabulary)), np.float32)
    kinds, apart = exclusive_kinds(vocabulary, root, general)
    for place, id in enumerate(kinds):
        for number in vocabulary[id].classes:
            result[number, kinds] = apart[place]
    return result


def exclusive_kinds(
    vocabulary: TagVocabulary, root: int | None, general: Sequence[int]
) -> tuple[list[int], NDArray[np.bool_]]:
    """Ids ``[K]`` of the kinds of a tag and a table ``[K, K]`` of which exclude each other.

    ``root`` and ``general`` are those of :func:`exclusive_classes`.
    """
    if root is None:
        return [], np.zeros((0, 0), np.bool_)
    passed = {root, *general}
    above = [vocabulary.with_implied([tag.id]) for tag in vocabulary]
    kinds = [id for id, implied in enumerate(above) if root in implied and id not in passed]
    column = {id: place for place, id in enumerate(kinds)}
    common = np.zeros((len(kinds), len(kinds)), np.float32)
    for place, id in enumerate(kinds):
        common[place, [column[up] for up in above[id] if up in column]] = 1
    return kinds, (common @ common.T) == 0
