"""From an official file to a model that runs, and refusals of everything that is no such file."""

from __future__ import annotations

import errno
import json
import re
import shutil

import numpy as np
import pytest
import torch
from oracle_sets import OracleSet, each_oracle_set
from safetensors import safe_open
from typer.testing import CliRunner

import anytag
from anytag.backends.torch import TorchBackend
from anytag.checkpoints.convert import convert_checkpoint
from anytag.checkpoints.official_keys import LEFT_OUT, published_key
from anytag.checkpoints.weight_files import read_checkpoint
from anytag.cli import build_app
from anytag.errors import ModelError, UsageError
from anytag.model.directory import ModelDirectory
from anytag.model.vocabulary import VocabularyTag
from anytag.nn.weights import read_model, write_weights


def official_file(oracle_set: OracleSet, path, **changes):
    """A .pth in the official layout: every name, tied ones twice, tables and all."""
    state = {}
    for name, shape in oracle_set.config["state"]["keys"].items():
        tensor = oracle_set.state.get(name)
        state[name] = torch.zeros(shape) if tensor is None else tensor
    torch.save({"model": {**state, **changes}, "epoch": 3}, path)
    return path


def lists(oracle_set: OracleSet, folder):
    """Tag lists with the blanks that the official ones carry."""
    tags, chinese, thresholds = folder / "tags.txt", folder / "zh.txt", folder / "thresholds.txt"
    tags.write_text("\n".join(oracle_set.config["tag_list"]) + "\n", encoding="utf-8")
    chinese.write_text("\n".join(name + " " for name in oracle_set.config["tag_list_chinese"]), encoding="utf-8")
    thresholds.write_text("\n".join(map(str, oracle_set.config["class_threshold"])), encoding="utf-8")
    return {"tags": tags, "tags_zh": chinese, "thresholds": thresholds}


def heads(oracle_set: OracleSet):
    text = oracle_set.config["med_config"]
    return {
        "recognition_heads": oracle_set.config["q2l_config"]["num_attention_heads"],
        "text_heads": text["num_attention_heads"] if text else None,
    }


def converted(oracle_set: OracleSet, folder, **options):
    out = folder / "model"
    settings = {**lists(oracle_set, folder), **heads(oracle_set), "report": lambda line: None, **options}
    convert_checkpoint(official_file(oracle_set, folder / "official.pth"), out, family=oracle_set.kind, **settings)
    return out


@pytest.fixture(scope="module")
def made(request, tmp_path_factory):
    """Model directories by set, each converted once."""
    folders = {}

    def make(oracle_set):
        if oracle_set.name not in folders:
            folders[oracle_set.name] = converted(oracle_set, tmp_path_factory.mktemp(oracle_set.name))
        return folders[oracle_set.name]

    return make


