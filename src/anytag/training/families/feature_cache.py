"""The cache of features: what a frozen part of a model makes of every picture, computed once, in several views."""

from __future__ import annotations

import hashlib
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from anytag.datasets.bad_samples import BadSamples
from anytag.datasets.samples import Log, Sample
from anytag.datasets.sources import SampleSource
from anytag.datasets.webdataset import ShardSource
from anytag.errors import PictureError, SampleError, UsageError
from anytag.foundations.atomic_files import save_array
from anytag.foundations.json_lines import read_records, write_records
from anytag.foundations.look_ahead import run_ahead
from anytag.foundations.report import Report
from anytag.model.config import ImageEncoderConfig
from anytag.pictures.multi_crop import CORNERS, corner

#: Pictures that are computed at a time.
_BATCH = 32


@dataclass(frozen=True)
class CachedShard:
    """The features of a source's part, on disk.

    Attributes:
        name: Of its files.
        records: Per picture: ``id``, ``captions``, ``labels``, ``source``, ``row`` (its number in the part), and
            ``tags`` and ``caption_tags`` where the data give them.
        maps: Per view, ``[N, H, W, C]`` or tokens ``[N, T, C]``, float16 (memory-mapped).
        logits: ``[N, classes]`` float16, what the encoder's own classifier says of view 0, if it was asked.
        corners: Per corner crop, maps as those of a view; empty if they were not cached.
    """

    name: str
    records: list[dict[str, Any]]
    maps: list[np.ndarray]
    logits: np.ndarray
    corners: list[np.ndarray] = field(default_factory=list)

    def samples(self) -> Iterator[Sample]:
        """What is known of the pictures, without the pictures."""
        return map(Sample.from_json, self.records)


