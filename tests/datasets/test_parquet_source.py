from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import require_module
from data_files import jpeg

from anytag.datasets import Box, TagName
from anytag.datasets.parquet import ParquetSource
from anytag.errors import MissingExtraError, SampleError, UsageError

require_module("pyarrow")

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402


def write(path: Path, rows: list[dict], group: int = 2) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return path


ROWS = [
    {
        "image": {"bytes": jpeg(number), "path": f"{number}.jpg"},
        "caption": [f"number {number}"],
        "tags": ["dog", "run"],
        "boxes": [{"box": [0.0, 0.0, 1.0, 1.0], "label": "dog"}],
        "size": number,
    }
    for number in range(5)
]


def test_rows_with_pictures_inside(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.parquet", ROWS[:3]), write(tmp_path / "b.parquet", ROWS[3:])]
    source = ParquetSource(paths)
    assert [sample.captions for sample in source] == [(f"number {number}",) for number in range(5)]
    sample = source[4]
    assert (sample.picture, sample.tags) == (jpeg(4), (TagName("dog"), TagName("run")))
    assert sample.boxes == (Box(0, 0, 1, 1, "dog"),)
    assert sample.source == "b.parquet:group 1 row 2"
    assert [source.rows(part) for part in range(source.parts)] == [range(2), range(2, 3), range(3, 5)]
    assert source.description == (
        f"Parquet {paths[0]} and 1 more: 5 rows in 3 row groups of up to 2, picture from 'image', captions from "
        "'caption', tags from 'tags', boxes from 'boxes'"
    )


def test_bytes_or_paths(tmp_path: Path) -> None:
    rows = [{"jpg": jpeg(), "path": "in/a.jpg", "text": "a dog"}]
    source = ParquetSource(write(tmp_path / "a.parquet", rows), columns={"picture": "jpg"})
    assert source[0].picture == jpeg()
    source = ParquetSource(tmp_path / "a.parquet", images=tmp_path / "pictures")
    assert source[0].picture == tmp_path / "pictures" / "in" / "a.jpg"


def test_threads_and_copies_read_the_same(tmp_path: Path) -> None:
    source = ParquetSource(write(tmp_path / "a.parquet", ROWS * 10, group=3))
    copy = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda index: copy[index].captions, range(49, -1, -1)))
    assert found == [source[index].captions for index in range(49, -1, -1)]


def test_a_row_without_a_picture_is_bad(tmp_path: Path) -> None:
    rows = [ROWS[0], ROWS[1] | {"image": None}]
    with pytest.raises(SampleError, match=r"a\.parquet:group 1 row 2: the field 'image' is empty") as caught:
        ParquetSource(write(tmp_path / "a.parquet", rows))[1]
    assert caught.value.kind == "picture"


def test_a_removed_file_makes_bad_samples(tmp_path: Path) -> None:
    source = ParquetSource(write(tmp_path / "a.parquet", ROWS))
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(SampleError, match=r"a\.parquet:group 1 row 1: the row group cannot be read"):
        source[0]


def test_files_other_than_parquet_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"hello, this is a text")
    with pytest.raises(UsageError, match=r"a\.parquet: not a Parquet file that can be read"):
        ParquetSource(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", ROWS)
    write(tmp_path / "c.parquet", [{"other": 1}])
    with pytest.raises(UsageError, match=r"c\.parquet: no column 'image', which b\.parquet has"):
        ParquetSource([tmp_path / "b.parquet", tmp_path / "c.parquet"])
    with pytest.raises(UsageError, match="no Parquet file was given"):
        ParquetSource([])
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "d.parquet")
    with pytest.raises(UsageError, match=r"d\.parquet: the table is empty"):
        ParquetSource(tmp_path / "d.parquet")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"reading Parquet needs .*anytag\[parquet\]"):
        ParquetSource(tmp_path / "a.parquet")
