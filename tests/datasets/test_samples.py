from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from anytag.datasets import Box, Sample, TagName
from anytag.errors import PictureError, SampleError


def test_every_part_but_the_picture_is_optional() -> None:
    sample = Sample("7", b"jpeg")
    assert (sample.captions, sample.tags, sample.boxes, sample.labels, sample.caption_tags) == ((), (), (), (), ())


def test_a_full_sample_survives_pickling() -> None:
    sample = Sample(
        "7",
        Path("a.jpg"),
        captions=("a dog runs",),
        tags=(TagName("dog", "object"), TagName("run")),
        caption_tags=((TagName("dog"),),),
        boxes=(Box(0, 0.25, 1, 0.5, "dog"),),
        source="a.csv:3",
    )
    assert pickle.loads(pickle.dumps(sample)) == sample


@pytest.mark.parametrize(
    ("parts", "kind", "message"),
    [
        ({"picture": "a.jpg"}, "picture", "t.csv:2: a picture is bytes or a Path, not str"),
        ({"captions": "a dog"}, "captions", "t.csv:2: captions are a tuple of text, not 'a dog'"),
        ({"captions": (1,)}, "captions", "t.csv:2: captions are a tuple of text, not (1,)"),
        ({"tags": ("dog",)}, "tags", "t.csv:2: tags are a tuple of TagName, not ('dog',)"),
        ({"boxes": ((0, 0, 1, 1),)}, "boxes", "t.csv:2: boxes are a tuple of Box, not ((0, 0, 1, 1),)"),
        ({"labels": ["dog"]}, "labels", "t.csv:2: labels are a tuple of text, not ['dog']"),
        (
            {"captions": ("a", "b"), "caption_tags": ((),)},
            "tags",
            "t.csv:2: tags of 1 caption, but 2 captions",
        ),
    ],
)
def test_a_part_of_the_wrong_type_is_refused(parts: dict, kind: str, message: str) -> None:
    with pytest.raises(SampleError) as caught:
        Sample(**{"id": "1", "picture": b"x", "source": "t.csv:2", **parts})
    assert (caught.value.kind, str(caught.value)) == (kind, message)


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_a_tag_needs_a_name(name: object) -> None:
    with pytest.raises(SampleError, match="a tag's name must be text that is not blank"):
        TagName(name)


def test_a_tag_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SampleError, match="tag 'dog' has the unknown kind 'noun'; use one of"):
        TagName("dog", "noun")


@pytest.mark.parametrize(
    "sides",
    [(10, 20, 30, 40), (0.5, 0, 0.5, 1), (0.6, 0, 0.5, 1), (-0.1, 0, 1, 1), ("0", 0, 1, 1), (0, 0, float("nan"), 1)],
)
def test_a_box_outside_of_the_picture_is_refused(sides: tuple) -> None:
    with pytest.raises(SampleError, match="a box is left, upper, right, lower as shares of the picture") as caught:
        Box(*sides, "dog")
    assert caught.value.kind == "boxes"


def test_a_box_needs_a_label() -> None:
    with pytest.raises(SampleError, match="a box needs a label that is not blank, not ''"):
        Box(0, 0, 1, 1, "")


def test_the_picture_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    sample = Sample("1", tmp_path / "a.jpg", source="t.csv:2")
    with pytest.raises(PictureError, match=r"t\.csv:2 \(.*a\.jpg\): no such file") as caught:
        sample.picture_bytes()
    assert caught.value.kind == "not_found"
    (tmp_path / "a.jpg").write_bytes(b"jpeg")
    assert sample.picture_bytes() == b"jpeg" == Sample("1", b"jpeg").picture_bytes()


def test_a_folder_is_not_a_picture(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="could not be read") as caught:
        Sample("1", tmp_path).picture_bytes()
    assert caught.value.kind == "unreadable"


def test_the_place_names_source_and_file_once(tmp_path: Path) -> None:
    assert Sample("1", b"x", source="s.tar:1.jpg").place == "s.tar:1.jpg"
    assert Sample("1", Path("in/a.jpg"), source="t.csv:2").place == f"t.csv:2 ({Path('in/a.jpg')})"
    assert Sample("1", Path("in/a.jpg"), source="a.jpg").place == str(Path("in/a.jpg"))
