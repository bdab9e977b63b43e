"""Pictures and sentences as vectors of one space, so that a sentence finds pictures among many that were indexed.

The recognition decoder judges a sentence against all tokens of a picture (:meth:`anytag.Recognizer.match`), which are
too many to keep. Here each side is one vector: a linear map of the picture's mean token and the classifier's
log-probabilities, and a linear map of the sentence's label query. Both were learned together, so that pictures lie
near their own captions and far from those of others (the contrastive loss of CLIP, Radford et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Encoded, FloatArray
from anytag.errors import ModelError
from anytag.inference.embedding import picture_inputs
from anytag.model.config import JointEmbeddingConfig
from anytag.model.directory import ModelDirectory

#: The file of a model directory that holds both maps.
JOINT_EMBEDDING_FILE = "joint_embedding.safetensors"

_SIDES = ("picture", "text")


class JointEmbedding:
    """The space that one model's pictures and sentences share.

    Args:
        config: How inputs are read.
        arrays: Of each side (``picture``, ``text``) ``…_weight`` int8 ``[D, I]``, ``…_scale`` ``[D]`` and ``…_bias``
            ``[D]``.
        inputs: Widths of what the two sides read.

    Raises:
        ModelError: If arrays are missing or do not fit the model and each other.
    """

    def __init__(self, config: JointEmbeddingConfig, arrays: dict[str, NDArray[Any]], inputs: Sequence[int]):
        self.config = config
        shapes = {name: np.shape(array) for name, array in arrays.items()}
        self.width: int = shapes.get("picture_bias", (0,))[0]
        self._maps: dict[str, tuple[FloatArray, FloatArray]] = {}
        for side, width in zip(_SIDES, inputs, strict=True):
            expected = {"weight": (self.width, width), "scale": (self.width,), "bias": (self.width,)}
            for part, shape in expected.items():
                name = f"{side}_{part}"
                if shapes.get(name) != shape:
                    found = f"has the shape {shapes[name]}" if name in shapes else "is missing"
                    raise ModelError(
                        f"{JOINT_EMBEDDING_FILE}: {name} {found}, where {shape} is expected; copy the model again"
                    )
            weight = arrays[f"{side}_weight"].astype(np.float32) * arrays[f"{side}_scale"][:, None]
            self._maps[side] = (np.ascontiguousarray(weight.T, np.float32), arrays[f"{side}_bias"].astype(np.float32))

    @classmethod
    def of(cls, directory: ModelDirectory) -> JointEmbedding | None:
        """That of a model; ``None`` if it has none.

        Raises:
            ModelError: If its file is missing, altered or does not fit.
        """
        config = directory.config
        if config.joint_embedding is None:
            return None
        from safetensors.numpy import load_file

        arrays = load_file(directory.file(JOINT_EMBEDDING_FILE))
        return cls(config.joint_embedding, arrays, (config.features + config.image_encoder.classes, config.width))

    def pictures(self, encoded: Encoded) -> FloatArray:
        """Vectors ``[B, D]`` of pictures, of length 1."""
        return self._project("picture", picture_inputs(encoded, self.config.least))

    def texts(self, queries: FloatArray) -> FloatArray:
        """Vectors ``[T, D]`` of texts, of length 1, from their label queries ``[T, W]``."""
        return self._project("text", queries)

    def _project(self, side: str, inputs: FloatArray) -> FloatArray:
        weight, bias = self._maps[side]
        found = inputs @ weight + bias
        lengths = np.linalg.norm(found, axis=-1, keepdims=True)
        return np.asarray(found / np.maximum(lengths, 1e-12), np.float32)
