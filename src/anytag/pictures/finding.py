"""Expand files, folders, globs and lists to paths of pictures, in order and without duplicates."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anytag.errors import UsageError
from anytag.foundations import arguments
from anytag.pictures.formats import PICTURE_EXTENSIONS, has_picture_extension
from anytag.pictures.left_out import Exclusions, LeftOut, special_kind

#: Folders of thumbnails, copies and deleted files, created by operating systems and servers.
SYSTEM_FOLDERS = frozenset({"@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "__MACOSX", "lost+found"})

PathLike = str | os.PathLike[str]


def find_pictures(
    inputs: PathLike | Iterable[PathLike],
    *,
    recursive: bool = True,
    exclude: Sequence[str] = (),
    follow_links: bool = False,
    left_out: LeftOut | None = None,
) -> Iterator[Path]:
    """Find the pictures in files, folders and globs.

    In a folder, these are the files with a picture's extension (:data:`~anytag.pictures.formats.PICTURE_EXTENSIONS`),
    sorted by name, including links to files. Skipped are hidden files and folders, the :data:`SYSTEM_FOLDERS`, pipes
    and devices, and linked folders unless ``follow_links`` is set. Globs (``*``, ``?``, ``[…]``, ``**``) that the shell
    did not expand are expanded and sorted, unless a file has literally that name. Files given by name are returned
    whatever they are, even if they do not exist; so are folders that cannot be opened or have no pictures, broken links
    and globs without a match. Reading them then reports what is wrong, and the others go on.

    Args:
        inputs: A file, folder or glob, or several. Folders are walked lazily.
        exclude: Globs of files and folders to skip. Globs without a slash are compared with names, others with paths,
            relative to the given folder or absolute; globs that end in a slash only match folders. ``*`` also matches
            slashes.
        follow_links: Whether to enter linked subfolders, each real folder once.
        left_out: Counts what is skipped during the walk.

    Returns:
        Paths as given or found, each file once.

    Raises:
        UsageError: If no input has a picture (the reason for the first one), or an exclusion is not a pattern.
    """
    if left_out is not None and not isinstance(left_out, LeftOut):
        raise UsageError(f"left_out must be a LeftOut, not {arguments.repr_of(left_out)}")
    names = find_names(inputs, recursive=recursive, exclude=exclude, follow_links=follow_links, left_out=left_out)
    return (Path(name) for name in names)


def find_names(
    inputs: PathLike | Iterable[PathLike],
    *,
    recursive: bool = True,
    exclude: Sequence[str] = (),
    follow_links: bool = False,
    left_out: LeftOut | None = None,
) -> Iterator[str]:
    """:func:`find_pictures` as strings, because a path object cannot be empty or contain ``https://``."""
    given = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    if not isinstance(given, Iterable) or isinstance(given, bytes | bytearray | Mapping):
        raise UsageError(f"inputs must be paths, not {arguments.repr_of(inputs)}")
    given = list(given)
    for place, one in enumerate(given, 1):
        arguments.path(f"inputs: number {place}", one)
    arguments.flag("recursive", recursive)
    arguments.flag("follow_links", follow_links)
    exclude = arguments.texts("exclude", exclude)
    left_out = left_out if left_out is not None else LeftOut()
    walk = _Walk(recursive, Exclusions(exclude), follow_links, left_out)
    groups = [walk.expand(os.fspath(one)) for one in given]
    if groups and all(isinstance(group, UsageError) for _, group in groups):
        raise next(group for _, group in groups if isinstance(group, UsageError))
    return _each_once(
        itertools.chain.from_iterable([name] if isinstance(group, UsageError) else group for name, group in groups)
    )


def read_list(stream: Iterable[str]) -> Iterator[Path]:
    """Read paths from lines of text, such as standard input, lazily; blank lines are skipped, spaces are kept."""
    for number, line in enumerate(stream):
        # Some editors and shells write a byte order mark.
        path = (line.removeprefix("\ufeff") if number == 0 else line).rstrip("\r\n")
        if path.strip():
            yield Path(path)


def holds_pictures(folder: str) -> bool:
    """Whether there is a picture in a folder or its subfolders."""
    walk = _Walk(True, Exclusions(()), False, LeftOut())
    return any(not os.path.isdir(name) for name in walk.folder(folder))  # noqa: PTH112


