"""Connections to the servers that files and answers come from.

Who gets the token, which failures may pass, how long to wait, and what they say. Whoever reads a file decides what to
do about it: :mod:`anytag.checkpoints.downloads` keeps it, :mod:`anytag.datasets.remote` reads it through.
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

#: The only site that ever gets the token of ``HF_TOKEN``, and that ``HF_ENDPOINT`` replaces.
HUB = "https://huggingface.co"

#: Sent with every request for a file: its very bytes are wanted, so that a place in them can be asked for.
FILE_HEADERS = {"User-Agent": "anytag", "Accept-Encoding": "identity"}

#: Answers below 500 that say "not now".
NOT_NOW = frozenset({408, 425, 429})


class DownloadError(AnytagError):
    """A file that could not be fetched, or is not what it should be.

    Attributes:
        status: The server's answer (404, for instance), if that was the reason.
    """

    kind = "download"

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class TransientError(Exception):
    """A failure that may be gone at the next try.

    Attributes:
        wait: Seconds that the server asks to wait, if it says so.
    """

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


def connect(url: str, headers: dict[str, str], timeout: float) -> Any:
    """Ask for a file; redirects are followed.

    Args:
        url: ``https``, ``http`` or ``file``.
        headers: What is sent along, apart from the token.
        timeout: Seconds without an answer or a byte after which the connection counts as broken.

    Returns:
        The response, as of :mod:`urllib.request`.

    Raises:
        urllib.error.HTTPError: If the answer is a status of 300 or more; see :func:`refusal`.
        DownloadError: If there is no such server or file, or the server cannot be trusted.
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
    """Follows redirects, with the token only where it belongs and never from an encrypted to an open connection."""

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
        # Unredirected: urllib copies all other headers to wherever it is sent.
        request.add_unredirected_header("Authorization", f"Bearer {token}")


def mirrored(url: str) -> str:
    """The address, on the mirror that ``HF_ENDPOINT`` names if it is one of huggingface.co."""
    mirror = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/")
    return mirror + url[len(HUB) :] if mirror and _origin(url) == HUB else url


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def headers_from(start: int, etag: str | None) -> dict[str, str]:
    """What to send for a file from a byte on, if it is still of that version (RFC 9110, ``Range`` with ``If-Range``).

    Args:
        start: The first byte wanted.
        etag: The version's entity tag, if it has a strong one; see :func:`strong_etag`.
    """
    if not start:
        return FILE_HEADERS
    return FILE_HEADERS | {"Range": f"bytes={start}-"} | ({"If-Range": etag} if etag else {})


def strong_etag(response: Any) -> str | None:
    """The entity tag of an answer; a weak one does not identify bytes (RFC 9110, 8.8.3)."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else None


def is_from(response: Any, start: int) -> bool:
    """Whether an answer of status 206 holds what follows a byte, as was asked for."""
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {start}-")


def refusal(url: str, error: urllib.error.HTTPError, target: Path | None = None) -> DownloadError | TransientError:
    """What a status of 300 or more means: an error, or a reason to wait.

    Args:
        url: What was asked for.
        error: The answer.
        target: Where a file from elsewhere would be found, if there is such a place.
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
    """Seconds that an answer's ``Retry-After`` asks for, as a number or a date (RFC 9110, 10.2.3)."""
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
    """A failure in words."""
    if isinstance(error, urllib.error.URLError):
        error = error.reason
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
