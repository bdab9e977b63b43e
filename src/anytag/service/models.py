"""The models of a service, loaded with their first request, and what they can be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from anytag.errors import AnytagError, PictureError
from anytag.inference.embedding import picture_embeddings
from anytag.pictures.sources import NamedBytes
from anytag.recognition import Failure
from anytag.service.batcher import Batcher, Work
from anytag.service.errors import ServiceError
from anytag.service.settings import DEFAULT_MODEL, ServiceSettings

if TYPE_CHECKING:
    from anytag.backends.base import Encoded
    from anytag.inference.recognizer import Recognizer


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture of a request."""

    name: str
    content: bytes


class ModelPool:
    """The models of a service, by name.

    Args:
        settings: Settings of the service.
        observe: Called with the model's name, the size and the seconds of every batch.
        load: Loads a model, like :func:`anytag.load`.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        observe: Callable[[str, int, float], None],
        load: Callable[..., Recognizer] | None,
    ):
        self.settings = settings
        self._batchers = {
            name: Batcher(
                partial(_load_model, place, settings, load),
                settings.batch_size,
                settings.batch_wait,
                settings.queue,
                settings.idle_unload,
                partial(observe, name),
            )
            for name, place in settings.models.items()
        }

    @property
    def names(self) -> list[str]:
        """Names that requests may use; the first is the default."""
        return list(self._batchers)

    def waiting(self) -> dict[str, int]:
        """Return the number of pictures in each queue."""
        return {name: batcher.waiting for name, batcher in self._batchers.items()}

    def loaded(self) -> dict[str, bool]:
        """Return which models are in memory."""
        return {name: batcher.loaded for name, batcher in self._batchers.items()}

    def submit(self, model: str | None, inquiry: Inquiry, items: Sequence[Any]) -> list[Future[Any]]:
        """Queue work for a model; see :meth:`~anytag.service.batcher.Batcher.submit`.

        ``None`` or ``default`` is the first model.

        Raises:
            ServiceError: If there is no such model, or no room.
        """
        name = model if model in self._batchers else self.names[0] if model in (None, DEFAULT_MODEL) else None
        if name is None:
            raise ServiceError(404, "model", f"there is no model {model!r}; there are {', '.join(self.names)}")
        return self._batchers[name].submit(inquiry.key, inquiry.work, items, self.settings.timeout)

    def stop(self) -> None:
        """Answer what was accepted, and accept no more."""
        for batcher in self._batchers.values():
            batcher.stop()


def _load_model(place: str | None, settings: ServiceSettings, load: Callable[..., Recognizer] | None) -> Recognizer:
    from anytag.inference.recognizer import load as load_recognizer

    model = (load or load_recognizer)(place, threads=settings.threads)
    model.max_pixels, model.batch_size = settings.max_pixels, settings.batch_size
    return model


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Work for a model; inquiries with equal keys may be answered together."""

    key: Any
    work: Work


def recognizing(method: Literal["tag", "caption", "match"], options: dict[str, Any]) -> Inquiry:
    """Call a method of the recognizer on pictures."""

    def work(model: Recognizer, uploads: Sequence[Upload]) -> Iterator[Any]:
        return map(_answer, getattr(model, method)(_sources(uploads), **options))

    return Inquiry((method, repr(options)), work)


def locating(tag: str) -> Inquiry:
    """Locate a tag in pictures."""

    def work(model: Recognizer, uploads: Sequence[Upload]) -> Sequence[Any]:
        answers: list[Any] = []
        for upload in uploads:
            try:
                look = model.look(NamedBytes(upload.name, upload.content))
                found, heat = look.score(tag), look.locate(tag)
            except AnytagError as error:
                answers.append(error)
                continue
            grid = np.round(heat.astype(float), 4).tolist()
            answers.append({"path": upload.name, "tag": found.to_json(), "grid": grid})
        return answers

    return Inquiry(("locate", tag), work)


def _embed(model: Recognizer, uploads: Sequence[Upload]) -> Iterator[Any]:
    """Embed pictures."""

    def ask(encoded: Encoded, paths: Sequence[str]) -> list[Any]:
        return [
            {"path": path, "embedding": vector.astype(float).round(7).tolist()}
            for path, vector in zip(paths, picture_embeddings(encoded), strict=True)
        ]

    answers = model.answers(_sources(uploads), ask)
    return (_error(answer) if isinstance(answer, Failure) else answer for answer in answers)


EMBEDDING = Inquiry("embed", _embed)


def reading(text: str) -> Inquiry:
    """Embed a sentence for search, or return the error."""

    def work(model: Recognizer, items: Sequence[Any]) -> Sequence[Any]:
        try:
            return [model.questions.embed_text(text)] * len(items)
        except AnytagError as error:
            return [error] * len(items)

    return Inquiry(("text", text), work)


VOCABULARY = Inquiry("vocabulary", lambda model, items: [model.vocabulary] * len(items))


def _sources(uploads: Sequence[Upload]) -> Iterator[NamedBytes]:
    """Yield pictures lazily, since a list would be answered as a whole."""
    return (NamedBytes(upload.name, upload.content) for upload in uploads)


def _answer(result: Any) -> Any:
    """Return the JSON of a result, or the error of a failure."""
    return _error(result) if isinstance(result, Failure) else result.to_json()


def _error(failure: Failure) -> PictureError:
    return PictureError(failure.kind, failure.path, failure.message)
