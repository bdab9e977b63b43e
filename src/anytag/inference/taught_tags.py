"""Tags that a user taught a model with a few pictures: one linear layer per tag on top of the image encoder.

Nothing else of the model changes, so all other tags score as before. The logit of a new tag is that of its layer over
:func:`~anytag.inference.embedding.taught_inputs`. A tag that the model knew before gets the higher of its old logit
and that of its layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import Encoded, FloatArray
from anytag.errors import ModelError
from anytag.inference.embedding import taught_inputs
from anytag.model.directory import TAUGHT_FILE, ModelDirectory


class TaughtTags:
    """The taught tags of one model.

    Args:
        ids: ``[K]``, tag ids.
        weights: ``[K, I]``, on the model's scale of logits.
        biases: ``[K]``.
        known: ``[K]``, whether the model knew the tag before.

    Raises:
        ModelError: If they do not fit each other.
    """

    def __init__(
        self,
        ids: NDArray[np.int64],
        weights: NDArray[np.float32],
        biases: NDArray[np.float32],
        known: NDArray[np.bool_],
    ):
        shapes = [np.shape(array) for array in (ids, biases, known)]
        if shapes != [(len(ids),)] * 3 or np.ndim(weights) != 2 or len(weights) != len(ids):
            raise ModelError(f"{TAUGHT_FILE}: its arrays do not fit each other; copy the model again")
        self.ids, self.weights, self.biases, self.known = ids, weights, biases, known
        self._row = {int(id): row for row, id in enumerate(ids)}

    @classmethod
    def load(cls, directory: ModelDirectory) -> TaughtTags | None:
        """Load a model's taught tags; ``None`` if it has none.

        Older files lack the weights of the strongest tokens; these are 0, which gives the same scores.

        Raises:
            ModelError: If the file is altered or does not fit the model.
        """
        if not directory.has(TAUGHT_FILE):
            return None
        arrays = directory.arrays(TAUGHT_FILE)
        if missing := {"ids", "weights", "biases", "known"} - arrays.keys():
            raise ModelError(f"{TAUGHT_FILE}: {min(missing)} is missing; copy the model again")
        taught = cls(*(arrays[name] for name in ("ids", "weights", "biases", "known")))
        features, classes = directory.config.features, directory.config.image_encoder.classes
        if taught.weights.shape[1] == features + classes:
            taught.weights = np.pad(taught.weights, ((0, 0), (0, features)))
        if taught.weights.shape[1] != 2 * features + classes or (taught.ids >= len(directory.vocabulary)).any():
            raise ModelError(f"{TAUGHT_FILE}: was made for another model; copy the model again")
        return taught

    def save(self, directory: str) -> None:
        """Write the file into a folder."""
        from safetensors.numpy import save_file

        arrays = {"ids": self.ids, "weights": self.weights, "biases": self.biases, "known": self.known}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, f"{directory}/{TAUGHT_FILE}")

    def __call__(self, encoded: Encoded, logits: FloatArray, ids: Sequence[int | None]) -> FloatArray:
        """Logits ``[B, T]`` with those of taught tags replaced.

        Args:
            logits: ``[B, T]``, from the rest of the model.
            ids: Tag ids of the labels; ``None`` for texts outside the vocabulary.
        """
        taught = [(place, self._row[id]) for place, id in enumerate(ids) if id is not None and id in self._row]
        if not taught or not len(logits):
            return logits
        places, rows = (np.array(each) for each in zip(*taught, strict=True))
        own = taught_inputs(encoded) @ self.weights[rows].T + self.biases[rows]
        result = logits.copy()
        result[:, places] = np.where(self.known[rows], np.maximum(logits[:, places], own), own)
        return result
