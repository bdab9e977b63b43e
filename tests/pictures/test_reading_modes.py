"""Every format, mode and orientation against hand-made values."""

from __future__ import annotations

import io
import struct
import sys
from typing import ClassVar

import numpy as np
import pytest
from picture_files import BLUE, GREEN, RED, WHITE, chunk, encode, failed, gray_row, noise, png
from PIL import Image

from anytag.pictures import (
    decode_picture,
    read_picture,
)


class TestFormats:
    @pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP", "JPEG2000", "PPM"])
    def test_lossless_formats_come_back_exactly(self, format):
        options = {"lossless": True} if format == "WEBP" else {}
        picture = read_picture(encode(Image.fromarray(noise()), format, **options))
        assert type(picture) is Image.Image
        assert (picture.mode, picture.size) == ("RGB", (64, 48))
        np.testing.assert_array_equal(np.asarray(picture), noise())

    @pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF", "GIF"])
    def test_lossy_formats_come_back_closely(self, format):
        flat = Image.new("RGB", (40, 30), (200, 100, 50))
        pixels = np.asarray(read_picture(encode(flat, format))).astype(int)
        assert pixels.shape == (30, 40, 3)
        assert np.abs(pixels - (200, 100, 50)).max() <= 4

    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
    def test_first_frame_of_several(self, format):
        frames = [Image.new("RGB", (16, 16), color) for color in (RED, GREEN)]
        picture = read_picture(encode(frames[0], format, save_all=True, append_images=frames[1:]))
        assert np.abs(np.asarray(picture).astype(int) - RED).max() <= 4

    def test_jpeg_equals_a_plain_full_decode(self):
        content = encode(Image.fromarray(noise()), "JPEG")
        np.testing.assert_array_equal(np.asarray(read_picture(content)), np.asarray(Image.open(io.BytesIO(content))))

    def test_heic_without_the_decoder_names_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        error = failed(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
        assert error.kind == "unreadable"
        assert "pip install 'anytag[photos]'" in str(error)

    def test_heic_with_the_decoder(self):
        heif = pytest.importorskip("pillow_heif", reason="the optional HEIC decoder is not installed")
        stream = io.BytesIO()
        heif.from_pillow(Image.new("RGB", (64, 32), (200, 100, 50))).save(stream, quality=95)
        picture = read_picture(stream.getvalue())
        assert picture.size == (64, 32)
        assert np.abs(np.asarray(picture).astype(int) - (200, 100, 50)).max() <= 6
        assert failed(stream.getvalue()[:-200]).kind == "truncated"
        assert "HEIF" not in Image.OPEN


class TestModes:
    def test_one_bit(self):
        bits = Image.new("1", (2, 1))
        bits.putpixel((1, 0), 1)
        for content in (encode(bits, "PNG"), encode(bits, "TIFF"), encode(bits, "BMP")):
            assert gray_row(read_picture(content)) == [0, 255]

    def test_grayscale(self):
        ramp = np.array([[0, 1, 127, 255]], np.uint8)
        assert gray_row(read_picture(encode(Image.fromarray(ramp), "PNG"))) == [0, 1, 127, 255]

    @pytest.mark.parametrize("format", ["PNG", "TIFF"])
    def test_sixteen_bit_gray_is_scaled_not_clipped(self, format):
        # v / 257, rounded: 128/257 = 0.498, 129/257 = 0.502, 32768/257 = 127.502, 65406/257 = 254.498
        ramp = np.array([[0, 128, 129, 257, 32768, 65406, 65535]], np.uint16)
        assert gray_row(read_picture(encode(Image.fromarray(ramp), format))) == [0, 0, 1, 1, 128, 254, 255]

    def test_sixteen_bit_big_endian_tiff(self):
        ramp = np.array([[0, 257, 65535]], ">u2")
        content = encode(Image.frombytes("I;16B", (3, 1), ramp.tobytes()), "TIFF")
        assert gray_row(read_picture(content)) == [0, 1, 255]

    def test_sixteen_bit_color(self):
        row = b"\0" + struct.pack(">6H", 0, 0x8000, 0xFFFF, 0x0100, 0x4000, 0xC000)
        pixels = np.asarray(read_picture(png(2, 1, 16, 2, row))).astype(int)
        expected = np.array([[[0, 127.5, 255], [1, 63.75, 191.3]]])
        assert np.abs(pixels - expected).max() <= 1

    def test_sixteen_bit_gray_with_a_transparent_value(self):
        row = b"\0" + struct.pack(">3H", 0, 1000, 0xFFFF)
        assert gray_row(read_picture(png(3, 1, 16, 0, row, chunk(b"tRNS", struct.pack(">H", 1000))))) == [0, 255, 255]

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0, 100, 255], [0, 100, 255]),
            ([0, 257, 65535], [0, 1, 255]),
            ([-5, 50_000, 100_000], [0, 128, 255]),
        ],
    )
    def test_whole_number_tiff(self, values, expected):
        picture = Image.fromarray(np.array([values], np.int32))
        assert gray_row(read_picture(encode(picture, "TIFF"))) == expected

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0.0, 0.5, 1.0], [0, 128, 255]),
            ([0.0, 100.0, 255.0], [0, 100, 255]),
            ([0.0, 257.0, 65535.0], [0, 1, 255]),
            ([float("nan"), 0.2, -1.0], [0, 51, 0]),
        ],
    )
    def test_float_tiff(self, values, expected):
        picture = Image.fromarray(np.array([values], np.float32))
        assert gray_row(read_picture(encode(picture, "TIFF"))) == expected

    def test_alpha_is_composited_over_white(self):
        # 255 + (c - 255) * a / 255: black at 128 of 255 is 127; red at 51 of 255 keeps a fifth: (255, 204, 204)
        pixels = np.array([[[0, 0, 0, 128], [255, 0, 0, 51], [9, 9, 9, 0], [1, 2, 3, 255]]], np.uint8)
        picture = Image.fromarray(pixels)
        expected = [[[127] * 3, [255, 204, 204], [255] * 3, [1, 2, 3]]]
        for content in (
            encode(picture, "PNG"),
            encode(picture, "WEBP", lossless=True, exact=True),
            encode(picture, "TIFF"),
        ):
            assert np.asarray(read_picture(content)).tolist() == expected
        assert np.asarray(read_picture(pixels)).tolist() == expected
        assert np.asarray(read_picture(picture)).tolist() == expected

    def test_gray_with_alpha(self):
        picture = Image.fromarray(np.array([[[0, 128], [100, 255], [7, 0]]], np.uint8), "LA")
        assert gray_row(read_picture(encode(picture, "PNG"))) == [127, 100, 255]
        assert gray_row(read_picture(picture)) == [127, 100, 255]

    def test_palette(self):
        picture = Image.new("P", (3, 1))
        picture.putpalette([*RED, *GREEN, *BLUE])
        picture.putdata([0, 1, 2])
        for format in ("PNG", "GIF", "BMP", "TIFF"):
            assert np.asarray(read_picture(encode(picture, format))).tolist() == [[list(RED), list(GREEN), list(BLUE)]]
        for format in ("PNG", "GIF"):
            pixels = np.asarray(read_picture(encode(picture, format, transparency=1))).tolist()
            assert pixels == [[list(RED), list(WHITE), list(BLUE)]]
        # Half-transparent red, and blue at 51/255.
        pixels = np.asarray(read_picture(encode(picture, "PNG", transparency=bytes([128, 0, 51])))).tolist()
        assert pixels == [[[255, 127, 127], list(WHITE), [204, 204, 255]]]

    def test_one_transparent_color(self):
        content = encode(Image.fromarray(np.array([[RED, GREEN]], np.uint8)), "PNG", transparency=GREEN)
        assert np.asarray(read_picture(content)).tolist() == [[list(RED), list(WHITE)]]

    @pytest.mark.parametrize("mode", ["PA", "RGBa", "La"])
    def test_rare_alpha_modes_of_pictures_in_memory(self, mode):
        straight = Image.new("LA" if mode == "La" else "RGBA", (1, 1), (0, 0) if mode == "La" else (0, 0, 0, 0))
        assert np.asarray(read_picture(straight.convert(mode))).tolist() == [[list(WHITE)]]

    def test_cmyk(self):
        # r = 255 - min(255, c + k) in Pillow's plain conversion, to within a step.
        picture = Image.new("CMYK", (16, 16))
        assert np.asarray(read_picture(encode(picture, "TIFF"))).min() == 255
        for color, expected in (((0, 0, 0, 0), WHITE), ((0, 255, 255, 0), RED), ((0, 0, 0, 255), (0, 0, 0))):
            picture = Image.new("CMYK", (16, 16), color)
            # Adobe, and Pillow after it, store CMYK JPEGs inverted: read the wrong way round, white would be black.
            content = encode(picture, "JPEG", quality=95)
            assert b"Adobe" in content
            for source in (content, encode(picture, "TIFF"), picture):
                assert np.abs(np.asarray(read_picture(source)).astype(int) - expected).max() <= 2

    def test_ycbcr(self):
        picture = Image.new("RGB", (8, 8), (200, 100, 50)).convert("YCbCr")
        for source in (picture, encode(picture, "TIFF"), encode(picture, "JPEG", quality=95)):
            assert np.abs(np.asarray(read_picture(source)).astype(int) - (200, 100, 50)).max() <= 3

    def test_lab(self):
        # L = 128/255 of 100 = 50.2 without color is sRGB 119 or 120.
        picture = Image.new("LAB", (4, 4), (128, 128, 128))
        for source in (picture, encode(picture, "TIFF")):
            assert np.abs(np.asarray(read_picture(source)).astype(int) - 119.5).max() <= 2

    def test_hsv_in_memory(self):
        assert np.asarray(read_picture(Image.new("HSV", (1, 1), (0, 255, 255)))).tolist() == [[list(RED)]]


