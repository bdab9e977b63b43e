r"""Output of commands: JSON for programs, text for people, messages on stderr.

JSON is UTF-8 in every locale; paths in it are encoded as in :mod:`anytag.foundations.json_lines`.

Text is never interpreted as markup or emoji codes. Characters that would control a terminal are escaped (``\x1b``),
and so are those that its encoding cannot show.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
from rich.text import Text

from anytag.foundations.json_lines import json_line

#: Control characters, surrogates, line separators, and marks of writing direction.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Escape what would control a terminal or cannot be encoded; bytes that are not UTF-8 become ``\xe9``."""
    return _CONTROLS.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(found[0])
    return short or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def write_json(record: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Write one JSON line on stdout; see :func:`~anytag.foundations.json_lines.json_line`."""
    line = json_line(record)
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(line)
        return
    buffer.write(line.encode("utf-8"))
    buffer.flush()


def log(message: str) -> None:
    """Print a message on stderr."""
    lines = message.split("\n")
    print("\n".join(printable(line) for line in lines), file=sys.stderr, flush=True)


def echo(message: str) -> None:
    """Print a line on stdout."""
    print(printable(message), flush=True)


def open_console(stderr: bool = False) -> Console:
    """Return a console for text, in colors on a terminal, that interprets no markup."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def styled(*parts: str | tuple[str, str]) -> Text:
    """Return printable text of parts, some of them with a style."""
    text = Text()
    for part in parts:
        words, style = (part, "") if isinstance(part, str) else part
        text.append(printable(words), style=style)
    return text


def bar(score: float) -> str:
    """Return a score from 0 to 1 as a bar of twenty characters that the terminal can show."""
    block = "█" if can_show("█") else "#"
    return f"{block * round(score * 20):<20}"


def can_show(text: str) -> bool:
    """Whether standard output can encode these characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def pad(text: str, width: int) -> str:
    """Return printable text, padded to a width on the screen."""
    shown = printable(text)
    return shown + " " * (width - width_of(shown))


def width_of(text: str) -> int:
    """Return the width of a text on the screen."""
    return cell_len(unicodedata.normalize("NFC", printable(text)))


def write_table(rows: Sequence[Sequence[str]], heading: Sequence[str] = (), right: Iterable[int] = ()) -> None:
    """Write a table with columns as wide as their content, on any screen; those in ``right`` are right-aligned."""
    lines = [heading, *rows] if heading else list(rows)
    widths = [max(map(width_of, column)) for column in zip(*lines, strict=True)]
    console, flush_right = open_console(), set(right)
    for number, line in enumerate(lines):
        cells = []
        for place, (text, width) in enumerate(zip(line, widths, strict=True)):
            shown = pad(text, width)
            cells.append(f"{printable(text).rjust(len(shown))}" if place in flush_right else shown)
        style = "bold" if heading and number == 0 else ""
        console.print(Text("  ".join(cells).rstrip(), style=style))


def progress_bar(*columns: ProgressColumn, count: bool = True, hidden: bool = False) -> Progress:
    """Return a bar on stderr that disappears when it is done; shown on a terminal only.

    ``columns`` follow the bar; ``count`` shows the numbers done and total.
    """
    console = open_console(stderr=True)
    counts = (MofNCompleteColumn(),) if count else ()
    before = (TextColumn("{task.description}", markup=False), BarColumn(), *counts)
    return Progress(*before, *columns, console=console, transient=True, disable=hidden or not console.is_terminal)
