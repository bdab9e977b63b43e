import gzip
import io
import json
import re
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anytag.cli import build_app
from anytag.cli import vocabulary as command
from anytag.errors import UsageError
from anytag.language.parsing.rules import ParsedTag
from anytag.model.vocabulary import TagVocabulary, VocabularyTag


class WordParser:
    """Parse every word as an object, so that the tests need no tagger."""

    name = "words"

    def parse(self, caption):
        return [ParsedTag(word, "object") for word in caption.split()]

    def parse_many(self, captions, workers=1):
        return (self.parse(caption) for caption in captions)


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr(command, "load_parser", lambda name: WordParser())
    return lambda *arguments: CliRunner().invoke(build_app("vocabulary"), ["vocabulary", *map(str, arguments)])


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "vocabulary.json"
    TagVocabulary(
        [
            VocabularyTag(0, "animal", "object", support=3),
            VocabularyTag(1, "dog", "object", aliases=("hound",), implies=(0,), support=5),
            VocabularyTag(2, "beach", "scene", support=4),
        ]
    ).save(path)
    return path


def test_build_reads_text_gzip_and_shards(run, tmp_path):
    (tmp_path / "a.txt").write_text("dog\npuppy\n")
    with gzip.open(tmp_path / "b.txt.gz", "wt") as file:
        file.write("cat\n")
    with tarfile.open(tmp_path / "c.tar", "w") as shard:
        for name, content in (("1.jpg", b"x"), ("1.json", json.dumps({"captions": ["cat", "kitten"]}).encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    out = tmp_path / "made.json"
    sources = (tmp_path / "a.txt", tmp_path / "b.txt.gz", tmp_path / "c.tar")
    result = run("build", *sources, "--min-support", 1, "--no-imagenet", "--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    made = TagVocabulary.load(out)
    assert json.loads(result.stdout)["tags"] == len(made)
    assert made.find("cat").support == 2
    assert made.find("dog").support == 2
    assert made.find("animal").support == 4


def test_build_reports_what_was_kept_and_why(run, tmp_path):
    (tmp_path / "captions.txt").write_text("cat dog\ncat\ndog bird\n")
    made = run("build", tmp_path / "captions.txt", "--min-support", 2, "--out", tmp_path / "v.json")
    tags, captions, imagenet, implied = made.stdout.splitlines()
    assert tags.startswith(f"{tmp_path / 'v.json'}: 1,2")
    assert captions == "  2 of the 3 that the captions name; 1 are in fewer than 2 of the 3 pictures (--min-support)"
    assert re.fullmatch(r"  9\d\d more of ImageNet's 1,000 classes \(--no-imagenet leaves them out\)", imagenet)
    assert re.fullmatch(r"  2\d\d that follow from those, such as '\w+' from '\w+'", implied)
    out = ("--json", "--out", tmp_path / "v.json")
    again = run("build", tmp_path / "captions.txt", "--min-support", 1, "--max-tags", 1, "--no-imagenet", *out)
    told = json.loads(again.stdout)
    assert told["left_out"] == {"rare": 0, "surplus": 2, "unfit": 0}
    assert told["sources"]["captions"] == 1


def test_build_writes_over_nothing_but_vocabularies(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("captions.txt").write_text("cat\n")
    Path("photo.jpg").write_bytes(b"a picture")
    for arguments, message in (
        ((), "--out is missing: the file to write the vocabulary to, such as --out vocabulary.json"),
        (("--out", "captions.txt"), "captions.txt: the captions are read from there; give another --out"),
        (
            ("--out", "photo.jpg"),
            "photo.jpg: exists and is not a vocabulary, so it is not replaced; give another --out",
        ),
    ):
        result = run("build", "captions.txt", "--min-support", 1, *arguments)
        assert (result.exit_code, result.stderr) == (2, f"anytag vocabulary build: {message}\n")
    assert {path.name for path in tmp_path.iterdir()} == {"captions.txt", "photo.jpg"}


def test_lines_can_belong_to_one_picture(tmp_path):
    path = tmp_path / "five.txt"
    path.write_text("a\nb\nc\n")
    assert list(command.read_captions(path, 2)) == [("a", "b"), ("c",)]


def test_pictures_without_captions_keep_their_place():
    pictures = [(), ("dog cat", "bird"), (), ("cow",), ()]
    found = command.parse_pictures(pictures, WordParser())
    assert [[tag.name for tag in one] for one in found] == [[], ["dog", "cat", "bird"], [], ["cow"], []]


def test_what_is_no_shard_is_named(tmp_path):
    path = tmp_path / "broken.tar"
    path.write_bytes(b"nonsense" * 100)
    with pytest.raises(UsageError, match=r"broken\.tar"):
        list(command.read_captions(path))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("build", "none.txt"), "no such file: none.txt"),
        (
            ("build", "/"),
            "/ is a folder; give shards or files of captions, or make a vocabulary of any other",
        ),
        (("show", "none.json"), "no such vocabulary file"),
    ],
)
def test_wrong_use_is_explained(run, arguments, complaint):
    result = run(*arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_a_picture_holds_no_captions(run, tmp_path):
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF\0")
    result = run("build", tmp_path / "c.jpg", "--out", tmp_path / "vocabulary.json")
    message = f"{tmp_path / 'c.jpg'}: no text in UTF-8; give a file with a caption per line\n"
    assert (result.exit_code, result.stderr) == (2, f"anytag vocabulary build: {message}")
    assert not (tmp_path / "vocabulary.json").exists()


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_empty_captions_make_no_vocabulary(run, tmp_path, content):
    (tmp_path / "empty.txt").write_text(content)
    result = run("build", tmp_path / "empty.txt", "--out", tmp_path / "vocabulary.json")
    assert result.exit_code == 2
    assert f"no caption in {tmp_path / 'empty.txt'}, so nothing was written" in result.stderr
    assert not (tmp_path / "vocabulary.json").exists()


def test_captions_without_kept_tags_make_no_vocabulary(run, tmp_path):
    """ImageNet's classes alone do not make a vocabulary."""
    (tmp_path / "c.txt").write_text("a dog\n")
    result = run("build", tmp_path / "c.txt", "--out", tmp_path / "vocabulary.json", "--min-support", 9)
    assert result.exit_code == 2
    assert (
        "no tag of the 1 captions is kept, so nothing was written: 2 of their tags are in fewer than 9 pictures; lower "
        "--min-support"
    ) in result.stderr
    assert not (tmp_path / "vocabulary.json").exists()


def test_captions_in_another_language_are_noticed(run, tmp_path):
    german = ["Ein Hund läuft über die Wiese", "Eine Katze schläft auf dem Sofa"]
    english = ["a dog runs across the lawn", "a cat sleeps"]
    for captions, warned in ((german, True), (english, False)):
        (tmp_path / "c.txt").write_text("\n".join(captions * 10), encoding="utf-8")
        result = run("build", tmp_path / "c.txt", "--out", tmp_path / "vocabulary.json", "--no-imagenet")
        assert result.exit_code == 0
        assert ("only 0 of 20 captions contain 'the', 'and' or 'with'" in result.stderr) == warned


def test_show_goes_by_support_and_kind(run, saved):
    rows = [json.loads(line) for line in run("show", saved, "--json").stdout.splitlines()]
    assert [row["name"] for row in rows] == ["dog", "beach", "animal"]
    assert rows[0]["implies"] == ["animal"]
    assert "beach" in run("show", saved, "--kind", "scene").stdout
    assert "dog" not in run("show", saved.parent, "--kind", "scene").stdout
    assert len(run("show", saved, "--json", "--limit", 1).stdout.splitlines()) == 1


def test_search_finds_aliases(run, saved):
    assert "dog" in run("search", "houn", "--vocabulary", saved).stdout
    nothing = run("search", "unicorn", "-v", saved)
    assert nothing.exit_code == 1
    assert "unicorn" in nothing.stderr


def test_search_names_what_is_not_trained(run, saved):
    result = run("search", "alarm clock", "--vocabulary", saved)
    assert result.exit_code == 1
    assert result.stderr.endswith("categories need not be tags: anytag tag PICTURE --categories 'alarm clock'\n")
    result = run("search", "dog", "--vocabulary", saved, "--limit", 2)
    assert result.exit_code == 0
    assert "hound" in result.stdout
    assert result.stderr == "anytag vocabulary search: not trained; ask with --categories: dog bed, hot dog\n"
