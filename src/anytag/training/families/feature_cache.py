"""Cached features: the output of a frozen image encoder for every picture, computed once, in several views."""

from __future__ import annotations

import hashlib
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
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
from anytag.nn.model import encoder_input
from anytag.pictures.multi_crop import CORNERS, corner
from anytag.training.families.augmentation import augmented_pixels
from anytag.training.families.batches import ExampleLoader, ImageInputs
from anytag.training.recipes.config import AugmentationConfig

#: Pictures per batch, and per forward pass of a whole encoder.
_BATCH, _FORWARD_SIZE = 32, 8


@dataclass(frozen=True)
class CachedShard:
    """Features of a part of a source, on disk.

    Attributes:
        name: Name of its files.
        records: Per picture: ``id``, ``captions``, ``labels``, ``source``, ``row`` (its number in the part), and
            ``tags`` and ``caption_tags`` if the data have them.
        maps: Per view, maps ``[N, H, W, C]`` or tokens ``[N, T, C]``, float16 (memory-mapped).
        logits: Logits of the encoder's own classifier for view 0, ``[N, classes]`` float16.
        corners: Per corner crop, maps like those of a view; empty if not cached.
    """

    name: str
    records: list[dict[str, Any]]
    maps: list[np.ndarray]
    logits: np.ndarray
    corners: list[np.ndarray] = field(default_factory=list)

    def samples(self) -> Iterator[Sample]:
        """The samples, without pictures."""
        return map(Sample.from_json, self.records)


@dataclass(frozen=True)
class PictureCache(ABC):
    """Computes missing features; subclasses define what they are.

    Args:
        encoder: In eval mode.
        folder: Contains one folder per encoder, preprocessing and seed.
        sizes: The encoder's config.
        seed: Seed of the augmentation.
        report: Receives progress.
        log: Receives unreadable samples.
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
        """The folder for these settings."""

    @abstractmethod
    def encode(self, pixels: np.ndarray, classify: bool) -> tuple[np.ndarray, np.ndarray]:
        """Compute float16 features of pixels ``[B, R, R, 3]``, and a classifier's logits if ``classify``."""

    @abstractmethod
    def view(self, picture: Image.Image, draw: random.Random) -> np.ndarray:
        """Augment a picture, and return its pixels."""

    def digest(self, more: str, *encoders: nn.Module | None) -> str:
        """Hash of settings and weights."""
        settings = f"{self.sizes.preprocessing} {self.sizes.mean} {self.sizes.std}"
        digest = hashlib.sha256(f"{settings} {self.seed}{more}".encode())
        for encoder in encoders:
            for name, tensor in sorted(encoder.state_dict().items()) if encoder is not None else ():
                digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def open(self, sources: Sequence[SampleSource], views: int, corners: bool = False) -> list[CachedShard]:
        """Return the features of all parts of sources, in order; missing ones are computed.

        The first view is the plain picture, each further one is augmented; ``corners`` adds the four corner crops.

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
        """Write a view or corner of a part, each file whole or not at all; view 0 includes records and logits."""
        is_first = (kind, which) == ("view", 0)
        wanted = None if is_first else {record["row"] for record in read_records(_beside(stem, "jsonl"))}
        maps, logits, records = [], [], []
        for samples, pixels in self._batches(source, part, wanted, kind, which):
            features, classes = self.encode(pixels, is_first)
            maps.append(features)
            if is_first:
                logits.append(classes)
                records += [sample.to_json() | {"row": row} for row, sample in samples]
        if is_first:
            save_array(_beside(stem, "logits.npy"), _joined(logits, (0, 1000)))
            write_records(_beside(stem, "jsonl"), records)
        save_array(_beside(stem, f"{kind}{which}.npy"), _joined(maps, (0, 0, 0, 0)))
        return sum(map(len, maps))

    def _batches(
        self, source: SampleSource, part: int, wanted: set[int] | None, kind: str, which: int
    ) -> Iterator[tuple[list[tuple[int, Sample]], np.ndarray]]:
        """Samples with their rows and pixels, decoded in a thread: the wanted rows, or all that can be read."""
        bad = BadSamples(log=self.log)

        def load(rows: Sequence[tuple[int, Sample]]) -> list[np.ndarray | PictureError]:
            return [self._pixels(sample, kind, which) for _, sample in rows]

        def readable() -> Iterator[tuple[int, Sample]]:
            for row, item in enumerate(source.read(part)):
                if isinstance(item, SampleError):
                    if wanted is None:
                        bad.failed(item, source.parts)
                elif wanted is None or row in wanted:
                    yield row, item

        samples = readable()
        chunks = iter(lambda: list(islice(samples, _BATCH)), [])
        for rows, loaded in run_ahead(((rows, partial(load, rows)) for rows in chunks), threads=1, ahead=2):
            kept, pixels = [], []
            for row, picture in zip(rows, loaded(), strict=True):
                if isinstance(picture, PictureError):
                    if wanted is not None:
                        raise picture  # It was readable before.
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


@dataclass(frozen=True)
class TokenCache(PictureCache):
    """Output tokens of any image encoder, without classifier logits.

    Args:
        augmentation: Of all views but the first.
    """

    augmentation: AugmentationConfig = field(kw_only=True)

    @property
    def place(self) -> Path:
        return self.folder / f"tokens-{self.digest(str(self.augmentation.model_dump()), self.encoder)}"

    def encode(self, pixels: np.ndarray, classify: bool) -> tuple[np.ndarray, np.ndarray]:
        device = next(self.encoder.parameters()).device
        rows = torch.from_numpy(pixels).to(device).split(_FORWARD_SIZE)
        tokens = torch.cat([self.encoder(encoder_input(row, self.sizes).contiguous()).float() for row in rows])
        return tokens.cpu().numpy().astype(np.float16), np.zeros((len(tokens), 0), np.float16)

    def view(self, picture: Image.Image, draw: random.Random) -> np.ndarray:
        return augmented_pixels(picture, self.sizes.preprocessing, self.augmentation, draw)


class CachedLoader(ExampleLoader):
    """Load examples like another loader, with a random view's cached tokens in place of pixels.

    Raises:
        UsageError: If two samples have the same name, so that their tokens cannot be told apart.
    """

    def __init__(self, plain: ExampleLoader, shards: Sequence[CachedShard]):
        super().__init__(plain.tags, plain.preprocessing, plain.augmentation, plain.kind, plain.words, plain.seed)
        self._places: dict[str, tuple[CachedShard, int]] = {}
        for shard in shards:
            for row, sample in enumerate(shard.samples()):
                place = sample.source or sample.id
                if place in self._places:
                    raise UsageError(
                        f"{place}: there are two samples of that name, so their features cannot be cached; give the "
                        "files of the sources different names"
                    )
                self._places[place] = shard, row

    def image_inputs(self, sample: Sample, draw: random.Random) -> ImageInputs:
        """Draw a cached view.

        Raises:
            SampleError: If the picture could not be read when the cache was made.
        """
        place = sample.source or sample.id
        if place not in self._places:
            raise SampleError("picture", "could not be read when its features were cached", place)
        shard, row = self._places[place]
        return ImageInputs(tokens=np.asarray(shard.maps[draw.randrange(len(shard.maps))][row]))


def _part_names(source: SampleSource, number: int) -> list[str]:
    """File names of a source's parts, from those of its shards if it has any."""
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
