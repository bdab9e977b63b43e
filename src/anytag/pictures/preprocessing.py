"""A model's preprocessing, which training, recognition, calibration and benchmarks share, and batches of pixels."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from anytag.errors import PictureError, UsageError
from anytag.foundations.cpu_count import available_processors
from anytag.pictures.reading import MAX_PIXELS, Interpolation, Note, decode_picture, read_picture, to_pixels
from anytag.pictures.sources import PictureSource, describe
from anytag.recognition import Failure

Result = TypeVar("Result")

#: How transparency is removed: ``composite`` over white, or ``drop``, which keeps the stored colors.
Alpha = Literal["composite", "drop"]

#: A source, or its name and the source, such as a member of an archive.
NamedSource = PictureSource | tuple[str, PictureSource]


@dataclass(frozen=True, slots=True)
class LoadedPicture:
    """A picture whose pixels are in the batch.

    Attributes:
        path: Its path, or a description of its source.
        width: Width of the upright original, in pixels.
        height: Height of the upright original, in pixels.
        notes: See :data:`~anytag.pictures.reading.Note`.
    """

    path: str
    width: int
    height: int
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of pictures, in the order of their sources.

    Attributes:
        items: One per source: a loaded picture or a failure.
        pixels: uint8 ``[n, R, R, 3]`` RGB, one row per :class:`LoadedPicture` in ``items``; n may be 0.
    """

    items: tuple[LoadedPicture | Failure, ...]
    pixels: npt.NDArray[np.uint8]

    @property
    def loaded(self) -> list[LoadedPicture]:
        """The pictures in ``pixels``, row by row."""
        return [item for item in self.items if isinstance(item, LoadedPicture)]

    @property
    def paths(self) -> list[str]:
        """The paths of the pictures in ``pixels``."""
        return [item.path for item in self.loaded]

    @property
    def failures(self) -> list[Failure]:
        """The pictures that could not be read."""
        return [item for item in self.items if isinstance(item, Failure)]

    def in_order(self, results: Iterable[Result]) -> Iterator[Result | Failure]:
        """Insert the failures between results, which are one per row of ``pixels``.

        Raises:
            ValueError: If there are fewer or more results than rows.
        """
        rest = iter(results)
        for item in self.items:
            if isinstance(item, Failure):
                yield item
                continue
            try:
                result = next(rest)
            except StopIteration:
                raise ValueError(f"fewer results than the batch's {len(self.pixels)} pictures") from None
            yield result
        for _ in rest:
            raise ValueError(f"more results than the batch's {len(self.pixels)} pictures")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize pictures to the square that a model was trained with; any other preprocessing loses accuracy.

    The aspect ratio is not preserved.

    Attributes:
        resolution: Side R of the square, in pixels.
    """

    resolution: int
    interpolation: Interpolation = "bicubic"
    alpha: Alpha = "composite"

    def read(self, source: PictureSource, label: str | None = None, draft: bool = True) -> Image.Image:
        """Read a picture; see :func:`~anytag.pictures.reading.read_picture`.

        Args:
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
        """Decode pictures in the background and stream them as batches.

        Threads decode about two batches ahead, very large JPEGs at a reduced scale (``draft_size`` of
        :func:`~anytag.pictures.reading.decode_picture`); only the R x R pixels of a picture are kept. Sources are
        iterated in the consumer's thread as needed, so they may be endless. Sources from a pipe may have a method
        ``ready`` that returns whether the next one is available; if it is not, a smaller batch is returned instead of
        waiting. Closing the iterator, or an interrupt, drops queued pictures; threads finish their current one.

        Args:
            sources: Pictures, or pairs of a name and a picture. Without path or name, they are numbered from 1.
            batch_size: Sources per batch, failures included; the last batch may be smaller.
            workers: Threads; ``None``: one per available processor, at most 8.
            accept_truncated: See :func:`~anytag.pictures.reading.decode_picture`.
            max_pixels: See :func:`~anytag.pictures.reading.decode_picture`.

        Raises:
            UsageError: For numbers below 1; on iteration for a source that cannot be a picture.
        """
        workers = workers if workers is not None else min(8, available_processors())
        for name, value in (("resolution", self.resolution), ("batch_size", batch_size), ("workers", workers)):
            if value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")

        def load(source: PictureSource, label: str) -> tuple[LoadedPicture, npt.NDArray[np.uint8]] | Failure:
            try:
                decoded = decode_picture(
                    source,
                    max_pixels=max_pixels,
                    draft_size=self.resolution,
                    label=label,
                    composite_alpha=self.alpha == "composite",
                    accept_truncated=accept_truncated,
                )
            except PictureError as error:
                return Failure(error.path, error.kind, str(error))
            loaded = LoadedPicture(label, decoded.width, decoded.height, decoded.notes)
            return loaded, self.pixels(decoded.picture)

        def batches() -> Iterator[Batch]:
            numbered, ready = enumerate(sources, 1), getattr(sources, "ready", lambda: True)
            ahead = max(2 * batch_size, batch_size + workers)
            pending: deque[Future[tuple[LoadedPicture, npt.NDArray[np.uint8]] | Failure]] = deque()
            pool = ThreadPoolExecutor(workers, thread_name_prefix="anytag-pictures")
            try:
                while True:
                    # Pictures that are available are not delayed by those that are not.
                    while len(pending) < ahead and (not pending or ready()):
                        if (entry := next(numbered, None)) is None:
                            break
                        number, given = entry
                        label, source = given if isinstance(given, tuple) else (describe(given, number), given)
                        pending.append(pool.submit(load, source, label))
                    if not pending:
                        return
                    results = [pending.popleft().result() for _ in range(min(batch_size, len(pending)))]
                    yield self._collect(results)
            finally:
                # Do not wait, so that a large picture does not delay an interrupt.
                pool.shutdown(wait=False, cancel_futures=True)

        return batches()

    def _collect(self, results: list[tuple[LoadedPicture, npt.NDArray[np.uint8]] | Failure]) -> Batch:
        items = tuple(result if isinstance(result, Failure) else result[0] for result in results)
        rows = [result[1] for result in results if not isinstance(result, Failure)]
        return Batch(items, np.stack(rows) if rows else np.empty((0, self.resolution, self.resolution, 3), np.uint8))
