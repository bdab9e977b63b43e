"""What a service answers when it cannot do what was asked."""

from __future__ import annotations

from anytag.errors import AnytagError, LibraryError, PictureError, UsageError

#: Status of a picture that cannot be read, by the kind of its error; others are 422.
_PICTURE_STATUS = {"not_a_picture": 415, "too_large": 413}


class ServiceError(AnytagError):
    """A request that is refused.

    Attributes:
        status: Of the HTTP answer.
        kind: For programs.
        retry_after: Seconds after which to try again; ``None``: it will not help.
    """

    def __init__(self, status: int, kind: str, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.status, self.kind, self.retry_after = status, kind, retry_after


def as_service_error(error: AnytagError) -> ServiceError:
    """What is answered for an error of ours; of the service's own state, details stay in its log."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, PictureError):
        return ServiceError(_PICTURE_STATUS.get(error.kind, 422), error.kind, str(error))
    if isinstance(error, UsageError):
        return ServiceError(400, error.kind, str(error))
    if isinstance(error, LibraryError):
        return ServiceError(503, error.kind, "the library cannot be searched")
    return ServiceError(503, error.kind, "the model cannot be used; see the service's log")


def overloaded(retry_after: int = 1) -> ServiceError:
    """The queue is full, or too long to be done in time."""
    message = "too many pictures are waiting; try again in a moment"
    return ServiceError(429, "overloaded", message, retry_after=retry_after)


def stopping() -> ServiceError:
    """No more work is taken."""
    return ServiceError(503, "stopping", "the service is stopping", retry_after=5)
