"""How a model wants its pictures: the same in training, recognition, calibration and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from anytag.pictures.batching import Batch, NamedSource, load_batches
from anytag.pictures.reading import MAX_PIXELS, Interpolation, read_picture, to_pixels
from anytag.pictures.sources import PictureSource

#: What becomes of transparency: ``composite`` lays the picture on white, ``drop`` shows the colors that are stored.
Alpha = Literal["composite", "drop"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From a picture to the pixels that an image encoder sees. It belongs to the weights: any other way loses accuracy.

    Pictures are squashed to a square, whatever their shape.

    Attributes:
        resolution: Side R of the square, in pixels.
        interpolation: How pictures are resized.
        alpha: What becomes of transparency.
    """

    resolution: int
    interpolation: Interpolation = "bicubic"
    alpha: Alpha = "composite"

    def read(self, source: PictureSource, label: str | None = None, draft: bool = True) -> Image.Image:
        """Read a picture; see :func:`~anytag.pictures.reading.read_picture`.

        Args:
            source: The picture.
            label: What to call it in errors.
            draft: Whether a very large JPEG may be decoded at a reduced scale.

        Raises:
            PictureError: If it cannot be read.
        """
        size = self.resolution if draft else None
        return read_picture(source, draft_size=size, label=label, composite_alpha=self.alpha == "composite")

    def pixels(
        self, picture: Image.Image, box: tuple[float, float, float, float] | None = None
    ) -> npt.NDArray[np.uint8]:
        """``[R, R, 3]`` RGB, 0 to 255, of a picture that was read, or of a part of it."""
        return to_pixels(picture, self.resolution, self.interpolation, box)

    def batches(
        self,
        sources: Iterable[NamedSource],
        batch_size: int,
        workers: int | None = None,
        *,
        accept_truncated: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> Iterator[Batch]:
        """Stream pictures as batches; see :func:`~anytag.pictures.batching.load_batches`."""
        return load_batches(
            sources,
            self.resolution,
            batch_size,
            workers,
            composite_alpha=self.alpha == "composite",
            interpolation=self.interpolation,
            accept_truncated=accept_truncated,
            max_pixels=max_pixels,
        )
