"""The calls that every backend offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from anytag.generation import Step

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LabelQueries:
    """Label queries, with the part of the first layer that no picture changes.

    Attributes:
        queries: ``[T, W]``.
        projected: ``[T, W]``, the first layer's query projection of them.
    """

    queries: FloatArray
    projected: FloatArray

    def take(self, rows: NDArray[np.int64]) -> LabelQueries:
        """Some of them."""
        return LabelQueries(self.queries[rows], self.projected[rows])

    def join(self, other: LabelQueries) -> LabelQueries:
        """These, then the others."""
        return LabelQueries(
            np.concatenate([self.queries, other.queries]), np.concatenate([self.projected, other.projected])
        )


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the image encoder makes of pictures.

    Attributes:
        features: ``[B, N, W]``.
        classes: ``[B, C]``, probabilities of the encoder's own classifier; C may be 0.
    """

    features: FloatArray
    classes: FloatArray


class Backend(Protocol):
    """A model on a runtime; W is its width, N the number of a picture's tokens."""

    def encode(self, pixels: NDArray[np.uint8]) -> Encoded:
        """Encode uint8 pixels ``[B, R, R, 3]``; B may be 0."""

    def recognize(self, features: FloatArray, labels: LabelQueries) -> FloatArray:
        """Logits ``[B, T]``."""

    def label_queries(self) -> LabelQueries:
        """Queries of the vocabulary's tags."""

    def embed_labels(self, ids: NDArray[np.int64]) -> LabelQueries:
        """Queries of label texts, given as token ids ``[T, L]`` padded with 0."""

    def fuse(self, tag_ids: NDArray[np.int64], features: FloatArray, rows: int) -> Step:
        """The decoding step for pictures with their tag lists ``[B, T]``, each repeated for ``rows`` beams."""
