r"""The one place where commands write: JSON for programs, text for people, messages on stderr.

JSON is UTF-8 whatever the locale; names in it are as :mod:`anytag.foundations.json_lines` says.

Text shows names as they are: nothing in them is markup or an emoji's code. What would steer a terminal is written out
(``\x1b``), and so is what the terminal's encoding does not have.
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

#: Control characters, halves of surrogate pairs, separators of lines, and what turns the direction of writing.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""The text with everything written out that would steer a terminal or cannot be encoded.

    Args:
        text: Any, such as the name of a file. A byte that was not UTF-8 is written as that byte: ``\xe9``.
    """
    return _STEERING.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(found[0])
    return short or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def write_json(record: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Write one JSON line; see :func:`~anytag.foundations.json_lines.json_line`."""
    line = json_line(record)
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(line)
        return
    buffer.write(line.encode("utf-8"))
    buffer.flush()


def say(message: str) -> None:
    """A message on stderr: one line, whatever names are in it."""
    lines = message.split("\n")
    print("\n".join(printable(line) for line in lines), file=sys.stderr, flush=True)


def tell(message: str) -> None:
    """A line on stdout, at once: what a command has done."""
    print(printable(message), flush=True)


def open_console(stderr: bool = False) -> Console:
    """Where text for people goes, in colors on a terminal. Nothing that it is given is interpreted."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def styled(*parts: str | tuple[str, str]) -> Text:
    """Text of parts, some of them with a style; what they say is made printable."""
    text = Text()
    for part in parts:
        words, style = (part, "") if isinstance(part, str) else part
        text.append(printable(words), style=style)
    return text


def bar(score: float) -> str:
    """A score from 0 to 1 as a bar of twenty places, of what the terminal can show."""
    block = "█" if can_show("█") else "#"
    return f"{block * round(score * 20):<20}"


def can_show(text: str) -> bool:
    """Whether standard output has all of these characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def pad(text: str, width: int) -> str:
    """The text made printable, with blanks up to a width on the screen."""
    shown = printable(text)
    return shown + " " * (width - width_of(shown))


def width_of(text: str) -> int:
    """How many places a text takes on the screen."""
    return cell_len(unicodedata.normalize("NFC", printable(text)))


def write_table(rows: Sequence[Sequence[str]], heading: Sequence[str] = (), right: Iterable[int] = ()) -> None:
    """Write rows in columns that are as wide as what stands in them: nothing is cut off, however narrow the screen.

    Args:
        rows: Texts, as many in each.
        heading: Names of the columns.
        right: Columns that are flush right.
    """
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
    """A bar on stderr that goes away when it is done; on a terminal only.

    Args:
        columns: What to show behind the bar.
        count: Whether to show how many of how many are done.
        hidden: Never show it.
    """
    console = open_console(stderr=True)
    counts = (MofNCompleteColumn(),) if count else ()
    before = (TextColumn("{task.description}", markup=False), BarColumn(), *counts)
    return Progress(*before, *columns, console=console, transient=True, disable=hidden or not console.is_terminal)
