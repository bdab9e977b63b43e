"""The user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

from anytag.errors import UsageError


def cache_folder(name: str) -> Path:
    """Return ``$XDG_CACHE_HOME/anytag/NAME``, or ``~/.cache/anytag/NAME`` if that variable is not set.

    Raises:
        UsageError: If the home folder is unknown.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification says to ignore relative paths.
    if Path(base).is_absolute():
        return Path(base) / "anytag" / name
    try:
        return Path.home() / ".cache" / "anytag" / name
    except RuntimeError:
        raise UsageError("your home folder is not known, so there is no cache; set HOME or XDG_CACHE_HOME") from None
