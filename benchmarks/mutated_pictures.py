"""Read twenty thousand damaged pictures without crashes, hangs, excessive memory or undocumented kinds of failures.

Every case depends only on its number and the seed, so any one can be reproduced: ``--only 1234 --save FILE``. Pictures
are read in a child process, which is replaced when it dies or hangs.

    python benchmarks/mutated_pictures.py
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import multiprocessing
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import _common
import numpy as np
from PIL import Image

from anytag.errors import PictureError
from anytag.pictures import decode_picture, to_pixels
from anytag.pictures.icc import DISPLAY_P3, make_profile

sys.path.insert(0, str(_common.ROOT / "tests" / "support"))

KINDS = ("not_found", "permission", "empty", "not_a_picture", "truncated", "too_large", "unreadable")

#: Limits for a case: processor seconds, and memory.
SECONDS, MEGABYTES = 5.0, 1000.0

#: Wall-clock seconds after which a case counts as hung; on a busy machine even a quick one waits.
_PATIENCE = 60.0

#: Numbers that readers often mishandle.
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 20_000, 13_000)


@dataclass(frozen=True)
class Answer:
    """Outcome of a case."""

    outcome: str
    detail: str
    seconds: float
    megabytes: float


@cache
def whole_files() -> dict[str, bytes]:
    """Intact files of every supported format, by name."""
    import camera_files as cameras

    with Image.open(_common.ROOT / "examples" / "cat.jpg") as opened:
        picture = opened.convert("RGB").resize((200, 150))
    gray, palette, alpha = picture.convert("L"), picture.quantize(64), picture.convert("RGBA")
    alpha.putalpha(gray)
    frames = [picture.rotate(angle) for angle in (90, 180)]
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker"
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    described = {"exif": exif.tobytes(), "icc_profile": make_profile(DISPLAY_P3)}
    animated: dict[str, Any] = {"save_all": True, "append_images": frames, "duration": 50}
    made = {
        "jpeg": _encode(picture, "JPEG", **described),
        "jpeg-progressive": _encode(picture, "JPEG", progressive=True),
        "jpeg-cmyk": _encode(picture.convert("CMYK"), "JPEG"),
        "mpo": _encode(picture, "MPO", save_all=True, append_images=frames),
        "png": _encode(picture, "PNG", **described),
        "png-alpha": _encode(alpha, "PNG"),
        "png-palette": _encode(palette, "PNG", transparency=3),
        "png-deep": _encode(deep, "PNG"),
        "apng": _encode(picture, "PNG", **animated),
        "webp": _encode(picture, "WEBP", **described),
        "webp-lossless": _encode(alpha, "WEBP", lossless=True),
        "webp-animated": _encode(picture, "WEBP", **animated),
        "avif": _encode(picture, "AVIF", speed=8, **described),
        "gif": _encode(palette, "GIF"),
        "gif-animated": _encode(Image.new("RGB", picture.size, "white"), "GIF", **animated),
        "bmp": _encode(picture, "BMP"),
        "bmp-palette": _encode(palette, "BMP"),
        "tiff": _encode(picture, "TIFF", **described),
        "tiff-lzw": _encode(alpha, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": _encode(deep, "TIFF", compression="tiff_deflate"),
        "tiff-jpeg": _encode(picture, "TIFF", compression="jpeg"),
        "tiff-fax": _encode(gray.convert("1"), "TIFF", compression="group4"),
        "tiff-float": _encode(gray.convert("F"), "TIFF"),
        "tiff-pages": _encode(picture, "TIFF", save_all=True, append_images=frames),
        "jp2": _encode(picture, "JPEG2000"),
        "j2k": _encode(picture, "JPEG2000", no_jp2=True, irreversible=True),
        "ppm": _encode(picture, "PPM"),
        "pgm-deep": _encode(deep.convert("I"), "PPM"),
        "pfm": _encode(gray.convert("F"), "PPM"),
        "psd": b"8BPS\0\1"
        + bytes(6)
        + b"\0\3\0\0\0\x96\0\0\0\xc8\0\x08\0\3"
        + bytes(14)
        + b"".join(np.asarray(band).tobytes() for band in picture.split()),
    }
    preview = _encode(picture.resize((600, 450)), "JPEG", quality=60)
    makers: tuple[Callable[[bytes], bytes], ...] = (
        cameras.nef,
        cameras.dng,
        cameras.cr2,
        cameras.cr3,
        cameras.raf,
        cameras.orf,
        cameras.rw2,
    )
    made |= {maker.__name__: maker(preview) for maker in makers}
    try:
        import pillow_heif

        stream = io.BytesIO()
        pillow_heif.from_pillow(picture).save(stream, quality=60)
        made["heic"] = stream.getvalue()
    except ImportError:
        print("pillow-heif is not installed: no HEIC")
    try:
        import pillow_jxl  # noqa: F401

        made["jxl"] = _encode(picture, "JXL", effort=3)
    except ImportError:
        print("pillow-jxl-plugin is not installed: no JPEG XL")
    return made


def _encode(picture: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    # Copies, because Pillow leaves settings of one format on the pictures.
    if "append_images" in options:
        options["append_images"] = [frame.copy() for frame in options["append_images"]]
    picture.copy().save(stream, format, **options)
    return stream.getvalue()


def case(seed: int, number: int) -> tuple[str, str, bytes]:
    """Name of the intact file, kind of damage, and damaged bytes."""
    draw = random.Random(f"{seed}/{number}")
    files = whole_files()
    names = sorted(files)
    name = names[number % len(names)]
    content = bytearray(files[name])
    done = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        damage = draw.choice(_DAMAGES)
        content = damage(content, draw)
        done.append(damage.__name__.removeprefix("_"))
    return name, "+".join(done), bytes(content)


def _place(content: bytearray, draw: random.Random) -> int:
    """A random position, half of the time in the header."""
    return draw.randrange(max(1, min(len(content), draw.choice((64, 512, 1 << 30, 1 << 30)))))


def _flip_bits(content: bytearray, draw: random.Random) -> bytearray:
    for _ in range(draw.choice((1, 2, 8, 64)) if content else 0):
        content[_place(content, draw)] ^= 1 << draw.randrange(8)
    return content


def _overwrite(content: bytearray, draw: random.Random) -> bytearray:
    place, length = _place(content, draw), draw.choice((1, 4, 16, 256))
    content[place : place + length] = draw.randbytes(min(length, max(0, len(content) - place)))
    return content


def _put_number(content: bytearray, draw: random.Random) -> bytearray:
    place, size = _place(content, draw), draw.choice((1, 2, 4))
    number = draw.choice(_NUMBERS) & ((1 << 8 * size) - 1)
    content[place : place + size] = number.to_bytes(size, draw.choice(("little", "big")))
    return content


def _truncate(content: bytearray, draw: random.Random) -> bytearray:
    return content[: draw.choice((draw.randrange(len(content) + 1), max(0, len(content) - draw.randrange(1, 40))))]


def _empty_end(content: bytearray, draw: random.Random) -> bytearray:
    kept = draw.randrange(len(content) + 1)
    return content[:kept] + bytes(len(content) - kept)


def _splice(content: bytearray, draw: random.Random) -> bytearray:
    """The header of another file before the rest of this one."""
    other = whole_files()[draw.choice(sorted(whole_files()))]
    length = draw.choice((4, 12, 32, 128, 600))
    return bytearray(other[:length]) + content[draw.choice((length, 0)) :]


def _repeat(content: bytearray, draw: random.Random) -> bytearray:
    place, length = _place(content, draw), draw.choice((4, 64, 1024))
    return content[: place + length] + content[place:]


def _cut_out(content: bytearray, draw: random.Random) -> bytearray:
    place = _place(content, draw)
    return content[:place] + content[place + draw.choice((1, 4, 64, 1024)) :]


_DAMAGES = (_flip_bits, _overwrite, _put_number, _truncate, _empty_end, _splice, _repeat, _cut_out)


def read(content: bytes, number: int) -> tuple[str, str]:
    """Read bytes with anytag; every other case uses the next option."""
    try:
        decoded = decode_picture(content, accept_truncated=number % 2 == 1, draft_size=260 if number % 3 else None)
        pixels = to_pixels(decoded.picture, 32)
    except PictureError as error:
        return (error.kind, "") if error.kind in KINDS else ("undocumented", repr(error))
    except Exception as error:
        return "undocumented", repr(error)[:300]
    fine = decoded.picture.mode == "RGB" and pixels.shape == (32, 32, 3)
    return ("read " + "+".join(decoded.notes)).strip() if fine else "undocumented", ""


def work(connection: Connection, seed: int) -> None:
    """Process numbers of cases until there are no more."""
    whole_files()
    connection.send("ready")
    while (number := connection.recv()) is not None:
        _, _, content = case(seed, number)
        _reset_peak()
        begun = time.process_time()
        outcome, detail = read(content, number)
        connection.send(Answer(outcome, detail, time.process_time() - begun, _peak_megabytes()))


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_megabytes() -> float:
    """Peak memory since the last reset; 0 if unknown."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


