from __future__ import annotations

import json
from pathlib import Path

import pytest
from data_files import write_pictures

from anytag.datasets import Box, TagName
from anytag.datasets.folder import FolderSource
from anytag.errors import SampleError, UsageError


def test_captions_tags_and_boxes_are_read_from_files_beside_pictures(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg", "b.png", "sub/c.webp", "sub/d.jpg")
    (tmp_path / "a.txt").write_text("A dog runs.\n\n A dog.\n", encoding="utf-8")
    (tmp_path / "b.caption").write_text("\ufeffEin Bär.", encoding="utf-8")
    record = {"caption": "A cat.", "tags": ["cat"], "boxes": [{"box": [0, 0, 1, 1], "label": "cat"}], "id": 9}
    (tmp_path / "sub" / "c.json").write_text(json.dumps(record))
    (tmp_path / "sub" / "c.txt").write_text("A cat.\nIt sits.")
    source = FolderSource(tmp_path)
    a, b, c, d = source
    assert [sample.id for sample in (a, b, c, d)] == ["a.jpg", "b.png", "sub/c.webp", "sub/d.jpg"]
    assert [sample.captions for sample in (a, b, c, d)] == [
        ("A dog runs.", "A dog."),
        ("Ein Bär.",),
        ("A cat.", "It sits."),
        (),
    ]
    assert (c.tags, c.boxes) == ((TagName("cat"),), (Box(0, 0, 1, 1, "cat"),))
    assert (c.picture, c.source) == (tmp_path / "sub" / "c.webp", "sub/c.webp")
    assert source.description == f"folder {tmp_path}: 4 pictures, captions from .txt, .caption and .json files"
    assert len(FolderSource(tmp_path, recursive=False)) == 2


def test_text_files_may_hold_tags(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.jpg")
    (tmp_path / "a.txt").write_text("1girl, outdoors ,\nlong hair,outdoors")
    (sample,) = FolderSource(tmp_path, text="tags")
    assert sample.tags == (TagName("1girl"), TagName("outdoors"), TagName("long hair"))
    assert sample.captions == ()


def test_paths_may_be_relative_and_pictures_are_not_opened(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    (sample,) = FolderSource(".")
    assert (sample.picture, sample.id) == (Path("x.jpg"), "x.jpg")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{", "a.jpg: the file beside it cannot be read (Expecting property name"),
        ("a.json", b"[1]", "a.jpg: its JSON file holds [1], not an object"),
        ("a.json", b'{"caption": 7}', "a.jpg: the field 'caption' holds 7, neither a sentence nor a list of them"),
        ("a.txt", b"\xff", "a.jpg: the file beside it cannot be read ('utf-8' codec"),
    ],
)
def test_an_error_in_a_describing_file_names_it(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    write_pictures(tmp_path, "a.jpg")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SampleError) as caught:
        FolderSource(tmp_path)[0]
    assert str(caught.value).startswith(message)
    assert caught.value.source == "a.jpg"


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        FolderSource(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no pictures in it or in the folders inside"):
        FolderSource(tmp_path)
    write_pictures(tmp_path, "a.jpg")
    with pytest.raises(UsageError, match="text files hold 'captions' or 'tags', not 'tag'"):
        FolderSource(tmp_path, text="tag")


def test_folder_names_can_be_tags(tmp_path):
    from anytag.datasets.folder import FolderSource

    for name in ("our_dog/1.png", "our_dog/2.png", "cats/old/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for classes in (True, None):
        source = FolderSource(tmp_path, classes=classes)
        assert [[tag.name for tag in source[i].tags] for i in range(3)] == [["old"], ["our dog"], ["our dog"]]
        assert source.description.endswith("3 pictures, tags are their folders' names")
    assert not FolderSource(tmp_path)[0].tags
    (tmp_path / "our_dog" / "2.txt").write_text("a dog")
    assert not FolderSource(tmp_path, classes=None)[1].tags
    assert [tag.name for tag in FolderSource(tmp_path, classes=True)[2].tags] == ["our dog"]
