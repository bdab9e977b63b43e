"""Pictures in: every mode, format and orientation against hand-made values, and every way a picture can be bad."""

from __future__ import annotations

import io
import itertools
import os
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from anytag.errors import PictureError, UsageError
from anytag.pictures import (
    Batch,
    LoadedPicture,
    find_pictures,
    finding,
    load_batches,
    read_list,
    read_picture,
    reading,
    to_pixels,
)
from anytag.recognition import Failure

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encode(picture: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    content = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def noise(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def grey_row(picture: Image.Image) -> list[int]:
    assert picture.mode == "RGB"
    pixels = np.asarray(picture)
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[0, :, 0].tolist()


def failed(source: object, **options: object) -> PictureError:
    with pytest.raises(PictureError) as caught:
        read_picture(source, **options)
    assert caught.value.path in str(caught.value)
    return caught.value


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
        frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN)]
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
            assert grey_row(read_picture(content)) == [0, 255]

    def test_greyscale(self):
        ramp = np.array([[0, 1, 127, 255]], np.uint8)
        assert grey_row(read_picture(encode(Image.fromarray(ramp), "PNG"))) == [0, 1, 127, 255]

    @pytest.mark.parametrize("format", ["PNG", "TIFF"])
    def test_sixteen_bit_grey_is_scaled_not_clipped(self, format):
        # v / 257, rounded: 128/257 = 0.498, 129/257 = 0.502, 32768/257 = 127.502, 65406/257 = 254.498
        ramp = np.array([[0, 128, 129, 257, 32768, 65406, 65535]], np.uint16)
        assert grey_row(read_picture(encode(Image.fromarray(ramp), format))) == [0, 0, 1, 1, 128, 254, 255]

    def test_sixteen_bit_big_endian_tiff(self):
        ramp = np.array([[0, 257, 65535]], ">u2")
        content = encode(Image.frombytes("I;16B", (3, 1), ramp.tobytes()), "TIFF")
        assert grey_row(read_picture(content)) == [0, 1, 255]

    def test_sixteen_bit_colour(self):
        row = b"\0" + struct.pack(">6H", 0, 0x8000, 0xFFFF, 0x0100, 0x4000, 0xC000)
        pixels = np.asarray(read_picture(png(2, 1, 16, 2, row))).astype(int)
        expected = np.array([[[0, 127.5, 255], [1, 63.75, 191.3]]])
        assert np.abs(pixels - expected).max() <= 1

    def test_sixteen_bit_grey_with_a_transparent_value(self):
        row = b"\0" + struct.pack(">3H", 0, 1000, 0xFFFF)
        assert grey_row(read_picture(png(3, 1, 16, 0, row, chunk(b"tRNS", struct.pack(">H", 1000))))) == [0, 255, 255]

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
        assert grey_row(read_picture(encode(picture, "TIFF"))) == expected

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
        assert grey_row(read_picture(encode(picture, "TIFF"))) == expected

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

    def test_grey_with_alpha(self):
        picture = Image.fromarray(np.array([[[0, 128], [100, 255], [7, 0]]], np.uint8), "LA")
        assert grey_row(read_picture(encode(picture, "PNG"))) == [127, 100, 255]
        assert grey_row(read_picture(picture)) == [127, 100, 255]

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

    def test_one_transparent_colour(self):
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
        for colour, expected in (((0, 0, 0, 0), WHITE), ((0, 255, 255, 0), RED), ((0, 0, 0, 255), (0, 0, 0))):
            picture = Image.new("CMYK", (16, 16), colour)
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
        # L = 128/255 of 100 = 50.2 without colour is sRGB 119 or 120.
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
        picture, size = reading.read_sized(content)
        np.testing.assert_array_equal(np.asarray(picture), self.UPRIGHT)
        assert size == (3, 2)
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


