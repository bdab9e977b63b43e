import json

import pytest
from conftest import require_module
from fixtures_toy import write_toy_model
from toy_engine import GREEN, RED, names, records, write_shard
from typer.testing import CliRunner

from anytag.cli import build_app
from anytag.foundations.folder_locks import only_writer


def run(*arguments):
    return CliRunner().invoke(build_app("engine"), ["engine", *map(str, arguments)])


@pytest.fixture
def shard(tmp_path):
    return write_shard(tmp_path / "a.tar", [(RED, ["a dog on grass"]), (GREEN, ["a red cat"])])


def test_parse_reports_and_resumes(shard, tmp_path):
    work = tmp_path / "work"
    result = run("parse", shard, "--work", work, "--min-support", 1, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["counts"]["pictures_in"], report["counts"]["captions"]) == (2, 2)
    assert "parse captions: 1 of 1, 2 pictures in" in result.stderr
    assert names(records(work / "parsed")[1]) == ["cat", "red"]
    again = run("parse", shard, "--work", work, "--min-support", 1)
    assert again.exit_code == 0
    assert again.stderr == ""
    assert again.stdout.startswith("parse: 2 pictures in, 2 out, 0 failed (1 part, 1 of them done before)")


def test_every_step_with_a_real_model(exported, shard, tmp_path):
    work, model = tmp_path / "work", exported.folder
    common = (shard, "--work", work)
    assert run("parse", *common, "--vocabulary", model).exit_code == 0
    made = run("generate", *common, "--model", model, "--threshold", 0.001, "--num-beams", 1)
    assert made.exit_code == 0, made.output
    assert len(records(work / "generated")[0]["captions"]) == 2
    (tmp_path / "s.json").write_text('{"groups": 2, "kinds": ["object", "scene"]}')
    cleaned = run("clean", *common, "--model", model, "--settings", tmp_path / "s.json", "--denial-threshold", 1)
    assert cleaned.exit_code == 0, cleaned.output
    assert all(tag["kind"] in ("action", "attribute") for record in records(work / "cleaned") for tag in record["tags"])
    merged = run("merge", "--work", work)
    assert merged.exit_code == 0, merged.output
    assert "tags with generated" in merged.stdout
    whole = run("run", shard, "--work", tmp_path / "second", "--vocabulary", model, "--model", model, "--json")
    assert whole.exit_code == 0, whole.output
    assert [json.loads(line)["step"] for line in whole.stdout.splitlines()] == ["parse", "generate", "clean", "merge"]


def test_failed_pictures_are_exit_code_1(exported, tmp_path):
    shard = write_shard(tmp_path / "a.tar", [(RED, ["a dog"]), (b"broken", ["a dog"])])
    assert run("parse", shard, "--work", tmp_path / "work", "--vocabulary", exported.folder).exit_code == 0
    result = run("generate", shard, "--work", tmp_path / "work", "--model", exported.folder, "--captions", "none")
    assert result.exit_code == 1
    assert "1 picture failed, 1 recognized" in result.stderr
    assert "a.tar:a-0001.png" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("generate", "{shard}", "--work", "{work}"), "no complete manifest"),
        (
            ("parse", "{shard}", "--work", "{work}", "--size", "9", "--vocabulary", "v.json"),
            "--size is about a vocabulary that is made",
        ),
        (("parse", "none.tar", "--work", "{work}"), "no such shard"),
        (("clean", "{shard}", "--work", "{work}", "--settings", "{bad}"), "outlier_share: Input should be less than 1"),
        (("clean", "{shard}", "--work", "{work}", "--settings", "{none}"), "cannot be read as settings"),
        (("merge", "--work", "{work}"), "give at least one manifest"),
    ],
)
def test_wrong_use_is_explained(shard, tmp_path, arguments, complaint):
    (tmp_path / "bad.json").write_text('{"outlier_share": 2}')
    places = {"shard": shard, "work": tmp_path / "w", "bad": tmp_path / "bad.json", "none": tmp_path / "none.json"}
    result = run(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert complaint in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["parse", "generate", "clean", "merge", "run"])
def test_help_has_an_example(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: anytag engine {command}" in " ".join(result.stdout.split())


def test_parquet(shard, tmp_path):
    require_module("pyarrow", "parquet")
    work = tmp_path / "work"
    assert run("parse", shard, "--work", work, "--min-support", 1, "--format", "parquet").exit_code == 0
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(work / "parsed" / "part-00000.parquet").to_pylist()
    assert rows[0]["captions"][0]["text"] == "a dog on grass"
    assert {tag["name"] for tag in rows[1]["tags"]} == {"cat", "red"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--model", "{none}"), "no such model directory"),
        (
            ("--model", "{model}", "--captions", "none", "--regions", "grounding_dino"),
            "Grounding DINO needs the folder of its weights (detector)",
        ),
        (
            ("--model", "{model}", "--captions", "none", "--regions", "grounding_dino", "--detector", "{work}"),
            "no Grounding DINO here",
        ),
        (("--model", "{model}", "--captions", "guided"), "does not write captions"),
    ],
)
def test_what_later_steps_would_fail_at_is_found_before_the_first(shard, tmp_path, arguments, complaint):
    model = write_toy_model(tmp_path / "model", captioner=False)
    places = {"none": tmp_path / "none", "model": model, "work": tmp_path}
    if complaint.startswith("no Grounding"):
        require_module("transformers", "grounding")
    result = run("run", shard, "--work", tmp_path / "w", *(argument.format(**places) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert complaint in result.stderr
    assert not (tmp_path / "w" / "parsed").exists()


def test_no_cluster(shard, tmp_path):
    require_module("ray", "cluster")
    result = run("parse", shard, "--work", tmp_path / "w", "--cluster", "auto")
    assert result.exit_code == 2, result.output
    assert "no Ray cluster answers at 'auto'" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_second_engine_on_one_folder_is_refused(shard, tmp_path):
    with only_writer(tmp_path / "w", "", ""):
        result = run("parse", shard, "--work", tmp_path / "w")
    assert result.exit_code == 2
    assert f"{tmp_path / 'w'}: another data engine works here; wait until it is done" in result.stderr
    assert run("parse", shard, "--work", tmp_path / "w", "--min-support", 1).exit_code == 0
