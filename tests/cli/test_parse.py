import gzip
import json
import os
import threading

import pytest
from typer.testing import CliRunner

from anytag.cli import build_app

CAPTIONS = ["a dog is running", "", "A black and white cat at a train station."]


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text("\n".join(CAPTIONS) + "\n", encoding="utf-8")
    return path


def run(*arguments, **more):
    return CliRunner().invoke(build_app("parse"), ["parse", *map(str, arguments)], **more)


def records(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_json_lines_are_one_a_caption_in_order(captions):
    lines = records(run(captions, "--json"))
    assert [line["caption"] for line in lines] == CAPTIONS
    assert lines[0] == {
        "caption": "a dog is running",
        "tags": [{"name": "dog", "kind": "object"}, {"name": "run", "kind": "action"}],
    }
    assert lines[1]["tags"] == []
    assert {"name": "train station", "kind": "scene"} in lines[2]["tags"]


def test_gzip_standard_input_and_workers_give_the_same(captions):
    packed = captions.with_suffix(".txt.gz")
    packed.write_bytes(gzip.compress(captions.read_bytes()))
    expected = records(run(captions, "--json"))
    assert records(run(packed, "--json")) == expected
    assert records(run("-", "--json", input=captions.read_text())) == expected
    assert records(run(captions, "--json", "--workers", 2, "--parser", "light")) == expected


def test_plain_output_is_readable(captions):
    result = run(captions)
    assert result.exit_code == 0
    assert "a dog is running\n  object    dog\n  action    run" in result.stdout


def test_bytes_that_are_no_text_do_not_stop_it(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_bytes(b"a dog \xff runs\na cat")
    assert len(records(run(path, "--json"))) == 2


@pytest.mark.parametrize("name", ["missing.txt", "."])
def test_an_unreadable_file_is_reported(tmp_path, name):
    result = run(tmp_path / name)
    assert result.exit_code == 2
    assert "cannot be read as captions" in result.output
    assert "Traceback" not in result.output


def test_a_file_of_another_kind_is_reported(tmp_path):
    path = tmp_path / "c.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF")
    result = run(path)
    message = f"anytag parse: {path}: no text in UTF-8; give a file with a caption per line\n"
    assert (result.exit_code, result.stderr) == (2, message)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of POSIX")
def test_a_pipe_with_a_name_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=(tmp_path / "pipe").write_text, args=("a red cat\n",), daemon=True).start()
    assert [record["caption"] for record in records(run(tmp_path / "pipe", "--json"))] == ["a red cat"]


def test_torn_gzip_is_said_so(captions):
    packed = captions.with_suffix(".gz")
    packed.write_bytes(gzip.compress(captions.read_bytes() * 100)[:-20])
    result = run(packed, "--json")
    assert result.exit_code == 2
    assert "cannot be read" in result.output


def test_wrong_use(captions):
    assert run(captions, "--parser", "nltk").exit_code == 2
    assert run(captions, "--workers", 0).exit_code == 2
