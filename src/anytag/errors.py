"""The package's own errors.

Every message says what is wrong, where, and what to do about it. ``kind`` is a stable, machine-readable word
that also appears in the JSON lines of a failed picture.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class AnytagError(Exception):
    """Base of every error that anytag raises on purpose."""

    kind = "error"

    def __reduce__(self) -> tuple[object, ...]:
        """Errors travel between processes whatever their constructors want."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[AnytagError], args: tuple[object, ...], attributes: dict[str, object]) -> AnytagError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class UsageError(AnytagError):
    """A call or command that cannot be carried out as given."""

    kind = "usage"


class PictureError(AnytagError):
    """A picture that cannot be read.

    Attributes:
        path: Where the picture came from, or a description of it.
        kind: ``not_found``, ``permission``, ``empty``, ``not_a_picture``, ``truncated``, ``too_large`` or
            ``unreadable``.
    """

    def __init__(self, kind: str, path: str, message: str):
        super().__init__(message)
        self.kind = kind
        self.path = path


class SampleError(AnytagError):
    """A training sample that cannot be read; the others go on.

    Attributes:
        kind: ``row``, ``captions``, ``tags``, ``boxes``, ``picture``, ``download``, ``unreadable``, or ``shard``: the
            rest of a whole shard.
        reason: What is wrong, without the place.
        source: The sample's place, such as ``table.csv:17``; empty where it is not known yet.
    """

    def __init__(self, kind: str, reason: str, source: str = ""):
        super().__init__(f"{source}: {reason}" if source else reason)
        self.kind = kind
        self.reason = reason
        self.source = source

    def at(self, source: str) -> SampleError:
        """The same error with its place, unless it has one."""
        return self if self.source else SampleError(self.kind, self.reason, source)


class DataError(AnytagError):
    """Training data of which more is unreadable than is allowed."""

    kind = "data"


class VocabularyError(AnytagError):
    """A tag or a vocabulary file that is not as it should be."""

    kind = "vocabulary"


class ModelError(AnytagError):
    """A model directory that is incomplete, altered, or not for this version or backend."""

    kind = "model"


class LibraryError(AnytagError):
    """A batch or an index of pictures that cannot be used as it is."""

    kind = "library"


class XmpError(AnytagError):
    """A file that should hold XMP metadata and does not, or none that can be changed safely."""

    kind = "xmp"


class SidecarError(AnytagError):
    """A file beside a picture that cannot be written without harm to what is there."""

    kind = "sidecar"


class ResourceError(AnytagError):
    """The machine has no memory or threads left for what was asked."""

    kind = "resources"


class MissingExtraError(AnytagError):
    """A feature whose optional dependency is not installed."""

    kind = "missing_extra"

    def __init__(self, feature: str, extra: str):
        super().__init__(f"{feature} needs an optional dependency. Install it with: pip install 'anytag[{extra}]'")
        self.extra = extra


@contextmanager
def needs_extra(feature: str, extra: str) -> Iterator[None]:
    """Around imports of an optional dependency: where it is missing, say what to install.

    Raises:
        MissingExtraError: If an import fails.
    """
    try:
        yield
    except ModuleNotFoundError:
        raise MissingExtraError(feature, extra) from None
    except ImportError as error:  # It is there, but cannot be loaded; perhaps memory is short.
        raise MissingExtraError(feature, extra) from error


class MissingProgramError(AnytagError):
    """A feature whose program, no Python package, is not installed."""

    kind = "missing_program"


def first_line(error: BaseException) -> str:
    """What another package's error says, short enough to stand inside a message; its kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
