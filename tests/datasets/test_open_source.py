from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import require_module
from data_files import write_pictures, write_shards

from anytag.datasets import open_source
from anytag.datasets.coco import CocoSource
from anytag.datasets.folder import FolderSource
from anytag.datasets.json_records import JsonSource
from anytag.datasets.opening import KINDS
from anytag.datasets.paper_lists import PaperListSource
from anytag.datasets.parquet import ParquetSource
from anytag.datasets.tables import TableSource
from anytag.datasets.webdataset import ShardSource, StreamedShards
from anytag.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "photos", "a.jpg", "in/b.jpg")
    write_pictures(tmp_path / "nested", "in/b.jpg")
    (tmp_path / "t.csv").write_text("image,caption\na.jpg,x\n")
    (tmp_path / "t.tsv").write_text("image\tcaption\na.jpg\tx\n")
    (tmp_path / "r.jsonl").write_text('{"image": "a.jpg", "caption": "x"}\n')
    (tmp_path / "r.json").write_text('[{"image": "a.jpg", "caption": "x"}]')
    (tmp_path / "ram.json").write_text('[{"image_path": "a.jpg", "caption": ["x"], "union_label_id": [0]}]')
    coco = {"info": {}, "images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "x"}]}
    (tmp_path / "photos" / "captions.json").write_text(json.dumps(coco))
    write_shards(tmp_path / "shards", [2, 3])
    write_shards(tmp_path / "packed", [2, 3], "w:gz")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "kind", "length"),
    [
        ("nested", FolderSource, 1),
        ("t.csv", TableSource, 1),
        ("t.tsv", TableSource, 1),
        ("r.jsonl", JsonSource, 1),
        ("r.json", JsonSource, 1),
        ("photos/captions.json", CocoSource, 1),
        ("shards", ShardSource, 5),
        ("shards/*.tar", ShardSource, 5),
        ("shards/shard-{000..001}.tar", ShardSource, 5),
        ("shards/shard-001.tar", ShardSource, 3),
        ("packed/shard-001.tar.gz", StreamedShards, 3),
    ],
)
def test_the_kind_is_guessed_from_the_path(folder: Path, path: str, kind: type, length: int) -> None:
    for spec in (folder / path, str(folder / path), {"path": folder / path}):
        source = open_source(spec)
        assert type(source) is kind
        assert len(list(source)) == length
    assert str(folder) in source.description


def test_every_public_name_is_there() -> None:
    import anytag.datasets

    assert all(getattr(anytag.datasets, name).__name__ == name for name in anytag.datasets.__all__)
    assert sorted(anytag.datasets.__all__) == anytag.datasets.__all__
    with pytest.raises(AttributeError, match=r"module 'anytag\.datasets' has no attribute 'nothing'"):
        anytag.datasets.nothing  # noqa: B018


def test_web_and_file_addresses(folder: Path) -> None:
    source = open_source("https://example.org/data/{000..002}.tar")
    assert (type(source), source.parts) == (StreamedShards, 3)
    assert open_source((folder / "t.csv").as_uri())[0].captions == ("x",)


def test_published_lists_need_a_tag_list(folder: Path) -> None:
    source = open_source({"path": folder / "ram.json", "tag_list": ["dog"], "images": folder / "photos"})
    assert type(source) is PaperListSource
    with pytest.raises(UsageError, match=r"ram\.json: a source of kind 'official' needs 'tag_list'"):
        open_source(folder / "ram.json")


def test_parquet_by_file_folder_and_pattern(tmp_path: Path) -> None:
    require_module("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in ("a", "b"):
        pq.write_table(pa.Table.from_pylist([{"image": b"x", "caption": name}]), tmp_path / f"{name}.parquet")
    for path in (tmp_path, tmp_path / "*.parquet", [tmp_path / "a.parquet", tmp_path / "b.parquet"]):
        source = open_source({"path": path})
        assert type(source) is ParquetSource
        assert [sample.captions for sample in source] == [("a",), ("b",)]
    with pytest.raises(UsageError, match=r"c\*\.parquet: no such Parquet file"):
        open_source(tmp_path / "c*.parquet")


def test_options_go_to_the_source(folder: Path) -> None:
    source = open_source({"path": folder / "t.csv", "images": "/pictures", "columns": {"captions": "caption"}})
    assert source[0].picture == Path("/pictures/a.jpg")
    paths = [folder / "photos" / "captions.json"] * 2
    assert len(open_source({"path": paths, "kind": "coco"})[0].captions) == 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere", "nowhere: no such file or folder"),
        ("nowhere.jsonl", "nowhere.jsonl: the file cannot be read (No such file or directory)"),
        ("", "a source's path is empty"),
        ({"kind": "table"}, "a source needs a 'path'; given were 'kind'"),
        ({"path": "a.csv", "kind": "tabel"}, "a.csv: there is no kind 'tabel' of source. Kinds are:\n  folder: "),
        (
            {"path": "a.csv", "kolumns": {}},
            "a.csv: a source of kind 'table' has no option 'kolumns'; it has columns, images, delimiter, header",
        ),
        ({"path": ["a.csv", "b.csv"]}, "a.csv: a source of kind 'table' is one file; open each as a source of its own"),
        ("a*.csv", "a*.csv: patterns are for shards and Parquet files; give each file as a source of its own"),
        ("https://h/a.csv", "https://h/a.csv: only shards (.tar, .tar.gz) are read from the web. Kinds are:"),
    ],
)
def test_errors_on_opening_give_the_reason(spec, message: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        open_source(spec)
    assert str(caught.value).startswith(message)


def test_an_unknown_file_lists_all_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"")
    with pytest.raises(UsageError) as caught:
        open_source(tmp_path / "a.h5")
    message = str(caught.value)
    assert message.startswith(
        f"{tmp_path / 'a.h5'}: its name does not say what it is; say its 'kind' in a recipe or in Python."
    )
    assert all(f"\n  {kind}: " in message for kind in KINDS)


def test_a_folder_of_several_kinds_is_ambiguous(folder: Path) -> None:
    (folder / "photos" / "metadata.csv").write_text("file_name,caption\na.jpg,x\n")
    with pytest.raises(UsageError, match=r"photos: contains a\.jpg and metadata\.csv; name the file to open"):
        open_source(folder / "photos")
    assert type(open_source({"path": folder / "photos", "kind": "folder"})) is FolderSource
    with pytest.raises(UsageError, match=r"contains r\.jsonl and t\.csv; name the file to open"):
        open_source(folder)
    (folder / "shards" / "x.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match=r"shards: contains shard-000\.tar and x\.jpg"):
        open_source(folder / "shards")