class TestOrientation:
    # An upright 2 x 3 picture, and how a camera that notes each orientation has stored it.
    UPRIGHT: ClassVar = np.array([[[10], [20], [30]], [[40], [50], [60]]], np.uint8).repeat(3, 2)
    STORED: ClassVar = {
        1: [[10, 20, 30], [40, 50, 60]],
        2: [[30, 20, 10], [60, 50, 40]],
        3: [[60, 50, 40], [30, 20, 10]],
        4: [[40, 50, 60], [10, 20, 30]],
        5: [[10, 40], [20, 50], [30, 60]],
        6: [[30, 60], [20, 50], [10, 40]],
        7: [[60, 30], [50, 20], [40, 10]],
        8: [[40, 10], [50, 20], [60, 30]],
    }

    @pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_all_eight(self, orientation, format):
        stored = Image.fromarray(np.array(self.STORED[orientation], np.uint8)).convert("RGB")
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lossless": True} if format == "WEBP" else {}
        content = encode(stored, format, exif=exif, **options)
        decoded = decode_picture(content)
        picture = decoded.picture
        np.testing.assert_array_equal(np.asarray(picture), self.UPRIGHT)
        assert (decoded.width, decoded.height) == (3, 2)
        # Read a second time, it must not turn again; the same from a Pillow picture, which stays as it is.
        np.testing.assert_array_equal(np.asarray(read_picture(picture)), self.UPRIGHT)
        opened = Image.open(io.BytesIO(content))
        np.testing.assert_array_equal(np.asarray(read_picture(opened)), self.UPRIGHT)
        if format != "TIFF":
            assert opened.getexif()[0x0112] == orientation

    @pytest.mark.parametrize("format", ["JPEG", "AVIF"])
    @pytest.mark.parametrize("orientation", [3, 6, 8])
    def test_lossy_formats_turn_too(self, orientation, format):
        upright = Image.new("RGB", (32, 16), WHITE)
        upright.paste((0, 0, 0), (0, 0, 16, 16))
        back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
        exif = Image.Exif()
        exif[0x0112] = orientation
        pixels = np.asarray(read_picture(encode(upright.transpose(back[orientation]), format, exif=exif)))
        assert pixels.shape == (16, 32, 3)
        assert pixels[:, :15].max() < 40
        assert pixels[:, 17:].min() > 215

    def test_damaged_exif_does_not_cost_the_picture(self):
        content = encode(Image.new("RGB", (8, 4), RED), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xff" * 40)
        assert read_picture(content).size == (8, 4)
