"""Following folders: looks at them again and again, until interrupted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from anytag.cli._output import say
from anytag.errors import UsageError
from anytag.pictures.finding import holds_pictures

Watch = Annotated[
    int | None, typer.Option(min=1, help="Look for new pictures every so many seconds, until interrupted.")
]

#: Seconds without a change after which a file counts as written, while it is watched.
_AT_REST = 2.0


def looks(sources: Sequence[str], seconds: int | None) -> Iterator[tuple[list[str], float | None]]:
    """The sources to look at, once or again and again.

    Folders that are empty or gone are left out of a look: what was found there before is kept, since they may come
    back, as network folders do.

    Args:
        sources: As given.
        seconds: Between two looks; ``None``: there is one look.

    Yields:
        The sources, and the time up to which files must have been written to be whole (seconds since 1970; ``None``:
        whenever).

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
            say(f"{folder}: {'no pictures in it' if there else 'not there'}; looking again every {seconds} s")
        if there_now := [source for source in sources if source not in absent]:
            yield there_now, time.time() - min(_AT_REST, seconds)
        time.sleep(seconds)


def _has_pictures(folder: str) -> bool:
    try:
        return holds_pictures(folder)
    except OSError:
        return False