@dataclass(frozen=True)
class PictureCache(ABC):
    """Computes features that are not there yet; what they are is the subclass's.

    Args:
        encoder: In eval mode.
        folder: Where features go; in it, a folder for every encoder, preprocessing and seed.
        sizes: How the encoder wants its pictures.
        seed: Seed of the augmentation.
        report: Receives a line of progress after each part.
        log: Receives a record for every sample that cannot be read.
    """

    encoder: nn.Module
    folder: Path
    sizes: ImageEncoderConfig
    seed: int = 0
    report: Report = print
    log: Log | None = None

    @property
    @abstractmethod
    def place(self) -> Path:
        """The folder of these settings."""

    @abstractmethod
    def look(self, pixels: np.ndarray, classify: bool) -> tuple[np.ndarray, np.ndarray]:
        """Features of pixels ``[B, R, R, 3]`` in float16, and what a classifier says if that is asked for."""

    @abstractmethod
    def view(self, picture: Image.Image, draw: random.Random) -> np.ndarray:
        """An augmented copy, as pixels."""

    def digest(self, more: str, *encoders: nn.Module | None) -> str:
        """Tells settings and encoders apart."""
        seen = f"{self.sizes.preprocessing} {self.sizes.mean} {self.sizes.std}"
        digest = hashlib.sha256(f"{seen} {self.seed}{more}".encode())
        for encoder in encoders:
            for name, tensor in sorted(encoder.state_dict().items()) if encoder is not None else ():
                digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def open(self, sources: Sequence[SampleSource], views: int, corners: bool = False) -> list[CachedShard]:
        """The features of all parts of sources, in order; what is missing is computed.

        Args:
            sources: What to read.
            views: 1 for the plain picture; each further one is an augmented copy.
            corners: The four corner crops as well.

        Raises:
            UsageError: If no picture can be read.
        """
        place = self.place
        place.mkdir(parents=True, exist_ok=True)
        parts = [
            (source, part, name)
            for number, source in enumerate(sources)
            for part, name in enumerate(_part_names(source, number))
        ]
        kinds = [("view", view) for view in range(views)] + [("corner", k) for k in range(CORNERS if corners else 0)]
        for kind, which in kinds:
            for number, (source, part, name) in enumerate(parts, 1):
                if (place / f"{name}.{kind}{which}.npy").exists():
                    continue
                start = time.perf_counter()
                count = self._compute(source, part, place / name, kind, which)
                rate = count / (time.perf_counter() - start)
                self.report(f"features: {kind} {which}, part {number}/{len(parts)} ({name}), {rate:.0f} pictures/s")
        shards = [_open(place / name, views, CORNERS if corners else 0) for _, _, name in parts]
        if not any(shard.records for shard in shards):
            raise UsageError(f"{parts[0][0].identity}: no picture can be read; bad-samples.jsonl says why")
        return shards

    @torch.inference_mode()
    def _compute(self, source: SampleSource, part: int, stem: Path, kind: str, which: int) -> int:
        """One view or corner of a part, each file whole or not at all; view 0 brings records and logits along."""
        is_first = (kind, which) == ("view", 0)
        known = None if is_first else read_records(_beside(stem, "jsonl"))
        maps, logits, records = [], [], []
        for samples, pixels in self._batches(source, part, known, kind, which):
            seen, said = self.look(pixels, is_first)
            maps.append(seen)
            if is_first:
                logits.append(said)
                records += [sample.to_json() | {"row": row} for row, sample in samples]
        if is_first:
            save_array(_beside(stem, "logits.npy"), _joined(logits, (0, 1000)))
            write_records(_beside(stem, "jsonl"), records)
        save_array(_beside(stem, f"{kind}{which}.npy"), _joined(maps, (0, 0, 0, 0)))
        return sum(map(len, maps))

    def _batches(
        self, source: SampleSource, part: int, records: list[dict[str, Any]] | None, kind: str, which: int
    ) -> Iterator[tuple[list[tuple[int, Sample]], np.ndarray]]:
        """Samples with their rows and pixels, decoded in a thread: all that can be read, or those of the records."""
        bad = BadSamples(log=self.log)
        wanted = None if records is None else {record["row"] for record in records}

        def load(rows: Sequence[tuple[int, Sample]]) -> list[np.ndarray | PictureError]:
            return [self._pixels(sample, kind, which) for _, sample in rows]

        def chunks() -> Iterator[list[tuple[int, Sample]]]:
            rows: list[tuple[int, Sample]] = []
            for row, item in enumerate(source.read(part)):
                if isinstance(item, SampleError):
                    if wanted is None:
                        bad.failed(item, source.parts)
                elif wanted is None or row in wanted:
                    rows.append((row, item))
                if len(rows) == _BATCH:
                    yield rows
                    rows = []
            if rows:
                yield rows

        for rows, loaded in run_ahead(((rows, partial(load, rows)) for rows in chunks()), threads=1, ahead=2):
            kept, pixels = [], []
            for row, picture in zip(rows, loaded(), strict=True):
                if isinstance(picture, PictureError):
                    if wanted is not None:
                        raise picture  # It could be read before.
                    bad.failed(picture, source.parts)
                    continue
                bad.good()
                kept.append(row)
                pixels.append(picture)
            if kept:
                yield kept, np.stack(pixels)

    def _pixels(self, sample: Sample, kind: str, which: int) -> np.ndarray | PictureError:
        try:
            picture = self.sizes.preprocessing.read(sample.picture, sample.place, draft=False)
        except PictureError as error:
            return error
        if kind == "corner":
            picture = corner(picture, which)
        elif which:
            return self.view(picture, random.Random(f"{self.seed}/{which}/{sample.source}"))
        return self.sizes.preprocessing.pixels(picture)


def _part_names(source: SampleSource, number: int) -> list[str]:
    """What the files of a source's parts are called: as its shards, if they have names."""
    if isinstance(source, ShardSource):
        return [f"{number:02d}-{path.stem}" for path in source.paths]
    return [f"{number:02d}-{part:06d}" for part in range(source.parts)]


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}.{ending}")


def _joined(parts: list[np.ndarray], empty: tuple[int, ...]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(empty, np.float16)


def _open(stem: Path, views: int, corners: int) -> CachedShard:
    return CachedShard(
        stem.name,
        read_records(_beside(stem, "jsonl")),
        [np.load(_beside(stem, f"view{view}.npy"), mmap_mode="r") for view in range(views)],
        np.load(_beside(stem, "logits.npy")),
        [np.load(_beside(stem, f"corner{k}.npy"), mmap_mode="r") for k in range(corners)],
    )
