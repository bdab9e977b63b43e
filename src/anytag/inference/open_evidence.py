"""Evidence for texts outside the vocabulary, from the recognition decoder and from classes with similar names.

The decoder was trained on captions and knows little about words that captions rarely contain. The image classifier
cannot be asked about new words at all, but the names of its thousand classes can be compared with a text: the text is
treated as a mixture of the classes with similar meanings (ConSE, Norouzi et al., 2014, in reverse). All texts share
one set of weights:

    log-odds = bias + decoder · a + classes · b + unfamiliar · (c + decoder · d + classes · e)

- *classes*: log of the class probabilities, weighted by how similar each class's name is to the text
  (:class:`ClassSimilarity`).
- *decoder* and *unfamiliar*: as for tags (:mod:`anytag.inference.evidence`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import FloatArray
from anytag.model.config import EvidenceConfig

#: Columns of the weights, in order.
OPEN_PREDICTORS = ("decoder", "classes", "unfamiliar", "unfamiliar_decoder", "unfamiliar_classes")

#: Weights of models that were fitted without any: the decoder's logit unchanged.
_DECODER_ONLY = np.array([1, 0, 0, 0, 0], np.float32)


def shared_weights(arrays: Mapping[str, NDArray[Any]]) -> tuple[FloatArray, float]:
    """Weights ``[5]`` and bias of all texts, from the arrays of a model's evidence."""
    weights, bias = arrays.get("open_weights", _DECODER_ONLY), arrays.get("open_bias", np.zeros(1))
    return weights.astype(np.float32), float(bias[0])


def floored_log(probabilities: FloatArray, floor: float) -> FloatArray:
    """``log(probabilities + floor)``: below the floor, probabilities make no difference."""
    result: FloatArray = np.log(probabilities + np.float32(floor))
    return result


class ClassSimilarity:
    """Similarity of texts to the names of the classifier's classes.

    Args:
        names: ``[C, E]``, text embeddings of the classes' names.
        sharpness: The similarity is ``exp(sharpness * (cosine - 1))``, with cosines around the mean of all names.
    """

    def __init__(self, names: FloatArray, sharpness: float):
        self._mean: FloatArray = names.mean(0)
        self._names = self._directions(names)
        self._sharpness = np.float32(sharpness)

    def __call__(self, texts: FloatArray) -> FloatArray:
        """Similarities ``[C, T]`` in (0, 1], 1 for the same text, from text embeddings ``[T, E]``."""
        cosines = np.minimum(self._names @ self._directions(texts).T, 1)
        similarities: FloatArray = np.exp(self._sharpness * (cosines - 1))
        return similarities

    def _directions(self, embeddings: FloatArray) -> FloatArray:
        centered = embeddings - self._mean
        directions: FloatArray = centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-6)
        return directions


@dataclass(frozen=True)
class OpenEvidence:
    """Combine the predictors of one model for texts outside its vocabulary.

    Attributes:
        weights: ``[5]``, see :data:`OPEN_PREDICTORS`.
        floor: Added to class probabilities.
        similarity: To the classifier's classes; ``None`` in models without embeddings of their names.
    """

    weights: FloatArray
    bias: float
    floor: float
    similarity: ClassSimilarity | None = None

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], config: EvidenceConfig) -> OpenEvidence:
        """Create it from the arrays of a model's evidence, all of them optional.

        Args:
            arrays: ``open_weights`` ``[5]`` and ``open_bias`` ``[1]`` (default: the decoder's logit unchanged);
                ``class_names`` int8 ``[C, E]`` and ``class_names_scale`` ``[C]``, text embeddings of the classes'
                names (default: classes do not count).
        """
        similarity = None
        if "class_names" in arrays:
            names = arrays["class_names"] * arrays["class_names_scale"][:, None].astype(np.float32)
            similarity = ClassSimilarity(names.astype(np.float32), config.sharpness)
        return cls(*shared_weights(arrays), config.open_floor, similarity)

    def without_decoder(self, classes: FloatArray, unfamiliar: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weights of the decoder's logits and the sum of all other terms, ``[B, T]`` each.

        Args:
            classes: ``[B, T]``, the *classes* term.
            unfamiliar: ``[B, 1]``.
        """
        decoder, by_classes, strange, strange_decoder, strange_classes = self.weights
        weights = decoder + unfamiliar * strange_decoder + np.zeros_like(classes)
        offsets = np.float32(self.bias) + classes * (by_classes + unfamiliar * strange_classes) + unfamiliar * strange
        return weights, offsets
