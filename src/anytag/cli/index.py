"""``anytag index``: make a library searchable."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from anytag.cli._inputs import ByContent, RecognizerOptions, RetryFailed, Thumbnails, WithCaptions
from anytag.cli._output import log
from anytag.cli._shared import progress
from anytag.cli._watching import Watch, watch_sources
from anytag.errors import UsageError
from anytag.library.batch import BatchCounts
from anytag.library.nearest import advice
from anytag.library.photo_library import Library
from anytag.library.scan import Scan

#: Failures whose reasons are printed.
_MOST_SHOWN = 20


def index(
    photos: Annotated[list[str], Argument(help="Folders of photos, or files.", show_default=False)],
    *,
    library: Annotated[Path | None, Option(help="Index file. (default: .anytag/library.sqlite in the photos)")] = None,
    caption: WithCaptions = False,
    by_content: ByContent = False,
    retry_failed: RetryFailed = False,
    thumbnails: Thumbnails = None,
    watch: Watch = None,
    runtime: RecognizerOptions,
) -> None:
    """Index photos for anytag search. Later, the same command adds only what is new or changed.

    Example: anytag index photos && anytag search "dog beach -cat" --library photos
    """
    if not all(photos):
        raise UsageError("an empty path was given; use '.' for the current folder")
    if library is None and not Path(photos[0]).is_dir():
        what = "not a folder" if os.path.lexists(photos[0]) else "no such folder"
        raise UsageError(f"{photos[0]}: {what} that could hold the index; name its file, as --library my.sqlite")
    opened = Library(library or photos[0], runtime.open())
    done = BatchCounts()
    for number, (there, at_rest) in enumerate(watch_sources(photos, watch)):
        found: list[Scan] = []
        with progress(None) as advance:
            done = opened.update(
                photos,
                absent=[source for source in photos if source not in there],
                captions=caption,
                by_content=by_content,
                retry_failed=retry_failed and number == 0,
                thumbnails=thumbnails,
                at_rest=at_rest,
                advance=advance,
                begin=found.append,
            )
        [scan] = found
        if number == 0 or done.recognized or done.failed or scan.rearranged:
            _log_counts(done, scan, opened)
    if done.failed:
        raise Exit(1)


def _log_counts(done: BatchCounts, scan: Scan, library: Library) -> None:
    counts = (
        (scan.known, "known before"),
        (scan.moved, "moved"),
        (scan.copied, "known by content"),
        (scan.failed_before, "failed before (--retry-failed tries them again)"),
        (scan.gone, "gone"),
    )
    more = "".join(f", {count:,} {what}" for count, what in counts if count)
    log(f"{done.recognized:,} indexed, {done.failed:,} failed{more}: {library.path}")
    if advised := advice(len(library)):
        log(advised)
    if done.failed:
        for failure in islice(library.failures(), _MOST_SHOWN):
            log(f"failed: {failure.message}")
