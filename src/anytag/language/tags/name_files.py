"""Lists of names in text files: UTF-8, one a line; blank lines and lines that begin with ``#`` do not count."""

from __future__ import annotations

from pathlib import Path

from anytag.errors import UsageError


def read_name_lines(path: Path, what: str = "names") -> list[tuple[str, int]]:
    """The names of a file, without blanks around them, each with the number of its line from 1.

    Args:
        path: The file.
        what: What they name, for messages.

    Raises:
        UsageError: If the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{path}: cannot be read as a list of {what}, one a line ({reason})") from None
    # Not splitlines: that also splits at characters that may stand in a name.
    lines = ((line.strip(), number) for number, line in enumerate(text.split("\n"), 1))
    return [(name, number) for name, number in lines if name and not name.startswith("#")]
