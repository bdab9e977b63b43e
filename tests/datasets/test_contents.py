"""Data that were changed under their old names are other data; data that were moved are the same."""

from __future__ import annotations

import io
import json
import shutil
import tarfile

import pytest
from PIL import Image

from anytag.datasets.opening import open_source
from anytag.datasets.stream import SampleStream
from anytag.errors import DataError, UsageError


def encoded(color):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(buffer, "BMP")  # Every color takes as many bytes.
    return buffer.getvalue()


def table(folder, word):
    (folder / "a.png").write_bytes(encoded("red"))
    (folder / "data.csv").write_text(f"picture,tags\na.png,{word}\na.png,cat\n")
    return folder / "data.csv"


def lines(folder, word):
    (folder / "data.jsonl").write_text(
        "".join(json.dumps({"image": "a.png", "tags": [t]}) + "\n" for t in (word, "cat"))
    )
    return folder / "data.jsonl"


def coco(folder, word):
    (folder / "a.png").write_bytes(encoded("red"))
    images = [{"id": 1, "file_name": "a.png"}]
    annotations = [{"id": 1, "image_id": 1, "caption": f"a {word}"}]
    (folder / "data.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return folder / "data.json"


def sidecars(folder, word):
    made = folder / "pictures"
    made.mkdir(exist_ok=True)
    (made / "a.png").write_bytes(encoded("red"))
    (made / "a.txt").write_text(word)
    return made


def shard(folder, word):
    with tarfile.open(folder / "data.tar", "w") as tar:
        for name, content in (("a.bmp", encoded("red" if word == "dog" else "blue")), ("a.json", b'{"caption": "x"}')):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return folder / "data.tar"


KINDS = [table, lines, coco, sidecars, shard]


@pytest.mark.parametrize("write", KINDS)
def test_a_word_of_the_same_length_makes_other_data_and_a_move_does_not(tmp_path, write):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    before = open_source(write(first, "dog"))
    assert len(before.contents) == 16
    shutil.copytree(first, second)
    moved = open_source(second / write(second, "dog").name)
    mended = open_source(write(first, "dig"))
    assert before.contents == moved.contents != mended.contents
    assert before.identity == moved.identity == mended.identity


@pytest.mark.parametrize("write", KINDS)
def test_a_stream_does_not_resume_with_other_data(tmp_path, write):
    def stream(word):
        return SampleStream(
            [open_source(write(tmp_path, word))], seed=1, threads=0, load=lambda sample, epoch: sample.id
        )

    state = json.loads(json.dumps(stream("dog").state()))
    stream("dog").restore(state)
    with pytest.raises(UsageError, match="the data have changed since the run began"):
        stream("dig").restore(state)


@pytest.mark.parametrize("write", [table, lines, coco, sidecars])
@pytest.mark.parametrize("change", ["other", "smaller"])
def test_another_picture_under_an_old_name_is_noticed(tmp_path, write, change):
    """Even one of the very same size, as BMP and cameras' raw files have."""

    def stream(path):
        return SampleStream([open_source(path)], seed=1, threads=0)

    (tmp_path / "a.png").write_bytes(encoded("red"))
    path = write(tmp_path, "dog")
    state = json.loads(json.dumps(stream(path).state()))
    picture = (path if path.is_dir() else tmp_path) / "a.png"
    picture.write_bytes(encoded("blue") if change == "other" else encoded("red")[:-1])
    with pytest.raises(UsageError, match="have changed since the run began"):
        stream(path).restore(state)


def test_a_state_without_content_hashes_is_accepted(tmp_path):
    stream = SampleStream([open_source(table(tmp_path, "dog"))], seed=1, threads=0)
    state = stream.state()
    del state["of"]["contents"], state["of"]["picture_contents"]
    stream.restore(state)


@pytest.mark.parametrize(("bad", "passes"), [(2, True), (3, False)])
def test_two_bad_files_of_a_hundred_are_two_in_every_epoch(tmp_path, bad, passes):
    (tmp_path / "a.png").write_bytes(encoded("red"))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    names = ["broken.png"] * bad + ["a.png"] * (100 - bad)
    (tmp_path / "data.csv").write_text("picture,tags\n" + "".join(f"{name},dog\n" for name in names))
    settings = {"seed": 1, "threads": 0, "epochs": 5, "bad_share": 0.02, "bad_minimum": 100}
    stream = SampleStream([open_source(tmp_path / "data.csv")], **settings)
    if passes:
        assert sum(1 for _ in stream) == 5 * 98
        assert (stream.state()["health"]["bad"], stream.state()["health"]["seen"]) == (2, 100)
    else:
        with pytest.raises(DataError, match=r"3 of 100 samples cannot be read, more than the allowed 2\.00%"):
            list(stream)
