"""The one object that a user holds: pictures in, recognitions out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, cast, get_args, overload

import numpy as np
from PIL import Image

from anytag.backends.base import Backend, FloatArray
from anytag.captioner import Captioner
from anytag.errors import MissingExtraError, PictureError, UsageError
from anytag.generation import DecodingOptions
from anytag.labels import LabelSet, LabelSets
from anytag.model_directory import ModelDirectory, find_model
from anytag.pictures import PictureSource, load_batches
from anytag.recognition import Failure, Recognition, Tag, TagKind
from anytag.vocabulary import TagVocabulary, VocabularyTag

#: Tags that guide a caption at the most: more confuse it.
_MOST_GUIDES = 12

BackendName = Literal["onnx", "torch"]

Result = Recognition | Failure
Collected = list[Any] | tuple[Any, ...]

#: Types of one picture that could be taken for an iterable of several.
_SINGLE = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)


class TagOptions(TypedDict, total=False):
    """Options of :meth:`Recognizer.tag`."""

    categories: Sequence[str] | None
    kinds: Sequence[TagKind] | None
    threshold: float | None
    top: int | None


class CaptionOptions(TypedDict, total=False):
    """Options of :meth:`Recognizer.caption`."""

    tags: Sequence[str] | None
    threshold: float | None
    top: int | None
    kinds: Sequence[TagKind] | None
    num_beams: int | None
    sample: bool
    seed: int | None


class Recognizer:
    """Recognises what pictures show.

    Use :func:`load` to make one. Methods take one picture (and give one :class:`Recognition`, raising
    :class:`~anytag.errors.PictureError` if it cannot be read), a list (and give a list, with a
    :class:`~anytag.recognition.Failure` in place of a bad picture), or any other iterable (and give a lazy iterator,
    in order, holding a few batches at a time).

    Args:
        directory: The model.
        backend: What runs it.
        batch_size: Pictures that are read ahead and encoded together.
        workers: Threads that read pictures; ``None``: one a processor.
    """

    def __init__(self, directory: ModelDirectory, backend: Backend, batch_size: int = 8, workers: int | None = None):
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {batch_size}")
        self.directory, self.backend = directory, backend
        self.batch_size, self.workers = batch_size, workers
        self.labels = LabelSets(directory, backend)
        self._captioner: Captioner | None = None

    @property
    def vocabulary(self) -> TagVocabulary:
        """The tags that the model was made for."""
        return self.labels.vocabulary

    @property
    def captioner(self) -> Captioner:
        """The part that writes captions, loaded when it is first needed."""
        if self._captioner is None:
            self._captioner = Captioner(self.directory, self.backend)
        return self._captioner

    def __call__(self, picture: PictureSource) -> Recognition:
        """Tags and a caption of one picture."""
        return self.caption(picture)

    # Texts, bytes and files are iterable, too; but each is one picture, and that overload comes first.
    @overload
    def tag(self, pictures: PictureSource, **options: Unpack[TagOptions]) -> Recognition: ...  # type: ignore[overload-overlap]
    @overload
    def tag(self, pictures: Collected, **options: Unpack[TagOptions]) -> list[Result]: ...
    @overload
    def tag(self, pictures: Iterable[PictureSource], **options: Unpack[TagOptions]) -> Iterator[Result]: ...

    def tag(
        self,
        pictures: PictureSource | Iterable[PictureSource],
        *,
        categories: Sequence[str] | None = None,
        kinds: Sequence[TagKind] | None = None,
        threshold: float | None = None,
        top: int | None = None,
    ) -> Recognition | list[Result] | Iterator[Result]:
        """Find tags.

        Args:
            pictures: One picture, a list, or an iterable.
            categories: Look for exactly these instead of the vocabulary; any words will do (open set).
            kinds: Only tags of these kinds.
            threshold: One threshold in [0, 1] for all tags instead of each tag's own; 0 keeps every tag.
            top: At most that many tags, the best.

        Raises:
            UsageError: If an option is out of range.
            PictureError: If a single picture cannot be read.
        """
        labels = self._labels(categories, kinds, threshold, top)
        return self._dispatch(pictures, lambda sources: self._tag_stream(sources, labels, threshold, top))

    @overload
    def caption(self, pictures: PictureSource, **options: Unpack[CaptionOptions]) -> Recognition: ...  # type: ignore[overload-overlap]
    @overload
    def caption(self, pictures: Collected, **options: Unpack[CaptionOptions]) -> list[Result]: ...
    @overload
    def caption(self, pictures: Iterable[PictureSource], **options: Unpack[CaptionOptions]) -> Iterator[Result]: ...

    def caption(
        self,
        pictures: PictureSource | Iterable[PictureSource],
        *,
        tags: Sequence[str] | None = None,
        threshold: float | None = None,
        top: int | None = None,
        kinds: Sequence[TagKind] | None = None,
        num_beams: int | None = None,
        sample: bool = False,
        seed: int | None = None,
    ) -> Recognition | list[Result] | Iterator[Result]:
        """Write captions; the tags found come with them.

        Args:
            pictures: One picture, a list, or an iterable.
            tags: Tags that the caption shall follow; ``None``: those found; empty: none.
            threshold: As in :meth:`tag`.
            top: As in :meth:`tag`.
            kinds: As in :meth:`tag`.
            num_beams: Width of the beam search; ``None``: the model's default.
            sample: Draw from the model's distribution (nucleus sampling) instead of searching for the best.
            seed: Of the sampling.

        Raises:
            UsageError: If an option is out of range or a tag is unknown.
            PictureError: If a single picture cannot be read.
        """
        labels = self._labels(None, kinds, threshold, top)
        options = self.captioner.options(num_beams, sample, seed)
        if tags is not None:
            self.labels.find(tags)  # Unknown tags are told before any picture is read.
        return self._dispatch(
            pictures, lambda sources: self._caption_stream(sources, labels, threshold, top, tags, options)
        )

    def _labels(
        self,
        categories: Sequence[str] | None,
        kinds: Sequence[TagKind] | None,
        threshold: float | None,
        top: int | None,
    ) -> LabelSet:
        if threshold is not None and not 0 <= threshold <= 1:
            raise UsageError(f"threshold must lie between 0 and 1, not {threshold}")
        if top is not None and top < 1:
            raise UsageError(f"top must be at least 1, not {top}")
        if categories is not None and kinds is not None:
            raise UsageError("categories and kinds exclude each other: categories are asked for whatever their kind")
        return self.labels.all(kinds) if categories is None else self.labels.categories(categories)

    def _dispatch(
        self,
        pictures: PictureSource | Iterable[PictureSource],
        stream: Callable[[Iterable[PictureSource]], Iterator[Result]],
    ) -> Recognition | list[Result] | Iterator[Result]:
        if isinstance(pictures, _SINGLE) or hasattr(pictures, "read"):
            result = next(stream([cast(PictureSource, pictures)]))
            if isinstance(result, Failure):
                raise PictureError(result.kind, result.path, result.message)
            return result
        return list(stream(pictures)) if isinstance(pictures, list | tuple) else stream(pictures)

    def _tag_stream(
        self, sources: Iterable[PictureSource], labels: LabelSet, threshold: float | None, top: int | None
    ) -> Iterator[Result]:
        for batch in load_batches(sources, self._resolution, self.batch_size, self.workers):
            scores = self.labels.scores(self.backend.encode(batch.pixels), labels)
            results = [
                Recognition(path, _select(row, labels, threshold, top))
                for path, row in zip(batch.paths, scores, strict=True)
            ]
            yield from batch.in_order(results)

    def _caption_stream(
        self,
        sources: Iterable[PictureSource],
        labels: LabelSet,
        threshold: float | None,
        top: int | None,
        wanted: Sequence[str] | None,
        options: DecodingOptions,
    ) -> Iterator[Result]:
        given = None if wanted is None else self.labels.find(wanted)
        for batch in load_batches(sources, self._resolution, self.batch_size, self.workers):
            encoded = self.backend.encode(batch.pixels)
            features, scores = encoded.features, self.labels.scores(encoded, labels)
            results = []
            for row, path in enumerate(batch.paths):
                tags = _select(scores[row], labels, threshold, top)
                guides = self._guides(scores[row], labels) if given is None else given
                names = [tag.name for tag in guides]
                [caption] = self.captioner.caption(features[row : row + 1], [names], given is not None, options)
                covered = self.captioner.covered(caption, guides)
                results.append(Recognition(path, tags, caption, tuple(names), tuple(covered)))
            yield from batch.in_order(results)

    def _guides(self, scores: FloatArray, labels: LabelSet) -> list[VocabularyTag]:
        """The tags that guide a caption on their own, of those found."""
        order = np.argsort(-scores, kind="stable")
        found = [id for i in order if scores[i] >= labels.thresholds[i] and (id := labels.ids[i]) is not None]
        captioner = self.directory.config.captioner
        if captioner is not None and captioner.guides == "all":
            return [self.vocabulary[id] for id in sorted(found)]
        kept = self.vocabulary.most_specific(found)
        return [self.vocabulary[id] for id in found if id in kept][:_MOST_GUIDES]

    @property
    def _resolution(self) -> int:
        return self.directory.config.image_encoder.resolution


def _select(scores: FloatArray, labels: LabelSet, threshold: float | None, top: int | None) -> tuple[Tag, ...]:
    """Tags at or above their thresholds, best first; equal scores keep the vocabulary's order."""
    limits = labels.thresholds if threshold is None else np.full(len(scores), threshold)
    chosen = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= limits[i]]
    return tuple(
        Tag(labels.names[i], float(scores[i]), labels.kinds[i], float(limits[i]), labels.ids[i]) for i in chosen[:top]
    )


