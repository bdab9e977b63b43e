from __future__ import annotations

import json
from pathlib import Path

import pytest

from anytag.datasets import TagName
from anytag.datasets.paper_lists import PaperListSource, read_tag_list
from anytag.errors import SampleError, UsageError

NAMES = ["dog", "grass", "run", "train"]
ENTRIES = [
    {
        "image_path": "coco/a.jpg",
        "caption": ["a dog", " ", "a dog runs on grass"],
        "union_label_id": [0, 2, 1, 2],
        "parse_label_id": [[0], [3], [0, 2, 1]],
    },
    {"image_path": "sbu/b.jpg", "caption": "grass", "union_label_id": [1], "parse_label_id": [1]},
    {"image_path": "cc/c.jpg", "caption": "a train", "union_label_id": [3], "parse_label_id": [[3]]},
    {"image_path": "cc/d.jpg", "caption": [], "union_label_id": []},
]


def write(folder: Path, entries, name: str = "ram.json") -> Path:
    (folder / "tags.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    text = json.dumps(entries) if name.endswith(".json") else "\n".join(map(json.dumps, entries))
    (folder / name).write_text(text)
    return folder / name


def tags(*names: str) -> tuple[TagName, ...]:
    return tuple(map(TagName, names))


@pytest.mark.parametrize("name", ["ram.json", "ram.jsonl"])
def test_ids_become_names(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, ENTRIES, name)
    source = PaperListSource(path, tag_list=tmp_path / "tags.txt", images="/pictures")
    a, b, c, d = source
    assert (a.picture, a.captions) == (Path("/pictures/coco/a.jpg"), ("a dog", "a dog runs on grass"))
    assert a.tags == tags("dog", "run", "grass")
    assert a.caption_tags == (tags("dog"), tags("dog", "run", "grass")), "a blank caption goes with its tags"
    assert (b.captions, b.tags, b.caption_tags) == (("grass",), tags("grass"), (tags("grass"),))
    assert (c.captions, c.caption_tags) == (("a train",), (tags("train"),))
    assert (d.captions, d.tags, d.caption_tags) == ((), (), ())
    assert (a.source, d.source) == (f"{name}:1", f"{name}:4")
    assert source.description == f"official list {path}: 4 pictures, ids of 4 tags"
    assert PaperListSource(path, tag_list=NAMES)[0].picture == tmp_path / "coco" / "a.jpg"


def test_kinds_distinguish_two_senses_of_a_word(tmp_path: Path) -> None:
    (tmp_path / "tags.txt").write_text("train\tobject\ntrain\taction\ndog\n")
    found = (TagName("train", "object"), TagName("train", "action"), TagName("dog"))
    assert read_tag_list(tmp_path / "tags.txt") == found == read_tag_list(found)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"union_label_id": [4]}, "tags", "ram.json:1: 'union_label_id' holds 4, but the tag list has ids 0 to 3"),
        ({"union_label_id": [-1]}, "tags", "ram.json:1: 'union_label_id' holds -1, but the tag list has ids 0 to 3"),
        ({"union_label_id": ["dog"]}, "tags", "ram.json:1: 'union_label_id' holds 'dog', but"),
        ({"parse_label_id": [[0]]}, "tags", "ram.json:1: 'parse_label_id' holds no list for each of the 3 captions"),
        (
            {"parse_label_id": [0, 1, 2]},
            "tags",
            "ram.json:1: 'parse_label_id' holds no list for each of the 3 captions",
        ),
        ({"image_path": None}, "picture", "ram.json:1: 'image_path' holds None, not a path"),
        (
            {"caption": 5, "parse_label_id": None},
            "captions",
            "ram.json:1: the field 'caption' holds 5, neither a sentence",
        ),
    ],
)
def test_malformed_entries(tmp_path: Path, change: dict, kind: str, message: str) -> None:
    source = PaperListSource(write(tmp_path, [ENTRIES[0] | change]), tag_list=NAMES)
    with pytest.raises(SampleError) as caught:
        source[0]
    assert caught.value.kind == kind
    assert str(caught.value).startswith(message)


def test_malformed_tag_lists(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tags\.txt: the tag list cannot be read"):
        read_tag_list(tmp_path / "tags.txt")
    (tmp_path / "tags.txt").write_text("dog\nrun\tverb\n")
    with pytest.raises(UsageError, match=r"tags\.txt: line 2 is 'run\\tverb', not a name, or a name, a tab and a kind"):
        read_tag_list(tmp_path / "tags.txt")
    with pytest.raises(UsageError, match="the tag list: line 1 is ' '"):
        read_tag_list([" "])
    with pytest.raises(UsageError, match="the list is empty"):
        PaperListSource(write(tmp_path, []), tag_list=NAMES)
