"""Blank first frames, and pictures with nothing on them at all."""

from __future__ import annotations

import numpy as np
import pytest
from picture_files import RED, WHITE, encode, noise
from PIL import Image

from anytag.pictures import Preprocessing, decode_picture, read_picture

BLANK = Image.new("RGB", (32, 24), WHITE)
SHOWN = Image.fromarray(noise(3, 4)).resize((32, 24), Image.Resampling.BICUBIC)


class TestFrames:
    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
    def test_the_first_with_something_on_it(self, format):
        options = {"lossless": True} if format == "WEBP" else {}
        frames = [BLANK, SHOWN, Image.new("RGB", (32, 24), RED)]
        content = encode(BLANK, format, save_all=True, append_images=frames, duration=100, **options)
        decoded = decode_picture(content)
        assert decoded.notes == ()
        if format == "GIF":
            assert max(high - low for low, high in decoded.picture.getextrema()) > 100
        else:
            tolerance = 10 if format == "AVIF" else 0
            assert np.abs(np.asarray(decoded.picture).astype(int) - SHOWN).mean() <= tolerance

    def test_a_first_frame_that_shows_something_stays(self):
        content = encode(SHOWN, "PNG", save_all=True, append_images=[BLANK, SHOWN.rotate(180)])
        np.testing.assert_array_equal(read_picture(content), SHOWN)

    def test_an_empty_page_before_a_scan(self):
        page = Image.new("1", (64, 80), 1)
        scan = page.copy()
        scan.paste(0, (10, 10, 40, 20))
        content = encode(page, "TIFF", save_all=True, append_images=[scan], compression="group4")
        np.testing.assert_array_equal(read_picture(content), scan.convert("RGB"))

    def test_all_blank(self):
        content = encode(BLANK, "GIF", save_all=True, append_images=[Image.new("RGB", (32, 24), RED)] * 3)
        decoded = decode_picture(content)
        assert decoded.notes == ("blank",)
        assert decoded.picture.getpixel((0, 0)) == WHITE

    def test_damage_behind_a_blank_frame_leaves_it(self):
        content = encode(BLANK, "GIF", save_all=True, append_images=[SHOWN])
        assert decode_picture(content[: len(content) // 2]).notes == ("blank",)

    def test_a_caller_s_picture_stays_at_its_frame(self, tmp_path):
        path = tmp_path / "a.gif"
        path.write_bytes(encode(BLANK, "GIF", save_all=True, append_images=[SHOWN]))
        with Image.open(path) as opened:
            assert decode_picture(opened).notes == ("blank",)
            assert opened.tell() == 0


class TestBlank:
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP"])
    @pytest.mark.parametrize("color", [WHITE, (0, 0, 0), RED, (120, 120, 120)])
    def test_one_color(self, format, color):
        assert decode_picture(encode(Image.new("RGB", (40, 30), color), format)).notes == ("blank",)

    def test_what_nobody_sees(self):
        pixels = np.full((20, 20, 4), 77, np.uint8)
        pixels[:, :, 3] = 0
        pixels[:5] = 0
        assert decode_picture(pixels).notes == ("blank",)
        assert decode_picture(np.full((1, 1), 9, np.uint8)).notes == ("blank",)

    def test_a_dot_is_something(self):
        picture = Image.new("L", (300, 300), 255)
        picture.putpixel((150, 150), 200)
        assert decode_picture(encode(picture, "PNG")).notes == ()

    def test_batches_tell(self):
        [batch] = Preprocessing(8).batches([BLANK, SHOWN], 4)
        assert [loaded.notes for loaded in batch.loaded] == [("blank",), ()]
