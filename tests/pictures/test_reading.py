"""Every kind of source, every way a picture can be bad, and the pixels a model sees."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import RED, encode, failed, gray_row, noise, png
from PIL import Image, ImageFile

from anytag.errors import PictureError, UsageError
from anytag.pictures import (
    decode_picture,
    read_picture,
    to_pixels,
)


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
        assert gray_row(read_picture(np.array([[0, 77, 255]], np.uint8))) == [0, 77, 255]
        assert gray_row(read_picture(np.array([[[0], [77], [255]]], np.uint8))) == [0, 77, 255]
        assert gray_row(read_picture(np.array([[0, 129, 65535]], np.uint16))) == [0, 1, 255]
        assert gray_row(read_picture(np.array([[0, 0.5, 1]], np.float32))) == [0, 128, 255]
        assert gray_row(read_picture(np.array([[False, True]]))) == [0, 255]
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

    def test_an_avif_cut_between_or_in_the_heads_of_its_boxes_is_truncated(self):
        content = encode(Image.fromarray(noise()), "AVIF")
        first = int.from_bytes(content[:4], "big")
        second = first + int.from_bytes(content[first : first + 4], "big")
        for end in (first, first + 1, first + 3, second, second + 2):
            assert failed(content[:end]).kind == "truncated", end

    def test_a_gif_cut_behind_a_byte_like_its_end_mark_is_truncated(self):
        content = encode(Image.fromarray(noise()), "GIF")
        places = [place for place in range(900, len(content) - 1) if content[place : place + 1] == b";"]
        assert places
        for place in places[:20]:
            assert failed(content[: place + 1]).kind == "truncated"


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
        decoded = decode_picture(content, draft_size=200)
        picture = decoded.picture
        assert (picture.size, decoded.width, decoded.height) == ((600, 450), 2400, 1800)
        assert decode_picture(content, draft_size=100).picture.size == (300, 225)
        difference = to_pixels(picture, 200).astype(int) - to_pixels(read_picture(content), 200)
        assert np.abs(difference).mean() < 1
        small = encode(large.resize((2000, 2000), Image.Resampling.NEAREST), "JPEG")
        np.testing.assert_array_equal(read_picture(small, draft_size=100), read_picture(small))


def test_reading_needs_no_torch():
    code = "import sys, anytag.pictures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_truncated_pictures_stay_errors_by_default():
    # A program that sets this gets gray pixels; anytag relies on Pillow's default.
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
