"""Small pictures and files of training data, made on the fly."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from anytag.datasets.samples import Sample
from anytag.datasets.sources import IndexedSource, SampleSource
from anytag.errors import SampleError


def jpeg(seed: int = 0, size: tuple[int, int] = (8, 6)) -> bytes:
    pixels = np.full((size[1], size[0], 3), np.random.default_rng(seed).integers(0, 256, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def write_pictures(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg(number))
    return folder


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w", **options: object) -> Path:
    with tarfile.open(path, mode, **options) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def shard_members(first: int, count: int) -> list[tuple[str, bytes]]:
    """Samples 000000.jpg + .json, with their number as caption."""
    return [
        member
        for number in range(first, first + count)
        for member in (
            (f"{number:06d}.jpg", jpeg(number)),
            (f"{number:06d}.json", json.dumps({"id": number, "caption": f"number {number}"}).encode()),
        )
    ]


def write_shards(folder: Path, counts: list[int], mode: str = "w") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    suffix = ".tar.gz" if mode == "w:gz" else ".tar"
    firsts = np.cumsum([0, *counts])
    return [
        write_tar(folder / f"shard-{place:03d}{suffix}", shard_members(int(first), count), mode)
        for place, (first, count) in enumerate(zip(firsts, counts, strict=False))
    ]


PICTURE = jpeg()


class Numbers(IndexedSource):
    """Samples 0 to n - 1; those in ``bad`` cannot be read."""

    description = "numbers"

    def __init__(self, count: int, bad: frozenset[int] | set[int] = frozenset(), name: str = "numbers"):
        self.size, self.bad, self.name = count, bad, name
        self.identity = f"{name}: {count}"

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        self._check(index)
        if index in self.bad:
            raise SampleError("row", "made unreadable", f"{self.name}:{index}")
        return Sample(str(index), PICTURE, source=f"{self.name}:{index}")


class Parts(SampleSource):
    """A streamed source of parts of these sizes; samples are called part/row."""

    description = identity = "parts"

    def __init__(self, sizes: list[int], broken: dict[int, int] | None = None):
        self.sizes, self.broken = sizes, broken or {}
        self.reads: list[tuple[int, int]] = []

    @property
    def parts(self) -> int:
        return len(self.sizes)

    def read(self, part, start=0):
        self.reads.append((part, start))
        for row in range(start, self.sizes[part]):
            if row >= self.broken.get(part, self.sizes[part]):
                break
            yield Sample(f"{part}/{row}", PICTURE, source=f"{part}/{row}")
        if part in self.broken:
            yield SampleError("shard", f"broken off after sample {self.broken[part]}", str(part))


def just_id(sample: Sample, epoch: int) -> str:
    """In place of decoding."""
    return sample.id
