"""HTTP connections: who gets the token, which failures are transient, how long to wait, and error messages.

:mod:`anytag.checkpoints.downloads` saves files, and :mod:`anytag.datasets.remote` streams them.
"""

from __future__ import annotations

import email.utils
import http.client
import os
import socket
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from anytag.errors import AnytagError

#: The only site that gets the token in ``HF_TOKEN``, and that ``HF_ENDPOINT`` replaces.
HUB = "https://huggingface.co"

#: Headers of every request for a file; without compression, so that byte ranges can be requested.
FILE_HEADERS = {"User-Agent": "anytag", "Accept-Encoding": "identity"}

#: Status codes below 500 after which a retry may succeed.
NOT_NOW = frozenset({408, 425, 429})


class DownloadError(AnytagError):
    """A file that could not be downloaded, or has unexpected content.

    Attributes:
        status: The server's status code (404, for instance), if that was the reason.
    """

    kind = "download"

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class TransientError(Exception):
    """A failure after which a retry may succeed.

    Attributes:
        wait: Seconds that the server asks to wait; ``None`` if it does not say.
    """

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


def connect(url: str, headers: dict[str, str], timeout: float) -> Any:
    """Request a file, following redirects.

    Args:
        url: ``https``, ``http`` or ``file``.
        headers: Without the token, which is added.
        timeout: Seconds without an answer or a byte after which the connection counts as broken.

    Returns:
        The response of :mod:`urllib.request`.

    Raises:
        urllib.error.HTTPError: If the status is 300 or more; see :func:`refusal`.
        DownloadError: If there is no such server or file, or the server's certificate is not trusted.
        TransientError: If there is no connection.
    """
    request = urllib.request.Request(url, headers=headers)
    _authorize(request)
    try:
        return urllib.request.build_opener(_Redirects).open(request, timeout=timeout)
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if request.type == "file":
            raise DownloadError(f"{url}: {reason_of(cause)}; check the path") from None
        if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
            raise DownloadError(f"{url}: {request.host} is not known; check the address and the connection") from None
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise DownloadError(f"{url}: the server's certificate is not trusted ({reason_of(cause)})") from None
        raise TransientError(f"no connection ({reason_of(cause)})") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to http; sends the token only to :data:`HUB`."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise DownloadError(f"{req.full_url}: redirects to {newurl}, which is not encrypted")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            _authorize(request)
        return request


def _authorize(request: urllib.request.Request) -> None:
    token = os.environ.get("HF_TOKEN", "").strip()
    if token and _origin(request.full_url) == HUB:
        # Unredirected, since urllib sends all other headers to wherever it is redirected.
        request.add_unredirected_header("Authorization", f"Bearer {token}")


def mirrored(url: str) -> str:
    """Return the address on the mirror that ``HF_ENDPOINT`` names, if it is one of huggingface.co."""
    mirror = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/")
    return mirror + url[len(HUB) :] if mirror and _origin(url) == HUB else url


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def headers_from(start: int, etag: str | None) -> dict[str, str]:
    """Return headers for a file from byte ``start`` on, if it still has that strong entity tag.

    See RFC 9110, ``Range`` with ``If-Range``, and :func:`strong_etag`.
    """
    if not start:
        return FILE_HEADERS
    return FILE_HEADERS | {"Range": f"bytes={start}-"} | ({"If-Range": etag} if etag else {})


def strong_etag(response: Any) -> str | None:
    """Return a response's entity tag, unless it is weak and does not identify bytes (RFC 9110, 8.8.3)."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else None


def is_from(response: Any, start: int) -> bool:
    """Return whether a response with status 206 starts at the requested byte."""
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {start}-")


def refusal(url: str, error: urllib.error.HTTPError, target: Path | None = None) -> DownloadError | TransientError:
    """Return the error for a status of 300 or more, transient or not.

    If the user may have the file from elsewhere, ``target`` is where to put it.
    """
    what = f"answered {error.code} {error.reason}"
    if error.code in NOT_NOW or error.code >= 500:
        return TransientError(what, retry_after(error))
    if error.code in (401, 403):
        advice = "not open to everybody; if you have access, put your Hugging Face token in HF_TOKEN"
    elif error.code in (404, 410):
        advice = (
            f"not there anymore; if you have the file from elsewhere, put it at {target}" if target else "not there"
        )
    else:
        advice = "the server does not give the file"
    return DownloadError(f"{url}: {advice} ({what})", error.code)


def retry_after(error: urllib.error.HTTPError) -> float | None:
    """Return the seconds of ``Retry-After``, which holds a number or a date (RFC 9110, 10.2.3)."""
    value = error.headers.get("Retry-After")
    if value is None:
        return None
    try:
        if value.strip().isdigit():
            return float(value)
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def reason_of(error: object) -> str:
    """Describe a connection failure."""
    if isinstance(error, urllib.error.URLError):
        error = error.reason
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
