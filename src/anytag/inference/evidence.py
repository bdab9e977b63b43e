"""Evidence about tags from several predictors, added up in log-odds.

The recognition decoder learned from captions, and knows best what captions name. The image encoder came with a
classifier, which knows kinds of animals, tools or fruit that captions seldom name, and a linear look at the whole
picture can learn classes that neither was trained on. A model that has ``evidence.safetensors`` weighs them for every
tag, with weights a to j of its own:

    log-odds = bias + decoder · a + picture · b + classes · c + exclusion · d + sure · (e + decoder · f + picture · g)
               + unfamiliar · (h + picture · i + classes · j)

- *decoder*: the recognition decoder's logit.
- *picture*: a small network over the picture's mean token and the classifier's log-probabilities.
- *classes*: logarithm of the probability of the tag's classes together, so that a class raises what it implies.
- *exclusion*: logarithm of what the classes that rule the tag out leave of the probability. A bee rules a cat out,
  because they have nothing but general tags ("animal") in common; a kitchen rules nothing out.
- *sure*: the classifier's greatest probability, as far as it is not the tag's own: high where something else fills the
  picture.
- *unfamiliar*: how unlike captioned pictures a linear look finds the picture, in [0, 1]. Of most tags only captions say
  anything, and captions are of everyday scenes; elsewhere the others are believed more.

Where the classifier by itself is surer of a tag than this sum, its word is taken: calibrated, it is right as often as
it says, also of classes that no training picture showed.

A tag's log-odds depend on its own weights only, so they are the same whatever else is asked for.

The decoder is by far the slowest predictor, and of most tags it could say what it likes: the others rule them out. How
high and how low its logit of a tag gets is known from the pictures that weights were fitted on, so the most that the
sum can come to is known before it is asked (:meth:`Weighed.at_most`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Encoded, FloatArray
from anytag.errors import ModelError
from anytag.foundations.log_odds import sigmoid
from anytag.inference.embedding import picture_inputs
from anytag.inference.label_set import ClassSums
from anytag.inference.open_evidence import OPEN_PREDICTORS, OpenEvidence, text_statements
from anytag.model.config import EvidenceConfig
from anytag.model.directory import ModelDirectory
from anytag.model.vocabulary import TagVocabulary

#: The file of a model directory that holds the weights.
EVIDENCE_FILE = "evidence.safetensors"

#: A logit without bounds; finite, so that a factor of 0 makes it nothing.
_ANY = np.array([-1e30, 1e30], np.float32)

#: The bias of a look to which no picture is unfamiliar.
_NONE = np.array([-np.inf], np.float32)

#: The columns of a tag's weights, in order.
PREDICTORS = (
    *("decoder", "picture", "classes", "exclusion", "sure", "sure_decoder", "sure_picture"),
    *("unfamiliar", "unfamiliar_picture", "unfamiliar_classes"),
)


class TagEvidence:
    """Weighs the predictors of one model.

    Args:
        config: How their statements are read.
        arrays: ``hidden_weight`` int8 ``[H, I]`` with ``hidden_scale`` ``[H]`` and ``hidden_bias`` ``[H]``, the same
            for ``output`` with ``[T, H]``, ``weights`` ``[T, 10]`` (:data:`PREDICTORS`), ``biases`` ``[T]``,
            ``alone`` ``[T, 2]``: factor and bias of *classes* where the classifier speaks by itself, and, unless the
            decoder is to be asked about every tag, ``decoder_range`` ``[T, 2]``: its lowest and highest logit. If
            pictures may be unfamiliar: ``unfamiliar_weight`` ``[I]`` and ``unfamiliar_bias`` ``[1]`` of the linear
            look. For texts outside the vocabulary, what :meth:`OpenEvidence.of
            <anytag.inference.open_evidence.OpenEvidence.of>` reads.
        vocabulary: The model's tags.
        classes: Number of the classifier's classes.

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
        expected = {
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
        for name, shape in (("open_weights", (len(OPEN_PREDICTORS),)), ("open_bias", (1,))):
            if name in arrays:
                expected[name] = shape
        if "class_names" in arrays:
            expected |= {"class_names": (classes, shapes["class_names"][-1]), "class_names_scale": (classes,)}
        optional = {"decoder_range": np.tile(_ANY, (tags, 1))}
        optional |= {"unfamiliar_weight": np.zeros(inputs, np.float32), "unfamiliar_bias": _NONE}
        arrays = optional | arrays
        for name, shape in expected.items():
            if name not in arrays or np.shape(arrays[name]) != shape:
                found = f"has the shape {np.shape(arrays[name])}" if name in arrays else "is missing"
                raise ModelError(f"{EVIDENCE_FILE}: {name} {found}, where {shape} is expected; copy the model again")
        scaled = {part: arrays[f"{part}_weight"] * arrays[f"{part}_scale"][:, None] for part in ("hidden", "output")}
        self._hidden: FloatArray = np.ascontiguousarray(scaled["hidden"].T, np.float32)
        self._output: FloatArray = scaled["output"].astype(np.float32)
        self._hidden_bias, self._output_bias = (arrays[f"{part}_bias"].astype(np.float32) for part in scaled)
        self._weights, self._biases = arrays["weights"].astype(np.float32), arrays["biases"].astype(np.float32)
        self._alone = arrays["alone"].astype(np.float32)
        self._range = arrays["decoder_range"].astype(np.float32)
        self._unfamiliar_weight = arrays["unfamiliar_weight"].astype(np.float32)
        self._unfamiliar_bias = arrays["unfamiliar_bias"].astype(np.float32)
        self.open = OpenEvidence.of(arrays, config)

    @classmethod
    def of(cls, directory: ModelDirectory) -> TagEvidence | None:
        """That of a model; ``None`` if the recognition decoder speaks alone.

        Raises:
            ModelError: If its file is missing, altered or does not fit.
        """
        config = directory.config.evidence
        if config is None:
            return None
        from safetensors.numpy import load_file

        arrays = load_file(directory.file(EVIDENCE_FILE))
        return cls(config, arrays, directory.vocabulary, directory.config.image_encoder.classes)

    def log_odds(
        self, encoded: Encoded, logits: FloatArray, ids: Sequence[int | None], classes: ClassSums
    ) -> FloatArray:
        """Log-odds ``[B, T]`` of labels.

        Args:
            encoded: Pictures.
            logits: ``[B, T]`` of the recognition decoder.
            ids: The labels' ids; ``None`` for texts outside the vocabulary.
            classes: Adds the labels' classes up.
        """
        return self.weigh(encoded, ids, classes)(logits)

    def weigh(self, encoded: Encoded, ids: Sequence[int | None], classes: ClassSums) -> Weighed:
        """What all predictors but the recognition decoder say of labels.

        Args:
            encoded: Pictures.
            ids: The labels' ids; ``None`` for texts outside the vocabulary.
            classes: Adds the labels' classes up.
        """
        shape = (len(encoded.features), len(ids))
        weighed = Weighed(
            np.empty(shape, np.float32),
            np.empty(shape, np.float32),
            np.full(shape, -np.inf, np.float32),
            np.tile(_ANY, (len(ids), 1)),
        )
        if not all(shape):
            return weighed
        probabilities = sharpened(encoded.classes, self.config.temperature)
        own = own_probabilities(probabilities, classes, len(ids))
        inputs = picture_inputs(encoded, self.config.least)
        unfamiliar = unfamiliarity(inputs, self._unfamiliar_weight, self._unfamiliar_bias)[:, None]
        is_open = np.array([id is None for id in ids])
        if is_open.any():
            of_texts = self.open.weigh(text_statements(own[:, is_open], self.open.floor), unfamiliar)
            weighed.factors[:, is_open], weighed.rest[:, is_open] = of_texts
        places = np.flatnonzero(~is_open)
        if not len(places):
            return weighed
        tags = np.array([id for id in ids if id is not None], np.int64)
        excluded = self._excluded(probabilities, tags)
        stated = class_statements(probabilities, own[:, places], excluded, self.config.floor)
        weights, picture = self._weights[tags].T, self._picture(inputs, tags)
        weighed.factors[:, places] = weights[0] + stated.sure * weights[5]
        weighed.rest[:, places] = (
            self._biases[tags]
            + picture * (weights[1] + stated.sure * weights[6] + unfamiliar * weights[8])
            + stated.classes * (weights[2] + unfamiliar * weights[9])
            + stated.exclusion * weights[3]
            + stated.sure * weights[4]
            + unfamiliar * weights[7]
        )
        weighed.alone[:, places] = stated.classes * self._alone[tags, 0] + self._alone[tags, 1]
        weighed.decoder_range[places] = self._range[tags]
        return weighed

    def of_decoder_alone(self, logits: NDArray[np.float64], ids: Sequence[int]) -> NDArray[np.float64]:
        """Log-odds ``[B, T]`` where no other predictor has anything to say, as of parts of a picture.

        Args:
            logits: ``[B, T]`` of the recognition decoder.
            ids: The tags' ids.
        """
        weights = self._weights[ids].astype(np.float64)
        odds = logits * weights[:, 0] + self._biases[ids] + np.log(self.config.floor) * weights[:, 2]
        return np.asarray(odds, np.float64)

    def unfamiliarity(self, encoded: Encoded) -> FloatArray:
        """How unlike captioned pictures pictures are, ``[B]`` in [0, 1]."""
        inputs = picture_inputs(encoded, self.config.least)
        return unfamiliarity(inputs, self._unfamiliar_weight, self._unfamiliar_bias)

    def _picture(self, inputs: FloatArray, tags: NDArray[np.int64]) -> FloatArray:
        hidden = np.maximum(inputs @ self._hidden + self._hidden_bias, 0)
        # All tags are less work than a copy of the rows of some.
        found: FloatArray = (hidden @ self._output.T + self._output_bias)[:, tags]
        return found

    def _excluded(self, probabilities: FloatArray, tags: NDArray[np.int64]) -> FloatArray:
        """The probability ``[B, T]`` of the classes that rule tags out."""
        classes, table, columns = self._exclusive
        ruled_out = np.zeros((len(probabilities), table.shape[1] + 1), np.float32)
        ruled_out[:, :-1] = probabilities[:, classes] @ table
        found: FloatArray = ruled_out[:, columns[tags]]
        return found

    @cached_property
    def _exclusive(self) -> tuple[NDArray[np.intp], FloatArray, NDArray[np.intp]]:
        """The classes that rule tags out, ``[C]``, the table of those tags ``[C, K]``, each tag's column, else K."""
        table = exclusive_classes(self.vocabulary, self.classes, self.config.exclusive, self.config.general)
        classes, tags = np.flatnonzero(table.any(1)), np.flatnonzero(table.any(0))
        columns = np.full(table.shape[1], len(tags))
        columns[tags] = np.arange(len(tags))
        return classes, np.ascontiguousarray(table[np.ix_(classes, tags)]), columns


@dataclass(frozen=True)
class Weighed:
    """What the other predictors say of labels, waiting for the recognition decoder's word.

    Attributes:
        factors: ``[B, T]``, what a logit of the decoder counts.
        rest: ``[B, T]``, what all others add up to.
        alone: ``[B, T]``, what the classifier says by itself; the greater of both counts.
        decoder_range: ``[T, 2]``, the lowest and the highest logit to expect.
    """

    factors: FloatArray
    rest: FloatArray
    alone: FloatArray
    decoder_range: FloatArray

    def __call__(self, logits: FloatArray) -> FloatArray:
        """Log-odds ``[B, T]``, from logits ``[B, T]`` of the decoder."""
        found: FloatArray = np.maximum(self.rest + self.factors * logits, self.alone)
        return found

    def at_most(self) -> FloatArray:
        """The greatest log-odds ``[B, T]`` that any word of the decoder could lead to."""
        lowest, highest = self.decoder_range.T
        return self(np.where(self.factors > 0, highest, lowest))

    def take(self, places: NDArray[np.intp]) -> Weighed:
        """Of some of the labels."""
        factors, rest, alone = (array[:, places] for array in (self.factors, self.rest, self.alone))
        return Weighed(factors, rest, alone, self.decoder_range[places])


@dataclass(frozen=True)
class ClassStatements:
    """What the classifier says of tags, ``[B, T]`` each.

    Attributes:
        classes: Logarithm of the probability of a tag's classes together.
        exclusion: Logarithm of what the classes that rule it out leave.
        sure: The greatest probability, as far as it is not the tag's own.
    """

    classes: FloatArray
    exclusion: FloatArray
    sure: FloatArray


def unfamiliarity(inputs: FloatArray, weight: FloatArray, bias: FloatArray) -> FloatArray:
    """How unlike captioned pictures pictures are, ``[B]`` in [0, 1], by a linear look.

    Args:
        inputs: ``[B, I]``, from :func:`~anytag.inference.embedding.picture_inputs`.
        weight: ``[I]``.
        bias: ``[1]``.
    """
    found: FloatArray = sigmoid(np.clip(inputs @ weight + bias, -30, 30))
    return found


def sharpened(probabilities: FloatArray, temperature: float) -> FloatArray:
    """Class probabilities ``[B, C]`` at a temperature: below 1 they are surer."""
    odds = np.log(np.maximum(probabilities, np.float32(1e-30))) / np.float32(temperature)
    raised = np.exp(odds - odds.max(1, keepdims=True))
    result: FloatArray = raised / raised.sum(1, keepdims=True)
    return result


def own_probabilities(probabilities: FloatArray, classes: ClassSums, labels: int) -> FloatArray:
    """The probability of every label's classes together, ``[B, T]``; 0 for labels without any."""
    own = np.zeros((len(probabilities), labels), np.float32)
    if len(classes.labels):
        own[:, classes.labels] = classes(probabilities)
    return own


def class_statements(probabilities: FloatArray, own: FloatArray, excluded: FloatArray, floor: float) -> ClassStatements:
    """What the classifier says of tags.

    Args:
        probabilities: ``[B, C]``, from :func:`sharpened`.
        own: ``[B, T]``, from :func:`own_probabilities`.
        excluded: ``[B, T]``, the probability of the classes that rule each tag out (:func:`exclusive_classes`).
        floor: Added to ``own``.
    """
    return ClassStatements(
        np.log(own + np.float32(floor)),
        np.log1p(np.float32(-0.999) * excluded),
        probabilities.max(1, keepdims=True) * np.maximum(1 - own, 0),
    )


def exclusive_classes(vocabulary: TagVocabulary, classes: int, root: int | None, general: Sequence[int]) -> FloatArray:
    """Which classes rule which tags out, ``[C, T]``.

    A class rules out the tags below ``root`` that have nothing in common with it: no tag that follows from both, but
    for general ones. "Hen" and "cat" have "animal" in common.
    "Beagle" and "puppy" have "dog", and may be true together.

    Args:
        vocabulary: The tags.
        classes: Number of classes.
        root: The tag below which this holds; ``None``: no class rules anything out.
        general: Tags below it, itself among them, that are not kinds of it ("pet"): having them in common says nothing.
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
    """The kinds of a tag, and which of them exclude each other: ids ``[K]`` and a table ``[K, K]``.

    Args:
        vocabulary: The tags.
        root: As for :func:`exclusive_classes`.
        general: Likewise.
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
