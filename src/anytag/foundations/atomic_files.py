"""Files that are there whole or not at all: written beside their place first, and put into it when they are done.

A process that is killed on the way leaves ``NAME.part``, which the next one overwrites; a disk that fills up leaves
what was there before.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Errors of a disk that is full.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

#: Bytes that a file's name may have.
_LONGEST_NAME = 255


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write a file that is to be at ``path``; it is put there unless the block raises.

    Args:
        path: In a folder that exists; what is there stays until the new file is whole.

    Yields:
        A place beside it, whatever is left there removed if the block raises.
    """
    part = _part(path)
    try:
        with place_named(path):
            yield part
            part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


@contextmanager
def place_named(path: Path) -> Iterator[None]:
    """Give errors of the system the file that they are about: a write to a full disk does not know it."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def _part(path: Path) -> Path:
    """Where a file is written first; the longest names leave no room for more letters."""
    name = f"{path.name}.part"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f"{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}.part"
    return path.with_name(name)


def write_text(path: Path, text: str) -> None:
    r"""Write a text file in UTF-8, whole or not at all.

    Bytes of a file's name that are not UTF-8 stand in texts as halves of surrogate pairs; they are written ``\udc80``,
    as JSON does it.
    """
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a ``.npy`` file, whole or not at all."""
    import numpy as np  # Vocabularies are written here, too, and are read without it.

    with whole_file(path) as part, part.open("wb") as handle:
        np.save(handle, array)
