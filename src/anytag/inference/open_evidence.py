"""Evidence about texts outside the vocabulary: the recognition decoder's word, and that of classes alike.

The decoder was taught by captions, and of words that no caption held it knows little. The classifier cannot be asked
for them either, but it has a thousand classes with names, and what a text means is near to what some of them mean: a
text counts as a mixture of the classes that it is like (in the way of ConSE, Norouzi et al., 2014, turned around). All
texts share their weights:

    log-odds = bias + decoder · a + classes · b + unfamiliar · (c + decoder · d + classes · e)

- *classes*: logarithm of the probability of all classes, each as far as its name is like the text (:class:`Likeness`).
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

#: The columns of the weights that all texts share, in order.
OPEN_PREDICTORS = ("decoder", "classes", "unfamiliar", "unfamiliar_decoder", "unfamiliar_classes")

#: What such texts are weighed with if nothing was fitted: the decoder speaks alone.
_DECODER_ALONE = np.array([1, 0, 0, 0, 0], np.float32)


def shared_weights(arrays: Mapping[str, NDArray[Any]]) -> tuple[FloatArray, float]:
    """The weights ``[5]`` and the bias of all texts, from arrays of a model's evidence."""
    weights, bias = arrays.get("open_weights", _DECODER_ALONE), arrays.get("open_bias", np.zeros(1))
    return weights.astype(np.float32), float(bias[0])


def text_statements(probabilities: FloatArray, floor: float) -> FloatArray:
    """What classes say of texts, ``[B, T]``.

    Args:
        probabilities: ``[B, T]``, of all classes together, each as far as it is like the text.
        floor: Added to them.
    """
    found: FloatArray = np.log(probabilities + np.float32(floor))
    return found


class Likeness:
    """How alike texts and the names of classes are.

    Args:
        names: ``[C, E]``, text embeddings of the classes' names.
        sharpness: The likeness of two texts falls by e for every ``1 / sharpness`` that their cosine, taken from the
            mean of all names, lacks to 1.
    """

    def __init__(self, names: FloatArray, sharpness: float):
        self._mean: FloatArray = names.mean(0)
        self._names = self._directions(names)
        self._sharpness = np.float32(sharpness)

    def __call__(self, texts: FloatArray) -> FloatArray:
        """``[C, T]`` in (0, 1], 1 for the same text.

        Args:
            texts: ``[T, E]``, text embeddings.
        """
        cosines = np.minimum(self._names @ self._directions(texts).T, 1)
        found: FloatArray = np.exp(self._sharpness * (cosines - 1))
        return found

    def _directions(self, embeddings: FloatArray) -> FloatArray:
        apart = embeddings - self._mean
        found: FloatArray = apart / np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-6)
        return found


@dataclass(frozen=True)
class OpenEvidence:
    """What the predictors of one model say of texts outside its vocabulary.

    Attributes:
        weights: ``[5]``, see :data:`OPEN_PREDICTORS`.
        bias: Added to all.
        floor: Added to probabilities of classes.
        likeness: To the classifier's classes; ``None`` in models that cannot tell.
    """

    weights: FloatArray
    bias: float
    floor: float
    likeness: Likeness | None = None

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], config: EvidenceConfig) -> OpenEvidence:
        """From arrays of a model's evidence.

        Args:
            arrays: ``open_weights`` ``[5]`` and ``open_bias`` ``[1]``, and ``class_names`` int8 ``[C, E]`` with
                ``class_names_scale`` ``[C]``: text embeddings of the classes' names. Without the former the decoder
                speaks alone, without the latter no class has anything to say.
            config: How they are read.
        """
        likeness = None
        if "class_names" in arrays:
            names = arrays["class_names"] * arrays["class_names_scale"][:, None].astype(np.float32)
            likeness = Likeness(names.astype(np.float32), config.sharpness)
        return cls(*shared_weights(arrays), config.open_floor, likeness)

    def weigh(self, classes: FloatArray, unfamiliar: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What a logit of the decoder counts and what all others add up to, ``[B, T]`` each.

        Args:
            classes: ``[B, T]``, from :func:`text_statements`.
            unfamiliar: ``[B, 1]``.
        """
        decoder, stated, strange, strange_decoder, strange_stated = self.weights
        factors = decoder + unfamiliar * strange_decoder + np.zeros_like(classes)
        rest = np.float32(self.bias) + classes * (stated + unfamiliar * strange_stated) + unfamiliar * strange
        return factors, rest
