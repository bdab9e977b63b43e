"""``anytag index``: make a library searchable."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from anytag.cli._inputs import ByContent, ModelOptions, RetryFailed, WithCaptions
from anytag.cli._output import say
from anytag.cli._shared import progress, reporting
from anytag.errors import UsageError
from anytag.library.photo_library import Library
from anytag.library.scan import Scan

#: Failures whose reasons are said.
_MOST_SHOWN = 20


def index(
    photos: Annotated[list[str], typer.Argument(help="Folders of photos, or files.", show_default=False)],
    *,
    library: Annotated[
        Path | None, typer.Option(help="File of the index. (default: .anytag/library.sqlite in the first folder)")
    ] = None,
    caption: WithCaptions = False,
    by_content: ByContent = False,
    retry_failed: RetryFailed = False,
    runtime: ModelOptions,
) -> None:
    """Index photos, so that anytag search finds them. The same command later adds only what is new or changed.

    Example: anytag index photos && anytag search "dog beach -cat" --library photos
    """
    with reporting("index"):
        if library is None and not Path(photos[0]).is_dir():
            what = "not a folder" if os.path.lexists(photos[0]) else "no such folder"
            raise UsageError(f"{photos[0]}: {what} that could hold the index; name its file, as --library my.sqlite")
        opened = Library(library or photos[0], runtime.open())
        found: list[Scan] = []
        with progress(None) as advance:
            done = opened.update(
                photos,
                captions=caption,
                by_content=by_content,
                retry_failed=retry_failed,
                advance=advance,
                begin=found.append,
            )
        [scan] = found
        known = f", {scan.known:,} known before" if scan.known else ""
        gone = f", {scan.gone:,} gone" if scan.gone else ""
        say(f"{done.recognized:,} indexed, {done.failed:,} failed{known}{gone}: {opened.path}")
        if done.failed:
            for failure in islice(opened.failures(), _MOST_SHOWN):
                say(f"failed: {failure.message}")
            raise typer.Exit(1)