class Reader:
    """A child process that reads pictures, replaced when it dies or hangs."""

    def __init__(self, seed: int):
        self.seed = seed
        self._start()

    def _start(self) -> None:
        # A fresh process: LibRaw's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, self.seed), daemon=True)
        self.process.start()
        theirs.close()
        self.connection.recv()

    def ask(self, number: int) -> Answer:
        """Outcome of a case."""
        self.connection.send(number)
        answer = None
        if self.connection.poll(_PATIENCE):
            try:
                answer = self.connection.recv()
            except EOFError:
                self.process.join()
                answer = Answer("crashed", f"exit code {self.process.exitcode}", 0.0, 0.0)
        if answer is not None and answer.outcome != "crashed":
            return answer
        self.process.kill()
        self.process.join()
        self._start()
        return answer or Answer("hung", "", _PATIENCE, 0.0)


def main() -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cases", type=int, default=20_000)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--only", type=int, help="read only this case, in this process, and print the outcome")
    arguments.add_argument("--save", type=Path, help="with --only: write its bytes here")
    arguments.add_argument("--out", type=Path, default=_common.RESULTS / "mutated_pictures.json")
    options = arguments.parse_args()
    if options.only is not None:
        name, damage, content = case(options.seed, options.only)
        if options.save:
            options.save.write_bytes(content)
        begun = time.perf_counter()
        print(name, damage, *read(content, options.only), f"{time.perf_counter() - begun:.2f} s")
        return
    machine = _common.machine()
    whole = whole_files()
    for name, content in whole.items():
        assert read(content, 1)[0].startswith("read"), f"{name} is not read even when it is whole: {read(content, 1)}"
    reader = Reader(options.seed)
    outcomes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    seconds, megabytes, bad = 0.0, 0.0, []
    begun = time.perf_counter()
    for number in range(options.cases):
        answer = reader.ask(number)
        name, damage, _ = case(options.seed, number)
        outcomes[name][answer.outcome] += 1
        seconds, megabytes = max(seconds, answer.seconds), max(megabytes, answer.megabytes)
        failed = answer.outcome in ("crashed", "hung", "undocumented")
        if failed or answer.seconds > SECONDS or answer.megabytes > MEGABYTES:
            bad.append({"case": number, "file": name, "damage": damage, **vars(answer)})
            print(bad[-1], flush=True)
    reader.connection.send(None)
    total = sum(outcomes.values(), collections.Counter())
    columns = [kind for kind, _ in total.most_common()]
    rows = [[name, *(counts[kind] for kind in columns)] for name, counts in sorted(outcomes.items())]
    _common.table(f"{options.cases:,} damaged pictures", ["file", *columns], rows)
    targets = [_common.target(name, total[name], 0, at_least=False) for name in ("crashed", "hung", "undocumented")]
    targets.append(_common.target("longest", seconds, SECONDS, at_least=False, unit="s"))
    targets.append(_common.target("most memory", megabytes, MEGABYTES, at_least=False, unit="MB"))
    record = {
        "benchmark": "mutated_pictures",
        "machine": machine,
        "cases": options.cases,
        "seed": options.seed,
        "seconds_in_all": time.perf_counter() - begun,
        "outcomes": dict(total),
        "by_file": {name: dict(counts) for name, counts in sorted(outcomes.items())},
        "beyond": bad,
    }
    _common.write_targets(options.out, targets, record)


if __name__ == "__main__":
    main()
