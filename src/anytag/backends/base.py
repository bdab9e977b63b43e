"""The calls that every backend offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from anytag.language.label_texts.embedding_cache import TextEncoder
from anytag.model.directory import ALIGNMENT_FILE, ModelDirectory

FloatArray = NDArray[np.float32]

#: What can run a model.
BackendName = Literal["onnx", "torch", "openvino"]

#: Of the products of ``torch`` and ``openvino``; weights stay in float32.
Precision = Literal["float32", "bfloat16"]

#: What a text decoder remembers between two steps. Axis 0 of every array is the row: ``picture * beams + beam``.
Cache = dict[str, NDArray[np.generic]]

#: ``(token ids int64 [rows, length], cache) -> (scores float32 [rows, vocabulary] of the last position, cache)``.
#: The first call gets the whole prompt and an empty cache, later calls one column. Whatever does not change from
#: step to step (the keys of what the caption is about) belongs in the function itself, repeated per row.
Step = Callable[[NDArray[np.int64], Cache], tuple[NDArray[np.float32], Cache]]


class Queries(Protocol):
    """What labels are asked with: made by a backend, kept by the caller, handed back to it."""

    def __len__(self) -> int:
        """How many they are."""

    def take(self, rows: NDArray[np.int64]) -> Queries:
        """The queries of some labels, by their places."""

    def join(self, other: Any) -> Queries:
        """These, then the others."""

    def vectors(self) -> FloatArray:
        """What the labels mean, ``[T, W]``, in models that ask with one query a label."""

    @property
    def embeddings(self) -> FloatArray | None:
        """What the text encoder makes of them, ``[T, E]``, where they are texts that the model embedded itself."""


@dataclass(frozen=True, slots=True)
class ArrayQueries:
    """Label queries with all that does not change from picture to picture, as arrays ``[T, ...]``.

    Attributes:
        arrays: By the name of the recognition decoder's input: ``queries`` and ``projected`` ``[T, W]`` (the first
            layer's query projection of them), for scores of each tag's own ``weights`` ``[T, W]`` and ``biases``
            ``[T]``, and for queries that the picture weighs ``descriptions`` ``[T, D, E]`` alone.
        embeddings: See :attr:`Queries.embeddings`.
    """

    arrays: dict[str, FloatArray]
    embeddings: FloatArray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def take(self, rows: NDArray[np.int64]) -> ArrayQueries:
        """The queries of some labels, by their places."""
        if np.array_equal(rows, np.arange(len(self))):
            return self  # Nobody changes them, and descriptions of a whole vocabulary are half a gigabyte.
        chosen = {name: array[rows] for name, array in self.arrays.items()}
        return ArrayQueries(chosen, None if self.embeddings is None else self.embeddings[rows])

    def join(self, other: ArrayQueries) -> ArrayQueries:
        """These, then the others."""
        both = {name: np.concatenate([array, other.arrays[name]]) for name, array in self.arrays.items()}
        return ArrayQueries(both, joined_embeddings(self.embeddings, other.embeddings))

    def vectors(self) -> FloatArray:
        """What the labels mean, ``[T, W]``."""
        return self.arrays["queries"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the image encoder makes of pictures.

    Attributes:
        features: ``[B, N, W]``.
        classes: ``[B, C]``, probabilities of the encoder's own classifier; C may be 0.
        inputs: What linear layers read of them (:func:`anytag.inference.embedding.picture_inputs`), made once.
    """

    features: FloatArray
    classes: FloatArray
    inputs: dict[float, FloatArray] = field(default_factory=dict, init=False, repr=False, compare=False)


def joined_embeddings(first: FloatArray | None, second: FloatArray | None) -> FloatArray | None:
    """Those of both, if both have some."""
    return None if first is None or second is None else np.concatenate([first, second])


class Backend(Protocol):
    """A model on a runtime; W is its width, N the number of a picture's tokens."""

    def encode(self, pixels: NDArray[np.uint8]) -> Encoded:
        """Encode uint8 pixels ``[B, R, R, 3]``; B may be 0."""

    def recognize(self, features: FloatArray, queries: Any) -> FloatArray:
        """Logits ``[B, T]``."""

    def attention(self, features: FloatArray, queries: Any) -> FloatArray:
        """Where the recognition decoder's last layer looks: ``[B, T, N]``, the mean of its heads; rows sum to 1."""

    def vocabulary_queries(self) -> Queries:
        """Queries of the vocabulary's tags."""

    def text_queries(self, ids: NDArray[np.int64]) -> Queries:
        """Queries of texts, in models that read texts themselves.

        Lite's are scored by the recognition decoder, Tag2Text's by the alignment encoder.

        Args:
            ids: ``[T, L]``, padded with 0.
        """

    def embedding_queries(self, embeddings: FloatArray) -> Queries:
        """Queries of text embeddings ``[T, E]`` or, where pictures weigh descriptions, ``[T, D, E]``."""

    def text_encoder(self) -> TextEncoder:
        """What makes those embeddings: CLIP's text encoder, in models whose queries come from it (RAM, RAM++)."""

    def fuse(self, tag_ids: NDArray[np.int64], features: FloatArray, rows: int) -> Step:
        """The decoding step for pictures with their tag lists ``[B, T]``, each repeated for ``rows`` beams."""


def no_text_encoder(directory: ModelDirectory) -> str:
    """What to say where a category is asked for that only a text encoder could turn into a query."""
    return (
        f"{directory.path}: holds no text encoder, so it knows no categories but its tags; a converted model "
        "gets one by anytag convert --clip DIR, a trained one by anytag train --set teacher.clip=DIR, where DIR is the "
        "folder of CLIP ViT-B/16 (openai/clip-vit-base-patch16)"
    )


def no_alignment(directory: ModelDirectory) -> str:
    """What to say where a text is to be judged and nothing in the model reads texts."""
    return (
        f"{directory.path}: has no {ALIGNMENT_FILE} that PyTorch could run, so it cannot say how well texts fit. "
        "Tag2Text's was never published; train with Tag2TextConfig, and do not export the model"
    )
