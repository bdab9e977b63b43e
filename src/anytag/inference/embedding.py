"""One vector per picture: for comparing pictures, and as the input of linear layers."""

from __future__ import annotations

import numpy as np

from anytag.backends.base import Encoded, FloatArray

#: Default floor of log-probabilities of classes.
LEAST = -14.0

#: Tokens that :func:`strongest_tokens` takes the mean of.
STRONGEST = 10


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


def strongest_tokens(encoded: Encoded, count: int = STRONGEST) -> FloatArray:
    """The mean of each feature over the tokens in which it is largest.

    A small object fills few tokens, and hardly shows in the first one, which stands for the whole picture.

    Args:
        encoded: Features ``[B, N, W]``, the first token the whole picture's, which is left out.
        count: How many tokens, at most N - 1.

    Returns:
        ``[B, W]``.
    """
    tokens = encoded.features[:, 1:] if encoded.features.shape[1] > 1 else encoded.features
    count = min(count, tokens.shape[1])
    strongest = np.partition(tokens, -count, axis=1)[:, -count:]
    return np.asarray(strongest.mean(1), np.float32)


def taught_inputs(encoded: Encoded) -> FloatArray:
    """Inputs of the linear layers of taught tags: :func:`picture_inputs`, then :func:`strongest_tokens`.

    Args:
        encoded: Features ``[B, N, W]`` and probabilities ``[B, C]``.

    Returns:
        ``[B, W + C + W]``.
    """
    return np.concatenate([picture_inputs(encoded), strongest_tokens(encoded)], axis=1)
