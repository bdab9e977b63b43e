from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from data_files import jpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from anytag.datasets import Box, TagName
from anytag.datasets.offsets import index_lines
from anytag.datasets.tables import TableSource
from anytag.errors import SampleError, UsageError


def table(folder: Path, content: str | bytes, name: str = "t.csv", **options) -> TableSource:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return TableSource(folder / name, **options)


def test_columns_are_guessed_by_their_names(tmp_path: Path) -> None:
    source = table(tmp_path, "id,Image_Path,caption,tags\nx7,in/a.jpg,A dog runs.,dog|run\nx8,/b.jpg,,\n")
    assert str(source.columns) == ("picture from 'Image_Path', captions from 'caption', tags from 'tags', id from 'id'")
    assert source.description == f"CSV table {tmp_path / 't.csv'}: 2 rows, {source.columns}"
    first, second = source
    assert (first.id, first.picture, first.captions) == ("x7", tmp_path / "in" / "a.jpg", ("A dog runs.",))
    assert first.tags == (TagName("dog"), TagName("run"))
    assert (first.source, second.source) == ("t.csv:2", "t.csv:3")
    assert (second.picture, second.captions, second.tags) == (Path("/b.jpg"), (), ())


def test_columns_can_be_named(tmp_path: Path) -> None:
    source = table(
        tmp_path,
        "where;en;de;words;seen\na.jpg;a dog;ein Hund;big dog, run;cat\n",
        columns={"picture": "where", "captions": ["en", "de"], "tags": "words", "labels": "seen", "separator": ","},
        images=tmp_path / "pictures",
    )
    (sample,) = source
    assert sample.picture == tmp_path / "pictures" / "a.jpg"
    assert (sample.captions, sample.labels) == (("a dog", "ein Hund"), ("cat",))
    assert sample.tags == (TagName("big dog"), TagName("run"))


def test_numbered_captions_and_a_separator_that_occurs(tmp_path: Path) -> None:
    source = table(tmp_path, "file\tcaption_1\tcaption_2\tlabels\na.jpg\tone\ttwo\tdog; cat ;\n", "t.tsv")
    assert source[0].captions == ("one", "two")
    assert source[0].tags == (TagName("dog"), TagName("cat"))


def test_lists_and_boxes_may_be_json(tmp_path: Path) -> None:
    rows = [
        ["image", "captions", "tags", "boxes"],
        [
            "a.jpg",
            '["one, two", " "]',
            '[{"name": "train", "kind": "action"}, "dog"]',
            '[{"box":[0,0,1,0.5],"label":"dog"}]',
        ],
    ]
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    sample = table(tmp_path, stream.getvalue())[0]
    assert sample.captions == ("one, two",)
    assert sample.tags == (TagName("train", "action"), TagName("dog"))
    assert sample.boxes == (Box(0, 0, 1, 0.5, "dog"),)


def test_a_table_without_a_header(tmp_path: Path) -> None:
    source = table(tmp_path, 'a "dog"\ta.jpg\nb\tb.jpg\n', "t.tsv", header=False, columns={"picture": 1, "captions": 0})
    assert [(sample.captions, sample.picture.name) for sample in source] == [(('a "dog"',), "a.jpg"), (("b",), "b.jpg")]
    assert source[1].source == "t.tsv:2"


def test_quotes_around_a_tsv_field_are_removed(tmp_path: Path) -> None:
    source = table(tmp_path, 'image\tcaption\na.jpg\t"He said ""hi"""\nb.jpg\t5" disk\n', "t.tsv")
    assert [sample.captions for sample in source] == [('He said "hi"',), ('5" disk',)]


def test_fields_in_quotes_may_hold_line_breaks_and_places_stay_lines(tmp_path: Path) -> None:
    source = table(tmp_path, 'image,caption\n\na.jpg,"one,\ntwo ""2"""\r\n\r\nb.jpg,three\n\n')
    assert [(sample.source, sample.captions) for sample in source] == [
        ("t.csv:3", ('one,\ntwo "2"',)),
        ("t.csv:6", ("three",)),
    ]


def test_an_unclosed_quote_affects_only_its_row(tmp_path: Path) -> None:
    rows = "".join(f"{number}.jpg,row {number}\n" for number in range(50_000))
    source = table(tmp_path, 'image,caption\nx.jpg,5" disk\ny.jpg,"open\n' + rows)
    assert len(source) == 50_002
    assert source[0].captions == ('5" disk',)
    assert source[50_001].captions == ("row 49999",)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.lists(st.text('ab ,"\n;ü\t', max_size=8), min_size=2, max_size=2), max_size=12),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_agrees_with_the_standard_library(rows, end, tmp_path_factory) -> None:
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator=end).writerows([["image", "caption"], *rows])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(stream.getvalue().encode())
    records = index_lines(path, quoted=True)
    found = [next(csv.reader(io.StringIO(records[i].decode(), newline=""))) for i in range(len(records))]
    assert found == list(csv.reader(io.StringIO(stream.getvalue(), newline="")))


