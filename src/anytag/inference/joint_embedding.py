"""Pictures and sentences as vectors of one space, for searching an index of pictures by a sentence.

Scoring a sentence with the recognition decoder (:meth:`anytag.Recognizer.match`) needs all image tokens of a picture,
which are too many to store. Here each side is one vector: a linear map of the picture's first token and the
classifier's log-probabilities, and a linear map of the sentence's label query. Both maps are trained together with the
contrastive loss of CLIP (Radford et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Encoded, FloatArray
from anytag.inference.embedding import normalized, picture_inputs
from anytag.model.arrays import check_shapes, dequantize
from anytag.model.config import JointEmbeddingConfig
from anytag.model.directory import ModelDirectory

#: The file with both maps in a model directory.
JOINT_EMBEDDING_FILE = "joint_embedding.safetensors"


class JointEmbedding:
    """Map pictures and sentences of one model to their shared space.

    Args:
        config: Floor of log-probabilities, and weight of tags in a search.
        arrays: For each side (``picture``, ``text``): ``…_weight`` int8 ``[D, I]``, ``…_scale`` ``[D]`` and ``…_bias``
            ``[D]``.
        inputs: ``I`` of pictures and of texts.

    Raises:
        ModelError: If arrays are missing or do not fit the model and each other.
    """

    def __init__(self, config: JointEmbeddingConfig, arrays: dict[str, NDArray[Any]], inputs: Sequence[int]):
        self.config = config
        self.width: int = np.shape(arrays.get("picture_bias", np.empty(0)))[0]
        self._maps: dict[str, tuple[FloatArray, FloatArray]] = {}
        for side, width in zip(("picture", "text"), inputs, strict=True):
            shapes = {"weight": (self.width, width), "scale": (self.width,), "bias": (self.width,)}
            check_shapes(JOINT_EMBEDDING_FILE, arrays, {f"{side}_{part}": shape for part, shape in shapes.items()})
            weight = np.ascontiguousarray(dequantize(arrays, side).T)
            self._maps[side] = (weight, arrays[f"{side}_bias"].astype(np.float32))

    @classmethod
    def load(cls, directory: ModelDirectory) -> JointEmbedding | None:
        """Load a model's joint embedding; ``None`` if it has none.

        Raises:
            ModelError: If the file is missing, altered or does not fit the model.
        """
        config = directory.config
        if config.joint_embedding is None:
            return None
        inputs = (config.features + config.image_encoder.classes, config.width)
        return cls(config.joint_embedding, directory.arrays(JOINT_EMBEDDING_FILE), inputs)

    def pictures(self, encoded: Encoded) -> FloatArray:
        """Unit vectors ``[B, D]`` of pictures."""
        return self._project("picture", picture_inputs(encoded, self.config.least))

    def texts(self, queries: FloatArray) -> FloatArray:
        """Unit vectors ``[T, D]`` of texts, from their label queries ``[T, W]``."""
        return self._project("text", queries)

    def _project(self, side: str, inputs: FloatArray) -> FloatArray:
        weight, bias = self._maps[side]
        return normalized(inputs @ weight + bias)
