from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from data_files import jpeg, shard_members, write_shards, write_tar

from anytag.datasets import Box, Sample, TagName
from anytag.datasets.opening import open_source
from anytag.datasets.shard_names import expand_braces, expand_shards, is_shard_name
from anytag.datasets.webdataset import ShardSource, StreamedShards, open_shards, read_shard
from anytag.errors import SampleError, UsageError

RECORD = {
    "id": 12,
    "captions": ["a dog", "the dog"],
    "tags": ["dog", {"name": "run", "kind": "action"}],
    "categories": ["cat"],
    "boxes": [{"box": [0, 0, 1, 1], "label": "dog"}],
}
MEMBERS = [
    ("one/000.jpg", jpeg(1)),
    ("one/000.json", json.dumps(RECORD).encode()),
    ("notes/readme.txt", b"no picture here"),
    ("one/._001.jpg", b"a hidden file of some system"),
    ("one/001.seg.png", jpeg(3)),
    ("one/001.jpg", jpeg(2)),
    ("one/001.txt", b"first line\n\nsecond line\n"),
    ("one/001.cls", b"7"),
    ("002.PNG", jpeg(4)),
]


def ids(source) -> list[str]:
    return [sample.id for sample in source]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_members_with_the_same_name_make_a_sample(tmp_path: Path, mode: str) -> None:
    path = write_tar(tmp_path / "s.tar", MEMBERS, mode)
    first, second, third = read_shard(path)
    assert (first.id, first.picture, first.captions) == ("12", jpeg(1), ("a dog", "the dog"))
    assert first.tags == (TagName("dog"), TagName("run", "action"))
    assert (first.labels, first.boxes) == (("cat",), (Box(0, 0, 1, 1, "dog"),))
    assert (second.id, second.picture, second.captions) == ("one/001", jpeg(2), ("first line", "second line"))
    assert (third.id, third.captions) == ("002", ())
    assert [sample.source for sample in (first, second, third)] == [
        "s.tar:one/000.jpg",
        "s.tar:one/001.jpg",
        "s.tar:002.png",
    ]
    assert list(open_shards(path)) == [first, second, third]
    assert type(open_shards(path)) is (ShardSource if mode == "w" else StreamedShards)


def test_random_access(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, [3, 0, 4])
    source = pickle.loads(pickle.dumps(open_shards(paths)))
    assert (len(source), source.parts, [source.rows(part) for part in range(3)]) == (
        7,
        3,
        [range(3), range(3, 3), range(3, 7)],
    )
    assert [source[index].captions for index in (6, 0, 3)] == [("number 6",), ("number 0",), ("number 3",)]
    assert source[3] == next(iter(read_shard(paths[2])))
    assert [item.id for item in source.read(2, start=2)] == ["5", "6"]
    assert source.description == f"3 shards from {paths[0]} on: 7 samples"
    for index in (-1, 7):
        with pytest.raises(IndexError):
            source[index]


def test_the_streamed_samples_are_the_same(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, [3, 4], "w:gz")
    source = StreamedShards([str(path) for path in paths])
    assert ids(source) == list("0123456")
    assert [item.id for item in source.read(1, start=2)] == ["5", "6"]
    assert source.description == f"2 shards from {paths[0]} on, streamed"


