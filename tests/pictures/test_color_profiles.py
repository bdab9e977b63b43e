"""Whatever a file says about its colors, sRGB comes out; and sRGB stays as it is, to the bit."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from conftest import ROOT
from picture_files import chunk, encode, gray_row, noise, png
from PIL import Image, ImageCms

from anytag.pictures import color_profiles, read_picture
from anytag.pictures.icc import ADOBE_RGB, CODED_CURVES, DISPLAY_P3, SRGB, Primaries, coded_profile, make_profile

PROPHOTO = Primaries((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), (0.3457, 0.3585))
PROFILES = {
    "AdobeRGB": make_profile(ADOBE_RGB, 563 / 256),
    "ProPhoto": make_profile(PROPHOTO, 1.8),
    "Display P3": make_profile(DISPLAY_P3),
    "linear": make_profile(SRGB, 1.0),
}
SRGB_PROFILES = {
    "made here": make_profile(SRGB),
    "LittleCMS": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
}


def flower() -> Image.Image:
    return read_picture(ROOT / "examples" / "flower.jpg").resize((160, 120))


def in_profile(picture: Image.Image, profile: bytes) -> Image.Image:
    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(
        picture, ImageCms.createProfile("sRGB"), target, ImageCms.Intent.RELATIVE_COLORIMETRIC
    )


def difference(picture: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(picture).astype(int) - np.asarray(other)).mean())


def gray_profile(exponent: float) -> bytes:
    """A gray ICC profile, from the bytes of a colored one."""
    colored = make_profile(SRGB, exponent)
    (count,) = struct.unpack_from(">I", colored, 128)
    table = colored[132 : 132 + 12 * count].replace(b"rTRC", b"kTRC")
    return colored[:16] + b"GRAY" + colored[20:132] + table + colored[132 + 12 * count :]


def cmyk_profile() -> bytes:
    """A printer's profile whose paper is white and whose inks only darken: a table of 2 points an ink to Lab."""
    levels = [(100 - 25 * (c + m + y + k), 0, 0) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    table = b"".join(struct.pack(">3B", round(light * 2.55), 128, 128) for light, _, _ in levels)
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + ramp * 4 + table + ramp * 3
    description = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78)
    place = 128 + 4 + 24
    tags = struct.pack(">I4sII4sII", 2, b"desc", place, len(description), b"A2B0", place + 92, len(lut))
    body = description.ljust(92, b"\0") + lut
    header = struct.pack(">I4xI4s4s4s", place + len(body), 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + tags + body


def bmp(picture: Image.Image, profile: bytes, space: bytes = b"DEBM") -> bytes:
    """A BMP with a header of the fifth version and a profile at its end."""
    plain = encode(picture, "BMP")
    pixels = plain[54:]
    header = struct.pack("<I", 124) + plain[18:54]
    header = header.ljust(56, b"\0") + space
    header = header.ljust(108, b"\0") + struct.pack("<4I", 4, 124 + len(pixels), len(profile), 0)
    content = header + pixels + profile
    return b"BM" + struct.pack("<IHHI", 14 + len(content), 0, 0, 14 + 124) + content


def gif(picture: Image.Image, profile: bytes) -> bytes:
    """A GIF with a profile in its application's block, behind a comment."""
    plain = encode(picture.quantize(256), "GIF")
    start = 13 + (3 << (plain[10] & 7) + 1)
    parts = [profile[place : place + 255] for place in range(0, len(profile), 255)]
    blocks = b"".join(bytes((len(part),)) + part for part in parts)
    return plain[:start] + b"!\xfe\x02hi\0!\xff\x0bICCRGBG1012" + blocks + b"\0" + plain[start:]


class TestProfiles:
    @pytest.mark.parametrize("name", PROFILES)
    def test_bmp_and_gif_whose_profiles_pillow_leaves_out(self, name):
        stored = in_profile(flower(), PROFILES[name])
        assert difference(read_picture(bmp(stored, PROFILES[name])), flower()) < 2
        np.testing.assert_array_equal(read_picture(bmp(stored, PROFILES[name], b"BGRs")), stored)
        indexed = stored.quantize(256).convert("RGB")
        expected = read_picture(encode(indexed, "PNG", icc_profile=PROFILES[name]))
        np.testing.assert_array_equal(read_picture(gif(stored, PROFILES[name])), expected)

    def test_damage_in_them_costs_no_picture(self):
        content = bmp(flower(), PROFILES["AdobeRGB"])
        np.testing.assert_array_equal(read_picture(content[: -len(PROFILES["AdobeRGB"]) // 2]), flower())
        content = gif(flower(), PROFILES["AdobeRGB"]).replace(b"acsp", b"xxxx")
        np.testing.assert_array_equal(read_picture(content), flower().quantize(256).convert("RGB"))

    @pytest.mark.parametrize("name", PROFILES)
    @pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
    def test_every_format_comes_back_in_srgb(self, name, format):
        picture = flower()
        stored = in_profile(picture, PROFILES[name])
        options = {"JPEG": {"quality": 97, "subsampling": 0}, "AVIF": {"quality": 97}, "WEBP": {"lossless": True}}
        content = encode(stored, format, icc_profile=PROFILES[name], **options.get(format, {}))
        # Stored in 8 bits, ProPhoto and linear light keep fewer steps of dark colors.
        assert difference(stored, picture) > 5
        assert difference(read_picture(content), picture) < (1.2 if format not in ("JPEG", "AVIF") else 5)

    def test_heic(self):
        heif = pytest.importorskip("pillow_heif", reason="the optional HEIC decoder is not installed")
        stream = io.BytesIO()
        stored = in_profile(flower(), PROFILES["Display P3"])
        stored.info["icc_profile"] = PROFILES["Display P3"]
        heif.from_pillow(stored).save(stream, quality=97)
        assert difference(read_picture(stream.getvalue()), flower()) < 3

    @pytest.mark.parametrize("profile", SRGB_PROFILES.values(), ids=SRGB_PROFILES)
    @pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG"])
    def test_srgb_stays_to_the_bit(self, profile, format):
        picture = Image.fromarray(noise())
        with_profile = read_picture(encode(picture, format, icc_profile=profile))
        np.testing.assert_array_equal(with_profile, read_picture(encode(picture, format)))

    def test_pictures_in_memory(self):
        stored = in_profile(flower(), PROFILES["AdobeRGB"])
        stored.info["icc_profile"] = PROFILES["AdobeRGB"]
        before = stored.tobytes()
        shown = read_picture(stored)
        assert difference(shown, flower()) < 1
        assert stored.tobytes() == before
        # What was read carries no profile, so that nothing is converted twice.
        np.testing.assert_array_equal(read_picture(shown), shown)

    @pytest.mark.parametrize(
        "profile",
        [b"", b"x", b"\0" * 3000, PROFILES["AdobeRGB"][:200], PROFILES["AdobeRGB"][:-400], b"\xff" * 132],
    )
    def test_broken_profiles_cost_nothing(self, profile):
        picture = Image.fromarray(noise())
        np.testing.assert_array_equal(read_picture(encode(picture, "PNG", icc_profile=profile)), picture)

    def test_profiles_that_do_not_fit_are_ignored(self):
        picture = Image.fromarray(noise())
        for profile in (cmyk_profile(), gray_profile(1.0)):
            np.testing.assert_array_equal(read_picture(encode(picture, "PNG", icc_profile=profile)), picture)
        inks = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
        plain = read_picture(encode(inks, "TIFF"))
        np.testing.assert_array_equal(read_picture(encode(inks, "TIFF", icc_profile=PROFILES["AdobeRGB"])), plain)

    def test_transparency_stays(self):
        # Linear light of 55/255 is 128 in sRGB; half transparent over white, 191.
        picture = Image.fromarray(np.array([[[55, 55, 55, 255], [55, 55, 55, 128], [9, 9, 9, 0]]], np.uint8))
        content = encode(picture, "PNG", icc_profile=PROFILES["linear"])
        assert np.abs(np.array(gray_row(read_picture(content))) - [128, 191, 255]).max() <= 1
        palette = picture.convert("RGB").quantize(8)
        content = encode(palette, "PNG", icc_profile=PROFILES["linear"], transparency=palette.getpixel((2, 0)))
        assert np.abs(np.array(gray_row(read_picture(content))) - [128, 128, 255]).max() <= 1

    @pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
    def test_gray_profiles(self, mode):
        values = np.array([[0, 55, 255]], np.uint8)
        picture = Image.fromarray(values.astype(np.uint16) * 257 if mode == "I;16" else values)
        picture = picture.convert(mode) if mode == "LA" else picture
        for profile in (gray_profile(1.0), PROFILES["linear"]):
            row = gray_row(read_picture(encode(picture, "PNG", icc_profile=profile)))
            assert np.abs(np.array(row) - [0, 128, 255]).max() <= 1

    def test_inks(self):
        # Each ink takes a quarter of the light: L* 75 is sRGB 185, L* 50 is 119, whatever their color.
        for format in ("TIFF", "JPEG"):
            for inks, expected in (((0, 0, 0, 0), 255), ((255, 0, 0, 0), 185), ((0, 255, 0, 255), 119)):
                picture = Image.new("CMYK", (16, 16), inks)
                pixels = np.asarray(read_picture(encode(picture, format, icc_profile=cmyk_profile()))).astype(int)
                assert np.abs(pixels - expected).max() <= 4


class TestNamedColors:
    @staticmethod
    def read(*chunks: bytes) -> list[int]:
        return gray_row(read_picture(png(3, 1, 8, 0, bytes((0, 0, 55, 255)), b"".join(chunks))))

    def test_gamma_of_png(self):
        linear = chunk(b"gAMA", struct.pack(">I", 100_000))
        assert np.abs(np.array(self.read(linear)) - [0, 128, 255]).max() <= 1
        for usual in (45_455, 45_000, 47_000):
            assert self.read(chunk(b"gAMA", struct.pack(">I", usual))) == [0, 55, 255]
        # What says sRGB is sRGB, whatever the gamma; nonsense says nothing.
        assert self.read(chunk(b"sRGB", b"\0"), linear) == [0, 55, 255]
        for nonsense in (0, 1, 4_000_000_000):
            assert self.read(chunk(b"gAMA", struct.pack(">I", nonsense))) == [0, 55, 255]

    def test_chromaticities_of_png(self):
        picture = flower()
        stored = np.asarray(in_profile(picture, make_profile(DISPLAY_P3, 2.2)))
        rows = b"".join(b"\0" + row.tobytes() for row in stored)
        corners = (DISPLAY_P3.white, DISPLAY_P3.red, DISPLAY_P3.green, DISPLAY_P3.blue)
        named = chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for point in corners for value in point)))
        content = png(160, 120, 8, 2, rows, chunk(b"gAMA", struct.pack(">I", 45_455)) + named)
        assert difference(read_picture(content), picture) < 1
        zeros = png(160, 120, 8, 2, rows, chunk(b"cHRM", bytes(32)))
        np.testing.assert_array_equal(read_picture(zeros), stored)

    def test_codes_of_png(self):
        picture = flower()
        stored = np.asarray(in_profile(picture, PROFILES["Display P3"]))
        rows = b"".join(b"\0" + row.tobytes() for row in stored)
        assert difference(read_picture(png(160, 120, 8, 2, rows, chunk(b"cICP", bytes((12, 13, 0, 1))))), picture) < 1
        for unspecified in (b"\2\2\0\1", b"\1\x0d\0\1", b"\xff\xff\0\1"):
            content = png(160, 120, 8, 2, rows, chunk(b"cICP", unspecified))
            np.testing.assert_array_equal(read_picture(content), stored)

    def test_codes_of_avif(self):
        picture = flower()
        stored = in_profile(picture, PROFILES["Display P3"])
        stored.info.clear()
        content = encode(stored, "AVIF", quality=97, subsampling="4:4:4")
        place = content.index(b"colrnclx") + 8
        coded = content[:place] + struct.pack(">HH", 12, 13) + content[place + 4 :]
        assert difference(read_picture(content), picture) > 5
        assert difference(read_picture(coded), picture) < 3

    @pytest.mark.parametrize(("transfer", "white"), [(16, 0.5807), (18, 0.75)])
    def test_high_dynamic_range_has_its_white_at_the_right_place(self, transfer, white):
        # BT.2408: a white sheet is at 58 % of PQ and 75 % of HLG.
        curve = CODED_CURVES[transfer]
        assert curve(np.array([0.0, white]))[0] == pytest.approx(0)
        assert curve(np.array([white]))[0] == pytest.approx(1, abs=0.01)
        assert curve(np.array([1.0]))[0] == 1
        assert coded_profile(9, transfer) is not None

    def test_adobe_rgb_of_cameras(self):
        stored = in_profile(flower(), PROFILES["AdobeRGB"])

        def read(space: int, index: bytes) -> Image.Image:
            exif = Image.Exif()
            exif.get_ifd(0x8769)[0xA001] = space
            exif.get_ifd(0x8769)[0xA005] = {1: index}
            return read_picture(encode(stored, "JPEG", quality=97, subsampling=0, exif=exif))

        assert difference(read(0xFFFF, b"R03\0"), flower()) < 2
        assert difference(read(2, b"R98\0"), flower()) < 2
        assert difference(read(1, b"R03\0"), stored) < 2
        assert difference(read(0xFFFF, b"R98\0"), stored) < 2


class TestMadeProfiles:
    def test_primaries_of_srgb(self):
        # The published matrix of sRGB under D50 (ICC's own profile): red 0.4361, 0.2225, 0.0139.
        profile = ImageCms.ImageCmsProfile(io.BytesIO(make_profile(SRGB))).profile
        assert profile.red_colorant[0] == pytest.approx((0.4361, 0.2225, 0.0139), abs=3e-4)
        assert profile.green_colorant[0] == pytest.approx((0.3851, 0.7169, 0.0971), abs=3e-4)
        assert profile.blue_colorant[0] == pytest.approx((0.1431, 0.0606, 0.7141), abs=3e-4)

    def test_what_spans_no_space_is_refused(self):
        for wrong in (Primaries((0.3, 0.3), (0.3, 0.3), (0.3, 0.3)), Primaries((0, 0), (0, 0), (0, 0), (0, 0))):
            with pytest.raises(ValueError, match=r"primaries|chromaticities"):
                make_profile(wrong)
        with pytest.raises(ValueError, match="exponent of 99"):
            make_profile(SRGB, 99.0)

    def test_threads_share_a_transform(self):
        from concurrent.futures import ThreadPoolExecutor

        content = encode(in_profile(flower(), PROFILES["Display P3"]), "PNG", icc_profile=PROFILES["Display P3"])
        color_profiles._conversion.cache_clear()
        with ThreadPoolExecutor(4) as pool:
            pictures = list(pool.map(read_picture, [content] * 16))
        for picture in pictures:
            np.testing.assert_array_equal(picture, pictures[0])