def test_lines_longer_than_a_piece_of_the_file_are_read_whole(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("anytag.datasets.offsets._CHUNK", 7)
    source = table(tmp_path, 'image,caption\na.jpg,"a long ""caption"", and\na break"\nb.jpg,x')
    assert [sample.captions for sample in source] == [('a long "caption", and\na break',), ("x",)]


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    source = table(tmp_path, b"\xef\xbb\xbfimage,caption\na.jpg,x\n")
    assert source.columns.picture == "image"


@pytest.mark.parametrize(
    ("row", "kind", "message"),
    [
        ("a.jpg", "row", "t.csv:3: 1 field, but the table has 3 columns"),
        ("a.jpg,x,dog,more", "row", "t.csv:3: 4 fields, but the table has 3 columns"),
        (",x,dog", "picture", "t.csv:3: the field 'image' is empty"),
        ("a.jpg,x,[dog", "tags", "t.csv:3: the field 'tags' begins like JSON and is not"),
        (b"a.jpg,\xff,dog", "row", "t.csv:3: not in UTF-8 (invalid start byte at byte 6 of the row)"),
    ],
)
def test_a_damaged_row_is_named_and_the_others_are_read(tmp_path: Path, row, kind: str, message: str) -> None:
    row = row.encode() if isinstance(row, str) else row
    source = table(tmp_path, b"image,caption,tags\na.jpg,x,dog\n" + row + b"\nb.jpg,y,cat\n")
    with pytest.raises(SampleError) as caught:
        source[1]
    assert caught.value.kind == kind
    assert str(caught.value).startswith(message)
    assert (source[0].captions, source[2].captions) == (("x",), ("y",))
    assert [getattr(item, "kind", item.__class__.__name__) for item in source.read(0)] == ["Sample", kind, "Sample"]
    with pytest.raises(SampleError):
        list(source)


def test_a_row_that_does_not_exist(tmp_path: Path) -> None:
    source = table(tmp_path, "image,caption\na.jpg,x\n")
    for index in (1, -1):
        with pytest.raises(IndexError, match=f"table t.csv: 1: sample {index} of 1"):
            source[index]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "{path}: the table is empty"),
        (
            "where,caption\na,b\n",
            {},
            "{path}: no column is named like pictures; call it 'image', or name it in a recipe or in Python with "
            "columns={{'picture': NAME}}. The columns are 'where', 'caption'",
        ),
        (
            "image,size\na,b\n",
            {},
            "{path}: no column is named like captions or tags; call one 'captions' or 'tags', or name it in a "
            "recipe or in Python with columns={{'captions': NAME}} or columns={{'tags': NAME}}. "
            "The columns are 'image', 'size'",
        ),
        (
            "image,caption\na,b\n",
            {"columns": {"tags": "words"}},
            "{path}: no column 'words'; the columns are 'image', 'caption'",
        ),
        (
            "image,caption\na,b\n",
            {"columns": {"pictures": "image"}},
            "{path}: columns have no role 'pictures'; the roles are picture, captions, tags, labels, boxes, id, "
            "separator",
        ),
        (
            "image,caption\na,b\n",
            {"columns": {"picture": ["image", "caption"]}},
            "{path}: picture is one column, not 'image', 'caption'",
        ),
        ("image,caption\n", {"delimiter": "::"}, "{path}: a delimiter is a single character, not '::'"),
        (b"\xff\xfei\x00", {}, "{path}: the file is in UTF-16; save it as UTF-8"),
    ],
)
def test_a_table_that_is_not_understood(tmp_path: Path, content, options: dict, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        table(tmp_path, content, **options)
    assert str(caught.value) == message.format(path=tmp_path / "t.csv")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"t\.csv: the file cannot be read \(No such file"):
        TableSource(tmp_path / "t.csv")


def test_pictures_on_the_web_are_fetched(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("anytag.datasets.records.fetch", lambda address: jpeg() + address.encode())
    source = table(tmp_path, "url,text\nhttps://example.org/a.jpg,a dog\n")
    assert source[0].picture == jpeg() + b"https://example.org/a.jpg"
