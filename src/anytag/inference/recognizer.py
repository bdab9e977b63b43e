"""The one object that a user holds: pictures in, recognitions out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack, cast, get_args, overload

import numpy as np
from PIL import Image

from anytag.backends.base import Backend, FloatArray, Queries
from anytag.errors import MissingExtraError, PictureError, UsageError
from anytag.inference.captioner import Captioner
from anytag.inference.generation import DecodingOptions
from anytag.inference.label_set import LabelSet
from anytag.inference.label_sets import LabelSets, refuse_text
from anytag.inference.scoring import Scorer
from anytag.inference.tag_choice import TagChoice
from anytag.inference.text_queries import TextQueries
from anytag.language.tags.coverage import TagCoverage
from anytag.model.directory import ModelDirectory, find_model
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.pictures import Batch, PictureSource, load_batches
from anytag.pictures.heat_maps import resize_heat_map, to_heat_map
from anytag.recognition import Failure, Match, Matches, Recognition, TagKind

#: Tags that guide a caption at the most: more confuse it.
_MOST_GUIDES = 12

BackendName = Literal["onnx", "torch", "openvino"]

Result = Recognition | Failure
Collected = list[Any] | tuple[Any, ...]
Seen = TypeVar("Seen", Recognition, Matches)

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
        tags: Which of the vocabulary's tags to look for, and what to call them.
        descriptions: A file of descriptions for categories of the user's (RAM++).
    """

    def __init__(
        self,
        directory: ModelDirectory,
        backend: Backend,
        batch_size: int = 8,
        workers: int | None = None,
        tags: TagChoice | None = None,
        descriptions: str | Path | None = None,
    ):
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {batch_size}")
        self.directory, self.backend = directory, backend
        self.batch_size, self.workers = batch_size, workers
        self.texts = TextQueries(directory, backend, descriptions)
        self.labels = LabelSets(directory, backend, tags, self.texts)
        self.scorer = Scorer(directory, backend)
        self._captioner: Captioner | None = None

    @property
    def vocabulary(self) -> TagVocabulary:
        """The tags that the model was made for."""
        return self.labels.vocabulary

    @property
    def captioner(self) -> Captioner:
        """The part that writes captions, loaded when it is first needed."""
        if self._captioner is None:
            self._captioner = Captioner(self.directory, self.backend, self.texts)
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

    @overload
    def match(self, pictures: PictureSource, texts: Sequence[str]) -> Matches: ...  # type: ignore[overload-overlap]
    @overload
    def match(self, pictures: Collected, texts: Sequence[str]) -> list[Matches | Failure]: ...
    @overload
    def match(self, pictures: Iterable[PictureSource], texts: Sequence[str]) -> Iterator[Matches | Failure]: ...

    def match(
        self, pictures: PictureSource | Iterable[PictureSource], texts: Sequence[str]
    ) -> Matches | list[Matches | Failure] | Iterator[Matches | Failure]:
        """Score how well texts fit pictures: the recognition decoder scores whole texts (RAM++ section 3.2).

        Scores compare pictures and texts with each other. Beside each stand the tags that the picture shows and the
        text names, which say why.

        Args:
            pictures: One picture, a list, or an iterable.
            texts: Any sentences or phrases.

        Raises:
            UsageError: If there is no text, or one is empty.
            ModelError: If the model cannot read texts.
            PictureError: If a single picture cannot be read.
        """
        refuse_text("texts", texts)
        if not texts or not all(text.strip() for text in texts):
            raise UsageError("texts: give at least one text, none of them empty")
        queries = self.texts.sentences(texts)
        coverage = TagCoverage(self.vocabulary)
        named = [{tag.id for tag in coverage.named(text)} for text in texts]
        # Scores do not depend on what else is asked for, so no other tag needs to be.
        tags = self.labels.of([self.vocabulary[id] for id in sorted(set().union(*named))])
        return self._dispatch(pictures, lambda sources: self._match_stream(sources, texts, queries, tags, named))

    def locate(
        self, picture: PictureSource, tag: str, *, resize: Literal["nearest", "bilinear"] | None = None
    ) -> FloatArray:
        """Find where a picture shows a tag: the attention of the recognition decoder's last layer, averaged over heads.

        :func:`anytag.pictures.overlay_heat_map` lays the map over the picture.

        Args:
            picture: One picture.
            tag: A tag, or any words that the model can be asked for. It need not have been found.
            resize: Bring the map to the picture's own size, repeating cells (``nearest``) or blending them.

        Returns:
            ``[rows, columns]``, 0 (least) to 1 (most): a value for every cell of the encoder's grid, or, resized, for
            every pixel of the upright picture. All 0 if the model looks everywhere alike.

        Raises:
            UsageError: If the tag's name is empty.
            ModelError: If the model does not know such a tag, or was exported without attention.
            PictureError: If the picture cannot be read.
        """
        labels = self.labels.categories([tag])
        [batch] = self._batches([picture])
        for failure in batch.failures:
            raise PictureError(failure.kind, failure.path, failure.message)
        [weights] = self.backend.attention(self.backend.encode(batch.pixels).features, labels.queries)[0]
        # The first token stands for the whole picture, the others for the cells of a square grid, row by row.
        [loaded] = batch.loaded
        heat = to_heat_map(weights[1:].reshape(math.isqrt(len(weights) - 1), -1))
        return heat if resize is None else resize_heat_map(heat, loaded.width, loaded.height, resize)

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
        stream: Callable[[Iterable[PictureSource]], Iterator[Seen | Failure]],
    ) -> Seen | list[Seen | Failure] | Iterator[Seen | Failure]:
        if isinstance(pictures, _SINGLE) or hasattr(pictures, "read"):
            result = next(stream([cast(PictureSource, pictures)]))
            if isinstance(result, Failure):
                raise PictureError(result.kind, result.path, result.message)
            return result
        return list(stream(pictures)) if isinstance(pictures, list | tuple) else stream(pictures)

    def _tag_stream(
        self, sources: Iterable[PictureSource], labels: LabelSet, threshold: float | None, top: int | None
    ) -> Iterator[Result]:
        for batch in self._batches(sources):
            scores = self.scorer.scores(self.backend.encode(batch.pixels), labels)
            results = [
                Recognition(path, labels.found(row, threshold, top))
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
        for batch in self._batches(sources):
            encoded = self.backend.encode(batch.pixels)
            features, scores = encoded.features, self.scorer.scores(encoded, labels)
            margins, results = self.captioner.margins(scores, labels), []
            for row, path in enumerate(batch.paths):
                tags = labels.found(scores[row], threshold, top)
                guides = self._guides(scores[row], labels, threshold, top) if given is None else given
                names = [tag.name for tag in guides]
                here = slice(row, row + 1)
                [caption] = self.captioner.caption(features[here], [names], given is not None, options, margins[here])
                covered = self.captioner.covered(caption, guides)
                results.append(Recognition(path, tags, caption, tuple(names), tuple(covered)))
            yield from batch.in_order(results)

    def _match_stream(
        self,
        sources: Iterable[PictureSource],
        texts: Sequence[str],
        queries: Queries,
        tags: LabelSet,
        named: Sequence[set[int]],
    ) -> Iterator[Matches | Failure]:
        for batch in self._batches(sources):
            encoded = self.backend.encode(batch.pixels)
            fits, scores = self.scorer.match(encoded, queries), self.scorer.scores(encoded, tags)
            results = []
            for path, fit, row in zip(batch.paths, fits, scores, strict=True):
                found = tags.found(row, None, None)
                results.append(
                    Matches(
                        path,
                        tuple(
                            Match(text, float(score), tuple(tag for tag in found if tag.id in ids))
                            for text, score, ids in zip(texts, fit, named, strict=True)
                        ),
                    )
                )
            yield from batch.in_order(results)

    def _guides(
        self, scores: FloatArray, labels: LabelSet, threshold: float | None = None, top: int | None = None
    ) -> list[VocabularyTag]:
        """The tags that guide a caption on their own, of those found."""
        found = [tag.id for tag in labels.found(scores, threshold, top) if tag.id is not None]
        captioner = self.directory.config.captioner
        if captioner is not None and captioner.guides == "all":
            return [self.vocabulary[id] for id in sorted(found)]
        kept = self.vocabulary.most_specific(found)
        return [self.vocabulary[id] for id in found if id in kept][:_MOST_GUIDES]

    def _batches(self, sources: Iterable[PictureSource]) -> Iterator[Batch]:
        return load_batches(sources, self.directory.config.image_encoder.resolution, self.batch_size, self.workers)


def load(
    model: str | Path | None = None,
    *,
    backend: BackendName | None = None,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16"] = "float32",
    threads: int | None = None,
    batch_size: int = 8,
    tags: TagChoice | None = None,
    descriptions: str | Path | None = None,
) -> Recognizer:
    """Load a model.

    Args:
        model: A model directory, a hub id (``owner/name``, downloaded once), or ``None`` for the model that ships
            with the package.
        backend: The runtime: ``onnx``, ``torch`` or ``openvino``; ``None``: ONNX Runtime, if the model was exported.
        device: ``cpu`` or ``cuda``.
        precision: ``bfloat16`` is faster where the processor knows it; not for ``onnx``.
        threads: Threads of the runtime, and as many that read pictures; ``None``: all processors.
        batch_size: Pictures that are read ahead and encoded together.
        tags: Which of the vocabulary's tags to look for, and what to call them.
        descriptions: A file of descriptions for categories of your own (RAM++; ``anytag vocabulary describe``).

    Raises:
        ModelError: If the model is missing, incomplete, altered, or not for this version.
        UsageError: If the backend is unknown, or the choice of tags does not fit the vocabulary.
    """
    if backend not in (None, *get_args(BackendName)):
        raise UsageError(f"unknown backend {backend!r}; backends are: {', '.join(get_args(BackendName))}")
    directory = find_model(model)
    if backend is None:
        backend = "onnx" if directory.has("onnx/image_encoder.onnx") else "torch"
    runtime: Backend
    if backend == "onnx":
        from anytag.backends.onnx import OnnxBackend

        if precision != "float32":
            raise UsageError("precision is a setting of torch and openvino; an ONNX model's is that of its export")
        runtime = OnnxBackend(directory, threads, device)
    elif backend == "openvino":
        from anytag.backends.openvino import OpenVinoBackend

        runtime = OpenVinoBackend(directory, threads, device, precision)
    else:
        try:
            from anytag.backends.torch import TorchBackend
        except ImportError:
            raise MissingExtraError("The torch backend", "train") from None
        runtime = TorchBackend(directory, threads, device, precision)
    return Recognizer(directory, runtime, batch_size, workers=threads or None, tags=tags, descriptions=descriptions)
