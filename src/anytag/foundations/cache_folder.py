"""Where files go that can be fetched or made again."""

from __future__ import annotations

import os
from pathlib import Path

from anytag.errors import UsageError


def cache_folder(name: str) -> Path:
    """A folder in the user's cache: ``$XDG_CACHE_HOME/anytag/NAME``, or the same below ``~/.cache``.

    Args:
        name: What the folder holds, in a word.

    Raises:
        UsageError: If it is not known where the user is at home.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification wants relative paths ignored.
    if Path(base).is_absolute():
        return Path(base) / "anytag" / name
    try:
        return Path.home() / ".cache" / "anytag" / name
    except RuntimeError:
        raise UsageError("your home folder is not known, so there is no cache; set HOME or XDG_CACHE_HOME") from None
