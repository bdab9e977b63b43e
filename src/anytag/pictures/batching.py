"""Batches of pixels, decoded in the background, ahead of their consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from anytag.errors import PictureError, UsageError
from anytag.foundations.cpu_count import available_processors
from anytag.pictures.reading import MAX_PIXELS, Interpolation, Note, decode_picture, to_pixels
from anytag.pictures.sources import PictureSource, describe
from anytag.recognition import Failure

Result = TypeVar("Result")

#: A source, or a name for it and the source: what came out of an archive has no path to be known by.
NamedSource = PictureSource | tuple[str, PictureSource]


@dataclass(frozen=True, slots=True)
class LoadedPicture:
    """A picture whose pixels are in the batch.

    Attributes:
        path: Its path, or a description of where it came from.
        width: Of the original, upright, in pixels.
        height: Of the original, upright, in pixels.
        notes: What there is to know about it; see :data:`~anytag.pictures.reading.Note`.
    """

    path: str
    width: int
    height: int
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Some pictures in the order in which they were given.

    Attributes:
        items: One entry for every source: what was loaded, or why it was not.
        pixels: uint8 ``[n, R, R, 3]`` RGB: a row for every :class:`LoadedPicture` in ``items``, in their order. n is 0
            if all failed.
    """

    items: tuple[LoadedPicture | Failure, ...]
    pixels: npt.NDArray[np.uint8]

    @property
    def loaded(self) -> list[LoadedPicture]:
        """What the rows of ``pixels`` are."""
        return [item for item in self.items if isinstance(item, LoadedPicture)]

    @property
    def paths(self) -> list[str]:
        """The paths of the rows of ``pixels``."""
        return [item.path for item in self.loaded]

    @property
    def failures(self) -> list[Failure]:
        """What could not be read."""
        return [item for item in self.items if isinstance(item, Failure)]

    def in_order(self, results: Iterable[Result]) -> Iterator[Result | Failure]:
        """Put failures back between results.

        Args:
            results: One for every row of ``pixels``, in order.

        Yields:
            One entry for every source, in the order in which the sources were given.

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


def load_batches(
    sources: Iterable[NamedSource],
    resolution: int,
    batch_size: int,
    workers: int | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    composite_alpha: bool = True,
    accept_truncated: bool = False,
    interpolation: Interpolation = "bicubic",
) -> Iterator[Batch]:
    """Stream pictures as batches.

    Pictures are decoded by threads, about two batches ahead, very large JPEGs at a reduced scale (``draft_size`` of
    :func:`~anytag.pictures.reading.read_picture`); of a picture only its R x R pixels are kept. Sources are drawn in
    the consumer's thread, and only as far as that, so they may be endless. Sources that come one by one, from a pipe,
    may have a method ``ready``, which says whether the next one is there or would be waited for: where it is not, a
    batch is as small as what is there. Closing the iterator, or an interrupt, drops what is queued; each thread ends
    with the picture that it is at.

    Args:
        sources: Pictures, or pairs of a name and a picture. What has neither path nor name is called by its number,
            from 1.
        resolution: The side R of the square that pictures are resized to, in pixels.
        batch_size: Sources to a batch, failures included; the last batch may be smaller.
        workers: Threads; ``None``: one for every processor that this process may use, 8 at the most.
        max_pixels: See :func:`~anytag.pictures.reading.read_picture`.
        composite_alpha: See :func:`~anytag.pictures.reading.read_picture`.
        accept_truncated: See :func:`~anytag.pictures.reading.read_picture`.
        interpolation: See :func:`~anytag.pictures.reading.to_pixels`.

    Returns:
        An iterator over batches.

    Raises:
        UsageError: At once for numbers below 1; on iteration for a source of a type that cannot hold a picture.
    """
    workers = workers if workers is not None else min(8, available_processors())
    for name, value in (("resolution", resolution), ("batch_size", batch_size), ("workers", workers)):
        if value < 1:
            raise UsageError(f"{name} must be 1 or more, not {value}")

    def load(source: PictureSource, label: str) -> tuple[LoadedPicture, npt.NDArray[np.uint8]] | Failure:
        try:
            decoded = decode_picture(
                source,
                max_pixels=max_pixels,
                draft_size=resolution,
                label=label,
                composite_alpha=composite_alpha,
                accept_truncated=accept_truncated,
            )
        except PictureError as error:
            return Failure(error.path, error.kind, str(error))
        loaded = LoadedPicture(label, decoded.width, decoded.height, decoded.notes)
        return loaded, to_pixels(decoded.picture, resolution, interpolation)

    def batches() -> Iterator[Batch]:
        numbered, ready = enumerate(sources, 1), getattr(sources, "ready", lambda: True)
        ahead = max(2 * batch_size, batch_size + workers)
        pending: deque[Future[tuple[LoadedPicture, npt.NDArray[np.uint8]] | Failure]] = deque()
        pool = ThreadPoolExecutor(workers, thread_name_prefix="anytag-pictures")
        try:
            while True:
                # What is there already is not held back for what may come.
                while len(pending) < ahead and (not pending or ready()) and (drawn := next(numbered, None)) is not None:
                    number, given = drawn
                    label, source = given if isinstance(given, tuple) else (describe(given, number), given)
                    pending.append(pool.submit(load, source, label))
                if not pending:
                    return
                results = [pending.popleft().result() for _ in range(min(batch_size, len(pending)))]
                yield _collect(results, resolution)
        finally:
            # Not waited for: an interrupt should not have to sit out a large picture.
            pool.shutdown(wait=False, cancel_futures=True)

    return batches()


def _collect(results: list[tuple[LoadedPicture, npt.NDArray[np.uint8]] | Failure], resolution: int) -> Batch:
    items = tuple(result if isinstance(result, Failure) else result[0] for result in results)
    rows = [result[1] for result in results if not isinstance(result, Failure)]
    return Batch(items, np.stack(rows) if rows else np.empty((0, resolution, resolution, 3), np.uint8))
