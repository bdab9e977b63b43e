"""Preprocessing belongs to the weights: what a config says is what its model sees."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures_toy import edit_config, toy_recognizer
from PIL import Image
from pydantic import ValidationError

import anytag
from anytag.errors import ModelError
from anytag.model.config import CaptionerConfig, ImageEncoderConfig
from anytag.model.directory import SHIPPED_MODEL, ModelDirectory
from anytag.model.families import ram, ram_plus, tag2text
from anytag.pictures import Preprocessing, read_picture, to_pixels


@pytest.fixture
def clear():
    """Red where it is clear, and edges that every way of resizing blurs in its own way."""
    pixels = np.random.default_rng(3).integers(0, 256, (23, 31, 4), np.uint8)
    pixels[:, :15, 3] = 0
    return Image.fromarray(pixels, "RGBA")


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("alpha", ["composite", "drop"])
def test_one_by_one_and_in_batches(clear, interpolation, alpha):
    preprocessing = Preprocessing(9, interpolation, alpha)
    expected = to_pixels(read_picture(clear, composite_alpha=alpha == "composite"), 9, interpolation)
    np.testing.assert_array_equal(preprocessing.pixels(preprocessing.read(clear)), expected)
    [batch] = preprocessing.batches([clear], 4, 1)
    np.testing.assert_array_equal(batch.pixels[0], expected)


def test_a_recognizer_does_what_its_config_says(tmp_path, clear):
    recognizer = toy_recognizer(tmp_path / "toy")
    seen = []
    recognizer.backend.encode = lambda pixels, encode=recognizer.backend.encode: (
        seen.append(pixels[0]) or encode(pixels)
    )
    encoder = recognizer.directory.config.image_encoder
    for interpolation, alpha in (("bicubic", "composite"), ("bilinear", "drop")):
        changed = encoder.model_copy(update={"interpolation": interpolation, "alpha": alpha})
        recognizer.directory.config = recognizer.directory.config.model_copy(update={"image_encoder": changed})
        recognizer.tag(clear)
        expected = Preprocessing(4, interpolation, alpha)
        np.testing.assert_array_equal(seen[-1], expected.pixels(expected.read(clear)))
    assert (seen[0] != seen[1]).any()


def test_families_see_what_their_authors_code_shows_them():
    for config in (tag2text(), ram(), ram_plus()):
        assert config.image_encoder.preprocessing == Preprocessing(384, "bilinear", "drop")


def test_the_shipped_model_sees_what_it_was_trained_with(clear):
    shipped = ModelDirectory(SHIPPED_MODEL).config.image_encoder
    assert shipped.preprocessing == Preprocessing(shipped.resolution, "bicubic", "composite")
    recognizer = anytag.load(threads=1)
    pixels = to_pixels(read_picture(clear), shipped.resolution, "bicubic")
    scores = recognizer.scorer.scores(recognizer.backend.encode(pixels[None]), recognizer.labels.all())[0]
    assert [tag.score for tag in recognizer.tag(clear, threshold=0).tags] == sorted(map(float, scores), reverse=True)


def test_an_unknown_way_is_refused(tmp_path):
    toy_recognizer(tmp_path / "toy")
    encoder = ImageEncoderConfig(resolution=4, width=3, tokens=1, classes=0).model_dump()
    for name, value in (("interpolation", "nearest"), ("alpha", "black"), ("square", "crop")):
        edit_config(tmp_path / "toy", image_encoder=encoder | {name: value})
        with pytest.raises(ModelError, match=rf"config\.json: image_encoder\.{name}: Input should be "):
            ModelDirectory(tmp_path / "toy")


@pytest.mark.parametrize("changed", [{"prompt": "a picture of "}, {"tag_length": 40}])
def test_settings_that_nothing_would_read_are_refused(changed):
    with pytest.raises(ValidationError, match="tag_length and prompt need the tokenizer bert"):
        CaptionerConfig(**changed)
    CaptionerConfig(tokenizer="bert", **changed)
