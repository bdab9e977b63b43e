"""Remove what anytag wrote, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anytag.errors import AnytagError
from anytag.library.progress import Progress
from anytag.writers.embedded import remove_embedded
from anytag.writers.sidecars import read_if_present, replace_file
from anytag.writers.xmp_sidecars import remove_ours


@dataclass(frozen=True, slots=True)
class UntaggedFile:
    """The change to one file.

    Attributes:
        path: The file.
        change: ``changed``: anytag's part is removed; ``deleted``: there was nothing else in it; ``restored``: it has
            its content from before anytag; ``failed``.
        message: Why it failed.
    """

    path: str
    change: Literal["changed", "deleted", "restored", "failed"]
    message: str = ""


def untag(pictures: Iterable[Path], embedded: bool = False) -> Iterator[UntaggedFile]:
    """Remove anytag's tags and captions from the XMP sidecars of pictures, and from the pictures if asked.

    Args:
        pictures: Pictures, or XMP files.
        embedded: Also look inside the pictures (exiftool).

    Yields:
        One entry for each file that changed or could not be processed.

    Raises:
        MissingProgramError: If ``embedded`` and exiftool is not installed.
    """
    done: set[Path] = set()
    for picture in pictures:
        is_sidecar = picture.suffix.lower() == ".xmp"
        sidecars = [picture] if is_sidecar else [picture.with_name(picture.name + ".xmp"), picture.with_suffix(".xmp")]
        if not any(os.path.lexists(place) for place in (picture, *sidecars)):
            yield UntaggedFile(str(picture), "failed", f"{picture}: no such file")
        for sidecar in sidecars:
            if sidecar in done or not sidecar.exists():
                continue
            done.add(sidecar)
            try:
                change = remove_ours(sidecar)
            except (AnytagError, OSError) as error:
                yield UntaggedFile(str(sidecar), "failed", str(error))
                continue
            if change != "nothing":
                yield UntaggedFile(str(sidecar), change)
        if embedded and not is_sidecar:
            try:
                if remove_embedded(picture):
                    yield UntaggedFile(str(picture), "changed")
            except (AnytagError, OSError) as error:
                if shutil.which("exiftool") is None:
                    raise
                yield UntaggedFile(str(picture), "failed", str(error))


def untag_written(progress: Progress) -> Iterator[UntaggedFile]:
    """Delete the text files that a batch wrote, or restore their content from before, to the byte.

    Files that were changed since are reported and left alone.
    """
    progress.forget_sidecars()
    for name in progress.written_files():
        path = Path(name)
        if path.suffix.lower() == ".xmp":
            continue  # These record themselves what is anytag's; see :func:`untag`.
        try:
            present = read_if_present(path)
        except OSError as error:
            yield UntaggedFile(name, "failed", f"{name}: cannot be read ({error.strerror or error})")
            continue
        if present is None:
            continue
        written = progress.wrote(path, present)
        if written is None:
            yield UntaggedFile(name, "failed", f"{name}: was changed since anytag wrote it; it is left alone")
            continue
        _, before = written
        try:
            if before is None:
                os.unlink(path)  # noqa: PTH108
                yield UntaggedFile(name, "deleted")
            elif before != present:
                replace_file(path, before)
                yield UntaggedFile(name, "restored")
        except OSError as error:
            yield UntaggedFile(name, "failed", f"{name}: cannot be written ({error.strerror or error})")
