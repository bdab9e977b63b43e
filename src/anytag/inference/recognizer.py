"""The recognizer: loads a model, and turns pictures into tags, captions, matches and heat maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack, cast, get_args, overload

from anytag.backends.base import Backend, BackendName, FloatArray, Precision
from anytag.errors import PictureError, UsageError, needs_extra
from anytag.foundations import arguments
from anytag.foundations.cpu_count import available_processors
from anytag.foundations.headroom import allocate_blas_buffers
from anytag.foundations.shortage import explain_shortages
from anytag.inference.captioner import Captioner
from anytag.inference.embedding import picture_embeddings
from anytag.inference.look import Look
from anytag.inference.questions import Answer, CaptionOptions, Question, Questions, TagOptions, keeps_blank
from anytag.inference.tag_choice import TagChoice
from anytag.model.directory import ModelDirectory, find_model
from anytag.pictures import MAX_PIXELS, Batch, LoadedPicture, PictureSource
from anytag.pictures.sources import check_picture, is_picture
from anytag.recognition import Failure, Matches, Recognition, TagKind

Result = Recognition | Failure
Collected = list[Any] | tuple[Any, ...]


class _CaptionOptions(CaptionOptions, total=False):
    """Options of :meth:`Recognizer.caption`."""

    tags: Sequence[str] | None


class Recognizer:
    """Recognize what pictures show. Create it with :func:`load`.

    Methods accept

    - one picture, and return one result; they raise :class:`~anytag.errors.PictureError` if it cannot be read;
    - a list, and return a list with a :class:`~anytag.recognition.Failure` for each picture that cannot be read;
    - any other iterable, and return a lazy iterator in the same order, which holds a few batches at a time.

    Args:
        directory: The model.
        backend: Runs the model.
        batch_size: Pictures that are read ahead and encoded together.
        workers: Threads that read pictures; ``None``: one per processor.
        tags: Tags of the vocabulary to look for, and their names.
        descriptions: File of descriptions for the user's own categories (RAM++).
        accept_truncated: Recognize the readable part of pictures whose files are cut off.
        recognize_blank: Recognize pictures of a single color like others.

    Attributes:
        vocabulary: The model's tags.
        labels: Chooses the labels to score.
        scorer: Scores labels.
    """

    def __init__(
        self,
        directory: ModelDirectory,
        backend: Backend,
        batch_size: int = 8,
        workers: int | None = None,
        tags: TagChoice | None = None,
        descriptions: str | Path | None = None,
        accept_truncated: bool = False,
        recognize_blank: bool = False,
    ):
        self.directory, self.backend = directory, backend
        self.accept_truncated = arguments.flag("accept_truncated", accept_truncated)
        self.recognize_blank = arguments.flag("recognize_blank", recognize_blank)
        self.batch_size = arguments.whole_number("batch_size", batch_size, 1)
        self.workers = None if workers is None else arguments.whole_number("workers", workers, 1)
        if tags is not None and not isinstance(tags, TagChoice):
            raise UsageError(f"tags must be an anytag.TagChoice, not {type(tags).__name__}")
        self._choice, self._descriptions = tags, descriptions
        self.questions = Questions(directory, backend, tags, descriptions)
        self.labels, self.scorer = self.questions.labels, self.questions.scorer
        self.vocabulary = self.labels.vocabulary

    #: Pictures with more pixels fail before they are decoded; a public service sets it lower.
    max_pixels: int = MAX_PIXELS

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies, in this process or another, open the model again."""
        given = (self.directory, self.backend, self.batch_size, self.workers, self._choice, self._descriptions)
        return type(self), (*given, self.accept_truncated, self.recognize_blank)

    @property
    def captioner(self) -> Captioner:
        """Writes captions; loaded on first use."""
        return self.questions.captioner

    def __call__(self, picture: PictureSource) -> Recognition:
        """Find tags and write a caption for one picture."""
        return self.caption(picture)

    # Strings, bytes and files are iterable, too, but each is one picture, so that overload comes first.
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

        A blank picture, of a single color, gets no tags and the note ``blank``, because models hallucinate there. With
        ``threshold`` or ``categories`` it is scored like any other.

        Args:
            pictures: One picture, a list, or an iterable.
            categories: Look for these words instead of the vocabulary (open set).
            kinds: Look only for tags of these kinds.
            threshold: One threshold in [0, 1] for all tags instead of each tag's own; 0 returns every tag.
            top: Return at most this many tags, the best.

        Raises:
            UsageError: If an option is out of range.
            PictureError: If a single picture cannot be read.
        """
        return self._ask(pictures, self.questions.tags(categories, kinds, threshold, top))

    @overload
    def caption(self, pictures: PictureSource, **options: Unpack[_CaptionOptions]) -> Recognition: ...  # type: ignore[overload-overlap]
    @overload
    def caption(self, pictures: Collected, **options: Unpack[_CaptionOptions]) -> list[Result]: ...
    @overload
    def caption(self, pictures: Iterable[PictureSource], **options: Unpack[_CaptionOptions]) -> Iterator[Result]: ...

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
        """Write captions, and find tags as :meth:`tag` does.

        Args:
            pictures: One picture, a list, or an iterable.
            tags: Tags that the caption should mention; ``None``: those found; empty: none.
            threshold: As in :meth:`tag`.
            top: As in :meth:`tag`.
            kinds: As in :meth:`tag`.
            num_beams: Width of the beam search; ``None``: the model's default.
            sample: Sample the caption (nucleus sampling) instead of searching for the best.
            seed: Seed of the sampling.

        Raises:
            UsageError: If an option is out of range or a tag is unknown.
            PictureError: If a single picture cannot be read.
        """
        return self._ask(pictures, self.questions.caption(tags, threshold, top, kinds, num_beams, sample, seed))

    @overload
    def match(self, pictures: PictureSource, texts: Sequence[str]) -> Matches: ...  # type: ignore[overload-overlap]
    @overload
    def match(self, pictures: Collected, texts: Sequence[str]) -> list[Matches | Failure]: ...
    @overload
    def match(self, pictures: Iterable[PictureSource], texts: Sequence[str]) -> Iterator[Matches | Failure]: ...

    def match(
        self, pictures: PictureSource | Iterable[PictureSource], texts: Sequence[str]
    ) -> Matches | list[Matches | Failure] | Iterator[Matches | Failure]:
        """Score how well texts fit pictures, with the recognition decoder (RAM++ section 3.2).

        Scores rank texts for a picture and pictures for a text. Each match lists the tags that the picture shows and
        the text names.

        Args:
            pictures: One picture, a list, or an iterable.
            texts: Any sentences or phrases.

        Raises:
            UsageError: If there is no text, or one is empty.
            ModelError: If the model cannot read texts.
            PictureError: If a single picture cannot be read.
        """
        return self._ask(pictures, self.questions.match(texts))

    def look(self, picture: PictureSource) -> Look:
        """Encode a picture once, for any number of questions about it.

        Raises:
            PictureError: If it cannot be read.
        """
        check_picture("picture", picture)
        [batch] = self._batches([picture])
        for failure in batch.failures:
            raise PictureError(failure.kind, failure.path, failure.message)
        [loaded] = batch.loaded
        with explain_shortages():
            encoded = self.backend.encode(batch.pixels)
        return Look(loaded.path, loaded.width, loaded.height, self._notes(loaded), encoded, self.questions)

    def locate(
        self, picture: PictureSource, tag: str, *, resize: Literal["nearest", "bilinear"] | None = None
    ) -> FloatArray:
        """Find where a picture shows a tag: the attention of the recognition decoder's last layer, averaged over heads.

        Draw the map over the picture with :func:`anytag.pictures.overlay_heat_map`.

        Args:
            picture: One picture.
            tag: A tag, found in the picture or not, or any other words.
            resize: Resize the map to the upright picture, by ``nearest`` or ``bilinear`` interpolation; ``None``: keep
                the encoder's grid.

        Returns:
            ``[rows, columns]`` in [0, 1]; 0 everywhere if attention is uniform. If the score is below the tag's
            threshold, values are scaled by their ratio: at half the threshold, the highest is 0.5.

        Raises:
            UsageError: If the tag is empty or the interpolation is unknown.
            ModelError: If the model has no such tag, or was exported without attention.
            PictureError: If the picture cannot be read.
        """
        self.questions.locate(tag)  # Check the tag before reading the picture.
        return self.look(picture).locate(tag, resize=resize)

    def embed(self, picture: PictureSource) -> FloatArray:
        """Embed a picture so that similar pictures have similar vectors.

        Returns:
            Unit vector ``[W]``; compare vectors of one model by their dot product.

        Raises:
            PictureError: If the picture cannot be read.
        """
        return cast(FloatArray, self._ask(picture, lambda encoded, _: list(picture_embeddings(encoded))))

    def _ask(
        self,
        pictures: PictureSource | Iterable[PictureSource],
        question: Question[Answer],
    ) -> Answer | list[Answer | Failure] | Iterator[Answer | Failure]:
        if is_picture(pictures):
            answers = self.answers([cast(PictureSource, pictures)], question)
            result = next(answers)
            if isinstance(result, Failure):
                raise PictureError(result.kind, result.path, result.message)
            return result
        if isinstance(pictures, list | tuple):
            for place, picture in enumerate(pictures, 1):
                check_picture(f"pictures: number {place}", picture)
            collected = self.answers(pictures, question)
            return list(collected)
        if not isinstance(pictures, Iterable) or isinstance(pictures, Mapping):
            check_picture("pictures", pictures)
        return self.answers(cast(Iterable[PictureSource], pictures), question)

    def answers(self, sources: Iterable[PictureSource], question: Question[Answer]) -> Iterator[Answer | Failure]:
        """Answer a question about each picture, in order; a failure for each that cannot be read."""
        keep = keeps_blank(question)
        with explain_shortages():
            for batch in self._batches(sources):
                answers = question(self.backend.encode(batch.pixels), batch.paths)
                yield from batch.in_order(
                    _noted(answer, self._notes(loaded), (loaded.width, loaded.height), keep)
                    for loaded, answer in zip(batch.loaded, answers, strict=True)
                )

    def _notes(self, loaded: LoadedPicture) -> tuple[str, ...]:
        return tuple(note for note in loaded.notes if note != "blank" or not self.recognize_blank)

    def _batches(self, sources: Iterable[PictureSource]) -> Iterator[Batch]:
        preprocessing = self.directory.config.image_encoder.preprocessing
        return preprocessing.batches(
            sources,
            self.batch_size,
            self.workers,
            accept_truncated=self.accept_truncated,
            max_pixels=self.max_pixels,
        )


def _noted(answer: Any, notes: tuple[str, ...], size: tuple[int, int], keep_blank: bool) -> Any:
    """Add a picture's notes and size to its recognition, alone or in a tuple; return other answers unchanged."""
    if type(answer) is tuple:  # A recognition and vectors of the same picture, for an index.
        return tuple(_noted(part, notes, size, keep_blank) for part in answer)
    return answer.noted(notes, size, keep_blank) if isinstance(answer, Recognition) else answer


