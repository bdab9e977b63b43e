"""Damaged model directories are refused with an exact message, before they give wrong tags."""

from __future__ import annotations

import hashlib
import json

import pytest
from fixtures_toy import edit_config, write_toy_model
from huggingface_hub import errors as hub_errors
from pydantic import ValidationError

from anytag.errors import ModelError
from anytag.model.config import FORMAT_VERSION, ModelConfig
from anytag.model.directory import SHIPPED_MODEL, ModelDirectory, find_model, sha256, write_config


def _hub_error(name, message, cause=None):
    """An error of the hub's client, as if an answer had caused it."""
    kind = getattr(hub_errors, name)
    error = kind.__new__(kind, message)
    Exception.__init__(error, message)
    error.__cause__ = cause
    return error


@pytest.fixture
def folder(tmp_path):
    return write_toy_model(tmp_path / "toy")


def refused(path):
    with pytest.raises(ModelError) as caught:
        ModelDirectory(path)
    assert caught.value.kind == "model"
    return str(caught.value)


class TestOpening:
    def test_a_good_one(self, folder):
        directory = ModelDirectory(folder)
        assert directory.config.name == "toy"
        assert [tag.name for tag in directory.vocabulary] == ["animal", "dog", "beach", "run", "red"]
        assert directory.has("tokenizer.json")
        assert not directory.has("onnx/image_encoder.onnx")

    def test_missing_folder(self, tmp_path):
        assert refused(tmp_path / "gone") == (
            f"{tmp_path / 'gone'}: no such model directory; check the path; where a model may be left out, "
            "the shipped one is used"
        )

    @pytest.mark.parametrize("name", ["config.json", "onnx/image_encoder.onnx"])
    def test_a_file_of_a_model(self, folder, name):
        (folder / "onnx").mkdir()
        (folder / "onnx/image_encoder.onnx").touch()
        assert refused(folder / name) == f"{folder / name}: a file of a model; give the model's folder: {folder}"

    @pytest.mark.parametrize(
        ("name", "content", "what"),
        [
            ("c.jpg", b"\xff\xd8\xff", "a picture, not a model directory; give the folder of a model, or leave it out"),
            ("ram.pth", b"PK", "a file of weights, not a model directory; give the folder of a model (anytag convert"),
            ("lite.tar.gz", b"\x1f\x8b", "an archive, not a model directory; unpack it"),
            ("notes.txt", b"lite", "a file, not a model directory; give the folder with config.json"),
            ("lite", b"<!DOCTYPE html>", "a web page, not the file itself"),
            ("ram.pth", b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS, not the file itself"),
        ],
    )
    def test_a_file_is_no_folder(self, tmp_path, name, content, what):
        (tmp_path / name).write_bytes(content)
        assert refused(tmp_path / name).startswith(f"{tmp_path / name}: {what}")

    def test_a_link_to_nothing(self, tmp_path):
        (tmp_path / "lite").symlink_to(tmp_path / "gone")
        assert f"a link to {tmp_path / 'gone'}, which is not there; " in refused(tmp_path / "lite")

    def test_an_empty_folder(self, tmp_path):
        assert refused(tmp_path) == f"{tmp_path}: not a model directory, it is empty"

    @pytest.mark.parametrize(
        ("config", "what"),
        [
            ({"model_type": "clip"}, "a model of transformers (clip), which anytag does not tag with; "),
            ({"architectures": ["ViTModel"]}, "a model of transformers (['ViTModel']), which "),
            ({"compilerOptions": {}}, "not of an anytag model; give the folder of one"),
        ],
    )
    def test_a_config_of_another_program(self, tmp_path, config, what):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert refused(tmp_path).startswith(f"{tmp_path / 'config.json'}: {what}")

    def test_system_errors(self, tmp_path):
        (tmp_path / "config.json").mkdir()
        assert refused(tmp_path) == f"{tmp_path / 'config.json'}: cannot be read (Is a directory)"
        assert refused(tmp_path / ("x" * 300)).endswith(": cannot be read (File name too long)")

    def test_missing_config(self, folder):
        (folder / "config.json").unlink()
        assert refused(folder) == f"{folder}: not a model directory, it has no config.json"

    def test_a_run_folder_has_its_model_inside(self, folder, tmp_path):
        (tmp_path / "runs").mkdir()
        folder.rename(tmp_path / "runs" / "model")
        assert refused(tmp_path / "runs").endswith(f"it has no config.json; {tmp_path / 'runs' / 'model'} is one")

    @pytest.mark.parametrize("content", [b'{"format": 1,', b"", b"\xff\xfe\x00"])
    def test_config_that_is_no_json(self, folder, content):
        (folder / "config.json").write_bytes(content)
        message = refused(folder)
        assert message.startswith(f"{folder / 'config.json'}: not JSON (")
        assert message.endswith("); copy the model again")

    def test_newer_format(self, folder):
        edit_config(folder, format=FORMAT_VERSION + 1, a_field_of_the_future=1)
        assert refused(folder) == (
            f"{folder}: format {FORMAT_VERSION + 1} is newer than this anytag reads ({FORMAT_VERSION}); "
            "update with: pip install -U anytag"
        )

    def test_unknown_field(self, folder):
        edit_config(folder, color="red")
        assert refused(folder) == (
            f"{folder / 'config.json'}: color: Extra inputs are not permitted; copy the model again"
        )

    def test_unknown_field_of_a_part(self, folder):
        edit_config(folder, recognition={"layers": 2, "depth": 3})
        assert ": recognition.depth: Extra inputs are not permitted;" in refused(folder)

    @pytest.mark.parametrize("value", ["two", None, [1]])
    def test_a_format_that_is_no_number(self, folder, value):
        edit_config(folder, format=value)
        assert ": format: Input should be a valid integer" in refused(folder)

    @pytest.mark.parametrize("content", ["[]", '"toy"', "null"])
    def test_json_that_is_no_object(self, folder, content):
        (folder / "config.json").write_text(content)
        assert ": the whole: Input should be a valid dictionary" in refused(folder)


def test_a_spelling_of_before_the_release_is_read():
    old = ModelConfig.model_validate({"image_encoder": {"projection": "normalised"}})
    assert old.image_encoder.projection == "normalized"


def test_another_value_of_square_is_refused():
    with pytest.raises(ValidationError, match="Input should be 'squash'"):
        ModelConfig.model_validate({"image_encoder": {"square": "crop"}})


class TestFiles:
    def test_missing_file(self, folder):
        (folder / "tokenizer.json").unlink()
        with pytest.raises(ModelError) as caught:
            ModelDirectory(folder).file("tokenizer.json")
        assert str(caught.value) == (
            f"{folder / 'tokenizer.json'}: missing; the model is incomplete, copy or download it again"
        )

    def test_altered_file(self, folder):
        path = folder / "tokenizer.json"
        before = sha256(path)
        path.write_bytes(path.read_bytes().replace(b"dog", b"cat"))
        with pytest.raises(ModelError) as caught:
            ModelDirectory(folder).file("tokenizer.json")
        assert str(caught.value) == (
            f"{path}: altered or damaged (SHA-256 {sha256(path)[:12]}…, expected {before[:12]}…); "
            "copy or download the model again"
        )

    def test_an_altered_vocabulary_is_not_read(self, folder):
        path = folder / "vocabulary.json"
        path.write_text(path.read_text().replace("dog", "cat"))
        with pytest.raises(ModelError, match="altered or damaged"):
            _ = ModelDirectory(folder).vocabulary

    def test_a_file_is_checked_once(self, folder):
        directory = ModelDirectory(folder)
        path = directory.file("tokenizer.json")
        path.write_text("{}")
        assert directory.file("tokenizer.json") == path

    def test_a_file_without_checksum_is_given_as_it_is(self, folder):
        (folder / "notes.txt").write_text("mine")
        assert ModelDirectory(folder).file("notes.txt") == folder / "notes.txt"

    def test_checksums(self, folder):
        (folder / "abc").write_bytes(b"abc")
        # FIPS 180-2, appendix B.1.
        assert sha256(folder / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        config = write_config(folder, ModelConfig(name="new"), ["abc", "tokenizer.json"])
        assert list(config.files) == ["abc", "tokenizer.json"]
        record = json.loads((folder / "config.json").read_text())
        assert record["files"]["tokenizer.json"] == hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
        assert ModelDirectory(folder).config == config
        assert not list(folder.glob("*.part"))

    def test_a_config_is_not_written_for_files_that_are_not_there(self, folder):
        before = (folder / "config.json").read_bytes()
        with pytest.raises(FileNotFoundError):
            write_config(folder, ModelConfig(), ["gone"])
        assert (folder / "config.json").read_bytes() == before

    def test_the_fingerprint_follows_whatever_changes(self, folder):
        before = ModelDirectory(folder).fingerprint
        assert before == ModelDirectory(folder).fingerprint == sha256(folder / "config.json")
        (folder / "tokenizer.json").write_bytes(b"other")
        config = ModelDirectory(folder).config
        write_config(folder, config, config.files)
        assert ModelDirectory(folder).fingerprint != before


class TestFinding:
    def test_nothing_is_the_shipped_model(self):
        assert find_model(None).path == SHIPPED_MODEL

    def test_a_folder(self, folder):
        assert find_model(folder).path == folder
        assert find_model(str(folder)).path == folder

    @pytest.mark.parametrize("name", ["./gone/lite", "/gone/lite", "~/lite", "a/b/c", "lite"])
    def test_a_path_is_never_looked_for_on_the_hub(self, name, monkeypatch):
        self.forbid_downloads(monkeypatch)
        with pytest.raises(ModelError, match="no such model directory"):
            find_model(name)

    def test_a_local_folder_goes_before_the_hub(self, folder, monkeypatch):
        self.forbid_downloads(monkeypatch)
        monkeypatch.chdir(folder.parent.parent)
        assert find_model(f"{folder.parent.name}/toy").config.name == "toy"

    def test_a_hub_id_is_downloaded(self, folder, monkeypatch):
        asked = []
        monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name: asked.append(name) or str(folder))
        assert find_model("someone/toy").config.name == "toy"
        assert asked == ["someone/toy"]

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (OSError("no route"), "could not be reached (no route); check the network, or give a folder"),
            (TimeoutError(), "could not be reached (TimeoutError); check the network, or give a folder"),
            (_hub_error("LocalEntryNotFoundError", "Got: …", ConnectionError("refused\nat length")),
             "could not be reached (refused); check the network, or give a folder"),
            (_hub_error("LocalEntryNotFoundError", "no traffic", _hub_error("OfflineModeIsEnabled", "offline")),
             "HF_HUB_OFFLINE forbids; unset it, or give a folder"),
            (_hub_error("RepositoryNotFoundError", "404"),
             "knows no such model, or shows it to its owner only (HF_TOKEN); check the spelling"),
            (_hub_error("GatedRepoError", "403"),
             "gives it only to those who accepted its terms there; do so, and set HF_TOKEN"),
            (_hub_error("HfHubHTTPError", "500 Server Error"),
             "did not provide it (500 Server Error); try again later"),
            (RuntimeError("surprise"), "did not provide it (surprise)"),
        ],
    )  # fmt: skip
    def test_a_hub_error(self, monkeypatch, error, reason):
        def fail(name):
            raise error

        monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
        with pytest.raises(ModelError) as caught:
            find_model("someone/toy")
        message = "someone/toy: no such folder, so the Hugging Face hub was asked for it, which "
        assert str(caught.value) == message + reason

    def test_an_unknown_hub_name_is_reported_as_a_missing_folder(self, monkeypatch):
        with pytest.raises(ModelError, match=r"^my runs/lite: no such model directory"):
            find_model("my runs/lite")

    def test_a_download_that_is_not_a_model(self, tmp_path, monkeypatch):
        monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name: str(tmp_path))
        with pytest.raises(ModelError, match=r"not a model directory, it is empty$"):
            find_model("someone/toy")

    @staticmethod
    def forbid_downloads(monkeypatch):
        def download(name):
            raise AssertionError(f"{name} was downloaded")

        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
