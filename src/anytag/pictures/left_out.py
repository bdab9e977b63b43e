"""What a search for pictures leaves out: exclusions, and a count of everything that was left out."""

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

#: How many extensions, and how many pipes and devices, are named in words.
_NAMED = 8

_SPECIAL = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass
class LeftOut:
    """What a search has left out so far.

    Attributes:
        extensions: Files that are not called like pictures, by extension, lower case; an empty one for those without.
        hidden: Hidden files and folders, and folders of the system.
        excluded: Files and folders that were excluded on request.
        linked_folders: Links to folders that were not followed.
        special: Pipes, sockets and devices that are called like pictures: path to what it is.
        ours: Absolute paths of files that we wrote beside the pictures; nobody misses them, so they are not counted.
    """

    extensions: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    excluded: int = 0
    linked_folders: int = 0
    special: dict[str, str] = field(default_factory=dict)
    ours: Container[str] = ()

    def count(self, path: str) -> None:
        """Count a file that is not called like a picture."""
        if not self._is_ours(path):
            self.extensions[PurePath(path).suffix.lower()] += 1

    def count_hidden(self, path: str) -> None:
        """Count a hidden file or folder, or one of the system; nobody misses the folder of an index."""
        self.hidden += not (self._is_ours(path) or PurePath(path).name == INDEX_FOLDER)

    def _is_ours(self, path: str) -> bool:
        return os.path.abspath(path) in self.ours  # noqa: PTH100

    def describe(self) -> str:
        """Everything in words, such as ``3 .mov, 1 .txt, 2 hidden``; empty if nothing was left out."""
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
    """Globs of files and folders that are left out.

    Args:
        patterns: See :func:`~anytag.pictures.finding.find_pictures`.

    Raises:
        UsageError: If they are a single text, or one of them is empty.
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
        """Whether a file or folder that no walk came to, or one of the folders that it lies in, is left out."""
        if not (self._names or self._paths):
            return False
        parts = PurePath(path).parts
        places = [str(PurePath(*parts[:number])) for number in range(1, len(parts))]
        return self.match(path, path, is_folder) or any(self.match(place, place, True) for place in places)

    def match(self, relative: str, path: str, is_folder: bool) -> bool:
        """Whether a file or folder is left out.

        Args:
            relative: Its path from the folder that was given.
            path: Its path from there on where that folder's begins.
            is_folder: Whether it is one.
        """
        if not (self._names or self._paths):
            return False
        name = os.path.basename(path.rstrip("/" + os.sep))  # noqa: PTH119
        if any(fnmatch.fnmatch(name, pattern) for pattern, only in self._names if is_folder or not only):
            return True
        whole = [os.path.normpath(one).replace(os.sep, "/") for one in (relative, path, os.path.abspath(path))]  # noqa: PTH100
        # "**/thumbs" also means the thumbs right here.
        whole += ["/" + one for one in whole[:2]]
        return any(
            fnmatch.fnmatch(one, pattern) for pattern, only in self._paths if is_folder or not only for one in whole
        )


def special_kind(path: str) -> str | None:
    """What a pipe, socket or device is; ``None`` for a file, and for what cannot be looked at."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return None
    return next((what for is_such, what in _SPECIAL if is_such(mode)), None)