@explain_shortages()
def load(
    model: str | Path | None = None,
    *,
    backend: BackendName | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
    threads: int | None = None,
    batch_size: int = 8,
    tags: TagChoice | None = None,
    descriptions: str | Path | None = None,
    accept_truncated: bool = False,
    recognize_blank: bool = False,
) -> Recognizer:
    """Load a model.

    Args:
        model: A model directory, a hub id (``owner/name``, downloaded once), or ``None`` for the model that ships
            with the package.
        backend: ``onnx``, ``torch`` or ``openvino``; ``None``: ONNX Runtime for exported models, else PyTorch.
        device: ``cpu`` or ``cuda``.
        precision: ``bfloat16`` is faster on processors that support it; not for ``onnx``.
        threads: Threads of the runtime, and as many that read pictures, at most the number of available processors;
            ``None``: all processors.
        batch_size: Pictures that are read ahead and encoded together.
        tags: Tags of the vocabulary to look for, and their names.
        descriptions: File of descriptions for your own categories (RAM++; ``anytag vocabulary describe``).
        accept_truncated: Recognize the readable part of pictures whose files are cut off.
        recognize_blank: Recognize pictures of a single color like others. By default they get no tags, unless you give
            a threshold or categories, because models hallucinate there.

    Raises:
        ModelError: If the model is missing, incomplete, altered, or not for this version.
        UsageError: If an argument is wrong, or the choice of tags does not fit the vocabulary.
        ResourceError: If the machine has no memory or threads left.
    """
    if backend is not None and (not isinstance(backend, str) or backend not in get_args(BackendName)):
        raise UsageError(f"unknown backend {backend!r}; backends are: {', '.join(get_args(BackendName))}")
    arguments.text("device", device)
    arguments.choice("precision", precision, get_args(Precision))
    if threads is not None:
        # More threads than processors would not be faster, and each takes memory.
        threads = min(arguments.whole_number("threads", threads, 1), available_processors())
    arguments.whole_number("batch_size", batch_size, 1)
    if descriptions is not None:
        descriptions = arguments.path("descriptions", descriptions)
    allocate_blas_buffers()
    directory = find_model(None if model is None else arguments.path("model", model))
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
        with needs_extra("The torch backend", "train"):
            from anytag.backends.torch import TorchBackend
        with explain_shortages():
            runtime = TorchBackend(directory, threads, device, precision)
    return Recognizer(directory, runtime, batch_size, threads, tags, descriptions, accept_truncated, recognize_blank)
