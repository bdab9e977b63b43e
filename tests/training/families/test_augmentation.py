"""Random views: their crops and operations, and that the same seed gives the same view."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("torch")

from anytag.pictures import Preprocessing
from anytag.training.families.augmentation import OPERATIONS, PLAIN, augmented_pixels
from anytag.training.recipes.config import AugmentationConfig

ONE = AugmentationConfig(operations=0, flip=0.0)


def gradient(width, height):
    """Red increases to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8))


def part_shown(pixels, width, height):
    """Share of the area between the outermost colors, and its width by its height in the picture's pixels."""
    red, green = pixels[..., 0].astype(float), pixels[..., 1].astype(float)
    across, down = (red.max() - red.min()) / 255, (green.max() - green.min()) / 255
    return across * down, across * width / (down * height)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_a_crop_shows_a_fifth_to_all_of_the_area_and_is_not_too_long(seed):
    area, aspect = part_shown(
        augmented_pixels(gradient(300, 200), Preprocessing(64), ONE, random.Random(seed)), 300, 200
    )
    assert 0.17 < area < 1.01
    assert 0.68 < aspect < 1.45


def test_areas_fill_their_range():
    areas = [
        part_shown(augmented_pixels(gradient(200, 200), Preprocessing(32), ONE, random.Random(seed)), 200, 200)[0]
        for seed in range(300)
    ]
    assert min(areas) < 0.25
    assert max(areas) > 0.85
    assert 0.5 < np.mean(areas) < 0.62


def test_of_a_very_long_picture_the_middle_is_shown():
    """400 x 20 has no part of a fifth of its area and an aspect of 4 / 3: the middle 27 pixels are taken."""
    pixels = augmented_pixels(gradient(400, 20), Preprocessing(32), ONE, random.Random(0))
    red = pixels[..., 0].astype(float)
    assert red.min() == pytest.approx(255 * 186.5 / 400, abs=3)
    assert red.max() == pytest.approx(255 * 213.5 / 400, abs=3)


def test_plain_pictures_are_squashed_and_nothing_else():
    picture = gradient(50, 30)
    expected = np.asarray(picture.resize((16, 16), Image.Resampling.BICUBIC))
    for seed in range(5):
        np.testing.assert_array_equal(
            augmented_pixels(picture, Preprocessing(16), PLAIN, random.Random(seed)), expected
        )


def test_resized_as_the_weights_want_it():
    picture, whole = (
        gradient(50, 30),
        AugmentationConfig(crop=(1.0, 1.0), aspect=(5 / 3, 5 / 3), flip=0.0, operations=0),
    )
    expected = np.asarray(picture.resize((16, 16), Image.Resampling.BILINEAR))
    assert not np.array_equal(expected, np.asarray(picture.resize((16, 16), Image.Resampling.BICUBIC)))
    for config in (PLAIN, whole):
        pixels = augmented_pixels(picture, Preprocessing(16, "bilinear"), config, random.Random(0))
        np.testing.assert_array_equal(pixels, expected)


def test_mirrored_half_of_the_time():
    config = AugmentationConfig(crop=None, operations=0)
    count = sum(
        augmented_pixels(gradient(8, 8), Preprocessing(8), config, random.Random(s))[0, 0, 0] > 128 for s in range(400)
    )
    assert 160 < count < 240


def test_the_same_draw_gives_the_same_view():
    views = [
        augmented_pixels(gradient(60, 40), Preprocessing(24), AugmentationConfig(), random.Random(s)) for s in (1, 1, 2)
    ]
    np.testing.assert_array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])
    assert views[0].shape == (24, 24, 3)
    assert views[0].dtype == np.uint8


class TestOperations:
    """Their effects at half strength."""

    @staticmethod
    def apply(name, picture, seed=0):
        return np.asarray(OPERATIONS[name](picture, 0.5, random.Random(seed))).astype(int)

    def test_there_are_ten(self):
        assert len(OPERATIONS) == 10

    def test_half_strength_leaves_brightness_and_sharpness_alone(self):
        """0.1 + 1.8 * 0.5 = 1."""
        before = np.asarray(gradient(20, 20)).astype(int)
        for name in ("identity", "brightness", "sharpness"):
            np.testing.assert_array_equal(self.apply(name, gradient(20, 20)), before)

    def test_contrast_is_stretched(self):
        dull = Image.fromarray((np.asarray(gradient(20, 20)) // 4 + 60).astype(np.uint8))
        assert self.apply("autocontrast", dull)[..., 0].max() == 255
        assert self.apply("autocontrast", dull)[..., 0].min() == 0
        assert self.apply("equalize", dull)[..., 1].max() > 250

    @pytest.mark.parametrize(("name", "axis"), [("translate_x", 1), ("translate_y", 0)])
    def test_shifts_are_five_pixels_either_way(self, name, axis):
        picture = Image.new("RGB", (20, 20), (255, 255, 255))
        shifted = {int((self.apply(name, picture, seed)[..., 0] == 128).any(1 - axis).sum()) for seed in range(8)}
        sides = {bool((self.apply(name, picture, seed).take(0, axis) == 128).all()) for seed in range(8)}
        assert shifted == {5}
        assert sides == {True, False}

    def test_turns_and_shears_fill_with_gray(self):
        picture = Image.new("RGB", (40, 40), (255, 0, 0))
        for name in ("rotate", "shear_x", "shear_y"):
            changed = self.apply(name, picture)
            assert (changed == 128).all(-1).any(), name
            assert (changed == (255, 0, 0)).all(-1).mean() > 0.5, name
        corner = self.apply("rotate", picture)[0, 0]
        assert tuple(corner) == (128, 128, 128)