def load(
    model: str | Path | None = None,
    *,
    backend: BackendName | None = None,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16"] = "float32",
    threads: int | None = None,
    batch_size: int = 8,
) -> Recognizer:
    """Load a model.

    Args:
        model: A model directory, a hub id (``owner/name``, downloaded once), or ``None`` for the model that ships
            with the package.
        backend: The runtime: ``onnx`` or ``torch``; ``None``: ONNX Runtime, if the model was exported for it.
        device: ``cpu`` or ``cuda``.
        precision: ``bfloat16`` halves memory and is faster where the processor knows it; ``torch`` only.
        threads: Threads of the runtime; ``None``: all processors.
        batch_size: Pictures that are read ahead and encoded together.

    Raises:
        ModelError: If the model is missing, incomplete, altered, or not for this version.
        UsageError: If the backend is unknown.
    """
    if backend not in (None, *get_args(BackendName)):
        raise UsageError(f"unknown backend {backend!r}; backends are: {', '.join(get_args(BackendName))}")
    directory = find_model(model)
    if backend is None:
        backend = "onnx" if directory.has("onnx/image_encoder.onnx") else "torch"
    if backend == "onnx":
        from anytag.backends.onnx import OnnxBackend

        if precision != "float32":
            raise UsageError("precision is a setting of the torch backend; an ONNX model's is that of its export")
        return Recognizer(directory, OnnxBackend(directory, threads, device), batch_size)
    try:
        from anytag.backends.torch import TorchBackend
    except ImportError:
        raise MissingExtraError("The torch backend", "train") from None
    return Recognizer(directory, TorchBackend(directory, threads, device, precision), batch_size)
