"""What every request passes: who may come in, how much it may bring, and one line in the log about it."""

from __future__ import annotations

import asyncio
import base64
import hmac
import ipaddress
import json
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anytag.service.answers import Json
from anytag.service.errors import ServiceError
from anytag.service.settings import ServiceSettings

logger = logging.getLogger("anytag.service")

#: Paths that need no key: whether the service lives, and the page, which asks for a key itself.
_OPEN = ("/healthz", "/readyz", "/", "/page/")

#: What the page may load: itself, and pictures that it made.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Gate:
    """ASGI middleware around the whole application.

    Args:
        app: What is behind it.
        settings: Of the service.
        answered: Told the path, the status and the seconds of every request.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, answered: Callable[[str, int, float], None]):
        self.app, self.settings, self.answered = app, settings, answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 500
        headers = Headers(scope=scope)
        request_id = _request_id(headers.get("x-request-id"))

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = MutableHeaders(scope=message)
                sent["X-Request-Id"] = request_id
                sent["X-Content-Type-Options"] = "nosniff"
                sent["Referrer-Policy"] = "no-referrer"
                sent["Content-Security-Policy"] = _POLICY
                origin = headers.get("origin")
                if origin is not None and origin in self.settings.cors:
                    sent["Access-Control-Allow-Origin"] = origin
                    sent["Access-Control-Allow-Headers"] = "Authorization, Content-Type, X-API-Key"
                    sent["Vary"] = "Origin"
            await send(message)

        try:
            self._check(scope, headers)
            if scope["method"] == "OPTIONS" and headers.get("origin") in self.settings.cors:
                await Json(None)(scope, receive, send_on)
            else:
                await self.app(scope, self._limited(receive, headers), send_on)
        except ServiceError as error:
            await error_response(error)(scope, receive, send_on)
        finally:
            seconds = time.monotonic() - start
            self.answered(scope["path"], status, seconds)
            logger.info(
                json.dumps(
                    {
                        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                        "request": request_id,
                        "method": scope["method"],
                        "path": scope["path"],
                        "status": status,
                        "milliseconds": round(seconds * 1000, 1),
                    }
                )
            )

    def _check(self, scope: Scope, headers: Headers) -> None:
        # Whoever forwards to us may go by the one, and take the rest of the body for another request.
        if headers.get("content-length") is not None and headers.get("transfer-encoding") is not None:
            raise ServiceError(400, "framing", "a request has Content-Length or Transfer-Encoding, not both")
        host = _host_of(f"//{headers.get('host', '')}")
        if not self._is_ours(host):
            raise ServiceError(
                421, "host", f"this service does not answer to the name {host!r}; start it with --host-name {host}"
            )
        if scope["method"] not in ("GET", "HEAD") and not self._is_from_here(scope["method"], headers):
            raise ServiceError(403, "origin", "pages from elsewhere may not use this service")
        length = headers.get("content-length")
        if length is not None and length.isdigit() and int(length) > self.settings.max_request_bytes:
            raise self._too_large()
        if self.settings.api_keys and not _is_open(scope["path"]) and scope["method"] != "OPTIONS":
            self._check_key(headers)

    def _is_from_here(self, method: str, headers: Headers) -> bool:
        """Whether a request comes from a program, our own page, or a page that may ask; pages elsewhere never edit."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin in self.settings.cors and method in ("POST", "OPTIONS"):
            return True
        if origin is not None and origin.partition("://")[2] != headers.get("host"):
            return False
        return site in (None, "same-origin", "none")

    def _is_ours(self, host: str) -> bool:
        """Names that are ours, and addresses: a page elsewhere can make only its own name point here."""
        if host in ("localhost", *self.settings.hosts) or host.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    def _check_key(self, headers: Headers) -> None:
        given = headers.get("x-api-key") or _key_of(headers.get("authorization", ""))
        # Every key is compared, and in constant time, so that time tells nothing.
        fits = [hmac.compare_digest(given.encode(), key.encode()) for key in self.settings.api_keys]
        if not any(fits):
            raise ServiceError(
                401,
                "key",
                "this service needs an API key: Authorization: Bearer KEY, X-API-Key: KEY, or KEY as the password",
            )

    def _limited(self, receive: Receive, headers: Headers) -> Receive:
        size, whole = 0, False
        end = time.monotonic() + self.settings.timeout

        async def limited() -> Message:
            nonlocal size, whole
            try:
                # Behind the body, only the client's going away is waited for, and that may take as long as it likes.
                async with asyncio.timeout(None if whole else max(0.0, end - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                told = f"the request was not sent within {self.settings.timeout:g} seconds"
                raise ServiceError(408, "timeout", told) from None
            whole = not message.get("more_body", False)
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                if size > self.settings.max_request_bytes:
                    raise self._too_large()
            return message

        return limited

    def _too_large(self) -> ServiceError:
        return ServiceError(413, "too_large", f"the request has more than {self.settings.max_request_bytes:,} bytes")


def error_response(error: ServiceError) -> Json:
    """An error as JSON."""
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 408 or error.kind == "framing":  # What follows on the connection is not read as another request.
        headers["Connection"] = "close"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body: dict[str, Any] = {"error": {"kind": error.kind, "message": str(error)}}
    return Json(body, error.status, headers)


def _host_of(address: str) -> str:
    """The name in an address; empty if it cannot be read, or has more in it than a port."""
    try:
        parts = urlsplit(address)
        return "" if "@" in parts.netloc else parts.hostname or ""
    except ValueError:
        return ""


def _key_of(authorization: str) -> str:
    """The key in an Authorization header: a bearer token, or the password where only these can be set."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return given
    if scheme.lower() == "basic":
        with suppress(ValueError):
            return base64.b64decode(given, validate=True).decode().partition(":")[2]
    return ""


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith("/page/")


def _request_id(given: str | None) -> str:
    """The caller's, if it is harmless, or a new one."""
    if given and len(given) <= 64 and given.replace("-", "").isalnum() and given.isascii():
        return given
    return uuid.uuid4().hex
