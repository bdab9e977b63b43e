"""A recognizer on another machine: the methods of :class:`anytag.Recognizer` over HTTP."""

from __future__ import annotations

import http.client
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, Literal, TypeVar, cast
from urllib.parse import urlencode, urlsplit

import numpy as np
from PIL import Image

from anytag.backends.base import FloatArray
from anytag.errors import AnytagError, PictureError, UsageError
from anytag.foundations import arguments
from anytag.foundations.look_ahead import run_ahead
from anytag.model.vocabulary import TagVocabulary
from anytag.pictures import PictureSource, read_picture
from anytag.pictures.heat_maps import resize_heat_map
from anytag.pictures.sources import NamedBytes, check_picture, describe, is_picture, open_stream
from anytag.recognition import Failure, Match, Matches, Recognition, Tag
from anytag.service.remote_look import RemoteLook

Answer = TypeVar("Answer")
Recognized = Recognition | list[Recognition | Failure] | Iterator[Recognition | Failure]
Matched = Matches | list[Matches | Failure] | Iterator[Matches | Failure]

#: Simultaneous requests, enough to fill the service's batches.
_AT_ONCE = 8

#: Seconds of retries while a service is busy.
_PATIENCE = 60.0

#: Kinds of errors of a single picture.
_PICTURE_KINDS = {
    "not_found", "permission", "empty", "not_a_picture", "truncated", "too_large", "unreadable", "unsupported", "blank",
}  # fmt: skip


class ConnectionFailed(AnytagError):
    """A service that does not answer, or is not a service of anytag."""

    kind = "connection"


