import json

import pytest
from conftest import require_module
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anytag.data_engine.manifest import (
    TAG_SOURCES,
    Manifest,
    ManifestCaption,
    ManifestTag,
    PictureRecord,
    RemovedTag,
    read_part,
    write_part,
)
from anytag.errors import DataError, SampleError, UsageError
from anytag.recognition import TAG_KINDS

TEXT = st.text(min_size=1, max_size=12)
TAGS = st.builds(
    ManifestTag,
    st.integers(0, 99),
    TEXT,
    st.sampled_from(TAG_KINDS),
    st.sampled_from(TAG_SOURCES),
    st.none() | st.floats(0, 1),
)
CAPTIONS = st.builds(
    ManifestCaption,
    st.text(max_size=20),
    st.sampled_from(["human", "generated"]),
    st.none() | TEXT,
    st.lists(st.integers(0, 99), max_size=3).map(tuple),
)
REMOVED = st.builds(
    RemovedTag, TAGS, st.sampled_from(["outlier", "denied", "no_region"]), st.none() | st.floats(0, 9, width=32)
)
RECORDS = st.builds(
    PictureRecord,
    TEXT,
    TEXT,
    st.integers(0, 10**9),
    st.lists(CAPTIONS, max_size=3).map(tuple),
    st.lists(TAGS, max_size=3).map(tuple),
    st.lists(REMOVED, max_size=2).map(tuple),
)
QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(st.lists(RECORDS, max_size=4))
def test_json_lines_come_back_as_they_were(tmp_path, records):
    path = tmp_path / "part-00000.jsonl"
    write_part(path, records)
    assert list(read_part(path)) == records


@QUICK
@given(st.lists(RECORDS, max_size=4))
def test_parquet_comes_back_as_it_was(tmp_path, records):
    require_module("pyarrow", "parquet")
    path = tmp_path / "part-00000.parquet"
    write_part(path, records, "parquet")
    assert list(read_part(path)) == records


def test_the_documented_line_format(tmp_path):
    tag = ManifestTag(1, "dog", "object", "teacher", 0.75)
    record = PictureRecord(
        "7", "a.tar:7.jpg", 3, (ManifestCaption("a dog", tags=(1,)),), (tag,), (RemovedTag(tag, "denied", 0.1),)
    )
    assert record.to_json() == {
        "id": "7",
        "place": "a.tar:7.jpg",
        "row": 3,
        "captions": [{"text": "a dog", "source": "human", "tags": [1]}],
        "tags": [{"id": 1, "name": "dog", "kind": "object", "source": "teacher", "score": 0.75}],
        "removed": [
            {
                "id": 1, "name": "dog", "kind": "object", "source": "teacher", "score": 0.75,
                "reason": "denied", "value": 0.1,
            }
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "p.jsonl:2: not a line of JSON"),
        ("[]", "p.jsonl:2: not a manifest's record (not an object: [])"),
        ('{"id": "a", "row": 0}', "p.jsonl:2: not a manifest's record ('place' is missing)"),
        (
            '{"id": "a", "place": "", "row": 0, "tags": [{"id": 1, "name": "x", "kind": "thing", "source": "parsed"}]}',
            "p.jsonl:2: not a manifest's record ('kind' is 'thing', not one of object, scene, attribute, action)",
        ),
        ('{"id": "a", "place": "", "row": "0"}', "p.jsonl:2: not a manifest's record ('row' is '0')"),
    ],
)
def test_a_damaged_line_is_named_and_the_others_are_read(tmp_path, line, reason):
    good = json.dumps(PictureRecord("a", "p", 0).to_json())
    path = tmp_path / "p.jsonl"
    path.write_text(f"{good}\n{line}\n{good}\n")
    first, bad, last = read_part(path)
    assert first == last == PictureRecord("a", "p", 0)
    assert isinstance(bad, SampleError)
    assert str(bad).startswith(reason)


def test_a_file_that_is_no_parquet(tmp_path):
    require_module("pyarrow", "parquet")
    path = tmp_path / "p.parquet"
    path.write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"p\.parquet: not a Parquet file that can be read"):
        list(read_part(path))


def test_a_manifest_is_complete_once_it_is_saved(tmp_path):
    with pytest.raises(UsageError, match="no complete manifest"):
        Manifest.load(tmp_path)
    Manifest(tmp_path, "shards a", 2, "jsonl").save()
    assert Manifest.load(tmp_path) == Manifest(tmp_path, "shards a", 2, "jsonl")
    with pytest.raises(DataError, match=r"part-00001\.jsonl: cannot be read \(No such file"):
        list(Manifest.load(tmp_path).read(1))


def test_a_newer_format_and_damage_are_refused(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text('{"format": 99}')
    with pytest.raises(DataError, match="newer than this anytag reads"):
        Manifest.load(tmp_path)
    path.write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        Manifest.load(tmp_path)
