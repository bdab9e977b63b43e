"""What downloads leave in place of a large file: a web page, or a pointer of Git LFS."""

from __future__ import annotations

from pathlib import Path

#: How much of a file is looked at.
_HEAD = 512


def stand_in(path: Path) -> str | None:
    """What a file is and what to do, if it only stands in another one's place; ``None`` if it does not.

    Args:
        path: The file; one that cannot be read is not a stand-in.
    """
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
