"""A model that is replaced is the old one or the new one, whatever ends the process on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT
from crashes import calibrate_toy, crashes
from fixtures_toy import TAGS, toy_recognizer, write_toy_model

from anytag.errors import ModelError
from anytag.model.directory import ModelDirectory, install_model, write_config
from anytag.model.vocabulary import TagVocabulary

#: Calibrates the toy model of argv[1] and kills itself just before the argv[2]-th renaming, counted from 0.
CALIBRATE = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from crashes import calibrate_toy
rename, left = Path.replace, int(sys.argv[2])
def counting(path, target):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return rename(path, target)
Path.replace = counting
calibrate_toy(Path(sys.argv[1]))
"""


def state(folder):
    """What a reader gets to see: thresholds' origin and slope, after every file was checked."""
    directory = ModelDirectory(folder)
    for name in directory.config.files:
        directory.file(name)
    origins = {(tag.threshold_from or "").partition(",")[0] for tag in directory.vocabulary}
    return origins, directory.config.score_slope


def test_calibration_that_ends_before_any_renaming_leaves_a_whole_model(tmp_path, monkeypatch):
    seen, crashed = [], True
    while crashed:
        folder = write_toy_model(tmp_path / str(len(seen)) / "toy")
        before = state(folder)
        crashed = crashes(monkeypatch, len(seen), partial(calibrate_toy, folder))
        after = state(folder)
        assert after == before or (after[0] == {"made up"} and after[1] != before[1])
        seen.append("old" if after == before else "new")
        # A second calibration takes up whatever is left, and leaves nothing behind.
        calibrate_toy(folder)
        assert state(folder)[0] == {"made up"}
        names = {path.name for path in folder.parent.rglob("*") if path.is_file()}
        assert names == {"config.json", "vocabulary.json", "tokenizer.json", "label_tokenizer.json"}
    # What was there is copied, both files are written, the vocabulary is laid beside the old one, the config renamed;
    # then the vocabulary is.
    assert seen == ["old"] * 5 + ["new"] * 2


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_calibration_killed_between_its_two_files(tmp_path):
    folder = write_toy_model(tmp_path / "toy")
    before = state(folder)
    done = subprocess.run(
        [sys.executable, "-c", CALIBRATE.format(tests=str(ROOT / "tests" / "support")), folder, "5"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    # The config is the new one and the vocabulary's file still the old one.
    assert (folder / "vocabulary.json.installing").exists()
    assert "made up" not in (folder / "vocabulary.json").read_text()
    after = state(folder)
    assert after[0] == {"made up"}
    assert after[1] != before[1]


@pytest.fixture
def models(tmp_path):
    """An old model, and a new one in a folder beside it: a file less, a file more, another vocabulary."""
    old, part = write_toy_model(tmp_path / "toy"), write_toy_model(tmp_path / "toy.part")
    (old / "notes.txt").write_text("mine")
    (old / "onnx").mkdir()
    (old / "onnx" / "old.onnx").write_text("old")
    write_config(old, ModelDirectory(old).config, ["onnx/old.onnx"], ModelDirectory(old).config.files)
    (part / "onnx").mkdir()
    (part / "onnx" / "new.onnx").write_text("new")
    (part / "label_tokenizer.json").unlink()
    TagVocabulary([replace(tag, threshold=0.77) for tag in TAGS]).save(part / "vocabulary.json")
    names = ["vocabulary.json", "tokenizer.json", "onnx/new.onnx"]
    write_config(part, ModelDirectory(part).config.model_copy(update={"name": "new"}), names)
    return old, part


def contents(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


class TestInstallation:
    def test_into_a_missing_folder(self, models, tmp_path):
        _, part = models
        install_model(part, tmp_path / "fresh")
        assert ModelDirectory(tmp_path / "fresh").config.name == "new"
        assert not part.exists()

    def test_old_files_go_and_those_of_others_stay(self, models):
        old, part = models
        install_model(part, old)
        assert contents(old) == {"config.json", "vocabulary.json", "tokenizer.json", "onnx/new.onnx", "notes.txt"}
        assert not part.exists()
        assert ModelDirectory(old).vocabulary[0].threshold == 0.77

    def test_a_model_that_cannot_be_read_is_replaced_too(self, models):
        old, part = models
        (old / "config.json").write_text("{")
        install_model(part, old)
        assert ModelDirectory(old).config.name == "new"

    @pytest.mark.parametrize("place", range(7))
    def test_a_crash_at_any_renaming(self, models, monkeypatch, place):
        old, part = models
        assert crashes(monkeypatch, place, partial(install_model, part, old))
        directory = ModelDirectory(old)
        # Three files wait for their config, which is the fourth renaming.
        assert directory.config.name == ("toy" if place < 4 else "new")
        for name in directory.config.files:
            directory.file(name)
        assert directory.vocabulary[0].threshold == (None if place < 4 else 0.77)

    def test_a_reader_without_the_right_to_rename_reads_all_the_same(self, models, monkeypatch):
        old, part = models
        (part / "vocabulary.json").replace(old / "vocabulary.json.installing")
        (part / "onnx" / "new.onnx").replace(old / "onnx" / "new.onnx.installing")
        (part / "config.json").replace(old / "config.json")

        def refuse(path, target):
            raise PermissionError

        monkeypatch.setattr(Path, "replace", refuse)
        directory = ModelDirectory(old)
        assert directory.vocabulary[0].threshold == 0.77
        assert directory.file("onnx/new.onnx").read_text() == "new"

    def test_a_pending_file_does_not_excuse_an_altered_one(self, tmp_path):
        folder = write_toy_model(tmp_path / "toy")
        (folder / "tokenizer.json").write_text("{}")
        (folder / "tokenizer.json.installing").write_text("[]")
        with pytest.raises(ModelError, match="altered or damaged"):
            ModelDirectory(folder).file("tokenizer.json")


def test_calibration_keeps_the_checksums_of_files_that_it_does_not_touch(tmp_path):
    recognizer = toy_recognizer(tmp_path / "toy")
    folder = recognizer.directory.path
    (folder / "label_tokenizer.json").write_text("{}")  # Damaged, and calibration does not bless it.
    calibrate_toy(folder)
    with pytest.raises(ModelError, match="altered or damaged"):
        ModelDirectory(folder).file("label_tokenizer.json")
