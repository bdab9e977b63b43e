"""Text files with a caption per line, plain or gzip."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from anytag.errors import UsageError


@contextmanager
def open_captions(path: Path, strict: bool = False) -> Iterator[TextIO]:
    """The lines of a file, unpacked if it is gzip. It is opened once, since a pipe gives its lines but once.

    Args:
        path: The file, in UTF-8 wherever it comes from, perhaps with a byte order mark.
        strict: Whether other bytes are an error; else they are replaced.

    Raises:
        UsageError: If it cannot be read, also later, or holds no text.
    """
    try:
        with path.open("rb") as file:
            head = file.peek(1024)
            packed = head.startswith(b"\x1f\x8b")
            if b"\0" in head and not packed:
                raise UsageError(f"{path}: no text in UTF-8; give a file with a caption per line")
            content = cast(BinaryIO, gzip.GzipFile(fileobj=file) if packed else file)
            yield io.TextIOWrapper(content, encoding="utf-8-sig", errors="strict" if strict else "replace")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{path}: cannot be read as captions, one per line ({reason})") from None
