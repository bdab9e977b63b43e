"""A recognizer that is somewhere else: the methods of :class:`anytag.Recognizer` over HTTP."""

from __future__ import annotations

import http.client
import io
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, cast
from urllib.parse import urlencode, urlsplit

import numpy as np
from PIL import Image

from anytag.backends.base import FloatArray
from anytag.errors import AnytagError, PictureError, UsageError
from anytag.foundations import arguments
from anytag.pictures import PictureSource
from anytag.pictures.sources import describe
from anytag.recognition import Failure, Match, Matches, Recognition, Tag

Answer = TypeVar("Answer")
Seen = Recognition | list[Recognition | Failure] | Iterator[Recognition | Failure]
Matched = Matches | list[Matches | Failure] | Iterator[Matches | Failure]

#: Requests under way at once: enough to fill the service's batches.
_AT_ONCE = 8

#: Seconds for which a busy service is asked again.
_PATIENCE = 60.0

#: Types of one picture that could be taken for an iterable of several.
_SINGLE = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)

#: Kinds of errors that are about one picture.
_PICTURE_KINDS = {
    "not_found", "permission", "empty", "not_a_picture", "truncated", "too_large", "unreadable", "unsupported", "blank",
}  # fmt: skip


class ConnectionFailed(AnytagError):
    """A service that does not answer, or not as a service of anytag."""

    kind = "connection"


class RemoteRecognizer:
    """Recognizes pictures through a service; :func:`connect` makes one.

    Methods take what those of :class:`anytag.Recognizer` take and give what they give: one picture, a list, or any
    iterable (and then lazily, in order). Pictures are sent as they are, several at once.

    Args:
        url: Of the service, such as ``http://127.0.0.1:8000``.
        key: Its API key.
        model: Name of one of its models; ``None``: the default.
        timeout: Seconds for an answer.
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
        """Tags and a caption of one picture."""
        return cast(Recognition, self.caption(picture))

    def tag(
        self,
        pictures: PictureSource | Iterable[PictureSource],
        *,
        categories: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        threshold: float | None = None,
        top: int | None = None,
    ) -> Seen:
        """Find tags; see :meth:`anytag.Recognizer.tag`."""
        options = {
            "categories": _listed("categories", categories),
            "kinds": _listed("kinds", kinds),
            "threshold": threshold,
            "top": top,
        }
        return cast(Seen, self._ask(pictures, "/v1/tag", options, _recognition))

    def caption(
        self,
        pictures: PictureSource | Iterable[PictureSource],
        *,
        tags: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        threshold: float | None = None,
        top: int | None = None,
        num_beams: int | None = None,
    ) -> Seen:
        """Write captions; see :meth:`anytag.Recognizer.caption`."""
        options = {
            "tags": _listed("tags", tags),
            "kinds": _listed("kinds", kinds),
            "threshold": threshold,
            "top": top,
            "num_beams": num_beams,
        }
        return cast(Seen, self._ask(pictures, "/v1/caption", options, _recognition))

    def match(self, pictures: PictureSource | Iterable[PictureSource], texts: Sequence[str]) -> Matched:
        """Score how well texts fit pictures; see :meth:`anytag.Recognizer.match`."""
        return cast(Matched, self._ask(pictures, "/v1/match", {"texts": arguments.texts("texts", texts)}, _matches))

    def locate(self, picture: PictureSource, tag: str) -> FloatArray:
        """Where a picture shows a tag: ``[rows, columns]``, 0 to 1; see :meth:`anytag.Recognizer.locate`."""
        return cast(FloatArray, self._ask(picture, "/v1/locate", {"tag": arguments.text("tag", tag)}, _map))

    def tags(self, search: str = "", limit: int = 10_000) -> list[dict[str, Any]]:
        """The tags that the model knows, with their kinds and aliases."""
        query = {"search": search, "limit": limit} | ({"model": self._model} if self._model else {})
        return list(self._request("GET", f"/v1/tags?{urlencode(query)}", None)["tags"])

    def search(self, query: str, limit: int = 20, facets: int = 0) -> dict[str, Any]:
        """Photos of the service's library that fit a query; the JSON of ``/v1/search``."""
        asked = {"q": query, "limit": limit, "facets": facets}
        return cast(dict[str, Any], self._request("GET", f"/v1/search?{urlencode(asked)}", None))

    # -- asking -------------------------------------------------------------------------------------------------

    def _ask(
        self, pictures: Any, route: str, options: dict[str, Any], read: Callable[[str, dict[str, Any]], Answer]
    ) -> Any:
        given = {name: value for name, value in options.items() if value is not None}
        if self._model is not None:
            given["model"] = self._model
        address = f"{route}?{urlencode(given, doseq=True)}"

        def one(source: PictureSource) -> Answer | Failure:
            path = describe(source)
            try:
                return read(path, self._request("POST", address, _content(source, path)))
            except PictureError as error:
                return Failure(path, error.kind, str(error) if path in str(error) else f"{path}: {error}")

        if isinstance(pictures, _SINGLE) or hasattr(pictures, "read"):
            answer = one(pictures)
            if isinstance(answer, Failure):
                raise PictureError(answer.kind, answer.path, answer.message)
            return answer
        stream = _in_order(one, pictures)
        return list(stream) if isinstance(pictures, list | tuple) else stream

    def _request(self, method: str, address: str, body: bytes | None) -> Any:
        """An answer's JSON; a busy service is asked again.

        Raises:
            PictureError: If the service cannot read the picture.
            UsageError: If it does not take the request.
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
        """One exchange over this thread's connection; a connection that the server has closed is opened again."""
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
    """Use a recognizer that is served elsewhere (``anytag serve``).

    Args:
        url: Of the service.
        key: Its API key; ``None``: that of ``ANYTAG_API_KEY``, if it is set.
        model: Name of one of its models; ``None``: the default.
        timeout: Seconds for an answer.

    Raises:
        UsageError: If this is no address.
        ConnectionFailed: If nobody answers there.
    """
    remote = RemoteRecognizer(url, os.environ.get("ANYTAG_API_KEY") if key is None else key, model, timeout)
    remote._request("GET", "/healthz", None)
    return remote