class RemoteRecognizer:
    """Recognize pictures with a service; made by :func:`connect`.

    Methods take the arguments of :class:`anytag.Recognizer`'s and return the same: one picture, a list, or any iterable
    (lazily, in order). Pictures are sent unchanged, several at once.

    Args:
        url: Address of the service, such as ``http://127.0.0.1:8000``.
        key: API key.
        model: Name of one of its models; ``None``: the default.
        timeout: Seconds to wait for an answer.
    """

    def __init__(self, url: str, key: str | None = None, model: str | None = None, timeout: float = 60.0):
        arguments.text("url", url)
        for name, given in (("key", key), ("model", model)):
            if given is not None:
                arguments.text(name, given)
        arguments.number("timeout", timeout, 1e-3, 1e6)
        try:
            parts = urlsplit(url if "//" in url else f"http://{url}")
            port = parts.port
        except ValueError as error:
            raise UsageError(f"{url}: not the address of a service ({error})") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url}: not the address of a service; it begins with http:// or https://")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._host, self._port, self._secure = parts.hostname, port, parts.scheme == "https"
        self._headers = {"User-Agent": "anytag", **({"X-API-Key": key} if key else {})}
        self._model, self._timeout = model, timeout
        self._local = threading.local()

    def __call__(self, picture: PictureSource) -> Recognition:
        """Return tags and a caption of one picture."""
        return cast(Recognition, self.caption(picture))

    def tag(
        self,
        pictures: PictureSource | Iterable[PictureSource],
        *,
        categories: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        threshold: float | None = None,
        top: int | None = None,
    ) -> Recognized:
        """Find tags; see :meth:`anytag.Recognizer.tag`."""
        options = {
            "categories": _listed("categories", categories),
            "kinds": _listed("kinds", kinds),
            "threshold": threshold,
            "top": top,
        }
        return cast(Recognized, self._ask(pictures, "/v1/tag", options, _recognition))

    def caption(
        self,
        pictures: PictureSource | Iterable[PictureSource],
        *,
        tags: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        threshold: float | None = None,
        top: int | None = None,
        num_beams: int | None = None,
        sample: bool = False,
        seed: int | None = None,
    ) -> Recognized:
        """Write captions; see :meth:`anytag.Recognizer.caption`."""
        options = {
            "tags": _listed("tags", tags),
            "kinds": _listed("kinds", kinds),
            "threshold": threshold,
            "top": top,
            "num_beams": num_beams,
            "sample": arguments.flag("sample", sample) or None,
            "seed": seed,
        }
        return cast(Recognized, self._ask(pictures, "/v1/caption", options, _recognition))

    def match(self, pictures: PictureSource | Iterable[PictureSource], texts: Sequence[str]) -> Matched:
        """Score how well texts fit pictures; see :meth:`anytag.Recognizer.match`."""
        return cast(Matched, self._ask(pictures, "/v1/match", {"texts": arguments.texts("texts", texts)}, _matches))

    def look(self, picture: PictureSource) -> RemoteLook:
        """Read a picture to ask several things about it; each sends it again. See :meth:`anytag.Recognizer.look`."""
        source = _named(picture)
        recognition = cast(Recognition, self.tag(source))
        return RemoteLook(recognition.path, recognition.notes, source.getvalue(), self)

    def locate(
        self, picture: PictureSource, tag: str, *, resize: Literal["nearest", "bilinear"] | None = None
    ) -> FloatArray:
        """Locate a tag: ``[rows, columns]``, 0 to 1; see :meth:`anytag.Recognizer.locate`."""
        if resize is not None:
            arguments.choice("resize", resize, ("nearest", "bilinear"))
        source = _named(picture)
        heat = cast(FloatArray, self._ask(source, "/v1/locate", {"tag": arguments.text("tag", tag)}, _grid))
        if resize is None:
            return heat
        return resize_heat_map(heat, *read_picture(source, accept_truncated=True).size, resize)

    def score(self, picture: PictureSource, tag: str) -> Tag:
        """Score a tag, found or not; see :meth:`anytag.Look.score`."""
        return cast(Tag, self._ask(picture, "/v1/locate", {"tag": arguments.text("tag", tag)}, _scored))

    def embed(self, picture: PictureSource) -> FloatArray:
        """Return an embedding for comparing pictures; see :meth:`anytag.Recognizer.embed`."""
        return cast(FloatArray, self._ask(picture, "/v1/embed", {}, _embedding))

    @cached_property
    def vocabulary(self) -> TagVocabulary:
        """The model's vocabulary, requested once, without translations."""
        records = sorted(self.tags(), key=lambda record: int(record["id"]))
        kinds: dict[str, dict[str, int]] = {}
        for record in records:
            kinds.setdefault(record["name"], {})[record["kind"]] = record["id"]
        # Implied tags are given without their kind, which is nearly always the tag's own.
        tags = [
            record | {"implies": [kinds[n].get(record["kind"], min(kinds[n].values())) for n in record["implies"]]}
            for record in records
        ]
        return TagVocabulary.from_json({"tags": tags}, self.url)

    def tags(self, search: str = "", limit: int = 10_000) -> list[dict[str, Any]]:
        """Return the tags of the model, with kinds and aliases."""
        query = {"search": search, "limit": limit} | ({"model": self._model} if self._model else {})
        return list(self._request("GET", f"/v1/tags?{urlencode(query)}", None)["tags"])

    def search(self, query: str = "", limit: int = 20, facets: int = 0, *, text: str = "") -> dict[str, Any]:
        """Find photos of the service's library that match a query or fit a sentence; the JSON of ``/v1/search``."""
        options = {"q": query, "text": text, "limit": limit, "facets": facets}
        return cast(dict[str, Any], self._request("GET", f"/v1/search?{urlencode(options)}", None))

    # -- asking -------------------------------------------------------------------------------------------------

    def _ask(
        self, pictures: Any, route: str, options: dict[str, Any], read: Callable[[str, dict[str, Any]], Answer]
    ) -> Any:
        given = {name: value for name, value in options.items() if value is not None}
        if self._model is not None:
            given["model"] = self._model
        address = f"{route}?{urlencode(given, doseq=True)}"

        def one(number: int, source: PictureSource) -> Answer | Failure:
            path = describe(source, number)
            try:
                return read(path, self._request("POST", address, _content(source, path)))
            except PictureError as error:
                return Failure(path, error.kind, str(error) if path in str(error) else f"{path}: {error}")

        if is_picture(pictures):
            answer = one(1, pictures)
            if isinstance(answer, Failure):
                raise PictureError(answer.kind, answer.path, answer.message)
            return answer
        jobs = ((number, partial(one, number, source)) for number, source in enumerate(pictures, 1))
        # Twice as many may be started, so that early results do not block later ones.
        stream = (result() for _, result in run_ahead(jobs, _AT_ONCE, 2 * _AT_ONCE))
        return list(stream) if isinstance(pictures, list | tuple) else stream

    def _request(self, method: str, address: str, body: bytes | None) -> Any:
        """Return the JSON of an answer, after retries while the service is busy.

        Raises:
            PictureError: If the service cannot read the picture.
            UsageError: If it refuses the request.
            ConnectionFailed: If it does not answer.
        """
        end = time.monotonic() + _PATIENCE
        while True:
            status, record, wait = self._try(method, address, body)
            if status == 200:
                return record
            error = record.get("error") if isinstance(record, dict) else None
            if not isinstance(error, dict):
                raise ConnectionFailed(f"{self.url}: answered with status {status}; is it a service of anytag?")
            kind, message = str(error.get("kind")), str(error.get("message"))
            if status in (429, 503) and wait is not None and time.monotonic() + wait < end:
                time.sleep(wait)
            elif kind in _PICTURE_KINDS:
                raise PictureError(kind, "picture", message.removeprefix("picture: "))
            elif status in (400, 403, 404):
                raise UsageError(f"{self.url}: {message}")
            else:
                raise ConnectionFailed(f"{self.url}: {message}")

    def _try(self, method: str, address: str, body: bytes | None) -> tuple[int, Any, float | None]:
        """Send a request over this thread's connection, which is opened again if the server closed it."""
        for fresh in (False, True):
            connection = getattr(self._local, "connection", None)
            if connection is None or fresh:
                kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
                connection = self._local.connection = kind(self._host, self._port, timeout=self._timeout)
            try:
                headers = self._headers | ({"Content-Type": "application/octet-stream"} if body is not None else {})
                connection.request(method, address, body, headers)
                answer = connection.getresponse()
                content = answer.read()
                wait = answer.getheader("Retry-After")
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if not fresh and not isinstance(error, TimeoutError):
                    continue
                reason = str(error) or type(error).__name__
                raise ConnectionFailed(f"{self.url}: does not answer ({reason}); is the service running?") from error
            try:
                record = json.loads(content)
            except ValueError:
                record = None
            return answer.status, record, float(wait) if wait is not None and wait.isdigit() else None
        raise AssertionError("unreachable")


