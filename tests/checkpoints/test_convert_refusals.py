"""Files, lists and folders that conversion refuses, and model directories that were damaged since."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from official_files import converted, lists, official_file
from oracle_sets import each_oracle_set

import anytag
from anytag.checkpoints.convert import convert_checkpoint
from anytag.checkpoints.official_keys import official_key
from anytag.checkpoints.weight_files import read_checkpoint
from anytag.errors import ModelError, UsageError


@each_oracle_set("ram")
class TestRefusals:
    def refuse(self, oracle_set, tmp_path, message, error=ModelError, **options):
        settings = {**lists(oracle_set, tmp_path), "geometry": oracle_set.geometry, "report": lambda line: None}
        settings |= {"family": "ram"} | options
        checkpoint = settings.pop("checkpoint", None) or official_file(oracle_set, tmp_path / "official.pth")
        with pytest.raises(error, match=message):
            convert_checkpoint(checkpoint, tmp_path / "model", **settings)
        assert not (tmp_path / "model").exists()
        assert not list(tmp_path.glob("*.part"))

    def test_another_family(self, oracle_set, tmp_path):
        message = "this is a ram checkpoint, not ram_plus; give --family ram"
        self.refuse(oracle_set, tmp_path, message, family="ram_plus")

    def test_a_tag_list_of_another_length(self, oracle_set, tmp_path):
        short = tmp_path / "short.txt"
        short.write_text("dog\ncat\n")
        options = {"tags": short, "tags_zh": None, "thresholds": None}
        message = "the tag list has 2; give the list it came with"
        self.refuse(oracle_set, tmp_path, message, **options)

    def test_lists_that_do_not_correspond(self, oracle_set, tmp_path):
        short = tmp_path / "short.txt"
        short.write_text("0.5\n0.6\n")
        self.refuse(
            oracle_set,
            tmp_path,
            f"threshold list has 2 entries, the tag list {oracle_set.config['num_tags']}",
            thresholds=short,
        )

    def test_a_threshold_that_is_none(self, oracle_set, tmp_path):
        bad = tmp_path / "bad.txt"
        count = oracle_set.config["num_tags"]
        bad.write_text("\n".join(["0.5"] * (count - 1) + ["nan"]))
        self.refuse(oracle_set, tmp_path, f"line {count} of the threshold list is 'nan'", thresholds=bad)

    @pytest.mark.parametrize("name", ["image_proj.bias", "text_decoder.cls.predictions.bias"])
    def test_a_missing_parameter(self, oracle_set, tmp_path, name):
        path = official_file(oracle_set, tmp_path / "cut.pth")
        content = torch.load(path, weights_only=True)
        del content["model"][name]
        torch.save(content, path)
        self.refuse(oracle_set, tmp_path, rf"lack {official_key(name)} ", checkpoint=path)

    def test_an_unexpected_parameter(self, oracle_set, tmp_path):
        path = official_file(oracle_set, tmp_path / "more.pth", extra_head=torch.zeros(3))
        message = "extra_head: no official model has a parameter of that name"
        self.refuse(oracle_set, tmp_path, message, checkpoint=path)

    def test_a_parameter_under_its_old_and_its_new_name(self, oracle_set, tmp_path):
        name = "vision_multi.encoder.layer.0.intermediate.dense.bias"
        new = name.replace("vision_multi", "tagging_head")
        path = official_file(oracle_set, tmp_path / "twice.pth", **{name: oracle_set.weights[new] + 1})
        self.refuse(oracle_set, tmp_path, "under two names", checkpoint=path)

    def test_a_misshapen_parameter(self, oracle_set, tmp_path):
        path = official_file(oracle_set, tmp_path / "odd.pth", **{"fc.bias": torch.zeros(2)})
        self.refuse(oracle_set, tmp_path, r"fc.bias: has the shape \(2,\), but \(1,\) is expected", checkpoint=path)

    def test_weights_that_are_no_numbers(self, oracle_set, tmp_path):
        path = official_file(oracle_set, tmp_path / "nan.pth", **{"fc.bias": torch.tensor([float("nan")])})
        message = "recognition_decoder.score.bias holds values that are not numbers"
        self.refuse(oracle_set, tmp_path, message, checkpoint=path)

    def test_no_room_for_the_result(self, oracle_set, tmp_path, monkeypatch):
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=15_000_000))
        message = r"GB needed, 0\.01 GB free; free some space or choose another folder"
        self.refuse(oracle_set, tmp_path, message, error=UsageError)

    def test_a_disk_that_fills_up_on_the_way(self, oracle_set, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("anytag.checkpoints.convert.write_weights", full)
        self.refuse(oracle_set, tmp_path, "the disk is full; free some space or choose", error=UsageError)

    def test_a_truncated_file(self, oracle_set, tmp_path):
        path = official_file(oracle_set, tmp_path / "cut.pth")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        self.refuse(oracle_set, tmp_path, "truncated or altered|refused", checkpoint=path)

    def test_a_folder_that_holds_something_else(self, oracle_set, tmp_path):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "thesis.txt").write_text("mine")
        with pytest.raises(UsageError, match=r"model: exists already; give another --out, or remove it$"):
            convert_checkpoint(tmp_path / "official.pth", tmp_path / "model", family="ram", tags=tmp_path / "tags.txt")
        assert (tmp_path / "model" / "thesis.txt").read_text() == "mine"

    def test_an_earlier_model_or_a_file(self, oracle_set, tmp_path):
        for path in (tmp_path / "model" / "config.json", tmp_path / "model.txt"):
            path.parent.mkdir(exist_ok=True)
            path.write_text("{}")
            out = tmp_path / path.relative_to(tmp_path).parts[0]
            with pytest.raises(UsageError, match="exists already"):
                convert_checkpoint(tmp_path / "official.pth", out, family="ram", tags=tmp_path / "tags.txt")
            assert path.read_text() == "{}"

    def test_a_resolution_without_windows(self, oracle_set, tmp_path):
        cell = 2 ** (len(oracle_set.config["swin"]["depths"]) + 1)
        message = f"not a multiple of {cell}; the nearest are {3 * cell} and {4 * cell}"
        self.refuse(oracle_set, tmp_path, message, UsageError, resolution=3 * cell + 4)

    def test_another_picture_side_than_the_tables_tell(self, oracle_set, tmp_path):
        geometry = replace(oracle_set.geometry, image_size=oracle_set.config["image_size"] + 32)
        message = f"the checkpoint's tables are those of pictures of {oracle_set.config['image_size']} px"
        self.refuse(oracle_set, tmp_path, message, geometry=geometry)


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


def test_a_file_with_code_is_refused(tmp_path, capsys):
    torch.save({"model": {"fc.bias": torch.zeros(1)}, "extra": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match="refused, since it is not a file of weights alone"):
        read_checkpoint(tmp_path / "evil.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {}}, "contains no state dict"),
        ([1, 2], "contains no state dict"),
        ({"model": {"a": 1}}, "contains no state dict"),
    ],
)
def test_a_file_without_weights(tmp_path, content, message):
    torch.save(content, tmp_path / "empty.pth")
    with pytest.raises(ModelError, match=message):
        read_checkpoint(tmp_path / "empty.pth")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match=r"nothing\.pth: no such file"):
        read_checkpoint(tmp_path / "nothing.pth")


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "empty"), (b"cat\ndog\n", "not a PyTorch checkpoint"), (b"\xff\xd8\xff\xe0", "not a PyTorch checkpoint")],
)
def test_a_file_of_another_kind(tmp_path, content, what):
    path = tmp_path / "tags.txt"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_checkpoint(path)
    assert str(caught.value) == f"{path}: {what}; give the .pth file as it was downloaded"


def test_a_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(ModelError, match=r": not a file$"):
        read_checkpoint(tmp_path)


@each_oracle_set("ram_plus")
class TestDamagedDirectories:
    def test_a_newer_config(self, oracle_set, tmp_path):
        path = converted(oracle_set, tmp_path) / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
        with pytest.raises(ModelError, match="format 99 is newer than this anytag reads"):
            anytag.load(path.parent)

    def test_altered_weights(self, oracle_set, tmp_path):
        folder = converted(oracle_set, tmp_path)
        data = bytearray((folder / "model.safetensors").read_bytes())
        data[-5] ^= 1
        (folder / "model.safetensors").write_bytes(data)
        with pytest.raises(ModelError, match="altered or damaged"):
            anytag.load(folder)

    def test_no_weights_for_this_backend(self, oracle_set, tmp_path):
        with pytest.raises(ModelError, match=r"missing; the model is incomplete"):
            anytag.load(converted(oracle_set, tmp_path), backend="onnx").tag(np.zeros((9, 9, 3), np.uint8))