def test_tags_may_have_another_key(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", MEMBERS)
    assert open_shards(path, tags="categories")[0].tags == (TagName("cat"),)


@pytest.mark.parametrize(
    ("record", "tags"),
    [
        ({"label": "dog"}, ("dog",)),
        ({"keywords": "dog; cat"}, ("dog", "cat")),
        ({"tags": ["owl"], "label": "dog"}, ("owl",)),
        ({"label": 3}, ()),  # The number of a class says nothing.
        ({"labels": [3, 4]}, ()),
        ({"categories": ["dog"]}, ()),
        ({"class": "dog"}, ("dog",)),
        ({"Label": "dog", "Tags": 3}, ("dog",)),
    ],
)
def test_tags_go_by_their_usual_names_as_in_tables(tmp_path: Path, record: dict, tags: tuple[str, ...]) -> None:
    path = write_tar(tmp_path / "s.tar", [("0.jpg", jpeg(1)), ("0.json", json.dumps(record).encode())])
    assert tuple(tag.name for tag in open_shards(path)[0].tags) == tags


@pytest.mark.parametrize(
    ("members", "tags"),
    [
        ([("0.cls", b"dog\n")], ("dog",)),
        ([("0.cls", b"3")], ()),
        ([("0.cls", b"")], ()),
        ([("0.cls", b"dog"), ("0.json", b'{"tags": ["owl"]}')], ("owl",)),
    ],
)
def test_names_of_classes_in_members_of_their_own(tmp_path: Path, members: list, tags: tuple[str, ...]) -> None:
    """As the webdataset package writes them; a JSON member's own tags come first."""
    path = write_tar(tmp_path / "s.tar", [("0.jpg", jpeg(1)), *members])
    for shard in (path, write_tar(tmp_path / "s.tar.gz", [("0.jpg", jpeg(1)), *members], "w:gz")):
        [sample] = read_shard(shard)
        assert tuple(tag.name for tag in sample.tags) == tags
    assert tuple(tag.name for tag in open_shards(path)[0].tags) == tags


class TestColumns:
    RECORD: ClassVar = {
        "alt": "a dog",
        "more": ["a cat", ""],
        "kw": "dog/cat",
        "extra": ["cat", "owl"],
        "key": 7,
        "seen": "dog",
    }

    @pytest.fixture(params=["here", "streamed"])
    def first(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Sample]:
        record = json.dumps(self.RECORD | {"caption": "unseen", "tags": ["unseen"], "categories": ["unseen"]}).encode()
        members = [("0.jpg", jpeg(1)), ("0.json", record), ("0.txt", b"a line")]
        name = "s.tar" if request.param == "here" else "s.tar.gz"
        path = write_tar(tmp_path / name, members, "w" if request.param == "here" else "w:gz")

        def open_first(**options: object) -> Sample:
            source = open_source({"path": str(path), **options})
            assert isinstance(source, ShardSource if request.param == "here" else StreamedShards)
            return next(iter(source))

        return open_first

    def test_keys_are_assigned_to_roles(self, first: Callable[..., Sample]) -> None:
        columns = {
            "captions": ["alt", "more"],
            "tags": ["kw", "extra"],
            "labels": "seen",
            "id": "key",
            "separator": "/",
        }
        sample = first(columns=columns)
        assert sample.captions == ("a dog", "a cat")
        assert [tag.name for tag in sample.tags] == ["dog", "cat", "owl"]
        assert (sample.labels, sample.id) == (("dog",), "7")

    def test_other_roles_keep_their_defaults(self, first: Callable[..., Sample]) -> None:
        sample = first(columns={"tags": "extra"})
        assert (sample.captions, sample.labels, sample.id) == (("unseen",), ("unseen",), "0")
        assert [tag.name for tag in sample.tags] == ["cat", "owl"]
        assert first(columns={"tags": None, "captions": None}).captions == ()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"columns": {"picture": "jpg"}},
                "columns of shards have no role 'picture'; the roles are captions, tags, ",
            ),
            ({"columns": {"tags": "kw"}, "tags": "kw"}, "'tags' and the 'tags' of 'columns' say the same thing"),
        ],
    )
    def test_invalid_options_are_refused(self, first: Callable[..., Sample], options: dict, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            first(**options)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"{", "s.tar:b.jpg: a text member is not JSON, or not in UTF-8 (Expecting property name"),
        (b"[1]", "s.tar:b.jpg: the JSON member holds [1], not an object"),
        (b'{"caption": 5}', "s.tar:b.jpg: the field 'caption' holds 5, neither a sentence nor a list of them"),
    ],
)
def test_a_damaged_member_affects_only_its_sample(tmp_path: Path, record: bytes, message: str) -> None:
    members = [("a.jpg", jpeg()), ("b.jpg", jpeg()), ("b.json", record), ("c.jpg", jpeg())]
    path = write_tar(tmp_path / "s.tar", members)
    for source in (ShardSource([path]), StreamedShards([str(path)])):
        first, error, last = source.read(0)
        assert (first.id, last.id) == ("a", "c")
        assert str(error).startswith(message)
        assert [item.id for item in source.read(0, start=2)] == ["c"]
    with pytest.raises(SampleError):
        list(read_shard(path))


