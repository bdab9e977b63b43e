"""The feature cache: what the lower part of the image encoder makes of every picture, computed once.

The map at stride 16 is kept rather than the last layer's tokens: it is a third of the size, and the layers
above it stay trainable. A picture may have several views (augmented copies), each cached beside the others.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance

from anytag.datasets.health import BadSamples
from anytag.datasets.loading import run_ahead
from anytag.datasets.samples import Log, Sample, TagName
from anytag.datasets.sources import IndexedSource, SampleSource
from anytag.datasets.webdataset import ShardSource
from anytag.errors import PictureError, SampleError, UsageError
from anytag.foundations.atomic_files import save_array, write_text
from anytag.foundations.report import Report
from anytag.nn.efficientnet_lite import EfficientNetLite
from anytag.pictures import Preprocessing
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
        maps: Per view, ``[N, H, W, C]`` float16 (memory-mapped).
        logits: ``[N, 1000]`` float16, what the encoder's own ImageNet classifier says of view 0.
        corners: Per corner crop, maps as those of a view; empty if they were not cached.
    """

    name: str
    records: list[dict[str, Any]]
    maps: list[np.ndarray]
    logits: np.ndarray
    corners: list[np.ndarray] = field(default_factory=list)

    def samples(self) -> Iterator[Sample]:
        """What is known of the pictures, without the pictures."""
        for record in self.records:
            yield Sample(
                id=record["id"],
                picture=b"",
                captions=tuple(record["captions"]),
                labels=tuple(record["labels"]),
                source=record["source"],
                tags=_names(record.get("tags", ())),
                caption_tags=tuple(map(_names, record.get("caption_tags", ()))),
            )