@each_oracle_set()
class TestConverted:
    def test_scores_and_names_are_the_reference_s(self, oracle_set, made):
        directory = ModelDirectory(made(oracle_set))
        assert [tag.name for tag in directory.vocabulary] == oracle_set.config["tag_list"]
        assert [dict(tag.translations)["zh"] for tag in directory.vocabulary] == oracle_set.config["tag_list_chinese"]
        assert [tag.threshold for tag in directory.vocabulary] == oracle_set.config["class_threshold"]
        backend = TorchBackend(directory)
        features = backend.model.encode(oracle_set.io["image"])[0].numpy()
        labels = backend.vocabulary_queries()
        logits = backend.recognize(features, labels)
        np.testing.assert_allclose(logits, oracle_set.io["out.logits"].numpy(), atol=1e-4)
        some = labels.take(np.array([9, 1])).join(labels.take(np.array([4])))
        np.testing.assert_allclose(backend.recognize(features, some), logits[:, [9, 1, 4]], atol=1e-5)
        fired = oracle_set.io["out.sigmoid"].numpy() > np.array(oracle_set.config["class_threshold"])
        assert np.array_equal(1 / (1 + np.exp(-logits)) >= [t.threshold for t in directory.vocabulary], fired)

    def test_it_is_used_like_any_model(self, oracle_set, made):
        recognizer = anytag.load(made(oracle_set))
        assert isinstance(recognizer.backend, TorchBackend)
        picture = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
        everything = recognizer.tag(picture, threshold=0)
        assert len(everything.tags) == oracle_set.config["num_tags"]
        named = recognizer.tag(picture, categories=["dog", "cat"], threshold=0)
        scores = {(tag.name, tag.kind): tag.score for tag in everything.tags}
        for tag in named.tags:
            assert tag.score == pytest.approx(scores[tag.name, tag.kind], abs=1e-5)
        if recognizer.directory.config.captioner is not None:
            seen = recognizer.caption(picture, tags=["dog", "hot dog"])
            assert seen.given == ("dog", "hot dog")
            assert seen.caption

    def test_the_directory_says_what_it_is(self, oracle_set, made):
        directory = ModelDirectory(made(oracle_set))
        assert directory.config.family == oracle_set.kind
        assert directory.vocabulary[0].threshold_from == "thresholds.txt"
        assert "official.pth" in (directory.path / "README.md").read_text(encoding="utf-8")
        for name in directory.config.files:
            directory.file(name)

    def test_info_counts_every_parameter_once_and_says_where_thresholds_come_from(self, oracle_set, made):
        result = CliRunner().invoke(build_app(), ["info", str(made(oracle_set)), "--json"])
        record = json.loads(result.stdout)
        tensors = {id(t): t for name, t in oracle_set.weights.items() if published_key(name)}
        assert sum(record["parameters"].values()) == sum(t.numel() for t in tensors.values())
        assert record["parameters"].keys() >= {"image_encoder", "label_queries", "recognition_decoder"}
        assert record["thresholds"] == {"thresholds.txt": oracle_set.config["num_tags"]}
        assert record["languages"] == ["zh"]
        shown = CliRunner().invoke(build_app(), ["info", str(made(oracle_set))]).stdout
        assert f"{oracle_set.config['num_tags']} from: thresholds.txt" in shown
        assert "recognition decoder: " in shown

    def test_every_official_name_is_mapped_or_left_out_for_a_reason(self, oracle_set):
        names = oracle_set.config["state"]["keys"]
        for name in names:
            reasons = [reason for pattern, reason in LEFT_OUT.items() if re.fullmatch(pattern, name)]
            assert (published_key(name) is None) == (bool(reasons) or name.startswith("visual_encoder.head"))

    def test_no_weight_is_stored_twice(self, oracle_set, made):
        with safe_open(made(oracle_set) / "model.safetensors", "pt") as file:
            names = list(file.keys())
        assert not [n for n in names if n.startswith("interaction_encoder.layers.0.cross_attention")]
        official = {n for n in oracle_set.config["state"]["keys"] if published_key(n)}
        assert len(names) == len({published_key(n) for n in official})


@each_oracle_set("tag2text")
def test_captions_through_the_recognizer(oracle_set, made):
    """The user's tags, beam by beam, as the reference gives them; features are those of its own picture."""
    recognizer = anytag.load(made(oracle_set))
    case = oracle_set.expected["captions"]["user_beam3_min10_max50"]
    features = recognizer.backend.model.encode(oracle_set.io["image"])[0].numpy()
    # The reference takes any words as tags, and some of its cases are in no vocabulary.
    tags = [[VocabularyTag(0, name, "object") for name in given.split(" | ")] for given in case["tag_input"]]
    options = recognizer.captioner.options()
    captions = [
        recognizer.captioner.caption(features[row : row + 1], given, True, options).text
        for row, given in enumerate(tags)
    ]
    # Unlike the released code, nothing of the caption is cut away with the prompt.
    decoded = [text.removeprefix("a picture of").strip() for text in case["decoded_skip_special"]]
    assert captions == decoded


