"""``anytag parse``: turn captions into tags."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import tee
from pathlib import Path
from typing import Annotated, TextIO

from rich.text import Text
from typer import Argument, Option

from anytag.cli._inputs import Parser, ParserProcesses
from anytag.cli._output import open_console, styled, write_json
from anytag.cli._shared import STYLES
from anytag.datasets.caption_files import open_captions
from anytag.errors import UsageError
from anytag.language.parsing.parser import ParsedTag, load_parser
from anytag.recognition import TAG_KINDS


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file, plain or gzip; ``-`` is standard input.

    Raises:
        UsageError: If the file cannot be read.
    """
    if str(path) == "-":
        if sys.stdin is None:
            raise UsageError("- reads captions from standard input, but that is closed")
        # Captions are UTF-8 in every locale, perhaps with a byte order mark.
        opened: AbstractContextManager[TextIO] = io.TextIOWrapper(sys.stdin.buffer, "utf-8-sig", "replace")
    else:
        opened = open_captions(path)
    with opened as lines:
        for line in lines:
            yield line.rstrip("\r\n")


def _to_text(caption: str, tags: list[ParsedTag]) -> Text:
    text = styled(caption)
    for kind in TAG_KINDS:
        names = [tag.name for tag in tags if tag.kind == kind]
        if names:
            text.append(f"\n  {kind:<10}")
            text.append_text(styled((", ".join(names), STYLES[kind])))
    return text


def parse(
    captions: Annotated[Path, Argument(help="Text file or gzip, one caption per line; - reads standard input.")],
    json_: Annotated[bool, Option("--json", help="Write JSON lines, one per caption, in order.")] = False,
    parser: Parser = "auto",
    workers: ParserProcesses = 1,
) -> None:
    """Turn captions into tags: objects, scenes, attributes and actions.

    Example: anytag parse captions.txt --json > tags.jsonl
    """
    console = open_console()
    loaded = load_parser(parser)
    lines, again = tee(read_lines(captions))
    for caption, tags in zip(again, loaded.parse_many(lines, workers=workers), strict=True):
        if json_:
            write_json({"caption": caption, "tags": [{"name": tag.name, "kind": tag.kind} for tag in tags]})
        else:
            console.print(_to_text(caption, tags))