@dataclass(frozen=True)
class FeatureCache:
    """Computes features that are not there yet.

    Args:
        encoder: With its ImageNet classifier, in eval mode.
        folder: Where features go; in it, a folder for every encoder, preprocessing and seed.
        preprocessing: How the encoder wants its pictures.
        seed: Seed of the augmentation.
        report: Receives a line of progress after each part.
        log: Receives a record for every sample that cannot be read.
        own: Another encoder for the maps, of the same sizes, where a model to start from has learned one.
    """

    encoder: EfficientNetLite
    folder: Path
    preprocessing: Preprocessing
    seed: int = 0
    report: Report = print
    log: Log | None = None
    own: EfficientNetLite | None = None

    @property
    def place(self) -> Path:
        """The folder of these settings."""
        digest = hashlib.sha256(f"{self.preprocessing} {self.seed}".encode())
        for encoder in (self.encoder, self.own):
            for name, tensor in sorted(encoder.state_dict().items()) if encoder is not None else ():
                digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return self.folder / f"features-{digest.hexdigest()[:16]}"

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
        maps, logits, records = [], [], []
        for samples, pixels in self._batches(source, part, None if is_first else _read_records(stem), kind, which):
            # Four pictures at a time stay in the processor's cache: twice as fast as thirty-two.
            chunks = normalise(pixels).contiguous(memory_format=torch.channels_last).split(4)
            lower = torch.cat([(self.own or self.encoder).lower_stages(chunk) for chunk in chunks])
            maps.append(lower.permute(0, 2, 3, 1).numpy().astype(np.float16))
            if is_first:
                if self.encoder.classifier is None:
                    raise ValueError("the encoder needs its ImageNet classifier to cache what it says")
                if self.own is not None:
                    lower = torch.cat([self.encoder.lower_stages(chunk) for chunk in chunks])
                logits.append(
                    self.encoder.classifier(self.encoder.upper_stages(lower).mean(1)).numpy().astype(np.float16)
                )
                records += [_record(row, sample) for row, sample in samples]
        if is_first:
            save_array(_beside(stem, "logits.npy"), _joined(logits, (0, 1000)))
            write_text(_beside(stem, "jsonl"), "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
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
            picture = self.preprocessing.read(sample.picture, sample.place, draft=False)
        except PictureError as error:
            return error
        if kind == "corner":
            picture = corner(picture, which)
        elif which:
            picture = augment(picture, random.Random(f"{self.seed}/{which}/{sample.source}"))
        return self.preprocessing.pixels(picture)


class PictureReader:
    """The pictures of cached shards by number, for stages that train on pixels.

    Args:
        sources: That the shards were made from.
        shards: Their features, in order.
        preprocessing: How the encoder wants its pictures.
        seed: Seed of the augmentation.
        workers: Threads that decode.

    Raises:
        UsageError: If a source can only be read from front to back.
    """

    def __init__(
        self,
        sources: Sequence[SampleSource],
        shards: Sequence[CachedShard],
        preprocessing: Preprocessing,
        seed: int,
        workers: int = 2,
    ):
        self.preprocessing, self.seed = preprocessing, seed
        self._places: list[tuple[IndexedSource, int]] = []
        rest = iter(shards)
        for source in sources:
            if not isinstance(source, IndexedSource):
                raise UsageError(
                    f"{source.identity}: a stage that reads pixels needs any picture at hand, and this source is "
                    "streamed; let the stage read cached maps, or put the data on this machine"
                )
            for part, shard in zip(range(source.parts), rest, strict=False):
                rows = source.rows(part)
                self._places += [(source, rows[record["row"]]) for record in shard.records]
        self._pool = ThreadPoolExecutor(workers)

    def __len__(self) -> int:
        return len(self._places)

    def batch(self, indices: Sequence[int] | np.ndarray, step: int | None = None) -> torch.Tensor:
        """Pictures as the encoder's input ``[B, 3, R, R]``.

        Args:
            indices: Which pictures.
            step: Augment them; the same step gives the same augmentation. ``None``: as they are.
        """
        rows = self._pool.map(lambda index: self._pixels(int(index), step), indices)
        return normalise(np.stack(list(rows)))

    def _pixels(self, index: int, step: int | None) -> np.ndarray:
        source, place = self._places[index]
        picture = self.preprocessing.read(source[place].picture, draft=False)
        if step is not None:
            picture = augment(picture, random.Random(f"{self.seed}/{step}/{index}"))
        return self.preprocessing.pixels(picture)


def augment(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Random crop (45–100 % of the area, aspect 3:4 to 4:3), mirror image, and light colour changes."""
    width, height = picture.size
    for _ in range(10):
        area = rng.uniform(0.45, 1.0) * width * height
        ratio = rng.uniform(0.75, 4 / 3)
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if w <= width and h <= height:
            x, y = rng.randint(0, width - w), rng.randint(0, height - h)
            picture = picture.crop((x, y, x + w, y + h))
            break
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhancer(picture).enhance(rng.uniform(0.75, 1.25))
    return picture


def normalise(pixels: np.ndarray) -> torch.Tensor:
    """uint8 ``[B, H, W, 3]`` to the encoder's input ``[B, 3, H, W]``, channels-last in memory.

    EfficientNet-Lite's weights were trained on ``(x - 127) / 128``.
    """
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().sub_(127).div_(128)


def _part_names(source: SampleSource, number: int) -> list[str]:
    """What the files of a source's parts are called: as its shards, if they have names."""
    if isinstance(source, ShardSource):
        return [f"{number:02d}-{path.stem}" for path in source.paths]
    return [f"{number:02d}-{part:06d}" for part in range(source.parts)]


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}.{ending}")


def _joined(parts: list[np.ndarray], empty: tuple[int, ...]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(empty, np.float16)


def _record(row: int, sample: Sample) -> dict[str, Any]:
    record = {
        "id": sample.id,
        "captions": sample.captions,
        "labels": sample.labels,
        "source": sample.source,
        "row": row,
    }
    if sample.tags:
        record["tags"] = [(tag.name, tag.kind) for tag in sample.tags]
    if sample.caption_tags:
        record["caption_tags"] = [[(tag.name, tag.kind) for tag in tags] for tags in sample.caption_tags]
    return record


def _names(tags: Any) -> tuple[TagName, ...]:
    return tuple(TagName(name, kind) for name, kind in tags)


def _read_records(stem: Path) -> list[dict[str, Any]]:
    with _beside(stem, "jsonl").open(encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]


def _open(stem: Path, views: int, corners: int) -> CachedShard:
    return CachedShard(
        stem.name,
        _read_records(stem),
        [np.load(_beside(stem, f"view{view}.npy"), mmap_mode="r") for view in range(views)],
        np.load(_beside(stem, "logits.npy")),
        [np.load(_beside(stem, f"corner{k}.npy"), mmap_mode="r") for k in range(corners)],
    )