def test_complete_samples_of_a_truncated_shard_are_kept(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, [3, 2])
    content = paths[0].read_bytes()
    paths[0].write_bytes(content[: content.index(b"000002.json") + 520])
    source = ShardSource(paths)
    assert ids(source) == ["0", "1", "3", "4"]
    (problem,) = source.problems
    assert problem.kind == "shard"
    assert str(problem).startswith("shard-000.tar: broken off after sample 2: it ends inside a member")
    streamed = list(StreamedShards([str(paths[0])]).read(0))
    assert [item.id for item in streamed[:2]] == ["0", "1"]
    assert (streamed[2].kind, len(streamed)) == ("shard", 3)
    with pytest.raises(UsageError, match=r"shard-000\.tar: broken off after sample 2: it ends inside a member"):
        list(read_shard(paths[0]))


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("cut", [True, False])
def test_damaged_compression_ends_the_shard(tmp_path: Path, mode: str, cut: bool) -> None:
    path = write_tar(tmp_path / "shard-000.tar.gz", shard_members(0, 50), mode)
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + (b"" if cut else b"damaged" + content[half + 7 :]))
    *whole, error = StreamedShards([str(path)]).read(0)
    assert [item.id for item in whole] == [str(number) for number in range(len(whole))]
    assert (error.kind, error.source) == ("shard", "shard-000.tar.gz")


def test_the_index_is_kept_if_there_is_a_folder_for_it(tmp_path: Path, monkeypatch) -> None:
    paths = write_shards(tmp_path / "data", [3, 2])
    kept = tmp_path / "index"
    assert ids(open_shards(paths, index_folder=kept)) == list("01234")
    assert len(list(kept.iterdir())) == 2
    with monkeypatch.context() as patch:
        patch.setattr("anytag.datasets.webdataset.read_tar", lambda *_: pytest.fail("the shards are read again"))
        assert len(open_shards(paths, index_folder=kept)) == 5
    write_tar(paths[0], shard_members(7, 4))
    assert ids(open_shards(paths, index_folder=kept)) == ["7", "8", "9", "10", "3", "4"]


def test_a_shard_changed_after_indexing_makes_bad_samples(tmp_path: Path) -> None:
    (path,) = write_shards(tmp_path, [3])
    source = ShardSource([path])
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(SampleError, match=r"shard-000\.tar:#2: has changed since it was indexed"):
        source[1]
    path.unlink()
    with pytest.raises(SampleError, match=r"shard-000\.tar:#2: cannot be read \(.*No such file"):
        source[1]


def test_shards_without_samples_are_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", [("a.mp4", b"1")])
    with pytest.raises(UsageError, match=r"s\.tar: no samples; shards must contain pictures named"):
        ShardSource([path])
    with pytest.raises(UsageError, match=r"x\.tar: the shard cannot be opened \(No such file"):
        ShardSource([tmp_path / "x.tar"])
    with pytest.raises(UsageError, match="no shards were given"):
        StreamedShards([])


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("s-{008..011}.tar", ["s-008.tar", "s-009.tar", "s-010.tar", "s-011.tar"]),
        ("s-{8..11}.tar", ["s-8.tar", "s-9.tar", "s-10.tar", "s-11.tar"]),
        ("{a,b}/s-{0..1}.tar", ["a/s-0.tar", "a/s-1.tar", "b/s-0.tar", "b/s-1.tar"]),
        ("https://h/{00..01}.tar?k={x}", ["https://h/00.tar?k={x}", "https://h/01.tar?k={x}"]),
    ],
)
def test_brace_ranges(pattern: str, names: list[str]) -> None:
    assert expand_braces(pattern) == names


def test_a_range_that_runs_backwards_is_refused() -> None:
    with pytest.raises(UsageError, match=r"s-\{3\.\.1\}\.tar: the range \{3\.\.1\} runs backwards"):
        expand_braces("s-{3..1}.tar")


def test_patterns_folders_and_file_addresses_name_shards(tmp_path: Path) -> None:
    names = [str(path) for path in write_shards(tmp_path, [1, 1, 1])]
    (tmp_path / "readme.txt").write_text("")
    assert expand_shards([f"{tmp_path}/*.tar"]) == names
    assert expand_shards([f"{tmp_path}/shard-{{000..001}}.tar", names[2]]) == names
    assert expand_shards([tmp_path]) == names
    assert expand_shards([(tmp_path / "shard-000.tar").as_uri()]) == names[:1]
    assert expand_shards(["https://example.org/{0..1}.tar"]) == [
        "https://example.org/0.tar",
        "https://example.org/1.tar",
    ]
    with pytest.raises(UsageError, match=r"shard-003\.tar: no such shard \(.*shard-\{002\.\.003\}\.tar\)"):
        expand_shards([f"{tmp_path}/shard-{{002..003}}.tar"])
    with pytest.raises(UsageError, match=r"x\*\.tar: no such shard$"):
        expand_shards([f"{tmp_path}/x*.tar"])


def test_names_of_shards() -> None:
    assert all(map(is_shard_name, ["a.tar", "b/a.TAR.gz", "a.tgz", "a.tar.xz"]))
    assert not any(map(is_shard_name, ["a.tar.part", "a.zip", "tar"]))
