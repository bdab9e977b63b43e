"""Recognize files that a download left in place of the real one: a web page, or a Git LFS pointer."""

from __future__ import annotations

from pathlib import Path

#: Bytes to read.
_HEAD = 512


def stand_in(path: Path) -> str | None:
    """Say what such a file is and how to get the real one; ``None`` for a real file, or one that cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself; fetch that with: git lfs pull"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "a web page, not the file itself; the link shows a page about it, so use its download link"
    return None
