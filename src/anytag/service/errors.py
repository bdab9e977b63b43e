"""What a service answers when it cannot do what was asked."""

from __future__ import annotations

from anytag.errors import AnytagError


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


def overloaded() -> ServiceError:
    """The queue is full."""
    return ServiceError(429, "overloaded", "too many pictures are waiting; try again in a moment", retry_after=1)


def stopping() -> ServiceError:
    """No more work is taken."""
    return ServiceError(503, "stopping", "the service is stopping", retry_after=5)
