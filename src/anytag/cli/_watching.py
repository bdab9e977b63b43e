"""Watch folders: look for new pictures again and again, until interrupted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

from typer import Option

from anytag.cli._output import log
from anytag.errors import UsageError
from anytag.pictures.finding import holds_pictures

Watch = Annotated[
    int | None, Option(min=1, help="Watch for new pictures until interrupted: seconds between two scans.")
]

#: Seconds without a change after which a watched file counts as complete.
_AT_REST = 2.0


def watch_sources(sources: Sequence[str], seconds: int | None) -> Iterator[tuple[list[str], float | None]]:
    """Yield the sources to scan, once or every so many seconds.

    Empty or missing folders are left out, so that their pictures are not forgotten: network folders come back.

    Yields:
        The sources, and the time after which files may be incomplete (seconds since 1970; ``None``: never).

    Raises:
        UsageError: If a list on standard input is to be watched.
    """
    if seconds is None:
        yield list(sources), None
        return
    if "-" in sources:
        raise UsageError("--watch follows folders; a list on standard input is read only once")
    folders = {source for source in sources if os.path.isdir(source)}  # noqa: PTH112 (names that are not UTF-8)
    absent: set[str] = set()
    while True:
        before, absent = absent, {folder for folder in folders if not _has_pictures(folder)}
        for folder in sorted(absent - before):
            there = os.path.isdir(folder)  # noqa: PTH112
            log(f"{folder}: {'no pictures in it' if there else 'not there'}; looking again every {seconds} s")
        if there_now := [source for source in sources if source not in absent]:
            yield there_now, time.time() - min(_AT_REST, seconds)
        time.sleep(seconds)


def _has_pictures(folder: str) -> bool:
    try:
        return holds_pictures(folder)
    except OSError:
        return False
