"""One vector for each picture: to compare pictures by, or to read tags off."""

from __future__ import annotations

import numpy as np

from anytag.backends.base import Encoded, FloatArray

#: Below this, log-probabilities of classes say nothing more.
LEAST = -14.0


def picture_embeddings(encoded: Encoded) -> FloatArray:
    """Vectors of pictures: the mean of their features, without what all tokens share, at length 1.

    Args:
        encoded: Features ``[B, N, W]``.

    Returns:
        ``[B, W]``.
    """
    means = encoded.features.mean(1, dtype=np.float32)
    means = means - means.mean(-1, keepdims=True)
    lengths = np.linalg.norm(means, axis=-1, keepdims=True)
    return np.asarray(means / np.maximum(lengths, 1e-12), np.float32)


def picture_inputs(encoded: Encoded, least: float = LEAST) -> FloatArray:
    """What a linear layer can read tags off: a picture's first token, and its classes' log-probabilities.

    Args:
        encoded: Features ``[B, N, W]``, the first token the whole picture's, and probabilities ``[B, C]``.
        least: Log-probabilities below this are raised to it: what a classifier rules out, it rules out.

    Returns:
        ``[B, W + C]``.
    """
    if least not in encoded.inputs:
        said = np.log(np.maximum(encoded.classes, np.float32(np.exp(least))))
        encoded.inputs[least] = np.concatenate([encoded.features[:, 0], said], axis=1, dtype=np.float32)
    return encoded.inputs[least]
