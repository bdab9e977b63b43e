"""The interface of all backends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from anytag.language.label_texts.embedding_cache import TextEncoder
from anytag.model.directory import ALIGNMENT_FILE, ModelDirectory

FloatArray = NDArray[np.float32]

#: Names of the backends.
BackendName = Literal["onnx", "torch", "openvino"]

#: Precisions of matrix products with ``torch`` and ``openvino``; files stay in float32.
Precision = Literal["float32", "bfloat16"]

#: A text decoder's cache. Axis 0 of every array is the row: ``picture * beams + beam``.
Cache = dict[str, NDArray[np.generic]]

#: ``(token ids int64 [rows, length], cache) -> (scores float32 [rows, vocabulary] of the last position, cache)``.
#: The first call gets the whole prompt and an empty cache, later calls one column. Whatever does not change between
#: steps, such as keys and values of the picture, belongs in the function itself, repeated per row.
Step = Callable[[NDArray[np.int64], Cache], tuple[NDArray[np.float32], Cache]]


class Queries(Protocol):
    """Label queries of one backend; opaque to its callers."""

    def __len__(self) -> int: ...

    def take(self, rows: NDArray[np.int64]) -> Queries:
        """Select queries by position."""

    def join(self, other: Any) -> Queries:
        """Concatenate with other queries."""

    def vectors(self) -> FloatArray:
        """Query vectors ``[T, W]``, in models with one query per label."""

    @property
    def embeddings(self) -> FloatArray | None:
        """Text embeddings ``[T, E]``, if the model computed the queries from texts itself."""


@dataclass(frozen=True, slots=True)
class ArrayQueries:
    """:class:`Queries` as arrays ``[T, ...]``.

    Attributes:
        arrays: Inputs of the recognition decoder by name: ``queries`` and ``projected`` ``[T, W]`` (the first layer's
            query projection), for separate scores per tag also ``weights`` ``[T, W]`` and ``biases`` ``[T]``; or only
            ``descriptions`` ``[T, D, E]``, if the picture weights descriptions.
        embeddings: See :attr:`Queries.embeddings`.
    """

    arrays: dict[str, FloatArray]
    embeddings: FloatArray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def take(self, rows: NDArray[np.int64]) -> ArrayQueries:
        if np.array_equal(rows, np.arange(len(self))):
            return self  # Descriptions of a whole vocabulary are half a gigabyte.
        arrays = {name: array[rows] for name, array in self.arrays.items()}
        return ArrayQueries(arrays, None if self.embeddings is None else self.embeddings[rows])

    def join(self, other: ArrayQueries) -> ArrayQueries:
        both = {name: np.concatenate([array, other.arrays[name]]) for name, array in self.arrays.items()}
        return ArrayQueries(both, joined_embeddings(self.embeddings, other.embeddings))

    def vectors(self) -> FloatArray:
        return self.arrays["queries"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Output of the image encoder.

    Attributes:
        features: ``[B, N, W]``; the first of the N tokens stands for the whole picture.
        classes: ``[B, C]``, probabilities of the encoder's own classifier; C may be 0.
        inputs: Cache of :func:`anytag.inference.embedding.picture_inputs`.
    """

    features: FloatArray
    classes: FloatArray
    inputs: dict[float, FloatArray] = field(default_factory=dict, init=False, repr=False, compare=False)


def joined_embeddings(first: FloatArray | None, second: FloatArray | None) -> FloatArray | None:
    """Concatenate embeddings, if both are given."""
    return None if first is None or second is None else np.concatenate([first, second])


class Backend(Protocol):
    """A model on a runtime. B is the number of pictures, N of tokens per picture, T of labels, W the model's width."""

    def encode(self, pixels: NDArray[np.uint8]) -> Encoded:
        """Encode uint8 pixels ``[B, R, R, 3]``; B may be 0."""

    def recognize(self, features: FloatArray, queries: Any) -> FloatArray:
        """Logits ``[B, T]`` of features ``[B, N, W]``; B and T may be 0."""

    def attention(self, features: FloatArray, queries: Any) -> FloatArray:
        """Attention weights ``[B, T, N]`` of the recognition decoder's last layer, averaged over heads; rows sum to 1.

        Raises:
            ModelError: If the model was exported without attention.
        """

    def vocabulary_queries(self) -> Queries:
        """Queries of all tags of the vocabulary."""

    def text_queries(self, ids: NDArray[np.int64]) -> Queries:
        """Queries of texts, in models with a text encoder of their own.

        Lite's are scored by the recognition decoder, Tag2Text's by the alignment encoder.

        Args:
            ids: Token ids ``[T, L]``, padded with 0.

        Raises:
            ModelError: If the model has no such encoder.
        """

    def embedding_queries(self, embeddings: FloatArray) -> Queries:
        """Queries of text embeddings ``[T, E]``, or of descriptions ``[T, D, E]`` (RAM++).

        Raises:
            ModelError: If the model only supports the tags of its vocabulary.
        """

    def text_encoder(self) -> TextEncoder:
        """CLIP's text encoder, which computes those embeddings (RAM, RAM++).

        Raises:
            ModelError: If the model directory does not contain it.
        """

    def fuse(self, tag_ids: NDArray[np.int64], features: FloatArray, rows: int) -> Step:
        """Decoding step for pictures with tag lists ``[B, T]``; each is repeated for ``rows`` beams."""


def no_text_encoder(directory: ModelDirectory) -> str:
    """Message for models that need CLIP's text encoder for new categories, and do not have it."""
    return (
        f"{directory.path}: has no text encoder, so it only knows its own tags; a converted model "
        "gets one by anytag convert --clip DIR, a trained one by anytag train --set teacher.clip=DIR, where DIR is the "
        "folder of CLIP ViT-B/16 (openai/clip-vit-base-patch16)"
    )


def no_alignment(directory: ModelDirectory) -> str:
    """Message for models that need an alignment encoder to match texts, and do not have it."""
    return (
        f"{directory.path}: has no {ALIGNMENT_FILE} that PyTorch could run, so it cannot match texts. "
        "Tag2Text's was never published; train with Tag2TextConfig, and do not export the model"
    )
