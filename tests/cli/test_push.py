"""``anytag push`` against a server that accepts uploads like the hub."""

from __future__ import annotations

import pytest
from fixtures_hub import hub_stand_in
from fixtures_toy import write_toy_model
from typer.testing import CliRunner

from anytag.cli import build_app
from anytag.model.directory import ModelDirectory


def run(*arguments):
    return CliRunner().invoke(build_app(), ["push", *map(str, arguments)])


@pytest.fixture
def hub(monkeypatch):
    with hub_stand_in(monkeypatch) as hub:
        yield hub


@pytest.fixture
def model(tmp_path):
    folder = write_toy_model(tmp_path / "toy")
    (folder / "notes.txt").write_text("not of the model")
    return folder


def test_what_the_config_lists_is_there_and_nothing_else(hub, model, tmp_path):
    done = run(model, "me/toy", "--private")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == f"{hub.url}/me/toy/commit/{'0' * 40}"
    assert hub.repositories == {"me/toy": True}
    names = {name for _, name in hub.files}
    assert names == {"config.json", *ModelDirectory(model).config.files}
    assert all(content == (model / name).read_bytes() for (_, name), content in hub.files.items())
    assert hub.messages == ["Upload toy with anytag"]
    assert hub.tokens == {"Bearer hf_secret"}
    # What was sent makes a whole model again.
    copy = tmp_path / "copy"
    copy.mkdir()
    for (_, name), content in hub.files.items():
        (copy / name).write_bytes(content)
    assert len(ModelDirectory(copy).vocabulary) == 5
    assert run(model, "me/toy", "--message", "again").exit_code == 0
    assert hub.messages[-1] == "again"


def test_a_damaged_model_is_not_sent(hub, model):
    (model / "tokenizer.json").write_text("{}")
    done = run(model, "me/toy")
    assert done.exit_code == 2
    assert "altered or damaged" in done.stderr
    assert hub.repositories == {}


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "put a token with the right to write into HF_TOKEN"), (403, "HF_TOKEN"), (400, "the hub did not take it")],
)
def test_refusals(hub, model, status, message):
    hub.refuse = status
    done = run(model, "me/toy")
    assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    assert "hf_secret" not in done.stderr


@pytest.mark.parametrize("name", ["toy", "a/b/c", "/toy", "me/to y"])
def test_invalid_names(hub, model, name):
    done = run(model, name)
    assert done.exit_code == 2
    assert "is not a name on the hub" in done.stderr
