"""A model's preprocessing, which training, recognition, calibration and benchmarks share."""

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

#: How transparency is removed: ``composite`` over white, or ``drop``, which keeps the stored colors.
Alpha = Literal["composite", "drop"]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize pictures to the square that a model was trained with; any other preprocessing loses accuracy.

    The aspect ratio is not preserved.

    Attributes:
        resolution: Side R of the square, in pixels.
        interpolation: For resizing.
        alpha: How transparency is removed.
    """

    resolution: int
    interpolation: Interpolation = "bicubic"
    alpha: Alpha = "composite"

    def read(self, source: PictureSource, label: str | None = None, draft: bool = True) -> Image.Image:
        """Read a picture; see :func:`~anytag.pictures.reading.read_picture`.

        Args:
            source: The picture.
            label: Its name in errors.
            draft: Whether a very large JPEG may be decoded at a reduced scale.

        Raises:
            PictureError: If it cannot be read.
        """
        size = self.resolution if draft else None
        return read_picture(source, draft_size=size, label=label, composite_alpha=self.alpha == "composite")

    def pixels(
        self, picture: Image.Image, box: tuple[float, float, float, float] | None = None
    ) -> npt.NDArray[np.uint8]:
        """Pixels ``[R, R, 3]`` RGB, 0 to 255, of a picture or a part of it."""
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
