"""One vector per picture: for comparing pictures, and as the input of linear layers."""

from __future__ import annotations

import numpy as np

from anytag.backends.base import Encoded, FloatArray

#: Default floor of log-probabilities of classes.
LEAST = -14.0


def picture_embeddings(encoded: Encoded) -> FloatArray:
    """Unit vectors ``[B, W]`` of pictures: their mean features ``[B, N, W]``, centered over the channels."""
    means = encoded.features.mean(1, dtype=np.float32)
    return normalized(means - means.mean(-1, keepdims=True))


def normalized(vectors: FloatArray) -> FloatArray:
    """Scale vectors ``[..., D]`` to length 1."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def picture_inputs(encoded: Encoded, least: float = LEAST) -> FloatArray:
    """Inputs ``[B, W + C]`` of linear layers: a picture's first token and its classes' log-probabilities.

    Args:
        encoded: Features ``[B, N, W]``, whose first token stands for the whole picture, and probabilities ``[B, C]``.
    """
    if least not in encoded.inputs:
        log_probabilities = np.log(np.maximum(encoded.classes, np.float32(np.exp(least))))
        encoded.inputs[least] = np.concatenate([encoded.features[:, 0], log_probabilities], axis=1, dtype=np.float32)
    return encoded.inputs[least]
