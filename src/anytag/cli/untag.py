"""``anytag untag``: remove what anytag wrote, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from anytag.cli._commands import refuse
from anytag.cli._output import echo, log, write_json
from anytag.errors import UsageError
from anytag.foundations.wording import counted
from anytag.library.progress import Progress
from anytag.library.run import PROGRESS_FILE
from anytag.library.untag import UntaggedFile, untag_written
from anytag.library.untag import untag as undo
from anytag.pictures import find_pictures


def untag(
    pictures: Annotated[
        list[str] | None, Argument(help="Pictures, folders, globs, or XMP files.", show_default=False)
    ] = None,
    out: Annotated[Path | None, Option(help="Output folder of a batch, to remove its text files, too.")] = None,
    embedded: Annotated[bool, Option("--embedded", help="Also look inside the pictures (exiftool).")] = False,
    json_: Annotated[bool, Option("--json", help="Write JSON lines, one per file.")] = False,
) -> None:
    """Remove the tags and captions that anytag wrote; what people wrote stays exactly as it is.

    Example: anytag untag photos
    """
    if not pictures and out is None:
        raise UsageError("name pictures or folders, or the output folder of a batch with --out")
    if out is not None and not (out / PROGRESS_FILE).exists():
        raise UsageError(f"{out}: no batch has run here (no {PROGRESS_FILE})")
    sidecars = [Path(given) for given in pictures or () if given.lower().endswith(".xmp")]
    others = [given for given in pictures or () if not given.lower().endswith(".xmp")]
    if not others:
        refuse(("--embedded",), "is about pictures; name them or their folders")
    done = failed = 0
    for file in _untag_all(sidecars, others, out, embedded):
        failed += file.change == "failed"
        done += file.change != "failed"
        if json_:
            write_json(asdict(file))
        elif file.change == "failed":
            log(file.message)
        else:
            echo(f"{file.change:<9}{file.path}")
    log(f"{counted(done, 'file')} changed" + (f", {failed:,} not" if failed else ""))
    if failed:
        raise Exit(1)


def _untag_all(sidecars: list[Path], others: list[str], out: Path | None, embedded: bool) -> Iterator[UntaggedFile]:
    yield from undo(sidecars)
    if others:
        yield from undo(find_pictures(others), embedded)
    if out is not None:
        with closing(Progress(out / PROGRESS_FILE)) as known:
            yield from untag_written(known)
