"""Files, folders, globs and lists."""

from __future__ import annotations

import io
import itertools
import os
from pathlib import Path

import pytest

from anytag.errors import UsageError
from anytag.pictures import (
    find_pictures,
    finding,
    read_list,
    read_picture,
)


class TestFinding:
    @pytest.fixture
    def tree(self, tmp_path, monkeypatch):
        for name in (
            "b.jpg",
            "a.PNG",
            "notes.txt",
            ".hidden.jpg",
            "in/c.webp",
            "in/deep/d.heic",
            ".git/e.jpg",
            "in/x[1].jpg",
        ):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path)
        return tmp_path

    @staticmethod
    def names(*inputs, **options):
        return [path.as_posix() for path in find_pictures(inputs, **options)]

    def test_folder(self, tree):
        assert self.names(".") == ["a.PNG", "b.jpg", "in/c.webp", "in/deep/d.heic", "in/x[1].jpg"]
        assert self.names(Path("in")) == ["in/c.webp", "in/deep/d.heic", "in/x[1].jpg"]
        assert self.names(".", recursive=False) == ["a.PNG", "b.jpg"]

    def test_named_outright(self, tree):
        assert self.names("notes.txt", "gone.jpg", ".hidden.jpg", ".git") == [
            "notes.txt",
            "gone.jpg",
            ".hidden.jpg",
            ".git/e.jpg",
        ]

    def test_globs(self, tree):
        assert self.names("*") == ["a.PNG", "b.jpg", "in/c.webp", "in/deep/d.heic", "in/x[1].jpg"]
        assert self.names("*.jpg") == ["b.jpg"]
        assert self.names("**/*.jpg") == ["b.jpg", "in/x[1].jpg"]
        assert self.names("in/**") == ["in/c.webp", "in/deep/d.heic", "in/x[1].jpg"]
        assert self.names("[ab].*") == ["a.PNG", "b.jpg"]
        assert self.names("in/?.webp") == ["in/c.webp"]

    def test_brackets_in_a_name(self, tree):
        assert self.names("in/x[1].jpg") == ["in/x[1].jpg"]
        (tree / "x1.jpg").touch()
        assert self.names("x[1].jpg") == ["x1.jpg"]
        (tree / "x[1].jpg").touch()
        assert self.names("x[1].jpg") == ["x[1].jpg"]

    def test_each_once_in_order(self, tree):
        given = ("b.jpg", "./b.jpg", tree / "b.jpg", "in/../b.jpg", ".", "in", "*.PNG")
        assert self.names(*given) == ["b.jpg", "a.PNG", "in/c.webp", "in/deep/d.heic", "in/x[1].jpg"]

    def test_nothing_found_is_told_at_once(self, tree):
        with pytest.raises(UsageError, match=r"empty: no pictures in it.*\.avif .*\.webp"):
            find_pictures(["b.jpg", "empty"])
        (tree / "outer" / "inner").mkdir(parents=True)
        (tree / "outer" / "inner" / "a.jpg").touch()
        with pytest.raises(UsageError, match="were not entered"):
            find_pictures(["outer"], recursive=False)
        with pytest.raises(UsageError, match=r"\*\.gif: no picture matches.*\.avif"):
            find_pictures(["*.gif"])
        with pytest.raises(UsageError, match="empty path"):
            find_pictures([""])
        assert list(find_pictures([])) == []

    def test_folders_that_may_not_be_opened(self, tree, monkeypatch):
        scandir = os.scandir

        def refuse(path):
            if Path(path).name == "deep":
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(finding.os, "scandir", refuse)
        assert self.names("in") == ["in/c.webp", "in/deep", "in/x[1].jpg"]
        with pytest.raises(UsageError, match=r"in/deep: .*Permission denied"):
            find_pictures(["in/deep"])

    def test_links(self, tree):
        (tree / "in" / "loop").symlink_to(tree)
        (tree / "in" / "dangling.jpg").symlink_to(tree / "gone.jpg")
        assert self.names("in") == ["in/c.webp", "in/dangling.jpg", "in/deep/d.heic", "in/x[1].jpg"]

    def test_list(self):
        stream = io.StringIO("\ufeffa.jpg\r\n\n   \n b c.jpg \nd.png")
        assert [str(path) for path in read_list(stream)] == ["a.jpg", " b c.jpg ", "d.png"]
        endless = read_list(f"{number}.jpg\n" for number in itertools.count())
        assert next(endless) == Path("0.jpg")


def test_examples_are_readable_and_credited():
    folder = Path(__file__).parents[2] / "examples"
    pictures = list(find_pictures([folder]))
    assert len(pictures) >= 8
    credits = (folder / "CREDITS.md").read_text(encoding="utf-8")
    for path in pictures:
        assert max(read_picture(path).size) <= 800
        assert path.stat().st_size < 150_000
        assert f"`{path.name}`" in credits
