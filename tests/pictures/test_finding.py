"""Files, folders, globs and lists."""

from __future__ import annotations

import io
import itertools
import os
import socket
from pathlib import Path

import pytest
from picture_files import failed

from anytag.errors import UsageError
from anytag.pictures import (
    PICTURE_EXTENSIONS,
    LeftOut,
    find_names,
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
            find_pictures(["empty"])
        (tree / "outer" / "inner").mkdir(parents=True)
        (tree / "outer" / "inner" / "a.jpg").touch()
        with pytest.raises(UsageError, match="were not entered"):
            find_pictures(["outer"], recursive=False)
        with pytest.raises(UsageError, match=r"\*\.gif: no picture matches.*\.avif"):
            find_pictures(["*.gif", "empty"])
        with pytest.raises(UsageError, match="empty path"):
            find_pictures([""])
        assert list(find_pictures([])) == []
        (tree / "empty" / "clip.mov").touch()
        (tree / "empty" / "clip.MOV").touch()
        with pytest.raises(UsageError, match=r"hidden files are left out\. Found 2 \.mov\.$"):
            find_pictures("empty")

    def test_inputs_without_pictures_are_given_beside_others(self, tree):
        assert self.names("empty", "b.jpg", "*.gif") == ["empty", "b.jpg", "*.gif"]
        assert list(find_names(["", "b.jpg", "https://example.org//a/?b=c"])) == [
            "",
            "b.jpg",
            "https://example.org//a/?b=c",
        ]
        reports = [str(failed(name)) for name in ("empty", "*.gif")]
        assert "empty: a folder with no pictures in it or in the folders inside" in reports[0]
        assert "nothing matches it as a pattern" in reports[1]

    def test_one_input(self, tree):
        assert self.names("in") == [path.as_posix() for path in find_pictures("in")]
        assert list(find_pictures(Path("b.jpg"))) == [Path("b.jpg")]

    def test_every_format_is_found(self, tmp_path):
        for extension in PICTURE_EXTENSIONS:
            (tmp_path / f"a{extension}").touch()
            (tmp_path / f"b{extension.upper()}").touch()
        assert len(list(find_pictures(tmp_path))) == 2 * len(PICTURE_EXTENSIONS)
        assert {".mpo", ".apng", ".j2k", ".jpf", ".ppm", ".psd", ".nef", ".dng", ".cr3"} <= PICTURE_EXTENSIONS

    def test_folders_that_may_not_be_opened(self, tree, monkeypatch):
        scandir = os.scandir

        def refuse(path):
            if Path(path).name == "deep":
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(finding.os, "scandir", refuse)
        assert self.names("in") == ["in/c.webp", "in/deep", "in/x[1].jpg"]
        assert self.names("in/deep", "b.jpg") == ["in/deep", "b.jpg"]
        with pytest.raises(UsageError, match=r"in/deep: .*Permission denied"):
            find_pictures(["in/deep"])

    def test_links(self, tree):
        (tree / "in" / "loop").symlink_to(tree)
        (tree / "in" / "dangling.jpg").symlink_to(tree / "gone.jpg")
        (tree / "in" / "self.jpg").symlink_to("self.jpg")
        (tree / "in" / "there.jpg").symlink_to("back.jpg")
        (tree / "in" / "back.jpg").symlink_to("there.jpg")
        (tree / "in" / "linked.png").symlink_to(tree / "a.PNG")
        left_out = LeftOut()
        assert self.names("in", left_out=left_out) == [
            "in/back.jpg",
            "in/c.webp",
            "in/dangling.jpg",
            "in/deep/d.heic",
            "in/linked.png",
            "in/self.jpg",
            "in/there.jpg",
            "in/x[1].jpg",
        ]
        assert left_out.describe() == "1 linked folder"
        assert (
            failed("in/self.jpg").kind == failed("in/there.jpg").kind == failed("in/dangling.jpg").kind == "not_found"
        )
        assert "a link that leads back to itself" in str(failed("in/there.jpg"))

    def test_followed_links_end(self, tree):
        (tree / "in" / "loop").symlink_to(tree)
        (tree / "in" / "other").symlink_to(tree / "empty")
        (tree / "empty" / "back").symlink_to(tree / "in")
        (tree / "empty" / "z.jpg").touch()
        assert self.names("in", follow_links=True) == [
            "in/c.webp",
            "in/deep/d.heic",
            "in/loop/a.PNG",
            "in/loop/b.jpg",
            "in/loop/empty/z.jpg",
            "in/x[1].jpg",
        ]

    def test_only_regular_files_are_walked(self, tree):
        os.mkfifo(tree / "in" / "pipe.jpg")
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("in/socket.jpg")
        (tree / "in" / "device.png").symlink_to("/dev/null")
        (tree / "in" / "folder.jpg").mkdir()
        left_out = LeftOut()
        assert self.names("in", left_out=left_out) == ["in/c.webp", "in/deep/d.heic", "in/x[1].jpg"]
        assert left_out.describe() == ("in/device.png (a device), in/pipe.jpg (a named pipe), in/socket.jpg (a socket)")
        assert self.names("in/*.jpg") == ["in/x[1].jpg"]
        assert self.names("in/pipe.jpg") == ["in/pipe.jpg"]

    def test_exclusions(self, tree):
        assert self.names(".", exclude=["*.jpg"]) == ["a.PNG", "in/c.webp", "in/deep/d.heic"]
        assert self.names(".", exclude=["deep", "a.*"]) == ["b.jpg", "in/c.webp", "in/x[1].jpg"]
        for pattern in ("in/", "./in", str(tree / "in"), "in/*", "**/in", "i?"):
            assert self.names(".", exclude=[pattern]) == ["a.PNG", "b.jpg"]
        assert self.names(".", exclude=["b.jpg/"])[1] == "b.jpg"
        for pattern in ("deep/*", "in/deep", "**/deep/", "d*/"):
            assert self.names("in", exclude=[pattern]) == ["in/c.webp", "in/x[1].jpg"]
        # Also what was named outright (a shell expands globs), and what a glob finds.
        left_out = LeftOut()
        assert self.names("b.jpg", "a.PNG", exclude=["b*"], left_out=left_out) == ["a.PNG"]
        assert left_out.describe() == "1 excluded"
        assert self.names("**/*.*", exclude=["deep/"]) == ["a.PNG", "b.jpg", "in/c.webp", "in/x[1].jpg"]
        for wrong in ("*.jpg", [""], ["/"], [3]):
            with pytest.raises(UsageError, match="exclude"):
                find_pictures(".", exclude=wrong)

    def test_what_is_left_out_is_counted(self, tree):
        for name in (
            "@eaDir/SYNOPHOTO_THUMB.jpg",
            "in/._c.webp",
            "__MACOSX/e.jpg",
            "f.mov",
            "in/g.MOV",
            "README",
            "h.svg",
        ):
            (tree / name).parent.mkdir(exist_ok=True)
            (tree / name).touch()
        left_out = LeftOut()
        assert self.names(".", left_out=left_out) == ["a.PNG", "b.jpg", "in/c.webp", "in/deep/d.heic", "in/x[1].jpg"]
        assert left_out.describe() == "2 .mov, 1 without extension, 1 .svg, 1 .txt, 5 hidden"
        assert self.names("@eaDir") == ["@eaDir/SYNOPHOTO_THUMB.jpg"]

    def test_names_that_are_too_long_or_not_unicode(self, tree):
        long = "x" * 300 + ".jpg"
        assert self.names(long, "b.jpg") == [long, "b.jpg"]
        assert failed(long).kind == "not_found"
        odd = os.fsdecode(b"\xe9.jpg")
        (tree / "empty" / odd).touch()
        assert self.names("empty") == [f"empty/{odd}"]
        deep = tree / "empty"
        for _ in range(30):
            deep = deep / ("d" * 20)
        deep.mkdir(parents=True)
        (deep / "e.jpg").touch()
        assert len(self.names("empty")) == 2

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
