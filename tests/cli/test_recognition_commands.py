"""``anytag tag``, ``caption`` and ``info``: output and exit codes."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from fixtures_toy import edit_config, plain, plain_folder, toy_recognizer, write_toy_model
from typer.testing import CliRunner

from anytag import __version__
from anytag.cli import build_app
from anytag.errors import UsageError
from anytag.inference.tag_choice import TagChoice

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMANDS = (
    "tag", "caption", "match", "locate", "info", "parse", "train", "export", "calibrate", "pull", "convert",
    "vocabulary build", "vocabulary show", "vocabulary search",
)  # fmt: skip


def invoke(*arguments, **more):
    return CliRunner().invoke(build_app(), [str(argument) for argument in arguments], **more)


@pytest.fixture
def asked():
    """The arguments of every call of :func:`anytag.load`."""
    return []


@pytest.fixture
def run(tmp_path, monkeypatch, asked):
    """The command line with the toy model."""
    recognizer = toy_recognizer(tmp_path / "toy")

    def load(model, **options):
        asked.append((model, options))
        return recognizer

    monkeypatch.setattr("anytag.inference.recognizer.load", load)
    return invoke


@pytest.fixture
def pictures(tmp_path):
    return plain_folder(tmp_path / "pictures")


def lines(result, code=0):
    assert result.exit_code == code, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def names(record):
    return [tag["name"] for tag in record["tags"]]


def bomb():
    """A PNG that claims 100,000 x 100,000 pixels."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_shows_an_example_of_itself(self, command):
        result = invoke(*command.split(), "--help", env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
        assert result.exit_code == 0
        assert re.search(rf"Example: anytag {command}\b", result.stdout), result.stdout

    def test_the_overview_names_every_command(self):
        result = invoke("-h", env={"COLUMNS": "200", "TERM": "dumb"})
        assert all(re.search(rf"\b{command.split()[0]}\b", result.stdout) for command in COMMANDS)

    def test_version(self):
        assert invoke("--version").stdout == f"anytag {__version__}\n"

    @pytest.mark.parametrize("arguments", [["nonsense"], ["tag"], ["tag", "a.jpg", "--no-such-option"], ["caption"]])
    def test_wrong_use_is_2_with_nothing_on_stdout(self, arguments):
        result = invoke(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr


class TestTag:
    def test_json_lines_key_by_key(self, run, pictures):
        red = run("tag", pictures / "red.png", "--json")
        assert red.exit_code == 0
        assert red.stderr == ""
        path = json.dumps(str(pictures / "red.png"))
        tags = [("red", 1.0, "attribute", 0.9), ("animal", 0.7, "object", 0.3), ("dog", 0.6, "object", 0.5)]
        written = ", ".join(
            f'{{"name": "{name}", "score": {score}, "kind": "{kind}", "threshold": {threshold}}}'
            for name, score, kind, threshold in tags
        )
        assert red.stdout == f'{{"path": {path}, "tags": [{written}], "caption": null}}\n'

    def test_a_folder_a_glob_files_and_a_list_give_the_same(self, run, pictures):
        expected = lines(run("tag", pictures, "--json"))
        assert [Path(record["path"]).name for record in expected] == ["blue.png", "lime.png", "red.png"]
        assert [names(record) for record in expected] == [["run"], ["beach"], ["red", "animal", "dog"]]
        assert lines(run("tag", pictures / "*.png", "--json")) == expected
        files = sorted(pictures.iterdir())
        assert lines(run("tag", *files, "--json")) == expected
        assert lines(run("tag", "-", "--json", input="".join(f"{file}\n" for file in files))) == expected
        assert lines(run("tag", *files, files[0], pictures, "--json")) == expected

    def test_an_empty_list_is_no_picture_and_no_error(self, run):
        assert lines(run("tag", "-", "--json", input="\n")) == []

    def test_options_reach_the_model(self, run, pictures, asked):
        red = pictures / "red.png"
        assert names(lines(run("tag", red, "--json", "--threshold", 0.65))[0]) == ["red", "animal"]
        assert names(lines(run("tag", red, "--json", "--top", 1))[0]) == ["red"]
        assert names(lines(run("tag", red, "--json", "--kind", "object"))[0]) == ["animal", "dog"]
        kinds = ("--kind", "object", "--kind", "action", "--threshold", 0)
        assert names(lines(run("tag", red, "--json", *kinds))[0]) == ["animal", "dog", "run"]
        run("tag", red, "--model", "m", "--threads", 3, "--device", "cuda", "--backend", "onnx")
        chosen = {"tags": None, "descriptions": None, "accept_truncated": False}
        plain = {"backend": None, "device": "cpu", "precision": "float32", "threads": None} | chosen
        assert asked[0] == (None, plain)
        cuda = {"backend": "onnx", "device": "cuda", "threads": 3}
        assert asked[-1] == ("m", plain | cuda)
        run("caption", red, "--backend", "torch", "--precision", "bfloat16")
        assert asked[-1][1] | {"descriptions": None} == plain | {"backend": "torch", "precision": "bfloat16"}
        run("tag", red, "--allow", "a.txt", "--rename", "r.txt", "--language", "zh", "--descriptions", "d.jsonl")
        choice = TagChoice(allow=Path("a.txt"), rename=Path("r.txt"), language="zh")
        assert asked[-1][1] == plain | {"tags": choice, "descriptions": Path("d.jsonl")}

    def test_categories_are_exactly_those_with_threshold_zero(self, run, pictures):
        found = lines(run("tag", pictures, "--json", "--categories", "kart, hound,, Beach", "--threshold", 0))
        assert [names(record) for record in found] == [["kart", "hound", "Beach"]] * 3
        assert [tag.get("taken_for") for tag in found[0]["tags"]] == [None, "dog", "beach"]
        assert {tag["threshold"] for tag in found[0]["tags"]} == {0.0}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--threshold", "2"], "threshold must lie between 0 and 1, not 2.0"),
            (["--top", "0"], "top must be at least 1, not 0"),
            (["--categories", " , "], "categories: give at least one name, separated by commas, none of them empty"),
            (
                ["--categories", "a", "--kind", "object"],
                "categories and kinds exclude each other: categories are asked for whatever their kind",
            ),
        ],
    )
    def test_options_out_of_range(self, run, pictures, options, message):
        result = run("tag", pictures, *options)
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"anytag tag: {message}\n")

    def test_inputs_that_give_no_picture(self, run, pictures, tmp_path):
        (tmp_path / "empty").mkdir()
        for given, message in (
            ([tmp_path / "empty"], f"anytag tag: {tmp_path / 'empty'}: no pictures in it or in the folders inside."),
            ([pictures / "*.gif"], f"anytag tag: {pictures / '*.gif'}: no picture matches."),
            ([""], "anytag tag: an empty path was given; use '.' for the current folder"),
            (["-", pictures], "anytag tag: - reads the list of pictures from standard input; give nothing beside it"),
        ):
            result = run("tag", *given)
            assert (result.exit_code, result.stdout) == (2, "")
            assert result.stderr.startswith(message)

    def test_plain_output_is_readable(self, run, pictures):
        result = run("tag", pictures / "red.png", pictures / "lime.png")
        assert result.exit_code == 0
        assert result.stdout.splitlines() == [
            str(pictures / "red.png"),
            f"  red     1.00 {'█' * 20} attribute",
            f"  animal  0.70 {'█' * 14:<20} object",
            f"  dog     0.60 {'█' * 12:<20} object",
            "",
            str(pictures / "lime.png"),
            f"  beach  0.50 {'█' * 10:<20} scene",
            "",
        ]
        nothing = run("tag", pictures / "red.png", "--kind", "action")
        assert nothing.stdout.splitlines()[1] == "  no tag above its threshold"

    def test_file_names_are_no_markup(self, run, tmp_path):
        folder = tmp_path / "[bold]a["
        folder.mkdir()
        plain("red").save(folder / "1[red].png")
        (folder / "bold].png").touch()
        result = run("tag", folder)
        assert result.exit_code == 1
        assert result.stdout.splitlines()[0] == str(folder / "1[red].png")
        assert result.stderr.startswith(f"failed: {folder / 'bold].png'}: the file is empty")

    def test_an_unforeseen_package_error_ends_with_2(self, run, pictures, monkeypatch):
        def load(*_, **__):
            raise UsageError("as worded by the package")

        monkeypatch.setattr("anytag.inference.recognizer.load", load)
        result = run("tag", pictures)
        assert (result.exit_code, result.stderr) == (2, "anytag tag: as worded by the package\n")