def connect(url: str, key: str | None = None, model: str | None = None, timeout: float = 60.0) -> RemoteRecognizer:
    """Connect to a service (``anytag serve``), and use it like a recognizer.

    Args:
        url: Address of the service.
        key: API key; ``None``: that of ``ANYTAG_API_KEY``, if set.
        model: Name of one of its models; ``None``: the default.
        timeout: Seconds to wait for an answer.

    Raises:
        UsageError: If this is not an address.
        ConnectionFailed: If nothing answers there.
    """
    remote = RemoteRecognizer(url, os.environ.get("ANYTAG_API_KEY") if key is None else key, model, timeout)
    remote._request("GET", "/healthz", None)
    return remote


def _named(picture: PictureSource) -> NamedBytes:
    """Return a picture's bytes with its name, to be sent several times."""
    check_picture("picture", picture)
    path = describe(picture, 1)
    return NamedBytes(path, _content(picture, path))


def _content(source: Any, path: str) -> bytes:
    """Return a picture's bytes; arrays and Pillow pictures, upright and over white, become PNG."""
    if isinstance(source, np.ndarray | Image.Image):
        out = io.BytesIO()
        read_picture(source, label=path).save(out, "PNG")
        return out.getvalue()
    with open_stream(source, path) as stream:
        return stream.read()


def _listed(what: str, names: Sequence[str] | None) -> str | None:
    """Return names as one line of CSV."""
    if names is None:
        return None
    given = arguments.texts(what, names)
    return ",".join('"' + name.replace('"', '""') + '"' if set(name) & set('",\n') else name for name in given)


def _grid(path: str, record: dict[str, Any]) -> FloatArray:
    return np.asarray(record["grid"], np.float32)


def _scored(path: str, record: dict[str, Any]) -> Tag:
    return _tag(record["tag"])


def _embedding(path: str, record: dict[str, Any]) -> FloatArray:
    return np.asarray(record["embedding"], np.float32)


def _tag(record: dict[str, Any]) -> Tag:
    known = {name: value for name, value in record.items() if name in Tag.__dataclass_fields__}
    return Tag(**known)


def _recognition(path: str, record: dict[str, Any]) -> Recognition:
    given, covered = record.get("given"), record.get("covered")
    return Recognition(
        path,
        tuple(map(_tag, record["tags"])),
        record.get("caption"),
        None if given is None else tuple(given),
        None if covered is None else tuple(covered),
        tuple(record.get("notes", ())),
    )


def _matches(path: str, record: dict[str, Any]) -> Matches:
    return Matches(
        path,
        tuple(Match(one["text"], one["score"], tuple(map(_tag, one["tags"]))) for one in record["matches"]),
    )
