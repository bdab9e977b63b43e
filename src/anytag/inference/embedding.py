"""One vector for each picture: near to those of pictures that look alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anytag.backends.base import Encoded, FloatArray


def picture_embeddings(encoded: Encoded, paths: Sequence[str] = ()) -> FloatArray:
    """Vectors of pictures: the mean of their features, without what all tokens share, at length 1.

    Args:
        encoded: Features ``[B, N, W]``.
        paths: Not used; so that this is a :data:`~anytag.inference.questions.Question`, too.

    Returns:
        ``[B, W]``.
    """
    means = encoded.features.mean(1, dtype=np.float32)
    means = means - means.mean(-1, keepdims=True)
    lengths = np.linalg.norm(means, axis=-1, keepdims=True)
    return np.asarray(means / np.maximum(lengths, 1e-12), np.float32)
