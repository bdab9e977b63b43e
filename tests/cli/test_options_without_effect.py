"""Options that would have no effect are refused."""

from __future__ import annotations

import json

import pytest
from conftest import require
from fixtures_toy import plain, toy_recognizer
from typer.testing import CliRunner

from anytag.checkpoints.convert import convert_checkpoint
from anytag.cli import build_app
from anytag.errors import UsageError
from anytag.model.directory import SHIPPED_MODEL

CONVERT = ("convert", "a.pth", "--tags", "tags.txt", "--out", "model")
REFUSED = {
    ("tag", "red.png", "--server", "http://localhost:9", "--device", "cuda"): (
        "tag: --device belongs to a model on this machine and has no effect on --server"
    ),
    ("tag", "red.png", "--server", "http://localhost:9", "--deny", "dog"): (
        "tag: --deny belongs to a model on this machine and has no effect on --server"
    ),
    ("search", "dog", "--duplicates", "--library", "mine.db"): (
        "search: --duplicates looks at the whole index; leave the words out"
    ),
    ("search", "--duplicates", "--text", "a dog", "--library", "mine.db"): (
        "search: --text has no effect on --duplicates; leave it out"
    ),
    ("batch", "red.png", "--out", "out", "--separator", ";"): (
        "batch: --separator is about text files; add --write txt, or leave it out"
    ),
    ("batch", "red.png", "--out", "out", "--write", "txt", "--xmp-name", "stem"): (
        "batch: --xmp-name is about sidecars; add --write xmp, or leave it out"
    ),
    ("batch", "red.png", "--out", "out", "--dry-run", "--thumbnails"): (
        "batch: --thumbnails has no effect on --dry-run; leave it out"
    ),
    ("batch", "--status", "--out", "out", "--limit", 3): "batch: --limit has no effect on --status; leave it out",
    (
        "calibrate",
        "model",
        "--undo",
        "--half",
    ): "calibrate: --half is about pictures to calibrate on; --undo takes none",
    (*CONVERT, "--family", "tag2text", "--clip", "clip"): (
        "convert: Tag2Text only knows its own tags and does not use CLIP; leave it out"
    ),
    (*CONVERT, "--family", "ram_plus", "--prompt", "a photo of "): (
        "convert: --prompt is about captions, and RAM++ writes none; leave it out"
    ),
    ("pull", "--clip", "clip"): "pull: --clip needs the name of a model: tag2text, ram or ram_plus",
    ("untag", "red.xmp", "--embedded"): "untag: --embedded is about pictures; name them or their folders",
    ("vocabulary", "describe", "--out", "tags.jsonl", "--timeout", 3): (
        "vocabulary describe: --timeout is about a language model; add --endpoint and --llm, or leave it out"
    ),
    ("engine", "generate", ".", "--work", "work", "--captions", "none", "--num-beams", 2): (
        "engine generate: --num-beams is about captions, and --captions none writes none"
    ),
    ("engine", "parse", ".", "--work", "work", "--vocabulary", "vocabulary.json", "--min-support", 8): (
        "engine parse: --min-support is about a vocabulary that is made; leave it out where --vocabulary gives one"
    ),
    ("engine", "clean", ".", "--work", "work", "--detector", "dino"): (
        "engine clean: --detector goes with --regions grounding_dino"
    ),
    ("vocabulary", "build", "a.tar", "--out", "v.json", "--captions-per-picture", 5): (
        "vocabulary build: --captions-per-picture is about text files; shards know which captions belong together"
    ),
    ("evaluate", "--model", "lite", "--benchmark", "mine.csv", "--weights", "."): (
        "evaluate: --weights is where --baseline looks for weights; leave it out"
    ),
    ("evaluate", "--list", "--limit", 3): "evaluate: --limit has no effect on --list; leave it out",
    ("evaluate", "--suite", "mini", "--model", "lite"): "evaluate: --model has no effect on --suite; leave it out",
    ("evaluate", "--model", "lite", "--benchmark", "mine.csv", "--budget", 3): "evaluate: --budget goes with --suite",
    ("evaluate", "--model", "lite", "--benchmark", "mine.csv", "--per-class"): (
        "evaluate: --per-class is about thresholds that are fitted; add --validation or --tune-on-test"
    ),
    ("evaluate", "--model", "lite", "--benchmark", "mine.csv", "--out", "out", "--meteor"): (
        "evaluate: --meteor is about captions, and no --benchmark has any to compare with"
    ),
    ("evaluate", "--model", "lite", "--benchmark", "mine.csv", "--out", "out", "--standardize"): (
        "evaluate: --standardize is for alignment models such as CLIP; give one as --baseline"
    ),
    ("evaluate", "--model", "lite", "--benchmark", "written.csv", "--out", "out", "--bootstrap", 9): (
        "evaluate: --bootstrap is about tagging, and no --benchmark measures that"
    ),
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    plain("red").save("red.png")
    (tmp_path / "a.pth").touch()
    (tmp_path / "a.tar").touch()
    (tmp_path / "tags.txt").write_text("dog\n")
    (tmp_path / "mine.csv").write_text("image,tags\nred.png,dog\n")
    (tmp_path / "written.csv").write_text("image,caption\nred.png,a red wall\n")
    return lambda arguments: CliRunner().invoke(build_app(), list(map(str, arguments)))


@pytest.mark.parametrize("arguments", REFUSED, ids=lambda arguments: " ".join(map(str, arguments)))
def test_it_is_named_and_nothing_is_written(run, tmp_path, arguments):
    require(SHIPPED_MODEL / "config.json", "the shipped model")
    before = sorted(tmp_path.iterdir())
    done = run(arguments)
    assert (done.exit_code, done.stderr) == (2, f"anytag {REFUSED[arguments]}\n")
    assert sorted(tmp_path.iterdir()) == before


def test_an_option_may_be_given_its_default(run):
    assert "--suite mini needs --data" in run(("evaluate", "--suite", "mini")).stderr
    assert "--tag-weight is about the model that --tags-from names" in (
        run(("evaluate", "--model", "lite", "--benchmark", "mine.csv", "--tag-weight", 0.02)).stderr
    )


def test_counts_of_tags_are_json_s_last_line(run):
    require(SHIPPED_MODEL / "config.json", "the shipped model")
    run(("index", "red.png", "--library", "mine.db", "--threads", 1))
    done = run(("search", "path:red", "--library", "mine.db", "--json", "--facets"))
    found, counts = map(json.loads, done.stdout.splitlines())
    assert found["path"].endswith("red.png")
    assert list(counts) == ["facets"]


def test_clip_is_refused_before_a_checkpoint_is_opened(tmp_path):
    with pytest.raises(UsageError, match="Tag2Text only knows its own tags"):
        convert_checkpoint(
            tmp_path / "gone.pth", tmp_path / "out", family="tag2text", tags=tmp_path / "gone.txt", clip=tmp_path
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 3}, "seed only applies to sampled captions; add sample, or leave it out"),
        (
            {"num_beams": 2, "sample": True},
            "num_beams only applies to beam search, not to sample; leave one of them out",
        ),
    ],
)
def test_captions_are_searched_for_or_drawn(tmp_path, options, message):
    recognizer = toy_recognizer(tmp_path / "toy")
    with pytest.raises(UsageError) as caught:
        recognizer.caption(plain("red"), **options)
    assert str(caught.value) == message