class TestBadPictures:
    @pytest.fixture
    def batch(self, tmp_path):
        """Unreadable pictures of every kind, with good ones before, between and after."""
        folder = tmp_path / "batch"
        folder.mkdir()
        jpeg = io.BytesIO()
        plain("red", (64, 64)).save(jpeg, "JPEG")
        plain("red").save(folder / "00.png")
        (folder / "01-truncated.jpg").write_bytes(jpeg.getvalue()[: len(jpeg.getvalue()) // 2])
        (folder / "02-text.jpg").write_text("this is not a picture")
        (folder / "03-zero.jpg").touch()
        (folder / "04-bomb.png").write_bytes(bomb())
        plain("lime", (1, 1)).save(folder / "05-pixel.png")
        plain("blue", (1, 10_000)).save(folder / "06-line.png")
        plain("red").save(folder / "99.png")
        return folder

    KINDS = (None, "truncated", "not_a_picture", "empty", "too_large", None, None, None, "not_found")

    def test_the_rest_of_the_batch_goes_on(self, run, batch):
        files = [*sorted(batch.iterdir()), batch / "gone.jpg"]
        result = run("tag", *files, "--json")
        found = lines(result, code=1)
        assert [record["path"] for record in found] == [str(file) for file in files]
        assert [record.get("error", {}).get("kind") for record in found] == list(self.KINDS)
        for record in found:
            if "error" in record:
                assert list(record) == ["path", "error"]
                assert list(record["error"]) == ["kind", "message"]
                assert record["error"]["message"].startswith(record["path"])
            else:
                assert list(record) == ["path", "tags", "caption"]
        assert [names(record) for record in found if "tags" in record] == [
            ["red", "animal", "dog"], ["beach"], ["run"], ["red", "animal", "dog"],
        ]  # fmt: skip
        assert result.stderr == "5 pictures failed, 4 recognized\n"

    def test_captions_too_and_plain_output_names_failures_on_stderr(self, run, batch):
        result = run("caption", batch)
        assert result.exit_code == 1
        assert result.stdout.count("a picture of") == 4
        assert "failed" not in result.stdout
        assert result.stderr.count("failed: ") == 4
        assert result.stderr.endswith("4 pictures failed, 4 recognized\n")

    def test_one_failure_is_counted_in_the_singular(self, run, batch):
        assert run("tag", batch / "03-zero.jpg", "--json").stderr == "1 picture failed, 0 recognized\n"

    def test_a_picture_that_may_not_be_read(self, run, batch, monkeypatch):
        # Permissions do not bind every user who runs tests, so the system's answer is played.
        opened = io.open

        def refusing(file, *arguments, **options):
            if str(file).endswith("00.png"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
            return opened(file, *arguments, **options)

        monkeypatch.setattr("io.open", refusing)  # That of pathlib.
        assert lines(run("tag", batch / "00.png", "--json"), code=1)[0]["error"]["kind"] == "permission"


class TestCaption:
    def test_json_contains_given_and_covered_tags(self, run, pictures):
        [record] = lines(run("caption", pictures / "red.png", "--json"))
        assert list(record) == ["path", "tags", "caption", "given", "covered"]
        assert record["caption"] == "a picture of red dog"
        assert (record["given"], record["covered"]) == (["red", "dog"], ["red", "dog"])
        assert names(record) == ["red", "animal", "dog"]

    def test_tags_of_the_user_s(self, run, pictures):
        [record] = lines(run("caption", pictures / "red.png", "--json", "--tags", "Beach, hound"))
        assert (record["caption"], record["given"]) == ("a picture of beach dog", ["Beach", "hound"])
        [free] = lines(run("caption", pictures / "red.png", "--json", "--tags", ""))
        assert (free["caption"], free["given"], free["covered"]) == ("a picture of", [], [])

    def test_words_that_are_no_tag_are_taken_and_it_is_said_which_were_named(self, run, pictures):
        [record] = lines(run("caption", pictures / "red.png", "--json", "--tags", "beach, space suit"))
        assert record["given"] == ["beach", "space suit"]
        assert record["covered"] == [name for name in record["given"] if name in record["caption"]]

    def test_plain_output(self, run, pictures, tmp_path):
        result = run("caption", pictures / "red.png", "--tags", "beach,dog")
        assert result.stdout.splitlines() == [
            str(pictures / "red.png"), "  a picture of beach dog", "  guided by beach, dog", "",
        ]  # fmt: skip

    def test_search_and_sampling_options(self, run, pictures):
        red = pictures / "red.png"
        drawn = [run("caption", red, "--json", "--sample", "--seed", 4).stdout for _ in range(2)]
        assert drawn[0] == drawn[1]
        assert lines(run("caption", red, "--json", "--num-beams", 1))[0]["caption"] == "a picture of red dog"
        assert run("caption", red, "--num-beams", 0).exit_code == 2
        seed = run("caption", red, "--sample", "--seed", -1)
        assert (seed.exit_code, seed.stdout) == (2, "")
        assert seed.stderr == "anytag caption: seed is -1; it must be a whole number from 0, or one per picture\n"


class TestInfo:
    def test_json(self, tmp_path):
        folder = write_toy_model(tmp_path / "toy")
        record = json.loads(invoke("info", folder, "--json").stdout)
        assert (record["name"], record["family"], record["tags"], record["trained_tags"]) == ("toy", "lite", 5, 5)
        assert record["kinds"] == {"object": 2, "scene": 1, "action": 1, "attribute": 1}
        assert record["calibrated"] == 4
        assert record["thresholds"] == {"an unknown source": 4}
        assert record["parameters"] == {}
        assert set(record["files"]) == {"vocabulary.json", "tokenizer.json", "label_tokenizer.json"}
        assert record["bytes"] == sum(path.stat().st_size for path in folder.iterdir() if path.name != "config.json")

    def test_plain(self, tmp_path):
        result = invoke("info", write_toy_model(tmp_path / "toy"))
        assert result.exit_code == 0
        assert "  tags           5 (2 objects, 1 scene, 1 action, 1 attribute), 5 trained" in result.stdout

    @pytest.mark.parametrize("damage", ["missing", "altered", "config", "no folder", "format"])
    def test_a_damaged_model_is_2(self, tmp_path, damage):
        folder = write_toy_model(tmp_path / "toy")
        if damage == "missing":
            (folder / "tokenizer.json").unlink()
        elif damage == "altered":
            (folder / "label_tokenizer.json").write_text("{}")
        elif damage == "config":
            (folder / "config.json").write_text("{")
        elif damage == "format":
            edit_config(folder, format=99)
        else:
            folder = tmp_path / "gone"
        words = {
            "missing": "missing; the model is incomplete, copy or download it again",
            "altered": "altered or damaged",
            "config": "not JSON",
            "no folder": "no such model directory",
            "format": "newer than this anytag reads",
        }
        result = invoke("info", folder)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"anytag info: {folder}")
        assert words[damage] in result.stderr
        assert result.stderr.count("\n") == 1


class TestProcess:
    """The shipped model in a separate process."""

    def test_a_mixed_batch_from_standard_input(self, tmp_path):
        given = f"{EXAMPLES / 'cat.jpg'}\n{tmp_path / 'gone.jpg'}\n{EXAMPLES / 'bee.jpg'}\n"
        command = [
            sys.executable,
            "-c",
            "from anytag.cli import main; main()",
            "tag",
            "-",
            "--json",
            "--threads",
            "1",
            "--top",
            "3",
        ]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=600)
        assert done.returncode == 1
        records = [json.loads(line) for line in done.stdout.splitlines()]
        assert [list(record) for record in records] == [
            ["path", "tags", "caption"], ["path", "error"], ["path", "tags", "caption"],
        ]  # fmt: skip
        assert all(1 <= len(record["tags"]) <= 3 for record in records[::2])
        assert done.stderr == "1 picture failed, 2 recognized\n"