class TestSources:
    def test_every_kind_of_source_gives_the_same(self, tmp_path):
        path = tmp_path / "picture.png"
        path.write_bytes(encode(Image.fromarray(noise()), "PNG"))
        with path.open("rb") as stream:
            sources = [
                str(path),
                path,
                path.read_bytes(),
                bytearray(path.read_bytes()),
                stream,
                noise(),
                Image.open(path),
            ]
            for source in sources:
                np.testing.assert_array_equal(np.asarray(read_picture(source)), noise())
            assert not stream.closed

    def test_arrays(self):
        assert grey_row(read_picture(np.array([[0, 77, 255]], np.uint8))) == [0, 77, 255]
        assert grey_row(read_picture(np.array([[[0], [77], [255]]], np.uint8))) == [0, 77, 255]
        assert grey_row(read_picture(np.array([[0, 129, 65535]], np.uint16))) == [0, 1, 255]
        assert grey_row(read_picture(np.array([[0, 0.5, 1]], np.float32))) == [0, 128, 255]
        assert grey_row(read_picture(np.array([[False, True]]))) == [0, 255]
        np.testing.assert_array_equal(np.asarray(read_picture(noise()[::-1, ::2])), noise()[::-1, ::2])

    @pytest.mark.parametrize(
        ("array", "kind", "says"),
        [
            (np.zeros((3, 8, 8), np.uint8), "not_a_picture", "channels last"),
            (np.zeros((2, 8, 8, 3), np.uint8), "not_a_picture", "(2, 8, 8, 3)"),
            (np.zeros((0, 8, 3), np.uint8), "empty", "no pixels"),
            (np.full((2, 2), 200.0), "unreadable", "Divide by 255"),
            (np.full((2, 2), np.nan), "unreadable", "[0, 1]"),
            (np.zeros((2, 2), np.int64), "not_a_picture", "int64"),
        ],
    )
    def test_arrays_that_are_no_pictures(self, array, kind, says):
        error = failed(array)
        assert (error.kind, error.path) == (kind, "<array>")
        assert says in str(error)

    def test_other_types_are_a_usage_error(self):
        with pytest.raises(UsageError, match="int"):
            read_picture(3)
        with pytest.raises(UsageError, match="'rb'"):
            read_picture(io.StringIO("text"))

    @settings(max_examples=40, deadline=None)
    @given(
        st.binary(max_size=300),
        st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0"]),
    )
    def test_any_bytes_end_in_a_picture_or_a_picture_error(self, content, start):
        try:
            picture = read_picture(start + content, max_pixels=100_000)
        except PictureError:
            return
        assert picture.mode == "RGB"

    @settings(max_examples=40, deadline=None)
    @given(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP"]), st.floats(0.01, 0.9))
    def test_any_cut_is_truncated(self, format, share):
        content = encode(Image.fromarray(noise()), format)
        error = failed(content[: max(16, int(len(content) * share))])
        assert error.kind == "truncated"


class TestBadPictures:
    def test_missing_file(self, tmp_path):
        error = failed(tmp_path / "gone.jpg")
        assert error.kind == "not_found"
        assert "no such file" in str(error)
        assert failed("name\0with null.jpg").kind == "not_found"

    def test_dangling_link(self, tmp_path):
        (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
        error = failed(tmp_path / "link.jpg")
        assert error.kind == "not_found"
        assert "link" in str(error)

    def test_web_address(self):
        error = failed("https://example.org/cat.jpg")
        assert error.kind == "not_found"
        assert "nothing is downloaded" in str(error)

    def test_folder(self, tmp_path):
        error = failed(tmp_path)
        assert error.kind == "not_a_picture"
        assert "a folder" in str(error)

    def test_permission(self, tmp_path, monkeypatch):
        path = tmp_path / "secret.jpg"
        path.write_bytes(b"x")

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        # Simulated, since permission bits do not stop root.
        monkeypatch.setattr(Path, "open", refuse)
        error = failed(path)
        assert error.kind == "permission"
        assert "no permission" in str(error)
        monkeypatch.setattr(os, "access", lambda *_: False)
        assert failed(tmp_path).kind == "permission"

    def test_input_output_error(self, tmp_path, monkeypatch):
        def fail(*_: object, **__: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(Path, "open", fail)
        error = failed(tmp_path / "a.jpg")
        assert error.kind == "unreadable"
        assert "Input/output error" in str(error)

    def test_empty(self, tmp_path):
        path = tmp_path / "nothing.jpg"
        path.touch()
        for source in (path, b"", io.BytesIO()):
            error = failed(source)
            assert error.kind == "empty"
            assert "0 bytes" in str(error)

    def test_text_with_a_picture_name(self, tmp_path):
        path = tmp_path / "notes.jpg"
        path.write_text("Milk, bread, and a picture of neither.\n" * 20)
        error = failed(path)
        assert error.kind == "not_a_picture"
        assert "JPEG, PNG" in str(error)

    @pytest.mark.parametrize(
        "content", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
    )
    def test_drawings_are_not_opened(self, content):
        assert failed(content).kind == "not_a_picture"

    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
    @pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
    def test_truncated(self, tmp_path, format, share):
        content = encode(Image.fromarray(noise()), format)
        path = tmp_path / f"cut.{format.lower()}"
        path.write_bytes(content[: int(len(content) * share)])
        error = failed(path)
        assert error.kind == "truncated"
        assert "Copy or download it again" in str(error)
        assert "BytesIO" not in str(error)
        assert "BufferedReader" not in str(error)

    def test_damaged(self):
        content = bytearray(encode(Image.fromarray(noise()), "PNG"))
        middle = len(content) // 2
        content[middle : middle + 40] = b"\x55" * 40
        error = failed(bytes(content))
        assert error.kind == "unreadable"
        assert "damaged" in str(error)

    def test_bomb_is_refused_by_its_header(self):
        bomb = png(50_000, 50_000, 8, 2, b"")
        error = failed(bomb)
        assert error.kind == "too_large"
        assert "max_pixels" in str(error)

    def test_max_pixels(self):
        content = encode(Image.new("L", (100, 50)), "PNG")
        assert read_picture(content, max_pixels=5_000).size == (100, 50)
        error = failed(content, max_pixels=4_999)
        assert error.kind == "too_large"
        assert "100 x 50" in str(error)
        assert "4,999" in str(error)
        assert failed(Image.new("L", (100, 50)), max_pixels=10).kind == "too_large"

    def test_empty_picture_in_memory(self):
        assert failed(Image.new("RGB", (0, 5))).kind == "empty"

    @pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
    def test_extreme_shapes_work(self, size):
        for format in ("PNG", "JPEG"):
            picture = read_picture(encode(Image.new("RGB", size, RED), format), draft_size=32)
            assert picture.size == size
            assert np.abs(to_pixels(picture, 32).astype(int) - RED).max() <= 2


class TestPixels:
    def test_is_the_plain_bicubic_squash(self):
        picture = Image.fromarray(noise(300, 500))
        pixels = to_pixels(picture, 96)
        assert (pixels.shape, pixels.dtype) == ((96, 96, 3), np.uint8)
        np.testing.assert_array_equal(pixels, np.asarray(picture.resize((96, 96), Image.Resampling.BICUBIC)))
        pixels[0] = 0  # its own memory, writable

    def test_other_modes_and_bad_resolution(self):
        assert to_pixels(Image.new("L", (5, 5), 9), 4).tolist() == [[[9] * 3] * 4] * 4
        with pytest.raises(UsageError, match="resolution of 0"):
            to_pixels(Image.new("RGB", (5, 5)), 0)

    def test_draft(self):
        # Above the limit: smaller, yet at least twice the side, and nearly the same. Below it: a full decode.
        ramp = np.abs(np.add.outer(np.arange(1800) // 8, np.arange(2400) // 10) % 510 - 255).astype(np.uint8)
        large = Image.fromarray(ramp)
        content = encode(large, "JPEG", quality=90)
        picture, size = reading.read_sized(content, draft_size=200)
        assert (picture.size, size) == ((600, 450), (2400, 1800))
        assert reading.read_sized(content, draft_size=100)[0].size == (300, 225)
        difference = to_pixels(picture, 200).astype(int) - to_pixels(read_picture(content), 200)
        assert np.abs(difference).mean() < 1
        small = encode(large.resize((2000, 2000), Image.Resampling.NEAREST), "JPEG")
        np.testing.assert_array_equal(read_picture(small, draft_size=100), read_picture(small))


class TestFinding:
    @pytest.fixture
    def tree(self, tmp_path, monkeypatch):
        for name in (
            "b.jpg",
            "a.PNG",
            "notes.txt",
            ".hidden.jpg",
            "in/c.webp",
            "in/deep/d.heic",
            ".git/e.jpg",
            "in/x[1].jpg",
        ):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path)
        return tmp_path

    @staticmethod
    def names(*inputs, **options):
        return [path.as_posix() for path in find_pictures(inputs, **options)]

    def test_folder(self, tree):
        assert self.names(".") == ["a.PNG", "b.jpg", "in/c.webp", "in/deep/d.heic", "in/x[1].jpg"]
        assert self.names(Path("in")) == ["in/c.webp", "in/deep/d.heic", "in/x[1].jpg"]
        assert self.names(".", recursive=False) == ["a.PNG", "b.jpg"]

    def test_named_outright(self, tree):
        assert self.names("notes.txt", "gone.jpg", ".hidden.jpg", ".git") == [
            "notes.txt",
            "gone.jpg",
            ".hidden.jpg",
            ".git/e.jpg",
        ]

    def test_globs(self, tree):
        assert self.names("*") == ["a.PNG", "b.jpg", "in/c.webp", "in/deep/d.heic", "in/x[1].jpg"]
        assert self.names("*.jpg") == ["b.jpg"]
        assert self.names("**/*.jpg") == ["b.jpg", "in/x[1].jpg"]
        assert self.names("in/**") == ["in/c.webp", "in/deep/d.heic", "in/x[1].jpg"]
        assert self.names("[ab].*") == ["a.PNG", "b.jpg"]
        assert self.names("in/?.webp") == ["in/c.webp"]

    def test_brackets_in_a_name(self, tree):
        assert self.names("in/x[1].jpg") == ["in/x[1].jpg"]
        (tree / "x1.jpg").touch()
        assert self.names("x[1].jpg") == ["x1.jpg"]
        (tree / "x[1].jpg").touch()
        assert self.names("x[1].jpg") == ["x[1].jpg"]

    def test_each_once_in_order(self, tree):
        given = ("b.jpg", "./b.jpg", tree / "b.jpg", "in/../b.jpg", ".", "in", "*.PNG")
        assert self.names(*given) == ["b.jpg", "a.PNG", "in/c.webp", "in/deep/d.heic", "in/x[1].jpg"]

    def test_nothing_found_is_told_at_once(self, tree):
        with pytest.raises(UsageError, match=r"empty: no pictures in it.*\.avif .*\.webp"):
            find_pictures(["b.jpg", "empty"])
        (tree / "outer" / "inner").mkdir(parents=True)
        (tree / "outer" / "inner" / "a.jpg").touch()
        with pytest.raises(UsageError, match="were not entered"):
            find_pictures(["outer"], recursive=False)
        with pytest.raises(UsageError, match=r"\*\.gif: no picture matches.*\.avif"):
            find_pictures(["*.gif"])
        with pytest.raises(UsageError, match="empty path"):
            find_pictures([""])
        assert list(find_pictures([])) == []

    def test_folders_that_may_not_be_opened(self, tree, monkeypatch):
        scandir = os.scandir

        def refuse(path):
            if Path(path).name == "deep":
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(finding.os, "scandir", refuse)
        assert self.names("in") == ["in/c.webp", "in/deep", "in/x[1].jpg"]
        with pytest.raises(UsageError, match=r"in/deep: .*Permission denied"):
            find_pictures(["in/deep"])

    def test_links(self, tree):
        (tree / "in" / "loop").symlink_to(tree)
        (tree / "in" / "dangling.jpg").symlink_to(tree / "gone.jpg")
        assert self.names("in") == ["in/c.webp", "in/dangling.jpg", "in/deep/d.heic", "in/x[1].jpg"]

    def test_list(self):
        stream = io.StringIO("\ufeffa.jpg\r\n\n   \n b c.jpg \nd.png")
        assert [str(path) for path in read_list(stream)] == ["a.jpg", " b c.jpg ", "d.png"]
        endless = read_list(f"{number}.jpg\n" for number in itertools.count())
        assert next(endless) == Path("0.jpg")


class TestBatches:
    @staticmethod
    def array(value: int) -> np.ndarray:
        return np.full((2, 3, 3), value, np.uint8)

    def test_order_with_failures_in_between(self, tmp_path):
        good = tmp_path / "good.png"
        good.write_bytes(encode(Image.fromarray(noise()), "PNG"))
        text = tmp_path / "text.jpg"
        text.write_text("text")
        sources = [good, tmp_path / "gone.jpg", self.array(7), ("upload", b""), ("named", self.array(8)), str(text)]
        batches = list(load_batches(sources, 8, 4))
        assert [len(batch.items) for batch in batches] == [4, 2]
        first, second = batches
        assert first.items[0] == LoadedPicture(str(good), 64, 48)
        assert first.items[2] == LoadedPicture("<array 3>", 3, 2)
        assert [(f.path, f.kind) for f in first.failures] == [
            (str(tmp_path / "gone.jpg"), "not_found"),
            ("upload", "empty"),
        ]
        assert first.paths == [str(good), "<array 3>"]
        assert (first.pixels.shape, first.pixels.dtype) == ((2, 8, 8, 3), np.uint8)
        np.testing.assert_array_equal(first.pixels[0], to_pixels(read_picture(good), 8))
        assert (first.pixels[1] == 7).all()
        assert [type(item) for item in second.items] == [LoadedPicture, Failure]
        assert second.items[0].path == "named"
        assert (second.pixels == 8).all()
        merged = list(first.in_order(["one", "two"]))
        assert merged == ["one", first.items[1], "two", first.items[3]]

    def test_in_order_wants_one_result_a_row(self):
        (batch,) = load_batches([self.array(1), b"", self.array(2)], 4, 8)
        with pytest.raises(ValueError, match="fewer"):
            list(batch.in_order(["one"]))
        with pytest.raises(ValueError, match="more"):
            list(batch.in_order(["one", "two", "three"]))

    def test_all_bad_and_none(self):
        (batch,) = load_batches([b"", b"x"], 4, 8)
        assert batch.pixels.shape == (0, 4, 4, 3)
        assert [failure.kind for failure in batch.failures] == ["empty", "not_a_picture"]
        assert list(load_batches([], 4, 8)) == []

    @pytest.mark.parametrize("workers", [1, 4])
    def test_a_batch_equals_singles(self, tmp_path, workers):
        paths = []
        for number in range(12):
            paths.append(tmp_path / f"{number}.jpg")
            paths[-1].write_bytes(encode(Image.fromarray(noise(30 + number, 40, number)), "JPEG"))
        rows = np.concatenate([batch.pixels for batch in load_batches(paths, 24, 5, workers)])
        np.testing.assert_array_equal(rows, [to_pixels(read_picture(path), 24) for path in paths])

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.one_of(st.none(), st.integers(0, 255)), max_size=30), st.integers(1, 7), st.integers(1, 4))
    def test_any_mix_keeps_its_order(self, values, batch_size, workers):
        sources = [b"" if value is None else self.array(value) for value in values]
        batches = list(load_batches(sources, 2, batch_size, workers))
        found = [item for batch in batches for item in batch.in_order(int(row[0, 0, 0]) for row in batch.pixels)]
        assert [None if isinstance(item, Failure) else item for item in found] == values
        assert all(len(batch.items) == batch_size for batch in batches[:-1])

    def test_endless_input_is_drawn_only_as_needed(self):
        drawn = 0

        def endless():
            nonlocal drawn
            for number in itertools.count():
                drawn += 1
                yield self.array(number % 256)

        batches = load_batches(endless(), 4, 8, 2)
        assert drawn == 0
        for number in range(5):
            batch = next(batches)
            assert (batch.pixels[:, 0, 0, 0] == np.arange(8 * number, 8 * number + 8)).all()
            assert drawn <= 8 * (number + 1) + 8
        batches.close()
        assert isinstance(batch, Batch)

    def test_closing_ends_the_threads(self):
        batches = load_batches((self.array(1) for _ in itertools.count()), 4, 8, 3)
        next(batches)
        batches.close()
        for thread in threading.enumerate():
            if thread.name.startswith("anytag-pictures"):
                thread.join(5)
                assert not thread.is_alive()

    def test_interrupt_reaches_the_consumer(self):
        def interrupted():
            yield self.array(1)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            next(load_batches(interrupted(), 4, 8))

    def test_bad_numbers_are_told_at_once(self):
        for options in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
            with pytest.raises(UsageError, match="must be 1 or more, not 0"):
                load_batches([], *options)

    def test_unusable_sources_are_not_passed_over(self):
        with pytest.raises(UsageError):
            list(load_batches([3], 4, 8))


def test_examples_are_readable_and_credited():
    folder = Path(__file__).parents[1] / "examples"
    pictures = list(find_pictures([folder]))
    assert len(pictures) >= 8
    credits = (folder / "CREDITS.md").read_text(encoding="utf-8")
    for path in pictures:
        assert max(read_picture(path).size) <= 800
        assert path.stat().st_size < 150_000
        assert f"`{path.name}`" in credits


def test_reading_needs_no_torch():
    code = "import sys, anytag.pictures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_truncated_pictures_stay_errors_by_default():
    # A program that sets this gets grey pixels; anytag relies on Pillow's default.
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
