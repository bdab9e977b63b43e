"""Files that end too early: read where nothing is missing, refused otherwise, or read as far as they go on request."""

from __future__ import annotations

import io
import sys
import warnings

import numpy as np
import pytest
from camera_files import cr2, cr3, dng, jpeg, nef, orf, raf, rw2
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import RED, chunk, encode, failed, noise
from PIL import Image

from anytag.errors import PictureError
from anytag.pictures import decode_picture, read_picture
from anytag.pictures.integrity import can_hold
from anytag.pictures.quiet import quiet_decoders


def photo(height: int = 96, width: int = 128) -> Image.Image:
    """Smooth shapes with some noise, so that every format has something in every row."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows * 2 % 256, columns * 2 % 256, (rows + columns) % 256], -1)
    return Image.fromarray(np.clip(pixels + noise(height, width) // 8, 0, 255).astype(np.uint8))


class TestNothingMissing:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"progressive": True},
            {"quality": 30},
            {"subsampling": 0},
            {"restart_marker_rows": 1},
            {"optimize": True},
        ],
    )
    @pytest.mark.parametrize("cut", [1, 2])
    def test_jpeg_without_its_end_mark(self, options, cut):
        content = encode(photo(), "JPEG", **options)
        decoded = decode_picture(content[:-cut])
        np.testing.assert_array_equal(decoded.picture, read_picture(content))
        assert decoded.notes == ()
        # A download that reserved its space; what some cameras and messengers append.
        for behind in (bytes(500), b"\0"):
            np.testing.assert_array_equal(read_picture(content[:-cut] + behind), read_picture(content))

    def test_other_colors_of_jpeg(self):
        for picture in (photo().convert("L"), photo().convert("CMYK")):
            content = encode(picture, "JPEG")
            np.testing.assert_array_equal(read_picture(content[:-2]), read_picture(content))

    def test_large_jpeg_at_a_reduced_scale(self):
        content = encode(photo().resize((2400, 1800)), "JPEG")
        assert decode_picture(content[:-2], draft_size=100).picture.size == (300, 225)

    def test_png_without_its_last_chunks(self):
        content = encode(photo(), "PNG")
        end = content.index(b"IEND") - 4
        text = chunk(b"tEXt", b"Comment\0something longer")
        for cut in (content[:-2], content[:end], content[:end] + text[:-9], content[:end] + b"\0\0"):
            np.testing.assert_array_equal(read_picture(cut), photo())

    def test_gif_without_its_trailer(self):
        content = encode(photo(), "GIF")
        np.testing.assert_array_equal(read_picture(content[:-1]), read_picture(content))

    def test_gif_that_breaks_off_in_a_later_frame(self):
        frames = [photo().quantize(32), photo().rotate(90).quantize(32)]
        content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(read_picture(content[:-300]), read_picture(content))

    def test_webp_that_lost_what_stands_behind_the_pixels(self):
        exif = Image.Exif()
        exif[0x010E] = "a description"
        content = encode(photo(), "WEBP", exif=exif)
        for cut in (4, 12):
            np.testing.assert_array_equal(read_picture(content[:-cut]), read_picture(content))

    def test_jpeg_2000_without_its_end_mark(self):
        content = encode(photo(), "JPEG2000")
        np.testing.assert_array_equal(read_picture(content[:-2]), read_picture(content))


class TestSomethingMissing:
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP"])
    def test_is_read_as_far_as_it_goes_on_request(self, format):
        content = encode(photo(), format, **({"interlace": 0} if format == "GIF" else {}))
        cut = content[: int(len(content) * 0.7)]
        error = failed(cut)
        assert error.kind == "truncated"
        assert "accept_truncated" in str(error)
        decoded = decode_picture(cut, accept_truncated=True)
        assert decoded.notes == ("truncated",)
        assert decoded.picture.size == (128, 96)
        whole, part = (np.asarray(read).astype(int) for read in (read_picture(content), decoded.picture))
        differences = np.abs(whole - part)[:: -1 if format == "BMP" else 1]  # A BMP begins below.
        assert differences[:40].mean() < 3
        assert differences[-10:].mean() > 10

    def test_progressive_jpeg_shows_the_whole_at_less_detail(self):
        content = encode(photo(), "JPEG", progressive=True)
        for share in np.linspace(0.5, 0.98, 25):
            cut = content[: int(len(content) * share)]
            assert failed(cut).kind == "truncated"
            decoded = decode_picture(cut, accept_truncated=True)
            assert decoded.notes == ("truncated",)
            assert np.abs(np.asarray(decoded.picture).astype(int) - read_picture(content)).mean() < 25

    @pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "AVIF", "TIFF", "JPEG2000"])
    def test_nothing_but_a_header_is_refused_all_the_same(self, format):
        content = encode(photo(), format)
        for length in (12, 20, 40):
            assert failed(content[:length], accept_truncated=True).kind == "truncated"

    def test_formats_that_cannot_be_read_in_part_stay_refused(self):
        assert failed(encode(photo(), "AVIF")[:-200], accept_truncated=True).kind == "truncated"

    @pytest.mark.parametrize("make", [nef, dng, cr2, cr3, raf, orf, rw2])
    def test_camera_files(self, make):
        content = make(jpeg(960, 640))
        for length in (20, 100, len(content) // 2):
            assert failed(content[:length]).kind == "truncated", length

    def test_photoshop(self):
        content = b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\x60\0\0\0\x80\0\x08\0\3" + bytes(14)
        content += b"".join(np.asarray(band).tobytes() for band in photo().split())
        assert read_picture(content).size == (128, 96)
        for length in (20, 100, len(content) // 2):
            assert failed(content[:length]).kind == "truncated"

    def test_downloads_that_reserved_their_space(self):
        # The right length, and an end of zeros: decoders take it for black, or for anything.
        more = {
            "JPEG": {"quality": 95},
            "WEBP": {"quality": 95},
            "AVIF": {"quality": 95},
            "TIFF": {"compression": "jpeg"},
        }
        for format in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "JPEG2000"):
            content = encode(Image.fromarray(noise(200, 300)), format, **more.get(format, {}))
            half = len(content) // 2
            assert failed(content[:half] + bytes(len(content) - half)).kind == "truncated", format

    def test_zeros_that_a_png_could_mean(self):
        """Its pixels are one stream, in which zeros may stand for some color, so that every row is there."""
        content = encode(photo(200, 150), "PNG")
        for share in np.linspace(0.3, 0.95, 20):
            cut = int(share * len(content))
            assert failed(content[:cut] + bytes(len(content) - cut)).kind == "truncated"

    def test_what_is_missing_is_never_taken_for_a_whole(self):
        content = encode(photo(), "JPEG")
        for cut in range(60, len(content) // 2, 40):
            assert failed(content[:-cut]).kind == "truncated"

    @settings(max_examples=60, deadline=None)
    @given(
        st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "PPM", "JPEG2000"]),
        st.floats(0, 1),
        st.booleans(),
    )
    def test_any_cut_ends_in_a_picture_or_a_picture_error(self, format, share, accept):
        content = encode(photo(24, 32), format)
        try:
            decoded = decode_picture(content[: int(len(content) * share)], accept_truncated=accept)
        except PictureError:
            return
        assert decoded.picture.size == (32, 24)
        assert accept or "truncated" not in decoded.notes


class TestImpossibleSizes:
    def test_a_file_that_cannot_hold_its_pixels_is_not_decoded(self):
        for format, place, packed in (
            ("PNG", 16, (12_000).to_bytes(4, "big") * 2),
            ("BMP", 18, (12_000).to_bytes(4, "little") * 2),
            ("GIF", 6, (12_000).to_bytes(2, "little") * 2),
        ):
            content = bytearray(encode(photo(24, 32), format))
            content[place : place + len(packed)] = packed
            if format == "PNG":
                content[8:33] = chunk(b"IHDR", bytes(content[16:29]))
            error = failed(bytes(content))
            assert error.kind in ("truncated", "unreadable")
            assert "12000 x 12000" in str(error)

    def test_large_and_empty_pictures_are_possible(self):
        picture = Image.new("L", (6000, 4000), 255)
        picture.putpixel((5, 5), 0)
        for format in ("PNG", "GIF", "TIFF", "JPEG"):
            options = {"compression": "tiff_deflate"} if format == "TIFF" else {}
            content = encode(picture, format, **options)
            opened = Image.open(io.BytesIO(content))
            assert can_hold(opened, io.BytesIO(content))


def test_decoders_print_nothing(capfd, recwarn, tmp_path):
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(Image.new("RGB", (8, 4), RED), "JPEG", exif=exif))
    assert read_picture(path).size == (8, 4)
    compressed = bytearray(encode(photo(), "TIFF", compression="tiff_lzw"))
    compressed[200:240] = b"\xff" * 40
    assert failed(bytes(compressed)).kind == "unreadable"
    for format in ("TIFF", "PNG", "JPEG"):
        content = encode(photo(), format)
        failed(content[: len(content) // 2])
    assert not recwarn.list
    if sys.platform == "linux":
        assert capfd.readouterr() == ("", "")


def test_warnings_of_others_still_show():
    before = list(warnings.filters)
    with quiet_decoders(), quiet_decoders():
        assert len(warnings.filters) == len(before) + 1
        with pytest.warns(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)
    assert warnings.filters == before


def test_a_large_webp_is_read_as_far_as_it_goes():
    content = encode(Image.fromarray(noise(300, 400)), "WEBP", quality=90)
    assert len(content) > 30_000
    assert decode_picture(content[: len(content) // 2], accept_truncated=True).notes == ("truncated",)
