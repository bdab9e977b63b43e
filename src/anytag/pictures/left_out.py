"""Exclusions from a search for pictures, and counts of what it skips."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from anytag.errors import UsageError
from anytag.foundations.wording import counted

#: The folder of an index inside a folder of photos.
INDEX_FOLDER = ".anytag"

#: Most extensions, and most pipes and devices, in a message.
_NAMED = 8

_SPECIAL = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass
class LeftOut:
    """Counts of what a search has skipped so far.

    Attributes:
        extensions: Number of files by extension, lower case, if it is not that of a picture; "" for no extension.
        hidden: Number of hidden files and folders, and system folders.
        excluded: Number of files and folders that the user excluded.
        linked_folders: Number of links to folders that were not followed.
        special: Kinds of pipes, sockets and devices with the extension of a picture, by path.
        ours: Absolute paths of files that anytag wrote beside the pictures, which are not counted.
    """

    extensions: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    excluded: int = 0
    linked_folders: int = 0
    special: dict[str, str] = field(default_factory=dict)
    ours: Container[str] = ()

    def count(self, path: str) -> None:
        """Count a file without a picture's extension."""
        if not self._is_ours(path):
            self.extensions[PurePath(path).suffix.lower()] += 1

    def count_hidden(self, path: str) -> None:
        """Count a hidden file or folder, or a system folder, except the folder of an index."""
        self.hidden += not (self._is_ours(path) or PurePath(path).name == INDEX_FOLDER)

    def _is_ours(self, path: str) -> bool:
        return os.path.abspath(path) in self.ours  # noqa: PTH100

    def describe(self) -> str:
        """Summarize the counts, such as ``3 .mov, 1 .txt, 2 hidden``; empty if nothing was skipped."""
        common = sorted(self.extensions.items(), key=lambda item: (-item[1], item[0]))
        parts = [f"{number} {extension or 'without extension'}" for extension, number in common[:_NAMED]]
        if rest := sum(number for _, number in common[_NAMED:]):
            parts.append(f"{rest} others")
        parts += [
            f"{number} {what}" for number, what in ((self.hidden, "hidden"), (self.excluded, "excluded")) if number
        ]
        if self.linked_folders:
            parts.append(counted(self.linked_folders, "linked folder"))
        named = list(self.special.items())[:_NAMED]
        parts += [f"{path} ({kind})" for path, kind in named]
        if further := len(self.special) - len(named):
            parts.append(f"{further} more pipes or devices")
        return ", ".join(parts)


class Exclusions:
    """Globs of files and folders to skip; see ``exclude`` of :func:`~anytag.pictures.finding.find_pictures`.

    Raises:
        UsageError: If ``patterns`` is a string, or one of them is empty.
    """

    def __init__(self, patterns: Sequence[str]):
        if isinstance(patterns, str):
            raise UsageError(f"exclude takes a list of patterns; give [{patterns!r}]")
        self._names: list[tuple[str, bool]] = []
        self._paths: list[tuple[str, bool]] = []
        for pattern in patterns:
            if not isinstance(pattern, str) or not pattern.strip("/" + os.sep):
                raise UsageError(
                    f"exclude has {pattern!r}, which is not a pattern; give one such as '*.gif' or 'thumbs/'"
                )
            path = os.path.normpath(pattern).replace(os.sep, "/")
            (self._paths if "/" in path else self._names).append((path, pattern.endswith(("/", os.sep))))

    def match_anywhere(self, path: str, is_folder: bool) -> bool:
        """Whether a file or folder that was not found by a walk, or one of its parents, is excluded."""
        if not (self._names or self._paths):
            return False
        parts = PurePath(path).parts
        places = [str(PurePath(*parts[:number])) for number in range(1, len(parts))]
        return self.match(path, path, is_folder) or any(self.match(place, place, True) for place in places)

    def match(self, relative: str, path: str, is_folder: bool) -> bool:
        """Whether a file or folder is excluded.

        Args:
            relative: Its path relative to the given folder.
            path: Its path, starting with that of the given folder.
        """
        if not (self._names or self._paths):
            return False
        name = os.path.basename(path.rstrip("/" + os.sep))  # noqa: PTH119
        if any(fnmatch.fnmatch(name, pattern) for pattern, only in self._names if is_folder or not only):
            return True
        whole = [os.path.normpath(one).replace(os.sep, "/") for one in (relative, path, os.path.abspath(path))]  # noqa: PTH100
        # "**/thumbs" also matches "thumbs".
        whole += ["/" + one for one in whole[:2]]
        return any(
            fnmatch.fnmatch(one, pattern) for pattern, only in self._paths if is_folder or not only for one in whole
        )


def special_kind(path: str) -> str | None:
    """The kind of a pipe, socket or device; ``None`` for other paths."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return None
    return next((what for is_such, what in _SPECIAL if is_such(mode)), None)
