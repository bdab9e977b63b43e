from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anytag.datasets import Box, TagName
from anytag.datasets.json_records import JsonSource
from anytag.datasets.offsets import index_objects, read_spans
from anytag.errors import SampleError, UsageError

RECORDS = [
    {"image": "a.jpg", "captions": ["one", "two"], "tags": ["dog", {"name": "run", "kind": "action"}]},
    {"image": "b.jpg", "captions": "three", "boxes": [{"bbox": [0, 0, 0.5, 1], "label": "cat"}], "uid": 17},
]

#: Any JSON, with all that could mislead a search for brackets.
ANY = st.recursive(
    st.none() | st.integers() | st.text('ab"\\{}[],:ü\n', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('k"\\{]', max_size=3), inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.lists(st.dictionaries(st.text('k"\\{]', max_size=3), ANY, max_size=3), max_size=5)


def write(path: Path, records, lines: bool, **options) -> Path:
    text = "\n".join(map(json.dumps, records)) if lines else json.dumps(records, **options)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["r.jsonl", "r.json"])
def test_lines_and_lists_give_the_same(tmp_path: Path, name: str) -> None:
    source = JsonSource(write(tmp_path / name, RECORDS, lines=name == "r.jsonl"))
    first, second = source
    assert (first.picture, first.captions) == (tmp_path / "a.jpg", ("one", "two"))
    assert first.tags == (TagName("dog"), TagName("run", "action"))
    assert (second.id, second.captions, second.boxes) == ("17", ("three",), (Box(0, 0, 0.5, 1, "cat"),))
    assert (first.source, second.source) == (f"{name}:1", f"{name}:2")
    kind = "JSON lines" if name == "r.jsonl" else "JSON list"
    assert source.description.startswith(f"{kind} {tmp_path / name}: 2 objects, picture from 'image', captions from")


@settings(max_examples=30, deadline=None)
@given(
    objects=OBJECTS,
    indent=st.sampled_from([None, 2]),
    chunk=st.sampled_from([3, 16, 1 << 20]),
    ascii=st.booleans(),
)
def test_every_object_of_a_list_is_found(objects, indent, chunk, ascii, tmp_path_factory) -> None:
    path = write(tmp_path_factory.mktemp("json") / "r.json", objects, False, indent=indent, ensure_ascii=ascii)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anytag.datasets.offsets._CHUNK", chunk)
        found = index_objects(path)[""]
    assert [json.loads(found[index]) for index in range(len(found))] == objects
    assert [json.loads(content) for content in read_spans(found)] == objects


@settings(max_examples=30, deadline=None)
@given(
    root=st.dictionaries(st.text('k"\\{]ü', max_size=4), OBJECTS | ANY, max_size=5), chunk=st.sampled_from([3, 1 << 20])
)
def test_every_object_of_the_lists_in_an_object_is_found(root, chunk, tmp_path_factory) -> None:
    path = write(tmp_path_factory.mktemp("json") / "r.json", root, False, indent=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anytag.datasets.offsets._CHUNK", chunk)
        found = index_objects(path)
    lists = {key: value for key, value in root.items() if isinstance(value, list)}
    expected = {key: [entry for entry in value if isinstance(entry, dict)] for key, value in lists.items()}
    assert {key: [json.loads(part[i]) for i in range(len(part))] for key, part in found.items()} == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "r.jsonl:2: not JSON (Expecting property name"),
        ("[1]", "r.jsonl:2: not a JSON object: [1]"),
        ('{"image": 7}', "r.jsonl:2: the field 'image' holds int, neither a path nor a picture"),
        ('{"captions": ["x"]}', "r.jsonl:2: the field 'image' is empty"),
        (
            '{"image": "a.jpg", "captions": [1]}',
            "r.jsonl:2: the field 'captions' holds [1], neither a sentence nor a list of them",
        ),
        ('{"image": "a.jpg", "tags": [1]}', "r.jsonl:2: the field 'tags' holds 1, not the name of a tag"),
        ('{"image": "a.jpg", "tags": [""]}', "r.jsonl:2: a tag's name must be text that is not blank, not ''"),
        (
            '{"image": "a.jpg", "boxes": [[0, 0, 1, 1]]}',
            'r.jsonl:2: a box is {"box": [x0, y0, x1, y1], "label": name}, not [0, 0, 1, 1]',
        ),
        (
            '{"image": "a.jpg", "boxes": [{"box": [0, 0, 10, 10], "label": "dog"}]}',
            "r.jsonl:2: a box is left, upper, right, lower as shares of the picture (0 to 1), not [0, 0, 10, 10]",
        ),
    ],
)
def test_an_error_names_the_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "r.jsonl").write_text(f"{json.dumps(RECORDS[0])}\n{line}\n{json.dumps(RECORDS[1])}\n")
    source = JsonSource(tmp_path / "r.jsonl", columns={"boxes": "boxes"})
    with pytest.raises(SampleError) as caught:
        source[1]
    assert str(caught.value).startswith(message)
    assert (source[0].captions, source[2].captions) == (("one", "two"), ("three",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("[]", "the file contains no objects"),
        ('"text"', "not a JSON array or object; JSON lines end in .jsonl"),
        ('[{"image": "a.jpg"}, {"ima', "the JSON ends before it is complete; copy or download the file again"),
        ('[{"image": "a.jpg"}', "the JSON ends before it is complete"),
        ('{"images": [{"id": 1}]}', "an object, not an array of objects; COCO's files are opened with kind 'coco'"),
    ],
)
def test_a_file_that_is_not_a_list(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(UsageError) as caught:
        JsonSource(tmp_path / "r.json")
    assert str(caught.value).startswith(f"{tmp_path / 'r.json'}: {message}")


def test_a_removed_file_makes_bad_samples(tmp_path: Path) -> None:
    source = JsonSource(write(tmp_path / "r.jsonl", RECORDS, lines=True))
    (tmp_path / "r.jsonl").unlink()
    with pytest.raises(SampleError, match=r"r\.jsonl:1: the file cannot be read \(No such file") as caught:
        source[0]
    assert caught.value.kind == "unreadable"
