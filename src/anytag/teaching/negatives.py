"""Pictures of the rest of the world, as a model's image encoder sees them: what a new tag must not be found in.

A handful of a user's own pictures says nothing about all others. So a small bank of other people's pictures ships with
the package: not the pictures, but coordinates of what the encoder makes of them along the directions in which pictures
differ most, rounded to whole numbers, and the tags that their captions name.
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

#: The bank of the image encoder that ships.
_SHIPPED = "negatives.npz"

#: Directions that are kept, and the width of a step along them; their deviations are between 1 and 8.
DIRECTIONS, STEP = 128, 0.8


@dataclass(frozen=True)
class Negatives:
    """Coordinates of pictures that do not show what is taught, and how to get there.

    Attributes:
        points: ``[N, D]`` coordinates.
        center: ``[I]``, the mean of inputs (:func:`~anytag.inference.embedding.picture_inputs`).
        projection: ``[I, D]``.
        names: Names of tags.
        shown: ``[N]``, the places in ``names`` of the tags that are true of each picture.
        encoder: SHA-256 of the image encoder's file; empty: not said.
    """

    points: FloatArray
    center: FloatArray
    projection: FloatArray
    names: tuple[str, ...]
    shown: tuple[NDArray[np.uint16], ...]
    encoder: str = ""

    def project(self, inputs: FloatArray) -> FloatArray:
        """Coordinates ``[B, D]`` of inputs ``[B, I]``."""
        return np.asarray((inputs - self.center) @ self.projection, np.float32)

    @cached_property
    def _by_name(self) -> dict[str, NDArray[np.intp]]:
        rows: dict[str, list[int]] = {name: [] for name in self.names}  # Several kinds may share a name.
        for row, places in enumerate(self.shown):
            for place in places:
                rows[self.names[place]].append(row)
        return {name: np.array(found, np.intp) for name, found in rows.items()}

    def showing(self, tag: VocabularyTag) -> NDArray[np.bool_]:
        """``[N]``, which pictures show a tag, as far as captions say so."""
        result = np.zeros(len(self.points), bool)
        for name in (tag.name, *tag.aliases):
            result[self._by_name.get(normalize_name(name), [])] = True
        return result

    def save(self, path: Path) -> None:
        """Write them, whole or not at all."""
        scale = np.abs(self.projection).max(0) / 127
        arrays = {
            # Coordinate by coordinate, for small ones with small ones are written shortest.
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
        """Read what :meth:`save` wrote."""
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
    """The bank that ships, if a model has the image encoder that it was made with."""
    found = Negatives.read((resources.files("anytag.teaching") / _SHIPPED).read_bytes())
    return found if found.encoder == encoder_of(directory) else None


def encoder_of(directory: ModelDirectory) -> str:
    """SHA-256 of the file that a model's image encoder is in."""
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
    """A bank of pictures.

    Features and log-probabilities are brought to one scale each, the latter at half the weight, for there are more of
    them. Of what is left, principal components are taken, and made half as unequal as they are (each is divided by
    the square root of its deviation): what pictures seldom differ in may be just what a new tag is about.

    Args:
        inputs: ``[N, I]``.
        shown: For each picture the ids of the tags that are true of it.
        vocabulary: Their names.
        features: How many of the inputs are features; the others are log-probabilities.
        encoder: See :class:`Negatives`.
        directions: Most directions that are kept.

    Raises:
        ModelError: If all pictures look alike to the model.
    """
    center = inputs.mean(0)
    scale = np.ones(inputs.shape[1])
    deviations = inputs.std(0)
    scale[:features] = deviations[:features].mean()
    scale[features:] = 2 * deviations[features:].mean() if features < len(scale) else 1
    if not (scale > 0).all() or len(inputs) < 2:
        raise ModelError(f"the {len(inputs):,} negatives all look alike to the model; give other pictures")
    scaled = (inputs - center) / scale
    variances, axes = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    kept = np.argsort(-variances)[: min(directions, len(inputs) - 1)]
    kept = kept[variances[kept] > variances.max() * 1e-9]
    projection = axes[:, kept] / variances[kept] ** 0.25 / scale[:, None]
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
