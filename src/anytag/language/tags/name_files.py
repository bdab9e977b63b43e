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
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, UnicodeDecodeError):
            utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
            reason = "it is text in UTF-16; save it as UTF-8" if utf16 else "it is no text in UTF-8"
        raise UsageError(f"{path}: cannot be read as a list of {what}, one a line ({reason})") from None
    # Not splitlines: that also splits at characters that may stand in a name.
    lines = ((line.strip(), number) for number, line in enumerate(text.split("\n"), 1))
    return [(name, number) for name, number in lines if name and not name.startswith("#")]
