"""``anytag pull``: checks before the download, conversion, and remaining files."""

from __future__ import annotations

import fnmatch
import inspect
import re
import shutil
from pathlib import Path

import pytest
from conftest import require_module
from fixtures_server import (
    content_of,
    no_network,  # noqa: F401 (a fixture)
    published,  # noqa: F401 (a fixture)
    serve,  # noqa: F401 (a fixture)
)
from typer.testing import CliRunner

from anytag.checkpoints import official
from anytag.cli import build_app, pull
from anytag.errors import ModelError
from anytag.foundations.cache_folder import cache_folder
from anytag.model.directory import SHIPPED_MODEL, find_model

CHECKPOINTS = {
    "tag2text": "tag2text_swin_14m.pth",
    "ram": "ram_swin_large_14m.pth",
    "ram_plus": "ram_plus_swin_large_14m.pth",
}


@pytest.fixture
def converted(monkeypatch):
    """Calls of the converter, which a small one stands in for."""
    calls = []

    def convert(checkpoint, out, *, report, **options):
        calls.append((checkpoint, out, options))
        assert checkpoint.exists()
        report("converted")
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.json").write_text("{}")

    monkeypatch.setattr(pull, "load_converter", lambda: convert)
    return calls


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    for name in ("HF_TOKEN", "HF_ENDPOINT", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    environment = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    return lambda *arguments: CliRunner().invoke(build_app(), ["pull", *map(str, arguments)], env=environment)


class TestBefore:
    def test_help_shows_an_example(self, run):
        assert re.search(r"Example: anytag pull ram_plus\b", run("--help").stdout)

    def test_without_a_name_it_lists_the_models(self, run, no_network):  # noqa: F811
        result = run()
        assert result.exit_code == 0
        for name, size in (("tag2text", "4.48 GB"), ("ram ", "5.63 GB"), ("ram_plus", "3.01 GB")):
            assert re.search(rf"^{name}.*{size}", result.stdout, re.MULTILINE)
        assert "PyTorch" in result.stdout

    def test_the_list_says_how_to_get_what_is_missing(self, run, monkeypatch):
        monkeypatch.setattr(pull.importlib.util, "find_spec", lambda name: None)
        assert "PyTorch (pip install 'anytag[train]')" in run().stdout

    def test_an_unknown_name(self, run):
        result = run("ram++")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == "anytag pull: no official model is called 'ram++'; there are tag2text, ram, ram_plus\n"

    def test_pytorch_is_asked_for_first(self, run, published, monkeypatch):  # noqa: F811
        monkeypatch.setattr(pull.importlib.util, "find_spec", lambda name: None)
        result = run("ram")
        assert result.exit_code == 2
        assert "pip install 'anytag[train]'" in result.stderr
        assert published.requests == []

    @pytest.mark.parametrize("folder", [True, False])
    def test_nothing_is_overwritten(self, run, published, converted, tmp_path, folder):  # noqa: F811
        if folder:
            (tmp_path / "ram").mkdir()
            (tmp_path / "ram" / "diary.txt").touch()
        else:
            (tmp_path / "ram").touch()
        result = run("ram", "--out", "ram")
        assert result.exit_code == 2
        assert "ram: exists already; give another --out, or remove it" in result.stderr
        assert (published.requests, converted) == ([], [])


class TestPulling:
    @pytest.mark.parametrize("name", CHECKPOINTS)
    def test_fetched_converted_and_tidied_up(self, run, published, converted, tmp_path, name):  # noqa: F811
        result = run(name)
        assert result.exit_code == 0, result.output
        model = tmp_path / "home" / "anytag" / "models" / name
        assert result.stdout == f"converted\ndone: {model}; use it with --model {name}\n"
        assert [path.name for path in tmp_path.iterdir() if path.name != "server"] == ["home"]
        assert CHECKPOINTS[name] in result.stderr
        cache = tmp_path / "home" / "anytag" / "official"
        ((checkpoint, out, options),) = converted
        assert (checkpoint, out) == (cache / CHECKPOINTS[name], model)
        lists = {file.role: cache / file.name for file in official.MODELS[name].files if file.lines}
        assert options == {"tags_zh": None, "thresholds": None, **lists, "family": name, "clip": None}
        assert not checkpoint.exists()
        assert all(path.exists() for path in lists.values())

    def test_elsewhere_and_kept(self, run, published, converted, tmp_path):  # noqa: F811
        result = run("ram", "--out", tmp_path / "models" / "mine", "--cache", tmp_path / "mine", "--keep")
        assert result.exit_code == 0, result.output
        assert converted[0][:2] == (tmp_path / "mine" / CHECKPOINTS["ram"], tmp_path / "models" / "mine")
        assert (tmp_path / "mine" / CHECKPOINTS["ram"]).exists()

    def test_an_empty_folder_is_fine(self, run, published, converted, tmp_path):  # noqa: F811
        (tmp_path / "ram").mkdir()
        assert run("ram", "--out", "ram").stdout == "converted\ndone: ram\n"

    def test_what_was_pulled_is_a_model_by_its_name(self, run, published, tmp_path, monkeypatch):  # noqa: F811
        with pytest.raises(ModelError, match=r"^ram: no such folder, and .* with: anytag pull ram$"):
            find_model("ram")

        def convert(checkpoint, out, *, report, **options):
            shutil.copytree(SHIPPED_MODEL, out)

        monkeypatch.setattr(pull, "load_converter", lambda: convert)
        assert run("ram").exit_code == 0
        assert find_model("ram").path == tmp_path / "home" / "anytag" / "models" / "ram"
        (tmp_path / "ram").mkdir()  # A folder of that name goes first.
        with pytest.raises(ModelError, match="ram: not a model directory"):
            find_model("ram")

    def test_a_conversion_that_fails_leaves_the_checkpoint(self, run, published, tmp_path, monkeypatch):  # noqa: F811
        def convert(*_, **__):
            raise ModelError("no such layout")

        monkeypatch.setattr(pull, "load_converter", lambda: convert)
        result = run("ram")
        assert result.exit_code == 2
        assert "anytag pull: no such layout" in result.stderr
        assert (cache_folder("official") / CHECKPOINTS["ram"]).exists()

    def test_a_download_that_fails_converts_nothing(self, run, published, converted):  # noqa: F811
        published.files.clear()
        result = run("ram_plus")
        assert result.exit_code == 2
        assert "anytag pull: http" in result.stderr
        assert "(answered 404 Not Found)" in result.stderr
        assert converted == []

    def test_what_is_there_is_said_to_be(self, run, published, converted):  # noqa: F811
        run("ram", "--keep", "--out", "one")
        assert "ram_tag_list.txt: already there" in run("ram", "--out", "two").stderr


class TestClip:
    def test_a_folder_goes_to_the_converter(self, run, published, converted, tmp_path):  # noqa: F811
        (tmp_path / "clip").mkdir()
        (tmp_path / "clip" / "config.json").write_text("{}")
        assert run("ram", "--clip", tmp_path / "clip").exit_code == 0
        assert converted[0][2]["clip"] == tmp_path / "clip"

    @pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
    def test_a_name_is_downloaded_in_one_format(self, run, published, converted, tmp_path, monkeypatch, weights):  # noqa: F811
        there, asked = tmp_path / "hub", []
        there.mkdir()

        def download(name, allow_patterns):
            asked.append((name, allow_patterns))
            if any(fnmatch.fnmatch(weights, pattern) for pattern in allow_patterns):
                (there / weights).touch()
            return str(there)

        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
        result = run("ram_plus", "--clip", "openai/clip-vit-base-patch16")
        assert result.exit_code == 0, result.output
        assert converted[0][2]["clip"] == there
        assert (there / weights).exists()
        assert {name for name, _ in asked} == {"openai/clip-vit-base-patch16"}
        assert len(asked) == (1 if weights == "model.safetensors" else 2)

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            (
                "tag2text",
                ("--clip", "a/b"),
                "Tag2Text only knows its own tags and does not use CLIP; leave it out",
            ),
            ("ram", ("--clip", "./missing"), "./missing: no such folder; --clip takes the folder of a CLIP ViT-B/16"),
            ("ram", ("--clip", "a/b", "--offline"), "a/b: no such folder; --clip takes the folder of a CLIP ViT-B/16"),
            (
                "ram",
                ("--clip", "home"),
                "home: has no config.json, so it is not a CLIP model; give the folder of one",
            ),
        ],
    )
    def test_what_cannot_be_used_is_said_first(self, run, published, converted, tmp_path, name, options, message):  # noqa: F811
        (tmp_path / "home").mkdir()
        result = run(name, *options)
        assert (result.exit_code, result.stderr) == (2, f"anytag pull: {message}\n")
        assert (published.requests, converted) == ([], [])


class TestOffline:
    def test_files_of_the_cache_are_converted_and_stay(self, run, published, converted, tmp_path, no_network):  # noqa: F811
        for file in official.MODELS["ram"].files:
            (tmp_path / file.name).write_bytes(content_of(file))
        result = run("ram", "--offline", "--cache", tmp_path)
        assert result.exit_code == 0, result.output
        assert converted[0][0] == tmp_path / CHECKPOINTS["ram"]
        assert converted[0][0].exists()

    def test_missing_files_are_named(self, run, published, converted, tmp_path, no_network):  # noqa: F811
        result = run("ram", "--offline", "--cache", tmp_path / "stick")
        assert result.exit_code == 2
        assert f"{tmp_path / 'stick' / CHECKPOINTS['ram']}: missing; it is published at http" in result.stderr
        assert converted == []


def test_the_converter_takes_what_it_is_given():
    require_module("torch")
    bound = inspect.signature(pull.load_converter()).bind(
        Path("a"), Path("b"), family="ram", tags=Path("c"), tags_zh=None, thresholds=None, clip=None, report=print
    )
    assert bound.arguments["family"] == "ram"
