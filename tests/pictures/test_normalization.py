"""The official preprocessing against its own output, and means and deviations by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from picture_files import RED, encode
from PIL import Image
from safetensors.numpy import load_file

from anytag.errors import UsageError
from anytag.pictures import CLIP, IMAGENET, Normalization, Preprocessing, read_picture, to_pixels


class TestOfficialTransform:
    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, oracle):
        return oracle / "vectors" / "transform"

    def test_equals_the_reference(self, folder):
        expected, cases = load_file(folder / "expected.safetensors"), json.loads((folder / "expected.json").read_text())
        assert cases
        for case in cases:
            self.compare(case, expected, folder)

    def compare(self, case, expected, folder):
        name = f"{case['file'].removesuffix('.png')}.{case['image_size']}"
        pixels = to_pixels(read_picture(folder / case["file"], composite_alpha=False), case["image_size"], "bilinear")
        np.testing.assert_array_equal(np.moveaxis(pixels, -1, 0), expected[f"{name}.uint8"])
        normalized = IMAGENET.apply(pixels)
        assert normalized.dtype == np.float32
        if f"{name}.float" in expected:  # the large one is stored as bytes only
            np.testing.assert_allclose(normalized, expected[f"{name}.float"], rtol=0, atol=1e-6)
        else:
            assert case["exact_from_uint8"]

    def test_batches_do_the_same(self, folder):
        cases = json.loads((folder / "expected.json").read_text())
        side = min(case["image_size"] for case in cases)
        cases = [case for case in cases if case["image_size"] == side]
        sources = [folder / case["file"] for case in cases]
        (batch,) = Preprocessing(side, "bilinear", "drop").batches(sources, len(cases), 1)
        expected = load_file(folder / "expected.safetensors")
        rows = np.stack([expected[f"{case['file'].removesuffix('.png')}.{side}.float"] for case in cases])
        np.testing.assert_allclose(IMAGENET.apply(batch.pixels), rows, rtol=0, atol=1e-6)

    def test_transparency_makes_the_difference(self, folder):
        for name in ("rgba.png", "la.png", "pal.png"):
            dropped = to_pixels(read_picture(folder / name, composite_alpha=False), 48, "bilinear")
            assert (dropped != to_pixels(read_picture(folder / name), 48, "bilinear")).any()


class TestTransparency:
    def test_dropped_by_hand(self):
        pixels = np.array([[[*RED, 0], [1, 2, 3, 128]]], np.uint8)
        for source in (pixels, Image.fromarray(pixels), encode(Image.fromarray(pixels), "PNG")):
            assert np.asarray(read_picture(source, composite_alpha=False)).tolist() == [[list(RED), [1, 2, 3]]]

    def test_one_transparent_value_of_sixteen_bits(self):
        picture = Image.fromarray(np.array([[0, 257, 65535]], np.uint16))
        content = encode(picture, "PNG", transparency=257)
        assert np.asarray(read_picture(content))[0, :, 0].tolist() == [0, 255, 255]
        assert np.asarray(read_picture(content, composite_alpha=False))[0, :, 0].tolist() == [0, 1, 255]

    @pytest.mark.parametrize("mode", ["PA", "RGBa", "La"])
    def test_rare_modes(self, mode):
        straight = Image.new("LA" if mode == "La" else "RGBA", (1, 1), (9, 255) if mode == "La" else (9, 9, 9, 255))
        picture = read_picture(straight.convert(mode), composite_alpha=False)
        assert np.asarray(picture).tolist() == [[[9, 9, 9]]]


class TestInterpolation:
    def test_bilinear_halves_by_triangles(self):
        # Shrinking 4 to 2: the triangle is 4 wide, with weights 1/8, 3/8, 3/8, 1/8 that the border cuts to 3, 3, 1.
        picture = Image.fromarray(np.array([[0, 0, 70, 70]] * 4, np.uint8))
        assert to_pixels(picture, 2, "bilinear")[0, :, 0].tolist() == [10, 60]

    def test_bicubic_is_the_default(self):
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8))
        np.testing.assert_array_equal(to_pixels(picture, 5), to_pixels(picture, 5, "bicubic"))
        assert (to_pixels(picture, 5) != to_pixels(picture, 5, "bilinear")).any()

    def test_an_unknown_one_is_refused(self):
        with pytest.raises(UsageError, match="interpolation is 'nearest'; use 'bicubic' or 'bilinear'"):
            to_pixels(Image.new("RGB", (2, 2)), 2, "nearest")


class TestNormalization:
    def test_by_hand(self):
        half = Normalization((0.2, 0.4, 0.6), (0.5, 0.5, 0.25))
        pixels = np.array([[[[51, 102, 153], [255, 0, 204]]]], np.uint8)  # [1, 1, 2, 3]
        result = half.apply(pixels)
        assert result.shape == (1, 3, 1, 2)
        np.testing.assert_allclose(result[0, :, 0].T, [[0, 0, 0], [1.6, -0.8, 0.8]], atol=1e-6)

    @pytest.mark.parametrize("normalization", [IMAGENET, CLIP])
    def test_of_bytes_says_the_same_on_the_other_scale(self, normalization):
        mean, std = normalization.of_bytes()
        pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
        expected = ((pixels - np.array(mean)) / np.array(std)).transpose(2, 0, 1)
        np.testing.assert_allclose(normalization.apply(pixels), expected, atol=1e-5)

    def test_clip_and_imagenet_differ_by_little(self):
        gray = np.full((1, 1, 3), 127, np.uint8)
        apart = np.abs(IMAGENET.apply(gray) - CLIP.apply(gray)).max()
        assert 0.01 < apart < 0.1
