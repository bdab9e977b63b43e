"""The cache is where the XDG base directory specification says."""

from __future__ import annotations

from pathlib import Path

import pytest

from anytag.errors import UsageError
from anytag.foundations.cache_folder import cache_folder


def test_the_cache_is_in_the_users_folder(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder("models") == Path("/somewhere/anytag/models")
    for relative in ("", "here"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        monkeypatch.setenv("HOME", "/home/somebody")
        assert cache_folder("models") == Path("/home/somebody/.cache/anytag/models")


def test_an_unknown_home_folder_is_an_error(monkeypatch):
    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(UsageError, match="set HOME or XDG_CACHE_HOME"):
        cache_folder("models")
