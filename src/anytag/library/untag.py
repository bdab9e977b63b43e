"""Taking away what anytag wrote, and nothing else."""

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
from anytag.writers.sidecars import replace_file
from anytag.writers.xmp_sidecars import remove_ours


@dataclass(frozen=True, slots=True)
class Undone:
    """What became of one file.

    Attributes:
        path: The file.
        change: ``changed``: what was ours is gone; ``deleted``: nothing else stood in it; ``restored``: it is what it
            was before us; ``failed``.
        message: Why it failed.
    """

    path: str
    change: Literal["changed", "deleted", "restored", "failed"]
    message: str = ""


def untag(pictures: Iterable[Path], embedded: bool = False) -> Iterator[Undone]:
    """Take tags and captions of ours out of pictures' XMP sidecars, and out of the pictures where asked.

    Args:
        pictures: Pictures, or XMP files.
        embedded: Look into the pictures themselves, too (exiftool).

    Yields:
        One entry a file that held something of ours, or that could not be looked at.

    Raises:
        MissingProgramError: If pictures are to be looked into and exiftool is not installed.
    """
    seen: set[Path] = set()
    for picture in pictures:
        is_sidecar = picture.suffix.lower() == ".xmp"
        sidecars = [picture] if is_sidecar else [picture.with_name(picture.name + ".xmp"), picture.with_suffix(".xmp")]
        if not any(os.path.lexists(place) for place in (picture, *sidecars)):
            yield Undone(str(picture), "failed", f"{picture}: no such file")
        for sidecar in sidecars:
            if sidecar in seen or not sidecar.exists():
                continue
            seen.add(sidecar)
            try:
                change = remove_ours(sidecar)
            except (AnytagError, OSError) as error:
                yield Undone(str(sidecar), "failed", str(error))
                continue
            if change != "nothing":
                yield Undone(str(sidecar), change)
        if embedded and not is_sidecar:
            try:
                if remove_embedded(picture):
                    yield Undone(str(picture), "changed")
            except (AnytagError, OSError) as error:
                if shutil.which("exiftool") is None:
                    raise
                yield Undone(str(picture), "failed", str(error))


def untag_written(progress: Progress) -> Iterator[Undone]:
    """Take back the text files that a batch wrote: what people wrote before is restored, to the byte.

    A file that was changed since is left alone, and said to be.

    Args:
        progress: Of the batch.
    """
    progress.forget_sidecars()
    for name in progress.written_files():
        path = Path(name)
        if path.suffix.lower() == ".xmp":
            continue  # Those know themselves what is ours; see :func:`untag`.
        try:
            there = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Undone(name, "failed", f"{name}: cannot be read ({error.strerror or error})")
            continue
        known = progress.wrote(path, there)
        if known is None:
            yield Undone(name, "failed", f"{name}: was changed since anytag wrote it; it is left alone")
            continue
        before = known[1]
        try:
            if before is None:
                os.unlink(path)  # noqa: PTH108
                yield Undone(name, "deleted")
            elif before != there:
                replace_file(path, before)
                yield Undone(name, "restored")
        except OSError as error:
            yield Undone(name, "failed", f"{name}: cannot be written ({error.strerror or error})")
