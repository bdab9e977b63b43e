"""What files hold, in a few digits: whether data are still those that a run began with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

#: Ends of files that are read whole: what is written in them, somebody may mend.
_TEXT = {".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson", ".txt", ".caption"}

#: Of other files so many blocks of so many bytes are read, evenly spread; and their size counts.
_BLOCKS, _BLOCK = 16, 1 << 16

#: Bytes from the middle of a picture: its head may be like another's.
_MIDDLE = 1 << 12


def digest_contents(files: Iterable[Path], sizes_only: bool = False) -> str:
    """Sixteen hexadecimal digits that change when one of the files does; where they lie does not matter.

    Texts are read whole. Of shards and other large files, blocks are read: another picture of the very same size
    between two of them is not noticed.

    Args:
        files: In an order that does not change. One that is not there counts as such.
        sizes_only: Look at names and sizes alone of what is not text, as for the pictures of a folder.
    """
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(f"{file.name}\0".encode(errors="surrogateescape"))
        try:
            _add(digest, file, sizes_only)
        except OSError:
            digest.update(b"unreadable")
    return digest.hexdigest()


def digest_pictures(files: Iterable[Path]) -> str:
    """Sixteen hexadecimal digits that change when one of many pictures does, by its size or a block in its middle.

    Args:
        files: In an order that does not change. One that is not there counts as such.
    """
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(f"{file.name}\0".encode(errors="surrogateescape"))
        try:
            with file.open("rb") as handle:
                size = handle.seek(0, os.SEEK_END)
                handle.seek(max(0, size - _MIDDLE) // 2)
                digest.update(f"{size}\0".encode() + handle.read(_MIDDLE))
        except OSError:
            digest.update(b"unreadable")
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, file: Path, sizes_only: bool) -> None:
    size = file.stat().st_size
    digest.update(f"{size}\0".encode())
    whole = file.suffix.lower() in _TEXT
    if sizes_only and not whole:
        return
    with file.open("rb") as handle:
        if whole or size <= _BLOCKS * _BLOCK:
            while block := handle.read(1 << 20):
                digest.update(block)
            return
        for place in range(_BLOCKS):
            handle.seek(place * (size - _BLOCK) // (_BLOCKS - 1))
            digest.update(handle.read(_BLOCK))
