"""Hash data files, to notice that they have changed since a run began."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

#: Text files are hashed whole, since people edit them.
_TEXT = {".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson", ".txt", ".caption"}

#: Number and bytes of the evenly spaced blocks that are hashed of other files, together with the size.
_BLOCKS, _BLOCK = 16, 1 << 16

#: Bytes that are hashed from the middle of a picture, since many pictures begin alike.
_MIDDLE = 1 << 12

_Hash = hashlib.blake2b


def digest_contents(files: Iterable[Path], sizes_only: bool = False) -> str:
    """Return sixteen hexadecimal digits that change when one of the files does, wherever they are.

    Text files are read whole, but only blocks of shards and other large files: a change of the same size between two
    blocks is not noticed.

    Args:
        files: In a fixed order. A missing file counts as such.
        sizes_only: Hash only names and sizes of files other than text, such as the pictures in a folder.
    """
    return _digest(files, lambda digest, file: _add_contents(digest, file, sizes_only))


def digest_pictures(files: Iterable[Path]) -> str:
    """Return sixteen hexadecimal digits that change when one of many pictures changes in size, or in its middle.

    Files must be in a fixed order; a missing one counts as such.
    """
    return _digest(files, _add_picture)


def _digest(files: Iterable[Path], add: Callable[[_Hash, Path], None]) -> str:
    digest = _Hash(digest_size=8)
    for file in files:
        digest.update(f"{file.name}\0".encode(errors="surrogateescape"))
        try:
            add(digest, file)
        except OSError:
            digest.update(b"unreadable")
    return digest.hexdigest()


def _add_picture(digest: _Hash, file: Path) -> None:
    with file.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - _MIDDLE) // 2)
        digest.update(f"{size}\0".encode() + handle.read(_MIDDLE))


def _add_contents(digest: _Hash, file: Path, sizes_only: bool) -> None:
    size = file.stat().st_size
    digest.update(f"{size}\0".encode())
    is_text = file.suffix.lower() in _TEXT
    if sizes_only and not is_text:
        return
    with file.open("rb") as handle:
        if is_text or size <= _BLOCKS * _BLOCK:
            while block := handle.read(1 << 20):
                digest.update(block)
            return
        for place in range(_BLOCKS):
            handle.seek(place * (size - _BLOCK) // (_BLOCKS - 1))
            digest.update(handle.read(_BLOCK))
