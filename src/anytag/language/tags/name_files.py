"""Lists of names: comma-separated, or one per line in a UTF-8 file with ``#`` comments."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from anytag.errors import UsageError


def read_name_lines(path: Path, what: str = "names") -> list[tuple[str, int]]:
    """Return the names in a file, stripped, with their line numbers from 1; ``what`` they name is for messages.

    Raises:
        UsageError: If the file cannot be read.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, UnicodeDecodeError):
            utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
            reason = "it is text in UTF-16; save it as UTF-8" if utf16 else "it is not text in UTF-8"
        raise UsageError(f"{path}: cannot be read as a list of {what}, one per line ({reason})") from None
    # Not splitlines, which also splits at characters that names may contain.
    lines = ((line.strip(), number) for number, line in enumerate(text.split("\n"), 1))
    return [(name, number) for name, number in lines if name and not name.startswith("#")]


def split_names(text: str, option: str) -> list[str]:
    """Return the names in an option's comma-separated list, stripped, without empty ones.

    The list is CSV: a name that contains a comma is in double quotes, and a quote in it is doubled. Line breaks
    separate like commas.

    Raises:
        UsageError: If a quote is not closed, or something follows one.
    """
    closed = re.sub(r'"[ \t]+(?=,|\n|$)', '"', text)
    try:
        rows = list(csv.reader(io.StringIO(closed, newline=""), skipinitialspace=True, strict=True))
    except csv.Error:
        raise UsageError(
            f"{option}: {text!r} is not a comma-separated list; a name in double quotes ends with one: "
            '"rock, paper",scissors'
        ) from None
    return [name.strip() for row in rows for name in row if name.strip()]
