"""Lists of pictures on standard input."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anytag.cli._stdin import PathList
from anytag.errors import UsageError

NAMES = st.lists(st.binary(min_size=1).filter(lambda name: b"\0" not in name))


@contextmanager
def standard_input(monkeypatch):
    """A pipe to write the list to."""
    ends = os.pipe()
    with os.fdopen(ends[0]) as reader, monkeypatch.context() as patch, os.fdopen(ends[1], "wb", buffering=0) as writer:
        patch.setattr(sys, "stdin", reader)
        yield writer


def read(monkeypatch, content, null=False):
    with standard_input(monkeypatch) as pipe:
        pipe.write(content)
        pipe.close()
        return [os.fsencode(path) for path in PathList(null)]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"", []),
        (b"\n\r\n  \n", []),
        (b"a.jpg", [b"a.jpg"]),
        (b"a.jpg\r\nb.jpg\r\n", [b"a.jpg", b"b.jpg"]),
        (b"\xef\xbb\xbfa.jpg\nb.jpg\n", [b"a.jpg", b"b.jpg"]),
        (b" a .jpg \n\n\xe9.jpg\n", [b" a .jpg ", b"\xe9.jpg"]),
    ],
)
def test_lines(monkeypatch, content, names):
    assert read(monkeypatch, content) == names


@given(NAMES)
def test_any_names_come_back_between_nulls(names):
    with pytest.MonkeyPatch.context() as patch:
        assert read(patch, b"".join(name + b"\0" for name in names), null=True) == names
        assert read(patch, b"\0".join(names), null=True) == names


def test_a_nul_in_lines_is_reported_once(monkeypatch, capsys):
    assert read(monkeypatch, b"a.jpg\0b.jpg\nc\0d\n") == [b"a.jpg\0b.jpg", b"c\0d"]
    assert capsys.readouterr().err == "there is a NUL in the list of pictures; --null reads what find -print0 writes\n"


def test_what_cannot_be_a_list(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="the list on standard input is in UTF-16; write it in UTF-8"):
        read(monkeypatch, "a.jpg\n".encode("utf-16"))
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="- reads the list of pictures from standard input, but that is closed"):
        PathList()


def test_ready_tells_whether_the_next_is_there(monkeypatch):
    with standard_input(monkeypatch) as pipe:
        paths = PathList()
        assert not paths.ready()
        pipe.write(b"a.jpg\nb.j")
        assert paths.ready()
        assert next(paths) == "a.jpg"
        assert not paths.ready()
        pipe.write(b"pg\n")
        assert paths.ready()
        assert next(paths) == "b.jpg"
        assert not paths.ready()
        pipe.close()
        assert paths.ready()
        assert list(paths) == []
