"""``anytag parse``: captions into tags."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import tee
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console
from rich.text import Text

from anytag.cli._inputs import ParserChoice
from anytag.cli._shared import STYLES, reporting
from anytag.errors import UsageError
from anytag.language.parsing.parser import ParsedTag, load_parser
from anytag.recognition import TAG_KINDS


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """The file, unpacked if it is gzip; ``-`` is standard input."""
    if str(path) == "-":
        yield sys.stdin
        return
    try:
        packed = path.open("rb").read(2) == b"\x1f\x8b"
        opener = gzip.open if packed else open
        with opener(path, "rt", encoding="utf-8", errors="replace") as file:
            yield file
    except (OSError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{path}: cannot be read as captions, one a line ({reason})") from None


def to_json(caption: str, tags: list[ParsedTag]) -> str:
    """One JSON line: ``{"caption", "tags": [{"name", "kind"}]}``."""
    record = {"caption": caption, "tags": [{"name": tag.name, "kind": tag.kind} for tag in tags]}
    return json.dumps(record, ensure_ascii=False)


def _to_text(caption: str, tags: list[ParsedTag]) -> Text:
    text = Text(caption)
    for kind in TAG_KINDS:
        names = [tag.name for tag in tags if tag.kind == kind]
        if names:
            text.append(f"\n  {kind:<10}")
            text.append(", ".join(names), style=STYLES[kind])
    return text


def parse(
    captions: Annotated[
        Path, typer.Argument(help="Text file, plain or gzip, with a caption a line; - reads standard input.")
    ],
    json_: Annotated[bool, typer.Option("--json", help="Write JSON lines, one a caption, in order.")] = False,
    parser: Annotated[ParserChoice, typer.Option(help="Which parser.", case_sensitive=False)] = ParserChoice.auto,
    workers: Annotated[int, typer.Option(min=1, help="Processes to parse in.")] = 1,
) -> None:
    """Turn captions into tags: objects, scenes, attributes and actions.

    Example: anytag parse captions.txt --json > tags.jsonl
    """
    console = Console(highlight=False, soft_wrap=True)
    with reporting("parse"):
        loaded = load_parser(parser.value)
        with _opened(captions) as file:
            lines, again = tee(line.rstrip("\r\n") for line in file)
            for caption, tags in zip(again, loaded.parse_many(lines, workers=workers), strict=True):
                if json_:
                    print(to_json(caption, tags))
                else:
                    console.print(_to_text(caption, tags))
