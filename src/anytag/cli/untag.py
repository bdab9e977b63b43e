"""``anytag untag``: take away what anytag wrote, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from anytag.cli._commands import refuse
from anytag.cli._output import say, tell, write_json
from anytag.cli._shared import reporting
from anytag.errors import UsageError
from anytag.library.progress import Progress
from anytag.library.run import PROGRESS_FILE
from anytag.library.untag import UntaggedFile, untag_written
from anytag.library.untag import untag as undo
from anytag.pictures import find_pictures


def untag(
    pictures: Annotated[
        list[str] | None,
        typer.Argument(help="Pictures, folders, globs, or XMP files.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Output folder of a batch: remove the text files that it wrote, too.")
    ] = None,
    embedded: Annotated[bool, typer.Option("--embedded", help="Also look inside the pictures (exiftool).")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON lines, one per file.")] = False,
) -> None:
    """Remove the tags and captions that anytag wrote; what people wrote stays exactly as it is.

    Example: anytag untag photos
    """
    with reporting("untag"):
        if not pictures and out is None:
            raise UsageError("name pictures or folders, or the output folder of a batch with --out")
        if out is not None and not (out / PROGRESS_FILE).exists():
            raise UsageError(f"{out}: no batch has worked here (no {PROGRESS_FILE})")
        if not any(not given.lower().endswith(".xmp") for given in pictures or ()):
            refuse(("--embedded",), "is about pictures; name them or their folders")
        done = failed = 0
        for one in _all(pictures or [], out, embedded):
            failed += one.change == "failed"
            done += one.change != "failed"
            if json_:
                write_json({"path": one.path, "change": one.change, "message": one.message})
            elif one.change == "failed":
                say(one.message)
            else:
                tell(f"{one.change:<9}{one.path}")
        noun = "file" if done == 1 else "files"
        say(f"{done:,} {noun} changed" + (f", {failed:,} not" if failed else ""))
        if failed:
            raise typer.Exit(1)


def _all(pictures: list[str], out: Path | None, embedded: bool) -> Iterator[UntaggedFile]:
    sidecars = [Path(given) for given in pictures if given.lower().endswith(".xmp")]
    others = [given for given in pictures if not given.lower().endswith(".xmp")]
    yield from undo(sidecars)
    if others:
        yield from undo(find_pictures(others), embedded)
    if out is not None:
        with closing(Progress(out / PROGRESS_FILE)) as known:
            yield from untag_written(known)
