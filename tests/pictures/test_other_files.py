"""What else is called like a picture, and formats with decoders of their own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from picture_files import RED, encode, failed, noise
from PIL import Image

from anytag.errors import PictureError
from anytag.pictures import read_picture
from anytag.pictures.formats import PICTURE_EXTENSIONS
from anytag.pictures.jpeg_xl import size_of

OTHERS = {
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "web page": (b"\n <!DOCTYPE html><html><body>404</body></html>", "a web page"),
    "web page with a mark": (b"\xef\xbb\xbf<HTML><head></head></HTML>", "a web page"),
    "SVG": (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "PDF": (b"%PDF-1.7\n", "PDF"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
    "video": (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(40), "a video"),
    "QuickTime": (b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(40), "a video"),
    "Matroska": (b"\x1aE\xdf\xa3" + bytes(40), "a video"),
    "AVI": (b"RIFF\0\0\1\0AVI LIST" + bytes(40), "a video"),
    "ZIP": (b"PK\x03\x04" + bytes(40), "a ZIP archive"),
    "AppleDouble": (b"\0\x05\x16\x07\0\2\0\0Mac OS X        " + bytes(60), "AppleDouble"),
    "PSB": (b"8BPS\0\x02" + bytes(40), "PSB"),
    "icon": (b"\0\0\1\0\1\0" + bytes(40), "ICO"),
}


class TestOtherFiles:
    @pytest.mark.parametrize(("content", "says"), OTHERS.values(), ids=OTHERS)
    def test_are_called_by_their_name(self, content, says):
        error = failed(content)
        assert error.kind == "not_a_picture"
        assert says in str(error)

    def test_a_folder_s_thumbnail_cache_is_no_picture(self):
        assert ".db" not in PICTURE_EXTENSIONS
        assert failed(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)).kind == "not_a_picture"

    def test_a_part_of_a_download_is_no_picture_extension(self):
        assert not {".crdownload", ".part", ".download", ".icloud"} & PICTURE_EXTENSIONS

    def test_web_addresses_are_shown_whole(self, tmp_path):
        from pathlib import Path

        for address in ("https://example.org/cat.jpg", "http://a/b", "S3://bucket/key.jpg"):
            for given in (address, Path(address)):
                error = failed(given)
                assert str(error).startswith(f"{address}: this is a web address")
        assert "without file://" in str(failed("file:///tmp/a.jpg"))
        # A folder may be called almost anything.
        assert failed(tmp_path / "ab:" / "c.jpg").path == str(tmp_path / "ab:" / "c.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
class TestPipes:
    def test_a_pipe_named_outright_is_read(self, tmp_path):
        pipe, content = tmp_path / "pipe.jpg", encode(Image.fromarray(noise()), "PNG")
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True)
        writer.start()
        np.testing.assert_array_equal(read_picture(pipe), noise())
        writer.join(5)

    def test_standard_input_by_its_path(self):
        code = "from anytag.pictures import read_picture; print(read_picture('/dev/stdin').size)"
        done = subprocess.run(
            [sys.executable, "-c", code], input=encode(Image.fromarray(noise()), "PNG"), capture_output=True, check=True
        )
        assert done.stdout.strip() == b"(64, 48)"

    @pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
    def test_devices_end(self, device):
        with pytest.raises(PictureError) as caught:
            read_picture(device)
        assert caught.value.kind in ("empty", "not_a_picture", "too_large")


class TestPhotoshop:
    @staticmethod
    def psd(mode: int, channels: list[np.ndarray]) -> bytes:
        """A document without layers: header, three empty sections, raw channels."""
        height, width = channels[0].shape
        head = b"8BPS\0\1" + bytes(6) + len(channels).to_bytes(2, "big")
        head += height.to_bytes(4, "big") + width.to_bytes(4, "big") + b"\0\x08" + mode.to_bytes(2, "big")
        return head + bytes(12) + b"\0\0" + b"".join(channel.tobytes() for channel in channels)

    def test_colors(self):
        pixels = noise()
        content = self.psd(3, [pixels[:, :, channel] for channel in range(3)])
        np.testing.assert_array_equal(read_picture(content), pixels)

    def test_gray_and_inks(self):
        gray = np.array([[0, 100, 255]], np.uint8)
        assert np.asarray(read_picture(self.psd(1, [gray])))[0, :, 0].tolist() == [0, 100, 255]
        # Photoshop stores inks inverted: 255 is none.
        none, full = np.full((1, 1), 255, np.uint8), np.zeros((1, 1), np.uint8)
        assert np.asarray(read_picture(self.psd(4, [none, full, full, none]))).tolist() == [[list(RED)]]


class TestJpegXl:
    def test_without_the_decoder_names_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pillow_jxl", None)
        for start in (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"):
            error = failed(start + bytes(40))
            assert error.kind == "unreadable"
            assert "pip install 'anytag[photos]'" in str(error)

    def test_with_the_decoder(self):
        pytest.importorskip("pillow_jxl", reason="the optional JPEG XL decoder is not installed")
        picture = Image.fromarray(noise())
        content = encode(picture, "JXL", lossless=True)
        np.testing.assert_array_equal(read_picture(content), picture)
        # A file with boxes says how long it is; of a bare codestream the decoder says nothing.
        boxes = encode(picture, "JXL", lossless=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
        half = boxes[: len(boxes) // 2]
        assert failed(half).kind == "truncated"
        assert failed(half + bytes(len(boxes) - len(half))).kind == "truncated"
        error = failed(content[: len(content) // 2])
        assert error.kind == "unreadable"
        assert "(its decoder does not say why; perhaps its end is missing)" in str(error)
        assert failed(content[:3]).kind == "truncated"
        error = failed(content, max_pixels=1000)
        assert error.kind == "too_large"
        assert "64 x 48" in str(error)

    @pytest.mark.parametrize("size", [(8, 8), (64, 48), (300, 200), (77, 5), (9000, 3), (1600, 900), (100, 50)])
    def test_sizes(self, size):
        pytest.importorskip("pillow_jxl", reason="the optional JPEG XL decoder is not installed")
        assert size_of(encode(Image.new("L", size), "JXL")) == size

    def test_orientation_is_that_of_the_codestream(self):
        pytest.importorskip("pillow_jxl", reason="the optional JPEG XL decoder is not installed")
        exif = Image.Exif()
        exif[0x0112] = 6
        content = encode(Image.fromarray(noise()), "JXL", lossless=True, exif=exif.tobytes())
        assert read_picture(content).size == (64, 48)


def test_heic_is_turned_once():
    heif = pytest.importorskip("pillow_heif", reason="the optional HEIC decoder is not installed")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("RGB", (64, 32), RED)
    picture.paste((0, 0, 255), (0, 0, 32, 32))
    stream = io.BytesIO()
    heif.from_pillow(picture).save(stream, quality=95, exif=exif.tobytes())
    pixels = np.asarray(read_picture(stream.getvalue())).astype(int)
    assert pixels.shape == (64, 32, 3)
    # What was at the left is above.
    assert pixels[5, 16, 2] > 200 > 60 > pixels[-5, 16, 2]