def _in_order(one: Callable[[Any], Answer], pictures: Iterable[Any]) -> Iterator[Answer]:
    """Answers in the order of the pictures, several asked for at once; pictures are drawn as they are needed."""
    waiting: deque[Future[Answer]] = deque()
    rest = iter(pictures)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="anytag-client") as pool:
        try:
            while True:
                while len(waiting) < 2 * _AT_ONCE:
                    picture = next(rest, waiting)
                    if picture is waiting:
                        break
                    waiting.append(pool.submit(one, picture))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _content(source: Any, path: str) -> bytes:
    """A picture's bytes; arrays and Pillow's pictures become PNG."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, np.ndarray | Image.Image):
        out = io.BytesIO()
        (source if isinstance(source, Image.Image) else Image.fromarray(source)).save(out, "PNG")
        return out.getvalue()
    if hasattr(source, "read"):
        return bytes(source.read())
    try:
        with open(source, "rb") as file:  # noqa: PTH123 (names that are no UTF-8 stay as they are)
            return file.read()
    except FileNotFoundError:
        raise PictureError("not_found", path, f"{path}: no such file. Check the path.") from None
    except PermissionError:
        raise PictureError("permission", path, f"{path}: may not be read.") from None
    except OSError as error:
        raise PictureError("unreadable", path, f"{path}: could not be read ({error.strerror or error}).") from None


def _listed(what: str, names: Sequence[str] | None) -> str | None:
    """Names as one CSV line."""
    if names is None:
        return None
    given = arguments.texts(what, names)
    return ",".join('"' + name.replace('"', '""') + '"' if set(name) & set('",\n') else name for name in given)


def _map(path: str, record: dict[str, Any]) -> FloatArray:
    return np.asarray(record["map"], np.float32)


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
