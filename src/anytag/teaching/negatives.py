"""The bank of negatives: other people's pictures, in which a new tag must not be found.

A handful of a user's own pictures tells nothing about all others. So a small bank ships with the package. It holds no
pictures, but the principal components of their features, rounded to whole numbers, and the tags that their captions
name.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anytag.backends.base import FloatArray
from anytag.errors import ModelError
from anytag.foundations.atomic_files import whole_file
from anytag.model.directory import ModelDirectory
from anytag.model.names import normalize_name
from anytag.model.vocabulary import TagVocabulary, VocabularyTag

#: The bank for the image encoder that ships.
_SHIPPED = "negatives.npz"

#: Principal components that are kept, and the width of a rounding step along them.
DIRECTIONS, STEP = 256, 1.0


@dataclass(frozen=True)
class Negatives:
    """Pictures in the coordinates that tags are taught in, and the projection to these coordinates.

    Attributes:
        points: ``[N, D]`` coordinates.
        center: ``[I]``, the mean of the inputs (:func:`~anytag.inference.embedding.taught_inputs`).
        projection: ``[I, D]``.
        names: Names of tags.
        shown: ``[N]``, for each picture the indices in ``names`` of the tags that it shows.
        encoder: SHA-256 of the image encoder's file; empty if unknown.
    """

    points: FloatArray
    center: FloatArray
    projection: FloatArray
    names: tuple[str, ...]
    shown: tuple[NDArray[np.uint16], ...]
    encoder: str = ""

    def project(self, inputs: FloatArray) -> FloatArray:
        """Project inputs ``[B, I]`` to coordinates ``[B, D]``."""
        return np.asarray((inputs - self.center) @ self.projection, np.float32)

    @cached_property
    def _by_name(self) -> dict[str, NDArray[np.intp]]:
        rows: dict[str, list[int]] = {name: [] for name in self.names}  # Several kinds may share a name.
        for row, places in enumerate(self.shown):
            for place in places:
                rows[self.names[place]].append(row)
        return {name: np.array(found, np.intp) for name, found in rows.items()}

    def showing(self, tag: VocabularyTag) -> NDArray[np.bool_]:
        """Mask ``[N]`` of the pictures whose captions name a tag."""
        result = np.zeros(len(self.points), bool)
        for name in (tag.name, *tag.aliases):
            result[self._by_name.get(normalize_name(name), [])] = True
        return result

    def save(self, path: Path) -> None:
        """Write the bank to a file."""
        scale = np.abs(self.projection).max(0) / 127
        arrays = {
            # One coordinate after the other compresses best, as its values are alike.
            "points": np.clip(np.round(self.points.T / STEP), -127, 127).astype(np.int8),
            "center": self.center.astype(np.float16),
            "projection": np.round(self.projection / scale).astype(np.int8).T,
            "scale": scale.astype(np.float32),
            "names": np.array("\n".join(self.names)),
            "shown": np.concatenate([*self.shown, np.empty(0, np.uint16)]).astype(np.uint16),
            "counts": np.array([len(places) for places in self.shown], np.uint8),
            "encoder": np.array(self.encoder),
        }
        with whole_file(path) as part, part.open("wb") as handle:
            np.savez_compressed(handle, **arrays)

    @classmethod
    def read(cls, content: bytes) -> Negatives:
        """Read a bank that :meth:`save` wrote."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(
                points=np.ascontiguousarray(arrays["points"].T, np.float32) * np.float32(STEP),
                center=arrays["center"].astype(np.float32),
                projection=np.ascontiguousarray(arrays["projection"].T, np.float32) * arrays["scale"],
                names=tuple(str(arrays["names"]).split("\n")),
                shown=tuple(np.split(arrays["shown"], np.cumsum(arrays["counts"], dtype=np.int64)[:-1])),
                encoder=str(arrays["encoder"]),
            )


def shipped_negatives(directory: ModelDirectory) -> Negatives | None:
    """Load the bank that ships; ``None`` for models with another image encoder."""
    found = Negatives.read((resources.files("anytag.teaching") / _SHIPPED).read_bytes())
    return found if found.encoder == encoder_of(directory) else None


def encoder_of(directory: ModelDirectory) -> str:
    """SHA-256 of the file that holds a model's image encoder."""
    for name in ("onnx/image_encoder.onnx", "model.safetensors"):
        if name in directory.config.files:
            return directory.config.files[name]
    return ""


def make_negatives(
    inputs: FloatArray,
    shown: Sequence[Sequence[int]],
    vocabulary: TagVocabulary,
    features: int,
    encoder: str = "",
    directions: int = DIRECTIONS,
) -> Negatives:
    """Make a bank from pictures.

    The first token, the log-probabilities and the strongest tokens are each divided by their mean standard deviation.
    Log-probabilities get half the weight, for there are more of them. The principal components of the result are
    divided by their standard deviations to the power of 0.7, for a tag may depend on a component that varies little.

    Args:
        inputs: ``[N, I]``, from :func:`~anytag.inference.embedding.taught_inputs`.
        shown: For each picture the ids of the tags that it shows.
        vocabulary: The tags' names.
        features: Width of the model's features.
        encoder: See :class:`Negatives`.
        directions: Maximum number of components.

    Raises:
        ModelError: If all pictures have the same inputs.
    """
    center = inputs.mean(0)
    scale = np.ones(inputs.shape[1])
    deviations = inputs.std(0)
    classes = slice(features, inputs.shape[1] - features)
    for part in (slice(features), slice(classes.stop, None)):
        scale[part] = deviations[part].mean()
    if classes.start < classes.stop:
        scale[classes] = 2 * deviations[classes].mean()
    if not (scale > 0).all() or len(inputs) < 2:
        raise ModelError(f"the {len(inputs):,} negatives all look alike to the model; give other pictures")
    scaled = (inputs - center) / scale
    variances, axes = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    kept = np.argsort(-variances)[: min(directions, len(inputs) - 1)]
    kept = kept[variances[kept] > variances.max() * 1e-9]
    projection = axes[:, kept] / variances[kept] ** 0.35 / scale[:, None]
    used = sorted({id for ids in shown for id in ids})
    place = {id: number for number, id in enumerate(used)}
    return Negatives(
        points=((inputs - center) @ projection).astype(np.float32),
        center=center.astype(np.float32),
        projection=projection.astype(np.float32),
        names=tuple(normalize_name(vocabulary[id].name) for id in used),
        shown=tuple(np.array(sorted(place[id] for id in ids), np.uint16) for ids in shown),
        encoder=encoder,
    )
