"""Tag pictures of every kind with this code and with earlier code: prints the tables of docs/trials/pictures.md.

    git worktree add ../before 12ae9f5
    python benchmarks/picture_trials.py --before ../before/src

Camera files, profiles and damaged files are made from two of the examples with the tests' builders. A cell has the best
three tags with their scores, or the kind of the failure and the beginning of its message. Files with unusual extensions
are also searched for in a folder.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _common import ROOT
from PIL import Image

sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests"), str(ROOT / "tests" / "pictures")]

#: Tags every file that is named on standard input, one by one, and looks which of them its folder gives.
_TAGGER = """
import json, sys, warnings
warnings.simplefilter("ignore")
import anytag
from anytag.errors import PictureError
recognizer = anytag.load(threads=1)
for path in json.load(sys.stdin):
    try:
        seen = recognizer.tag(path)
        best = ", ".join(f"{tag.name} {tag.score:.2f}" for tag in seen.tags[:3])
        blank = " (blank)" if "blank" in getattr(seen, "notes", ()) else ""
        print(json.dumps(best or f"no tags{blank}"))
    except PictureError as error:
        said = str(error).removeprefix(f"{path}: ")
        print(json.dumps(f"`{error.kind}`: {said.partition('. ')[0].partition(' (')[0].rstrip('.')}"))
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}"))
"""

Files = dict[str, dict[str, tuple[str, bytes]]]


def build() -> Files:
    """Names and contents of all files, by table and row."""
    from picture_files import encode, png

    cat, flower = (Image.open(ROOT / "examples" / f"{name}.jpg").convert("RGB") for name in ("cat", "flower"))
    tables: Files = {"Camera files": _camera_files(cat), "Colors": _colors(flower)}
    tables["Formats"] = {
        f".{ending} in a folder": (f"a.{ending}", content) for ending, content in _formats(cat).items()
    }
    jpeg, whole_png = encode(cat, "JPEG", quality=90), encode(cat, "PNG")
    progressive, webp = encode(cat, "JPEG", quality=90, progressive=True), encode(cat, "WEBP")
    tables["Truncated"] = _truncated(cat, jpeg, progressive, whole_png, webp)
    tables["Blank"] = _blank(cat)
    tables["Other files"] = {
        "HTML saved as .jpg": ("a.jpg", b"<!DOCTYPE html><html><body>Not found</body></html>"),
        "Git LFS pointer": ("b.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "SVG": ("c.jpg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "PDF": ("d.jpg", b"%PDF-1.7\n" + bytes(100)),
        "video": ("e.jpg", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100)),
        "AppleDouble": ("f.jpg", b"\0\x05\x16\x07\0\x02\0\0" + bytes(100)),
        "zero bytes": ("g.jpg", b""),
        "PNG of 30000 x 30000 in 200 bytes": ("h.png", png(30_000, 30_000, 8, 2, bytes(100))),
        "PNG of 13000 x 13000 in 200 bytes": ("i.png", png(13_000, 13_000, 8, 2, bytes(100))),
    }
    tables["Tiny and thin pictures"] = {
        "1 x 1": ("a.png", encode(Image.new("RGB", (1, 1), (255, 0, 0)), "PNG")),
        "1 x 5000": ("b.png", encode(cat.resize((1, 5000)), "PNG")),
    }
    return tables


def _camera_files(cat: Image.Image) -> dict[str, tuple[str, bytes]]:
    import camera_files as cameras
    from picture_files import encode

    small, usual = cat.resize((160, 120)), cameras.thumbnail

    def thumbnail(*given: Any, **more: Any) -> Any:
        page = usual(*given, **more)
        page.strip = small.tobytes()
        return page

    cameras.thumbnail = thumbnail
    preview = encode(cat.resize((960, 640)), "JPEG", quality=90)
    full = Image.new("RGB", (960, 640))
    full.paste(cat.resize((960, 640)))
    page = cameras.thumbnail()
    page.tags[cameras.WIDTH], page.tags[cameras.HEIGHT] = (cameras.LONG, [960]), (cameras.LONG, [640])
    page.tags[cameras.SUBFILE_TYPE], page.tags[cameras.ROWS] = (cameras.LONG, [0]), (cameras.LONG, [640])
    page.strip = full.tobytes()
    only = cameras.thumbnail()
    only.below = [cameras.sensor()]
    return {
        "NEF": ("a.nef", cameras.nef(preview)),
        "NEF, turned": ("b.nef", cameras.nef(preview, orientation=6)),
        "DNG": ("c.dng", cameras.dng(preview)),
        "CR2": ("d.cr2", cameras.cr2(preview)),
        "CR3": ("e.cr3", cameras.cr3(preview)),
        "RAF": ("f.raf", cameras.raf(preview)),
        "ORF": ("g.orf", cameras.orf(preview)),
        "RW2": ("h.rw2", cameras.rw2(preview)),
        "NEF with a thumbnail only": ("i.nef", cameras.tiff([only], ">")),
        "DNG with a thumbnail only": ("j.dng", cameras.dng(None)),
        "TIFF with a thumbnail before its page": ("k.tif", cameras.tiff([cameras.thumbnail(), page])),
    }


def _colors(flower: Image.Image) -> dict[str, tuple[str, bytes]]:
    import test_color_profiles as made
    from picture_files import chunk, encode, png

    rows: dict[str, tuple[str, bytes]] = {"sRGB, for comparison": ("a.png", encode(flower, "PNG"))}
    for name, profile in made.PROFILES.items():
        stored = made.in_profile(flower, profile)
        called = {"linear": "linear light"}.get(name, name)
        rows[f"{called}, PNG"] = (f"{name}.png", encode(stored, "PNG", icc_profile=profile))
        rows[f"{called}, JPEG"] = (f"{name}.jpg", encode(stored, "JPEG", quality=95, icc_profile=profile))
    adobe = made.in_profile(flower, made.PROFILES["AdobeRGB"])
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001], exif.get_ifd(0x8769)[0xA005] = 0xFFFF, {1: b"R03\0"}
    rows["AdobeRGB, named in Exif alone, as cameras do"] = ("b.jpg", encode(adobe, "JPEG", quality=95, exif=exif))

    def scanlines(picture: Image.Image) -> bytes:
        width, content = 3 * picture.width, picture.tobytes()
        return b"".join(b"\0" + content[place : place + width] for place in range(0, len(content), width))

    for called, name, extra in (
        ("PNG with gAMA 1.0", "linear", chunk(b"gAMA", struct.pack(">I", 100_000))),
        ("PNG with cICP Display P3", "Display P3", chunk(b"cICP", bytes((12, 13, 0, 1)))),
    ):
        stored = made.in_profile(flower, made.PROFILES[name])
        rows[called] = (f"{name} named.png", png(*stored.size, 8, 2, scanlines(stored), extra))
    rows["AdobeRGB, BMP version 5"] = ("c.bmp", made.bmp(adobe, made.PROFILES["AdobeRGB"]))
    rows["AdobeRGB, GIF"] = ("d.gif", made.gif(adobe, made.PROFILES["AdobeRGB"]))
    broken = made.PROFILES["AdobeRGB"][:200]
    rows["broken profile"] = ("e.png", encode(flower, "PNG", icc_profile=broken))
    inks = encode(flower.convert("CMYK"), "TIFF", icc_profile=made.PROFILES["AdobeRGB"])
    rows["CMYK with a profile that does not fit (RGB)"] = ("f.tif", inks)
    return rows


def _formats(cat: Image.Image) -> dict[str, bytes]:
    from picture_files import encode
    from test_other_files import TestPhotoshop

    found = {
        "mpo": encode(cat, "MPO", save_all=True, append_images=[cat.rotate(5)]),
        "apng": encode(cat, "PNG", save_all=True, append_images=[cat.rotate(5)]),
        "j2k": encode(cat, "JPEG2000", no_jp2=True),
        "jpf": encode(cat, "JPEG2000"),
        "ppm": encode(cat, "PPM"),
        "psd": TestPhotoshop.psd(3, [np.asarray(band) for band in cat.split()]),
        "jxl": _by_plugin("pillow_jxl", cat, "JXL"),
        "heic": _by_plugin("pillow_heif", cat, "HEIF"),
        "dib": encode(cat, "BMP"),
        "jfif": encode(cat, "JPEG", quality=90),
    }
    return {ending: content for ending, content in found.items() if content}


def _by_plugin(module: str, picture: Image.Image, format: str) -> bytes:
    """Empty if the optional decoder is not installed."""
    try:
        plugin = __import__(module)
    except ImportError:
        return b""
    if format == "HEIF":
        plugin.register_heif_opener()
    out = io.BytesIO()
    picture.save(out, format)
    return out.getvalue()


def _truncated(
    cat: Image.Image, jpeg: bytes, progressive: bytes, whole_png: bytes, webp: bytes
) -> dict[str, tuple[str, bytes]]:
    from picture_files import chunk, encode

    def half(content: bytes) -> bytes:
        return content[: len(content) // 2]

    def zeros(content: bytes) -> bytes:
        return half(content) + bytes(len(content) - len(content) // 2)

    end = whole_png.index(b"IEND") - 4
    exif = Image.Exif()
    exif[0x010E] = "a description"
    rows: dict[str, tuple[str, bytes]] = {
        "JPEG without its last 2 bytes": ("a.jpg", jpeg[:-2]),
        "progressive JPEG without its last 2 bytes": ("b.jpg", progressive[:-2]),
        "JPEG without its last 2 bytes, then zeros": ("c.jpg", jpeg[:-2] + bytes(500)),
        "half a JPEG": ("d.jpg", half(jpeg)),
        "half a JPEG, then zeros": ("e.jpg", zeros(jpeg)),
        "half a progressive JPEG": ("f.jpg", half(progressive)),
        "PNG cut off in a text chunk after its pixels": (
            "g.png",
            whole_png[:end] + chunk(b"tEXt", b"Comment\0something longer")[:-9],
        ),
        "half a PNG": ("h.png", half(whole_png)),
        "half a PNG, then zeros": ("i.png", zeros(whole_png)),
        "GIF without its trailer": ("j.gif", encode(cat, "GIF")[:-1]),
        "WebP cut off in Exif after its pixels": ("k.webp", encode(cat, "WEBP", exif=exif)[:-4]),
        "half a WebP, then zeros": ("l.webp", zeros(webp)),
        "JPEG 2000 without its end mark": ("m.jp2", encode(cat, "JPEG2000")[:-2]),
    }
    others = {ending: content for ending, content in _formats(cat).items() if ending in ("heic", "jxl", "jpf", "psd")}
    others |= {"avif": encode(cat, "AVIF"), "gif": encode(cat, "GIF"), "bmp": encode(cat, "BMP")}
    others |= {"tiff": encode(cat, "TIFF"), "ppm": encode(cat, "PPM"), "webp": webp}
    return rows | {f"half a .{ending}": (f"half.{ending}", half(content)) for ending, content in others.items()}


def _blank(cat: Image.Image) -> dict[str, tuple[str, bytes]]:
    from picture_files import encode

    white = Image.new("RGB", cat.size, (255, 255, 255))

    def behind(format: str, **more: Any) -> bytes:
        return encode(white, format, save_all=True, append_images=[cat], **more)

    return {
        "white GIF page, then a cat": ("a.gif", behind("GIF")),
        "white GIF page": ("b.gif", encode(white, "GIF")),
        "black JPEG": ("c.jpg", encode(Image.new("RGB", cat.size), "JPEG")),
        "fully transparent PNG": ("d.png", encode(Image.new("RGBA", cat.size), "PNG")),
        "empty first page of a TIFF": ("e.tif", behind("TIFF")),
        "blank first frame of an APNG": ("f.png", behind("PNG")),
        "blank first frame of a WebP": ("g.webp", behind("WEBP")),
    }


def outcomes(paths: list[Path], tree: Path) -> list[str]:
    """Read every file with the code of a tree."""
    settings = os.environ | {"PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(paths[0].parent)}
    done = subprocess.run(
        [sys.executable, "-c", _TAGGER],
        input=json.dumps(list(map(str, paths))),
        capture_output=True,
        text=True,
        env=settings,
        cwd=paths[0].parent,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('"')]


def found_in_folder(folder: Path, tree: Path) -> set[str]:
    """Names of the files found in a folder."""
    code = "import sys; from anytag.pictures import find_pictures; print(*find_pictures([sys.argv[1]]), sep='\\n')"
    settings = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, env=settings, check=True
    )
    return {Path(line).name for line in done.stdout.splitlines()}


def main() -> None:
    """Run the trials and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="the folder src of the earlier code")
    options = parser.parse_args()
    trees = {"before": options.before, "after": ROOT / "src"} if options.before else {"now": ROOT / "src"}
    for title, rows in build().items():
        with tempfile.TemporaryDirectory() as holder:
            folder = Path(holder)
            for name, content in rows.values():
                (folder / name).write_bytes(content)
            paths = [folder / name for name, _ in rows.values()]
            cells = [outcomes(paths, tree.resolve()) for tree in trees.values()]
            if title == "Formats":
                there = [found_in_folder(folder, tree.resolve()) for tree in trees.values()]
                cells = [
                    [
                        f"found, {cell}" if path.name in names else f"not found; named: {cell}"
                        for path, cell in zip(paths, column, strict=True)
                    ]
                    for column, names in zip(cells, there, strict=True)
                ]
        print(f"\n## {title}\n\n| file | {' | '.join(trees)} |\n|{'---|' * (1 + len(trees))}")
        for row, *values in zip(rows, *cells, strict=True):
            print(f"| {row} | {' | '.join(values)} |", flush=True)


if __name__ == "__main__":
    main()
