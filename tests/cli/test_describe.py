import json
import shutil

import pytest
from fixtures_chat import serving
from typer.testing import CliRunner

from anytag.cli import _describe, build_app
from anytag.language.label_texts.description_files import lines_of, read_descriptions
from anytag.language.tags.wordnet import PARTS_OF_SPEECH
from anytag.model.directory import SHIPPED_MODEL
from anytag.model.vocabulary import TagVocabulary, VocabularyTag


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("ANYTAG_API_KEY", "s3cr3t")
    with serving() as chat:
        yield chat


@pytest.fixture
def tags(tmp_path):
    path = tmp_path / "tags.txt"
    path.write_text("owl\n\n beach \nred\nrunning\n", encoding="utf-8")
    return path


@pytest.fixture
def wordnet(tmp_path):
    """WordNet's files with a single noun."""
    folder = tmp_path / "wordnet"
    folder.mkdir()
    for part in PARTS_OF_SPEECH:
        (folder / f"data.{part}").write_text("")
        (folder / f"index.{part}").write_text("")
    (folder / "data.noun").write_text("00000000 05 n 02 owl 0 hooter 0 000 | nocturnal bird of prey  \n")
    (folder / "index.noun").write_text("owl n 1 0 1 0 00000000  \n")
    return folder


def run(*arguments):
    return CliRunner().invoke(build_app("vocabulary"), ["vocabulary", "describe", *map(str, arguments)])


def test_without_a_model_descriptions_come_from_wordnet(tags, wordnet, tmp_path):
    out = tmp_path / "out.jsonl"
    result = run("--tags", tags, "--wordnet", wordnet, "--out", out)
    assert result.exit_code == 0, result.output
    assert "51 descriptions for each of 4 tags, 4 of them new, by WordNet glosses and templates" in result.stdout
    found = read_descriptions(out)
    assert [(one.tag, one.kind) for one in found] == [
        ("owl", "object"),
        ("beach", "scene"),
        ("red", "attribute"),
        ("running", "action"),
    ]
    assert found[0].lines[1] == "an owl: nocturnal bird of prey."
    assert {len(set(one.lines)) for one in found} == {51}
    before = out.read_bytes()
    again = json.loads(run("--tags", tags, "--wordnet", wordnet, "-o", out, "--json").stdout)
    assert again == {
        "path": str(out),
        "tags": 4,
        "made": 0,
        "per_tag": 51,
        "by": "WordNet glosses and templates",
    }
    out.unlink()
    run("--tags", tags, "--wordnet", wordnet, "-o", out)
    assert out.read_bytes() == before, "the same tags give the same file"


def test_a_language_model_writes_them(tags, server, tmp_path):
    out = tmp_path / "out.jsonl"
    arguments = ("--tags", tags, "--endpoint", server.url, "--llm", "tiny", "--per-tag", 6, "--out", out)
    server.plan = lambda number, body: (404, {}, b"{}") if number >= 12 else None
    broken = run(*arguments, "--workers", 1)
    assert broken.exit_code == 2
    assert "anytag vocabulary describe: " in broken.stderr
    assert "check the address, and that it serves 'tiny'" in broken.stderr
    assert not out.exists()
    assert len((tmp_path / "out.jsonl.part").read_text().splitlines()) >= 1
    server.plan = lambda number, body: None
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["tags"], summary["per_tag"], summary["by"]) == (4, 6, "tiny")
    assert 0 < summary["made"] < 4
    assert {(one.model, len(one.lines)) for one in read_descriptions(out)} == {("tiny", 6)}
    assert server.requests[0][1]["Authorization"] == "Bearer s3cr3t"
    for text in (broken.output, result.output, out.read_text()):
        assert "s3cr3t" not in text


def test_vocabularies_and_models_keep_their_kinds(wordnet, tmp_path):
    vocabulary = TagVocabulary([VocabularyTag(0, "train", "object"), VocabularyTag(1, "train", "action")])
    vocabulary.save(tmp_path / "vocabulary.json")
    shutil.copy(SHIPPED_MODEL / "config.json", tmp_path / "config.json")
    record = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**record, "files": {}}))
    for number, source in enumerate((("--tags", tmp_path / "vocabulary.json"), ("--model", tmp_path))):
        out = tmp_path / f"{number}.jsonl"
        result = run(*source, "--wordnet", wordnet, "--per-tag", 3, "--out", out)
        assert result.exit_code == 0, result.output
        first, second = lines_of(vocabulary, read_descriptions(out))
        assert first[0] == "a photo of a train."
        assert second[0] == "a photo of someone or something training."


def test_without_wordnet_there_are_templates_and_a_word_about_it(tags, tmp_path, monkeypatch, recwarn):
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path / "none"))
    result = run("--tags", tags, "--out", tmp_path / "out.jsonl")
    assert result.exit_code == 0
    assert "no WordNet database there" in result.stderr
    assert "descriptions come from templates alone" in result.stderr
    assert not [one for one in recwarn if "templates" in str(one.message)]
    assert {one.model for one in read_descriptions(tmp_path / "out.jsonl")} == {"templates"}


def test_without_tags_the_shipped_models_are_meant(monkeypatch):
    assert len(_describe.read_tags(None, None)) == len(TagVocabulary.load(SHIPPED_MODEL / "vocabulary.json"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--tags", "none.txt"), "none.txt: no such file of tags"),
        (("--tags", "none.json"), "none.json: no such vocabulary file"),
        (("--tags", "empty.txt"), "there is no tag in it; write one per line"),
        (("--tags", "bytes.txt"), "cannot be read as a list of tags"),
        (("--tags", "tags.txt", "--model", "."), "give --tags or --model, not both"),
        (("--tags", "tags.txt", "--llm", "tiny"), "a language model needs both: --endpoint"),
        (("--tags", "tags.txt", "--endpoint", "http://a.example"), "a language model needs both: --endpoint"),
        (("--tags", "tags.txt", "--endpoint", "a.example", "--llm", "x"), "'a.example' is not the address of a model"),
        (("--tags", "tags.txt", "--wordnet", "."), "no WordNet database there"),
        (("--tags", "tags.txt", "--out", "none/out.jsonl"), "no such folder to write the descriptions to"),
        (("--model", "none"), "none: no such model directory"),
        (("--tags", "tags.txt", "--per-tag", "999"), "there are no more than"),
    ],
)
def test_wrong_use_is_explained_and_leaves_no_file(tags, tmp_path, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    out = () if "--out" in arguments else ("--out", "out.jsonl")
    result = run(*arguments, *out)
    assert result.exit_code == 2, result.output
    assert complaint in result.stderr
    assert not list(tmp_path.glob("out.jsonl*"))


def test_a_malformed_file_is_reported_with_its_line(tags, wordnet, tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text('{"tag": "owl", "descriptions": ["a"]}\n{"tag": ')
    result = run("--tags", tags, "--wordnet", wordnet, "--out", out)
    assert result.exit_code == 2
    assert "out.jsonl: line 1" not in result.stderr
    assert "out.jsonl: line 2: not JSON" in result.stderr
    assert out.read_text().endswith('{"tag": ')
