"""Identity of pictures in the files of batches and indexes: keys, file states, digests."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

#: Separates an archive's path from a picture's name in it: no path contains this byte.
_MEMBER = b"\0"


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Size and time of a file, which show whether it changed since it was read."""

    size: int
    modified: int  # In nanoseconds.

    @staticmethod
    def of(path: str | Path) -> FileIdentity:
        """Read them from a file, through links.

        Raises:
            OSError: If there is none.
        """
        status = os.stat(path)  # noqa: PTH116 (names that are not UTF-8 stay strings)
        return FileIdentity(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture that a batch knows.

    Attributes:
        shown: The path as it was given or found.
        identity: State of the file when it was scanned.
        content: Digest of its bytes, if computed.
    """

    key: bytes
    shown: str
    identity: FileIdentity
    content: bytes | None = None

    @staticmethod
    def of_row(key: bytes, shown: bytes, size: int, modified: int, content: bytes | None = None) -> Entry:
        """Make an entry of columns of the table ``pictures``."""
        return Entry(key, os.fsdecode(shown), FileIdentity(size, modified), content)

    @property
    def in_archive(self) -> bool:
        """Whether the picture is not a file of its own."""
        return _MEMBER in self.key


def key_of(path: str, member: str | None = None) -> bytes:
    """Return the key of a file, or of a picture in an archive."""
    key = os.fsencode(os.path.abspath(path))  # noqa: PTH100
    return key if member is None else key + _MEMBER + os.fsencode(member)


def is_gone(key: bytes) -> bool:
    """Whether the file of a key, or its archive, no longer exists."""
    return not os.path.lexists(key.partition(_MEMBER)[0])


def digest_of(content: bytes) -> bytes:
    """Return a 16-byte digest."""
    return hashlib.blake2b(content, digest_size=16).digest()
