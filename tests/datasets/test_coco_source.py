from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from data_files import write_pictures

from anytag.datasets import Box, TagName
from anytag.datasets.coco import CocoSource
from anytag.errors import SampleError, UsageError

IMAGES = [
    {"id": 42, "file_name": "b.jpg", "width": 200, "height": 100},
    {"id": 7, "file_name": "a.jpg", "width": 100, "height": 50},
    {"id": 9, "file_name": "c.jpg", "width": 10, "height": 10},
]
CAPTIONS = {
    "info": {"description": "images: {[", "about": {"of": [{"id": 1}]}},
    "images": IMAGES,
    "licenses": [{"id": 1}],
    "annotations": [
        {"image_id": 7, "id": 1, "caption": "A dog.\n"},
        {"image_id": 42, "id": 2, "caption": 'A "train" {'},
        {"image_id": 7, "id": 3, "caption": "One dog."},
        {"image_id": 1000, "id": 4, "caption": "Of no picture."},
    ],
}
INSTANCES = {
    "images": IMAGES[:2],
    "annotations": [
        {"image_id": 7, "category_id": 18, "bbox": [10, 5, 50, 25], "iscrowd": 0, "segmentation": [[1, 2], {"a": [3]}]},
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 100, 50], "iscrowd": 1, "segmentation": {"counts": [1]}},
        {"image_id": 42, "category_id": 18, "bbox": [150.5, 0, 50, 100.7]},
        {"image_id": 42, "category_id": 18, "bbox": [20, 20, 0, 10]},
    ],
    "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "val2017", "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "captions_val2017.json").write_text(json.dumps(CAPTIONS))
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(INSTANCES, indent=1))
    return tmp_path / "annotations"


def test_captions_and_instances_of_a_picture_come_together(coco: Path) -> None:
    source = CocoSource([coco / "captions_val2017.json", coco / "instances_val2017.json"])
    b, a, c = source
    assert [sample.id for sample in (b, a, c)] == ["42", "7", "9"]
    assert [sample.captions for sample in (b, a, c)] == [('A "train" {',), ("A dog.", "One dog."), ()]
    assert a.picture == coco.parent / "val2017" / "a.jpg"
    assert a.tags == (TagName("dog", "object"), TagName("person", "object"))
    assert a.boxes == (Box(0.1, 0.1, 0.6, 0.6, "dog"),), "a crowd has no box of its own"
    # Cut at the picture's sides; what has no area is left out.
    assert b.boxes == (Box(150.5 / 200, 0, 1, 1, "dog"),)
    assert (c.tags, c.boxes) == ((), ())
    assert a.source == "captions_val2017.json:image 7"
    assert source.description == (
        f"COCO {coco / 'captions_val2017.json'} and {coco / 'instances_val2017.json'}: 3 pictures in "
        f"{coco.parent / 'val2017'}, 3 captions, 4 objects of 2 categories; left out: 1 annotation of pictures "
        "that are not listed"
    )
    assert [sample.captions for sample in pickle.loads(pickle.dumps(source))] == [b.captions, a.captions, c.captions]


def test_one_file_is_enough(coco: Path) -> None:
    assert [len(sample.captions) for sample in CocoSource(coco / "captions_val2017.json")] == [1, 2, 0]
    assert [len(sample.tags) for sample in CocoSource(coco / "instances_val2017.json")] == [1, 2]


def test_the_picture_folder_is_found(coco: Path, tmp_path: Path) -> None:
    (tmp_path / "val2017").rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"b\.jpg is in none of .*val2017.*; put .* --pictures of anytag evaluate"):
        CocoSource(coco / "captions_val2017.json")
    source = CocoSource(coco / "captions_val2017.json", images=tmp_path / "elsewhere")
    assert source[0].picture == tmp_path / "elsewhere" / "b.jpg"


def test_boxes_need_the_pictures_size(coco: Path) -> None:
    images = [{"id": image["id"], "file_name": image["file_name"]} for image in IMAGES]
    (coco / "instances_val2017.json").write_text(json.dumps(INSTANCES | {"images": images}))
    with pytest.raises(
        SampleError, match="image 42: the picture's width and height are needed for its boxes"
    ) as caught:
        CocoSource(coco / "instances_val2017.json")[0]
    assert caught.value.kind == "boxes"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "not a COCO file, which has lists called 'images' and 'annotations'"),
        ({"images": []}, "the file lists no pictures"),
        (
            {"images": [{"id": "x", "file_name": "a.jpg"}]},
            "entry 1 has 'x' for a picture's id, not a whole number",
        ),
        ({"annotations": [{"caption": "x"}]}, "entry 1 has None for a picture's id, not a whole number"),
        (
            {"annotations": [{"image_id": 7, "category_id": 3}], "categories": [{"id": 1, "name": "dog"}]},
            "annotation 1 has category 3, which the file does not list",
        ),
    ],
)
def test_malformed_files(coco: Path, change: dict, message: str) -> None:
    path = coco / "captions_val2017.json"
    path.write_text(json.dumps(CAPTIONS | change))
    with pytest.raises(UsageError) as caught:
        CocoSource(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_caption_that_is_not_text_makes_a_bad_sample(coco: Path) -> None:
    path = coco / "captions_val2017.json"
    path.write_text(json.dumps(CAPTIONS | {"annotations": [{"image_id": 42, "caption": None}]}))
    with pytest.raises(SampleError, match=r"captions_val2017\.json:image 42: a caption is text, not None"):
        CocoSource(path)[0]
