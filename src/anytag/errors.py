"""The package's errors.

Every message says what is wrong, where, and what to do about it. ``kind`` is a stable word for programs, which also
appears in the JSON lines of failed pictures.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class AnytagError(Exception):
    """Base of all errors that anytag raises on purpose."""

    kind = "error"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle without calling the constructor, whose arguments differ."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[AnytagError], args: tuple[object, ...], attributes: dict[str, object]) -> AnytagError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class UsageError(AnytagError):
    """An invalid call or command."""

    kind = "usage"


class PictureError(AnytagError):
    """A picture that cannot be read.

    Attributes:
        path: The picture's path, or a description of its origin.
        kind: ``not_found``, ``permission``, ``empty``, ``not_a_picture``, ``truncated``, ``too_large`` or
            ``unreadable``.
    """

    def __init__(self, kind: str, path: str, message: str):
        super().__init__(message)
        self.kind = kind
        self.path = path


class SampleError(AnytagError):
    """A training sample that cannot be read.

    Attributes:
        kind: ``row``, ``captions``, ``tags``, ``boxes``, ``picture``, ``download``, ``unreadable``, or ``shard``: the
            rest of a shard.
        reason: What is wrong, without the source.
        source: The sample's place, such as ``table.csv:17``; empty if not known yet.
    """

    def __init__(self, kind: str, reason: str, source: str = ""):
        super().__init__(f"{source}: {reason}" if source else reason)
        self.kind = kind
        self.reason = reason
        self.source = source

    def at(self, source: str) -> SampleError:
        """Return the error with a source, unless it has one."""
        return self if self.source else SampleError(self.kind, self.reason, source)


class DataError(AnytagError):
    """Training data with more unreadable samples than allowed."""

    kind = "data"


class VocabularyError(AnytagError):
    """An invalid tag or vocabulary file."""

    kind = "vocabulary"


class ModelError(AnytagError):
    """A model directory that is incomplete, altered, or not for this version or backend."""

    kind = "model"


class LibraryError(AnytagError):
    """The record of a batch, or an index, that cannot be used."""

    kind = "library"


class XmpError(AnytagError):
    """A file that is not XMP, or XMP that cannot be changed safely."""

    kind = "xmp"


class SidecarError(AnytagError):
    """A sidecar that cannot be written without loss."""

    kind = "sidecar"


class ResourceError(AnytagError):
    """Too little memory, or too few threads."""

    kind = "resources"


class MissingExtraError(AnytagError):
    """A missing optional dependency."""

    kind = "missing_extra"

    def __init__(self, feature: str, extra: str):
        super().__init__(f"{feature} needs an optional dependency. Install it with: pip install 'anytag[{extra}]'")
        self.extra = extra


@contextmanager
def needs_extra(feature: str, extra: str) -> Iterator[None]:
    """Explain failed imports of an optional dependency.

    Raises:
        MissingExtraError: If an import fails.
    """
    try:
        yield
    except ModuleNotFoundError:
        raise MissingExtraError(feature, extra) from None
    except ImportError as error:  # Installed, but not loadable; memory may be short.
        raise MissingExtraError(feature, extra) from error


class MissingProgramError(AnytagError):
    """A missing program that is not a Python package."""

    kind = "missing_program"


def first_line(error: BaseException) -> str:
    """Return the first line of another package's error, shortened; its type if it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
