"""Camera files show the camera's own picture, never a thumbnail in silence."""

from __future__ import annotations

import io
import os
import struct
import sys

import numpy as np
import pytest
from camera_files import (
    DNG,
    HEIGHT,
    SHORT,
    SUBFILE_TYPE,
    WIDTH,
    Page,
    cr2,
    cr3,
    dng,
    jpeg,
    nef,
    orf,
    raf,
    rw2,
    sensor,
    shown,
    thumbnail,
    tiff,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import encode, failed
from PIL import Image

from anytag.errors import PictureError
from anytag.pictures import decode_picture, raw, read_picture
from anytag.pictures.quiet import quiet_libraw
from anytag.pictures.tiff import read_directories

PREVIEW = jpeg(960, 640)
BUILT = {
    "nef": nef(PREVIEW),
    "nef little-endian": nef(PREVIEW, order="<"),
    "dng": dng(PREVIEW),
    "cr2": cr2(PREVIEW),
    "cr3": cr3(PREVIEW),
    "raf": raf(PREVIEW),
    "orf": orf(PREVIEW),
    "rw2": rw2(PREVIEW),
}
SMALL = {"nef": nef(jpeg(320, 240)), "dng": dng(None), "orf": orf(jpeg(320, 240)), "cr3": cr3(jpeg(160, 120))}


class TestPreviews:
    @pytest.mark.parametrize("content", BUILT.values(), ids=BUILT)
    def test_the_preview_is_shown(self, content):
        decoded = decode_picture(content)
        assert (decoded.width, decoded.height) == (960, 640)
        np.testing.assert_array_equal(decoded.picture, read_picture(PREVIEW))

    @pytest.mark.parametrize("build", [nef, dng, cr3])
    def test_the_camera_file_says_how_it_is_turned(self, build):
        decoded = decode_picture(build(PREVIEW, orientation=6))
        assert (decoded.width, decoded.height) == (640, 960)
        np.testing.assert_array_equal(decoded.picture, read_picture(PREVIEW).transpose(Image.Transpose.ROTATE_270))

    def test_a_preview_that_is_turned_itself_is_turned_once(self):
        exif = Image.Exif()
        exif[0x0112] = 8
        preview = jpeg(960, 640, exif=exif)
        for content in (nef(preview, orientation=8), raf(preview), cr3(preview, orientation=8)):
            np.testing.assert_array_equal(read_picture(content), read_picture(preview))

    def test_the_largest_of_several(self):
        first = thumbnail()
        first.below = [Page({}, jpeg=jpeg(*size)) for size in ((640, 480), (800, 600), (320, 240))]
        first.below.append(sensor())
        assert read_picture(tiff([first])).size == (800, 600)

    def test_a_preview_without_compression(self):
        first = thumbnail()
        full = thumbnail()
        full.tags |= {WIDTH: (SHORT, [600]), HEIGHT: (SHORT, [400]), 0x116: (SHORT, [400])}
        full.strip = shown(600, 400).tobytes()
        first.below = [full, sensor()]
        np.testing.assert_array_equal(read_picture(tiff([first])), shown(600, 400))

    def test_undeveloped_jpegs_are_no_previews(self):
        # Lossy DNGs hold tiles of linear light that are JPEGs, too.
        first = thumbnail()
        first.tags[DNG] = (1, [1, 4, 0, 0])
        first.below = [sensor(strip=jpeg(900, 600), photometric=34892)]
        assert "160 x 120" in str(failed(tiff([first])))

    def test_a_name_counts_where_the_content_says_nothing(self, tmp_path):
        path = tmp_path / "old.KDC"
        path.write_bytes(tiff([thumbnail()]))
        assert "160 x 120" in str(failed(path))
        assert read_picture(tiff([thumbnail()])).size == (160, 120)


class TestWithoutPreview:
    @pytest.mark.parametrize("content", SMALL.values(), ids=SMALL)
    def test_is_refused_with_what_to_install(self, content, monkeypatch):
        monkeypatch.setitem(sys.modules, "rawpy", None)
        error = failed(content)
        assert error.kind == "unreadable"
        assert "a camera file" in str(error)
        assert "pip install 'anytag[raw]'" in str(error)

    def test_is_truncated_where_the_sensor_s_data_end_too_early(self):
        content = nef(jpeg(320, 240))
        error = failed(content[: len(content) - 200])
        assert error.kind == "truncated"
        strip = sensor(strip=b"\x12\x34" * 4000)
        strip.tags[0x117] = (4, [9_000_000])
        strip.strip, place = b"", strip.strip
        strip.tags[0x111] = (4, [8])
        first = thumbnail()
        first.below = [strip]
        assert failed(tiff([first]) + place).kind == "truncated"

    def test_says_when_there_is_none_at_all(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "rawpy", None)
        assert "(Fujifilm RAF) without a preview" in str(failed(raf(b"")))

    def test_the_decoder_keeps_its_remarks_to_itself(self, capfd):
        pytest.importorskip("rawpy", reason="the optional decoder of camera files is not installed")
        failed(orf(jpeg(320, 240)))
        assert capfd.readouterr().err == ""

    def test_others_may_write_while_it_works(self, capfd):
        with quiet_libraw():
            os.write(2, b"one\nunknown file: Unexpected end of file\ntwo\n")
            assert capfd.readouterr().err == ""
        assert capfd.readouterr().err == "one\ntwo\n"

    def test_is_developed_where_the_decoder_is_installed(self):
        pytest.importorskip("rawpy", reason="the optional decoder of camera files is not installed")
        width, height = 1200, 800
        seen = np.asarray(shown(width, height)).astype(np.uint16) * 256
        mosaic = np.empty((height, width), "<u2")
        for row, column, color in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
            mosaic[row::2, column::2] = seen[row::2, column::2, color]
        first = thumbnail(orientation=6)
        first.tags[DNG] = (1, [1, 4, 0, 0])
        first.below = [sensor(width, height, mosaic.tobytes())]
        picture = read_picture(tiff([first]))
        # Turned by a quarter: what was at the left is above, what was below is at the left, and bright.
        assert picture.size == (400, 600)
        assert np.asarray(picture)[300, 50].mean() > np.asarray(picture)[300, 350].mean() + 50


class TestPlainTiff:
    def test_the_page_behind_a_thumbnail(self):
        full = thumbnail()
        full.tags |= {SUBFILE_TYPE: (4, [0]), WIDTH: (SHORT, [300]), HEIGHT: (SHORT, [200]), 0x116: (SHORT, [200])}
        full.strip = shown(300, 200).tobytes()
        below = thumbnail(orientation=3)
        below.below = [full]
        for content in (tiff([thumbnail(), full]), tiff([full, thumbnail()])):
            np.testing.assert_array_equal(read_picture(content), shown(300, 200))
        turned = shown(300, 200).transpose(Image.Transpose.ROTATE_180)
        np.testing.assert_array_equal(read_picture(tiff([below])), turned)

    def test_directories_in_a_circle_end(self):
        content = bytearray(tiff([thumbnail(), thumbnail()]))
        places = [directory.place for directory in read_directories(io.BytesIO(content))]
        (count,) = struct.unpack_from("<H", content, places[1])
        struct.pack_into("<I", content, places[1] + 2 + 12 * count, places[0])
        assert [one.place for one in read_directories(io.BytesIO(content))] == places
        assert read_picture(bytes(content)).size == (160, 120)

    def test_the_first_page_of_a_scan_stays_first(self):
        pages = [shown(40, 30), shown(20, 10)]
        content = encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])
        np.testing.assert_array_equal(read_picture(content), pages[0])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(BUILT.values())), st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_any_damage_ends_in_a_picture_or_a_picture_error(content, place, damage):
    damaged = content[:place] + damage + content[place + len(damage) :]
    try:
        picture = read_picture(damaged, max_pixels=2_000_000)
    except PictureError:
        return
    assert picture.mode == "RGB"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"comment": b"x" * 300}])
def test_sizes_of_jpegs(options):
    assert raw.jpeg_size(b"xx" + jpeg(300, 200, **options), 2) == (300, 200)


def test_what_is_no_jpeg_of_a_picture():
    lossless = b"\xff\xd8\xff\xc3\0\x0b\x08\0\x10\0\x10\1\1\x11\0"
    for content, place in ((lossless, 0), (PREVIEW[:100], 0), (PREVIEW, 1), (b"\xff\xd8\xff\xd9" * 9, 0)):
        assert raw.jpeg_size(content, place) is None
