"""Write files atomically: into ``NAME.part`` beside the target, then renamed.

A process that is killed leaves ``NAME.part``, which the next one overwrites. A full disk leaves the old file as it was.
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

#: Error numbers of a full disk.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

#: Most bytes of a file name.
_LONGEST_NAME = 255


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file atomically.

    Args:
        path: The target, in an existing folder. The old file stays until the block ends without an error.

    Yields:
        The path to write to. If the block raises, that file is removed.
    """
    part = _part(path)
    try:
        with add_filename_to_errors(path):
            yield part
            part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


@contextmanager
def add_filename_to_errors(path: Path) -> Iterator[None]:
    """Add the file's name to system errors that lack it, such as a failed write to a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def _part(path: Path) -> Path:
    name = f"{path.name}.part"
    if len(os.fsencode(name)) > _LONGEST_NAME:  # No room for the ending.
        name = f"{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}.part"
    return path.with_name(name)


def write_text(path: Path, text: str) -> None:
    r"""Write a UTF-8 text file atomically.

    Surrogates, which stand for bytes of a file name that are not UTF-8, are written as ``\udc80``, as in JSON.
    """
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a ``.npy`` file atomically."""
    import numpy as np  # Imported late: vocabularies are also written here, and do not need it.

    with whole_file(path) as part, part.open("wb") as handle:
        np.save(handle, array)
