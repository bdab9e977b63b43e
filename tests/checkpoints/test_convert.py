"""Conversion of official files to models that run: scores, captions, other resolutions."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from official_files import converted
from oracle_sets import each_oracle_set
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

import anytag
from anytag.backends.torch import TorchBackend
from anytag.checkpoints.convert import at_resolution
from anytag.checkpoints.official_keys import LEFT_OUT, _swin_config, official_key
from anytag.cli import build_app
from anytag.errors import ModelError, UsageError
from anytag.model.config import ModelConfig, SwinConfig
from anytag.model.directory import ModelDirectory
from anytag.model.families import encoder_of
from anytag.model.vocabulary import VocabularyTag
from anytag.nn.weights import read_model, write_weights


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
        names = [tag.name for tag in everything.tags]
        once = [name for name in names if names.count(name) == 1][:2]
        named = recognizer.tag(picture, categories=once, threshold=0)
        assert len(named.tags) == 2
        scores = {(tag.name, tag.kind): tag.score for tag in everything.tags}
        for tag in named.tags:
            assert tag.score == pytest.approx(scores[tag.name, tag.kind], abs=1e-5)
        if recognizer.directory.config.captioner is not None:
            seen = recognizer.caption(picture, tags=once)
            assert seen.given == tuple(once)
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
        tensors = {id(t): t for name, t in oracle_set.weights.items() if official_key(name)}
        assert sum(record["parameters"].values()) == sum(t.numel() for t in tensors.values())
        assert record["parameters"].keys() >= {"image_encoder", "label_queries", "recognition_decoder"}
        assert record["thresholds"] == {"thresholds.txt": oracle_set.config["num_tags"]}
        assert record["languages"] == {"zh": oracle_set.config["num_tags"]}
        shown = CliRunner().invoke(build_app(), ["info", str(made(oracle_set))]).stdout
        assert f"{oracle_set.config['num_tags']} from: thresholds.txt" in shown
        assert "recognition decoder: " in shown

    def test_without_a_text_encoder_it_says_how_to_get_one_if_it_can_have_one(self, oracle_set, made):
        recognizer = anytag.load(made(oracle_set))
        picture = np.zeros((50, 60, 3), np.uint8)
        with pytest.raises(ModelError) as caught:
            recognizer.tag(picture, categories=["go-kart"])
        shown = CliRunner().invoke(build_app(), ["info", str(made(oracle_set))], env={"COLUMNS": "200"}).stdout
        if oracle_set.kind == "tag2text":
            assert "has one learned query per tag, so it only knows its own tags" in str(caught.value)
            assert "learned, one a tag: no other categories" in shown
            return
        advice = (
            "a converted model gets one by anytag convert --clip DIR, a trained one by anytag train --set teacher.clip"
        )
        assert advice in str(caught.value)
        assert "no text encoder for new categories (convert with --clip, train with teacher.clip)" in " ".join(
            shown.split()
        )
        with pytest.raises(ModelError, match="anytag convert --clip DIR"):
            recognizer.match(picture, ["a go-kart"])

    def test_every_official_name_is_mapped_or_left_out_for_a_reason(self, oracle_set):
        names = oracle_set.config["state"]["keys"]
        for name in names:
            reasons = [reason for pattern, reason in LEFT_OUT.items() if re.fullmatch(pattern, name)]
            assert (official_key(name) is None) == (bool(reasons) or name.startswith("visual_encoder.head"))

    def test_no_weight_is_stored_twice(self, oracle_set, made):
        with safe_open(made(oracle_set) / "model.safetensors", "pt") as file:
            names = list(file.keys())
        assert not [n for n in names if n.startswith("interaction_encoder.layers.0.cross_attention")]
        official = {n for n in oracle_set.config["state"]["keys"] if official_key(n)}
        assert len(names) == len({official_key(n) for n in official})


@each_oracle_set("tag2text")
def test_captions_through_the_recognizer(oracle_set, made):
    """The user's tags, beam by beam, as the reference gives them; features are those of its own picture."""
    recognizer = anytag.load(made(oracle_set))
    features = recognizer.backend.model.encode(oracle_set.io["image"])[0].numpy()
    cases = [case for case in oracle_set.expected["captions"].values() if case["tag_input"] is not None]
    assert cases
    for case in cases:
        asked = case["generate_kwargs"]
        searched = ("num_beams", "min_length", "max_length", "repetition_penalty")
        options = replace(recognizer.captioner.options(), **{name: asked[name] for name in searched})
        # The reference takes any words as tags, and some of its cases are in no vocabulary.
        tags = [
            [VocabularyTag(0, name, "object") for name in given.split(" | ") if name] for given in case["tag_input"]
        ]
        captions = [
            recognizer.captioner.caption(features[row : row + 1], given, True, options).text
            for row, given in enumerate(tags)
        ]
        # Unlike the official code, nothing of the caption is cut away with the prompt.
        prompt = oracle_set.geometry.prompt.strip()
        assert captions == [text.removeprefix(prompt).strip() for text in case["decoded_skip_special"]]