def _each_once(names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        # Links are not resolved, so two links to one file are two pictures.
        key = os.path.normcase(os.path.abspath(name)) if name else name  # noqa: PTH100
        if key not in seen:
            seen.add(key)
            yield name


@dataclass
class _Walk:
    """Expands files, folders and globs."""

    recursive: bool
    exclusions: Exclusions
    follow_links: bool
    left_out: LeftOut

    def expand(self, given: str) -> tuple[str, Iterable[str] | UsageError]:
        """One input as a path, and its pictures or why there are none."""
        name = _as_path(given)
        if not given:
            return name, UsageError("an empty path was given; use '.' for the current folder")
        # Path.is_dir would raise for names that are too long.
        if os.path.isdir(given):  # noqa: PTH112
            return name, self._at_least_one(given)
        if self.exclusions.match_anywhere(given, is_folder=False):
            self.left_out.excluded += 1
            return name, ()
        if os.path.lexists(given) or not glob.has_magic(given):
            return name, [name]
        found = iter(list(self._matches(given)))
        first = next(found, None)
        if first is None:
            return name, UsageError(f"{given}: no picture matches. Looked for names ending in {_extensions()}.")
        return name, itertools.chain([first], found)

    def _at_least_one(self, folder: str) -> Iterable[str] | UsageError:
        try:
            _entries(folder)
        except OSError as error:
            return UsageError(f"{folder}: the folder cannot be opened ({error.strerror or error})")
        paths = self.folder(folder)
        first = next(paths, None)
        if first is None:
            where = (
                "in it or in the folders inside"
                if self.recursive
                else "directly in it (folders inside were not entered)"
            )
            found = self.left_out.describe()
            return UsageError(
                f"{folder}: no pictures {where}. Looked for names ending in {_extensions()}; hidden files are left out."
                + (f" Found {found}." if found else "")
            )
        return itertools.chain([first], paths)

    def folder(self, folder: str) -> Iterator[str]:
        """The pictures in a folder, and the subfolders that cannot be opened."""
        entered = {_identity(folder)}
        pending = [iter(self._visible(folder, folder))]
        while pending:
            entry = next(pending[-1], None)
            if entry is None:
                pending.pop()
            elif self._is_folder(entry):
                if self._is_to_enter(entry, entered):
                    try:
                        pending.append(iter(self._visible(folder, entry.path)))
                    except OSError:
                        yield _as_path(entry.path)
            elif self._is_picture(entry):
                yield _as_path(entry.path)

    def _visible(self, root: str, folder: str) -> list[os.DirEntry[str]]:
        """The entries of a folder, sorted, without hidden and excluded ones."""
        kept = []
        for entry in _entries(folder):
            is_folder = self._is_folder(entry)
            if entry.name.startswith(".") or (is_folder and entry.name in SYSTEM_FOLDERS):
                self.left_out.count_hidden(entry.path)
            elif self.exclusions.match(os.path.relpath(entry.path, root), entry.path, is_folder):
                self.left_out.excluded += 1
            else:
                kept.append(entry)
        return kept

    def _is_to_enter(self, entry: os.DirEntry[str], entered: set[tuple[int, int] | str]) -> bool:
        if not self.recursive:
            return False
        if not self.follow_links:
            if entry.is_symlink():
                self.left_out.linked_folders += 1
                return False
            return True
        identity = _identity(entry.path)
        if identity in entered:
            return False
        entered.add(identity)
        return True

    def _is_picture(self, entry: os.DirEntry[str]) -> bool:
        if not has_picture_extension(entry.name):
            self.left_out.count(entry.path)
            return False
        if entry.is_file(follow_symlinks=False):
            return True
        kind = special_kind(entry.path)
        if kind is not None:
            # Reading a pipe may wait forever.
            self.left_out.special[_as_path(entry.path)] = kind
        return kind is None

    @staticmethod
    def _is_folder(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError:
            return False  # A link to itself, or into a folder without permission.

    def _matches(self, pattern: str) -> Iterator[str]:
        """The pictures that match a glob, and those in matching folders."""
        # Path.glob needs a folder to start from, and does not skip hidden files.
        for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207
            is_folder = os.path.isdir(match)  # noqa: PTH112
            if self.exclusions.match_anywhere(match, is_folder):
                self.left_out.excluded += 1
            elif is_folder:
                if "**" not in pattern:
                    try:
                        yield from self.folder(match)
                    except OSError:
                        yield _as_path(match)
            elif not has_picture_extension(match):
                self.left_out.count(match)
            elif (kind := special_kind(match)) is not None:
                self.left_out.special[_as_path(match)] = kind
            else:
                yield _as_path(match)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _identity(folder: str) -> tuple[int, int] | str:
    """The same for all paths to a folder."""
    try:
        status = os.stat(folder)  # noqa: PTH116
    except OSError:
        return os.path.realpath(folder)
    return (status.st_dev, status.st_ino)


def _as_path(given: str) -> str:
    """A path as :class:`~pathlib.Path` formats it; URLs unchanged."""
    return given if not given or "://" in given else str(Path(given))


def _extensions() -> str:
    return " ".join(sorted(PICTURE_EXTENSIONS))