@each_oracle_set("ram")
class TestRefusals:
    def refuse(self, oracle_set, tmp_path, message, error=ModelError, **options):
        settings = {**lists(oracle_set, tmp_path), **heads(oracle_set), "report": lambda line: None}
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
        self.refuse(oracle_set, tmp_path, "threshold list has 2 entries, the tag list 40", thresholds=short)

    def test_a_threshold_that_is_none(self, oracle_set, tmp_path):
        bad = tmp_path / "bad.txt"
        bad.write_text("\n".join(["0.5"] * 39 + ["nan"]))
        self.refuse(oracle_set, tmp_path, "line 40 of the threshold list is 'nan'", thresholds=bad)

    @pytest.mark.parametrize("name", ["image_proj.bias", "text_decoder.cls.predictions.bias"])
    def test_a_missing_parameter(self, oracle_set, tmp_path, name):
        path = official_file(oracle_set, tmp_path / "cut.pth")
        content = torch.load(path, weights_only=True)
        del content["model"][name]
        torch.save(content, path)
        self.refuse(oracle_set, tmp_path, rf"lacks {published_key(name)} ", checkpoint=path)

    def test_an_unexpected_parameter(self, oracle_set, tmp_path):
        path = official_file(oracle_set, tmp_path / "more.pth", extra_head=torch.zeros(3))
        message = "extra_head: no published model has a parameter of that name"
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
        message = "recognition_decoder.score.bias holds values that are no numbers"
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
        with pytest.raises(UsageError, match="exists and is no model directory"):
            convert_checkpoint(tmp_path / "official.pth", tmp_path / "model", family="ram", tags=tmp_path / "tags.txt")
        assert (tmp_path / "model" / "thesis.txt").read_text() == "mine"

    def test_a_resolution_without_windows(self, oracle_set, tmp_path):
        self.refuse(oracle_set, tmp_path, "no multiple of 32; the nearest are 96 and 128", UsageError, resolution=100)


@each_oracle_set("ram")
def test_another_resolution(oracle_set, tmp_path):
    directory = ModelDirectory(converted(oracle_set, tmp_path, resolution=192))
    encoder = directory.config.image_encoder
    assert (encoder.resolution, encoder.swin.window, encoder.tokens) == (192, 6, 37)
    model = read_model(directory.config, len(directory.vocabulary), directory.file("model.safetensors"))
    features, _ = model.encode(torch.zeros(1, 3, 192, 192))
    assert features.shape == (1, 37, 512)


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
        ({"model": {}}, "holds no state dict"),
        ([1, 2], "holds no state dict"),
        ({"model": {"a": 1}}, "holds no state dict"),
    ],
)
def test_a_file_without_weights(tmp_path, content, message):
    torch.save(content, tmp_path / "empty.pth")
    with pytest.raises(ModelError, match=message):
        read_checkpoint(tmp_path / "empty.pth")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match=r"nothing\.pth: no such file"):
        read_checkpoint(tmp_path / "nothing.pth")


class TestWeights:
    def test_what_is_written_is_read_by_the_library(self, tmp_path):
        tensors = {"a": torch.randn(3, 4), "b": torch.arange(5), "c": torch.randn(2).bfloat16(), "d": torch.empty(0, 3)}
        write_weights(tensors, tmp_path / "w.safetensors")
        with safe_open(tmp_path / "w.safetensors", "pt") as file:
            assert set(file.keys()) == set(tensors)
            for name, tensor in tensors.items():
                assert torch.equal(file.get_tensor(name), tensor)

    def test_types_without_a_place(self, tmp_path):
        with pytest.raises(ModelError, match=r"a: tensors of type torch\.complex64 cannot be stored"):
            write_weights({"a": torch.zeros(2, dtype=torch.complex64)}, tmp_path / "w.safetensors")


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
