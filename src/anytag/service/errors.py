"""Errors of the service, and answers in JSON."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse

from anytag.errors import AnytagError, LibraryError, PictureError, UsageError

#: Status of a picture error by its kind; other kinds are 422.
_PICTURE_STATUS = {"not_a_picture": 415, "too_large": 413}


class ServiceError(AnytagError):
    """A refused request.

    Attributes:
        status: HTTP status.
        kind: For programs.
        retry_after: Seconds to wait before a retry; ``None`` if a retry will not help.
    """

    def __init__(self, status: int, kind: str, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.status, self.kind, self.retry_after = status, kind, retry_after


def as_service_error(error: AnytagError) -> ServiceError:
    """Convert an error of the package; details of the service's own state go only to its log."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, PictureError):
        return ServiceError(_PICTURE_STATUS.get(error.kind, 422), error.kind, str(error))
    if isinstance(error, UsageError):
        return ServiceError(400, error.kind, str(error))
    if isinstance(error, LibraryError):
        return ServiceError(503, error.kind, "the library cannot be searched")
    return ServiceError(503, error.kind, "the model cannot be used; see the service's log")


class Json(JSONResponse):
    """A JSON answer that can contain any file name: bytes that are not UTF-8 are escaped."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def error_response(error: ServiceError) -> Json:
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 408 or error.kind == "framing":  # Never read the rest as another request.
        headers["Connection"] = "close"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body: dict[str, Any] = {"error": {"kind": error.kind, "message": str(error)}}
    return Json(body, error.status, headers)
