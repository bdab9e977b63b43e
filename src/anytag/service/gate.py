"""Middleware around every request: access, size limits, and a line in the log."""

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
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from anytag.service.errors import Json, ServiceError, error_response
from anytag.service.settings import ServiceSettings

logger = logging.getLogger("anytag.service")

#: Paths that need no key: health checks, and the web page, which asks for a key itself.
_OPEN = ("/healthz", "/readyz", "/", "/page/")

#: The page may load its own files, and pictures that it created.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Gate:
    """ASGI middleware around the whole application.

    ``answered`` is called with the path, the status and the seconds of every request.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings, answered: Callable[[str, int, float], None]):
        self.app, self.settings, self.answered = app, settings, answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
        # A proxy may use one of them, and read the rest of the body as another request.
        if headers.get("content-length") is not None and headers.get("transfer-encoding") is not None:
            raise ServiceError(400, "framing", "a request has Content-Length or Transfer-Encoding, not both")
        host = _host_of(f"//{headers.get('host', '')}")
        if not self._is_own_host(host):
            raise ServiceError(
                421, "host", f"this service does not answer to the name {host!r}; start it with --host-name {host}"
            )
        if scope["method"] not in ("GET", "HEAD") and not self._is_allowed_origin(scope["method"], headers):
            raise ServiceError(403, "origin", "pages from elsewhere may not use this service")
        length = headers.get("content-length")
        if length is not None and length.isdigit() and int(length) > self.settings.max_request_bytes:
            raise self._too_large()
        if self.settings.api_keys and not _is_open(scope["path"]) and scope["method"] != "OPTIONS":
            self._check_key(headers)

    def _is_allowed_origin(self, method: str, headers: Headers) -> bool:
        """Whether a request comes from a program, the service's page, or a page in ``cors``, which may not edit."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin in self.settings.cors and method in ("POST", "OPTIONS"):
            return True
        if origin is not None and origin.partition("://")[2] != headers.get("host"):
            return False
        return site in (None, "same-origin", "none")

    def _is_own_host(self, host: str) -> bool:
        """Whether a host is an allowed name or an address; a page elsewhere can only make its own name point here."""
        if host in ("localhost", *self.settings.hosts) or host.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    def _check_key(self, headers: Headers) -> None:
        given = headers.get("x-api-key") or _key_of(headers.get("authorization", ""))
        # Compare every key, in constant time, so that timing reveals nothing.
        matches = [hmac.compare_digest(given.encode(), key.encode()) for key in self.settings.api_keys]
        if not any(matches):
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
                # After the body, this waits only for the client to disconnect, without a limit.
                async with asyncio.timeout(None if whole else max(0.0, end - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                reason = f"the request was not sent within {self.settings.timeout:g} seconds"
                raise ServiceError(408, "timeout", reason) from None
            whole = not message.get("more_body", False)
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                if size > self.settings.max_request_bytes:
                    raise self._too_large()
            return message

        return limited

    def _too_large(self) -> ServiceError:
        return ServiceError(413, "too_large", f"the request has more than {self.settings.max_request_bytes:,} bytes")


def _host_of(address: str) -> str:
    """Return the host of an address; empty if it is malformed or has a user name."""
    try:
        parts = urlsplit(address)
        return "" if "@" in parts.netloc else parts.hostname or ""
    except ValueError:
        return ""


def _key_of(authorization: str) -> str:
    """Return the key in an Authorization header: a bearer token, or the password of clients that only support these."""
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
    """Return the caller's id if it is harmless, else a new one."""
    if given and len(given) <= 64 and given.replace("-", "").isalnum() and given.isascii():
        return given
    return uuid.uuid4().hex
