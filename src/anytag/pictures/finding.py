"""Which pictures are meant: files, folders, globs and lists become paths, in order, each once."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from anytag.errors import UsageError

#: What a picture's name ends in, lower case. Folders and globs give only such files; a file named outright may be
#: called anything.
PICTURE_EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .avif .heic .heif .gif .bmp .tif .tiff .jp2".split()  # noqa: SIM905
)


def find_pictures(inputs: Iterable[str | os.PathLike[str]], *, recursive: bool = True) -> Iterator[Path]:
    """The pictures that files, folders and globs stand for.

    A folder gives the pictures in it in the order of their names, without hidden files and folders; linked folders
    inside are not entered. A glob (``*``, ``?``, ``[…]``, ``**``) that no shell has expanded is expanded here, sorted;
    a file that is literally called that goes first. A file that is named outright is given whether it exists or not,
    and a folder inside that may not be opened is given as if it were a picture: the reader then reports them, and the
    others go on.

    Args:
        inputs: Files, folders and globs, in order; taken in at once. The walk through folders is lazy.
        recursive: Whether folders inside folders are entered.

    Returns:
        Paths as they were given or found, each file once.

    Raises:
        UsageError: At once, before anything is given: if a folder holds no pictures or cannot be opened, if a glob
            matches none, or if an input is empty.
    """
    groups = [_expand(os.fspath(given), recursive) for given in inputs]
    return _each_once(itertools.chain.from_iterable(groups))


def read_list(stream: Iterable[str]) -> Iterator[Path]:
    """Paths from a list such as standard input, one a line, blank lines skipped.

    Lines are given as soon as they come, so the list may be endless. Blanks inside and around a name belong to it.

    Args:
        stream: Lines of text, such as a file opened for text.
    """
    for number, line in enumerate(stream):
        # Some editors and shells put a byte order mark before the first line.
        path = (line.removeprefix("\ufeff") if number == 0 else line).rstrip("\r\n")
        if path.strip():
            yield Path(path)


def _each_once(paths: Iterable[Path]) -> Iterator[Path]:
    seen: set[str] = set()
    for path in paths:
        # Not resolved: two links to one file are two names that the user gave on purpose.
        key = os.path.normcase(os.path.abspath(path))  # noqa: PTH100
        if key not in seen:
            seen.add(key)
            yield path


def _expand(given: str, recursive: bool) -> Iterable[Path]:
    """The pictures of one input."""
    if not given:
        raise UsageError("an empty path was given; use '.' for the current folder")
    if Path(given).is_dir():
        return _at_least_one(_folder(given, recursive), given, recursive)
    if os.path.lexists(given) or not any(sign in given for sign in "*?["):
        return [Path(given)]
    found = list(_matches(given, recursive))
    if not found:
        raise UsageError(f"{given}: no picture matches. Looked for names ending in {_extensions()}.")
    return found


def _at_least_one(paths: Iterator[Path], folder: str, recursive: bool) -> Iterator[Path]:
    first = next(paths, None)
    if first is None:
        where = "in it or in the folders inside" if recursive else "directly in it (folders inside were not entered)"
        raise UsageError(
            f"{folder}: no pictures {where}. Looked for names ending in {_extensions()}; hidden files are left out."
        )
    return itertools.chain([first], paths)


def _folder(folder: str, recursive: bool) -> Iterator[Path]:
    """The pictures in a folder.

    Raises:
        UsageError: If the folder cannot be opened.
    """
    try:
        entries = _entries(folder)
    except OSError as error:
        raise UsageError(f"{folder}: the folder cannot be opened ({error.strerror or error})") from error
    pending = [iter(entries)]
    while pending:
        entry = next(pending[-1], None)
        if entry is None:
            pending.pop()
        elif entry.is_dir(follow_symlinks=False):
            if recursive:
                try:
                    pending.append(iter(_entries(entry.path)))
                except OSError:
                    yield Path(entry.path)
        elif _is_picture(entry.name) and not entry.is_dir():
            yield Path(entry.path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _matches(pattern: str, recursive: bool) -> Iterator[Path]:
    """The pictures that a glob stands for, and those in the folders that it stands for."""
    # Not Path.glob: that wants a folder to start from and does not leave hidden files out.
    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207
        if not Path(match).is_dir():
            if _is_picture(match):
                yield Path(match)
        elif "**" not in pattern:
            yield from _folder(match, recursive)


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in PICTURE_EXTENSIONS


def _extensions() -> str:
    return " ".join(sorted(PICTURE_EXTENSIONS))
