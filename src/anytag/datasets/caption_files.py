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
    """Open a file, decompressed if it is gzip. It is opened only once, so that it may be a pipe.

    Args:
        path: The file, in UTF-8, with or without a byte order mark.
        strict: Refuse invalid UTF-8 rather than replace it.

    Raises:
        UsageError: If it cannot be read, also later, or is not text.
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