@each_oracle_set("ram")
def test_another_resolution(oracle_set, tmp_path):
    sizes = oracle_set.config["swin"]
    side = 2 * oracle_set.config["image_size"]
    directory = ModelDirectory(converted(oracle_set, tmp_path, resolution=side))
    encoder = directory.config.image_encoder
    tokens = (side // 2 ** (len(sizes["depths"]) + 1)) ** 2 + 1
    assert (encoder.resolution, encoder.swin.window, encoder.tokens) == (side, 2 * sizes["window_size"], tokens)
    model = read_model(directory.config, len(directory.vocabulary), directory.file("model.safetensors"))
    features, _ = model.encode(torch.zeros(1, 3, side, side))
    assert features.shape == (1, tokens, directory.config.features)


def test_a_window_grows_with_the_picture_and_stays_whole():
    config = ModelConfig(image_encoder=encoder_of(SwinConfig(window=3), 192, projected=True))
    assert at_resolution(config, 384).image_encoder.swin.window == 6
    message = "resolution 160 leaves no whole window: it has 3 cells at 192 px, and grows with the picture; give a "
    with pytest.raises(UsageError, match=message + "multiple of 192"):
        at_resolution(config, 160)


class TestPictureSide:
    """The side of a checkpoint's pictures, from a Swin of four stages with windows of 8 cells."""

    def side(self, tables, masks=(), image_size=None):
        shapes = {"visual_encoder.patch_embed.proj.weight": (16, 3, 4, 4)}
        for stage, window in enumerate(tables):
            prefix = f"visual_encoder.layers.{stage}.blocks"
            shapes[f"{prefix}.0.attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, 1)
            if stage < len(masks) and masks[stage]:
                shapes[f"{prefix}.1.attn_mask"] = (masks[stage], window**2, window**2)
        return _swin_config(shapes, projected=True, image_size=image_size).resolution

    def test_the_number_of_shifted_windows_tells_it(self):
        assert self.side((8, 8, 8, 8), masks=(64,)) == 256  # 8 x 8 windows of 8 cells of 4 px
        assert self.side((8, 8, 8, 8), masks=(None, 16)) == 256  # 4 x 4 windows of 8 cells of 8 px

    def test_a_window_cut_down_tells_it(self):
        assert self.side((8, 8, 8, 4)) == 128  # the last map has 4 x 4 cells of 32 px

    def test_what_is_given_counts_where_nothing_tells_it(self):
        assert self.side((8, 8, 8, 8), image_size=512) == 512
        assert self.side((8, 8, 8, 8)) == 256

    def test_both_must_agree(self):
        message = "tables are those of pictures of 128 px, not 96; leave --image-size out, and give --resolution"
        assert self.side((8, 8, 8, 4), image_size=128) == 128
        with pytest.raises(ModelError, match=message):
            self.side((8, 8, 8, 4), image_size=96)


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


@each_oracle_set()
def test_from_a_file_to_scores(oracle_set, made, oracle):
    """The reference's own preprocessing, step by step, then its network: the recognizer says the same of the file."""
    recognizer, model = anytag.load(made(oracle_set)), TorchBackend(ModelDirectory(made(oracle_set))).model
    folder, side = oracle / "vectors" / "transform", oracle_set.config["image_size"]
    stored = load_file(folder / "expected.safetensors")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    files = sorted(folder.glob("*.png"))
    assert files
    for file in files:
        pixels = np.asarray(Image.open(file).convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
        if (name := f"{file.stem}.{side}.uint8") in stored:
            np.testing.assert_array_equal(pixels, stored[name].permute(1, 2, 0).numpy())
        seen = ((torch.from_numpy(pixels.copy()).float() / 255 - mean) / std).permute(2, 0, 1)[None]
        with torch.no_grad():
            scores = model.recognize(model.encode(seen)[0]).sigmoid()[0].tolist()
        found = {tag.id: tag.score for tag in recognizer.tag(file, threshold=0).tags}
        assert [found[id] for id in range(len(scores))] == pytest.approx(scores, abs=1e-5), file.name
