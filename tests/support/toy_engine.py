"""A small world for the data engine: pictures of one or two colors, and a model whose scores are colors.

Run as a script it runs the whole engine over shards, slowly enough to be killed, or killing itself at the picture of
that number: ``toy_engine.py SHARDS MODEL WORK [NUMBER]``.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fixtures_toy import ToyBackend, plain, write_toy_model
from PIL import Image

from anytag.backends.base import Encoded
from anytag.data_engine.cleaning_config import CleaningConfig
from anytag.data_engine.pipeline import Engine
from anytag.datasets.webdataset import open_shards
from anytag.inference.recognizer import Recognizer
from anytag.language.tokenizers.tokenizer import CaptionTokenizer
from anytag.model.directory import ModelDirectory

RED, GREEN, BLUE, PINK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 128, 0)


class GridBackend(ToyBackend):
    """Features are the color of the whole picture and of its four quarters."""

    dies_at = None

    def encode(self, pixels):
        self.encoded += len(pixels)
        if self.dies_at is not None and self.encoded >= self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        cells = pixels.reshape(len(pixels), 2, 2, 2, 2, 3).mean((2, 4)).reshape(len(pixels), 4, 3)
        features = np.concatenate([cells.mean(1, keepdims=True), cells], 1) / 255
        return Encoded(features.astype(np.float32), np.zeros((len(pixels), 0), np.float32))

    def attention(self, features, labels):
        """The warmer a cell, the more it is looked at; the whole picture is not."""
        scores = np.stack([1 / (1 + np.exp(-self.recognize(row[1:, None], labels))) for row in features])
        weights = (scores / scores.sum(1, keepdims=True)).transpose(0, 2, 1)
        return np.pad(weights, ((0, 0), (0, 0), (1, 0))).astype(np.float32)


@dataclass(frozen=True)
class ToyModel:
    """A model that can be sent to other processes."""

    path: Path
    dies_at: int | None = None

    def directory(self):
        return ModelDirectory(self.path)

    def load(self):
        directory = self.directory()
        backend = GridBackend(directory, CaptionTokenizer.load(self.path / "tokenizer.json"))
        backend.dies_at = self.dies_at
        return Recognizer(directory, backend, batch_size=2, workers=1, recognize_blank=True)


@dataclass(frozen=True)
class DyingModel(ToyModel):
    """The first process that loads it is killed on the spot; others find the mark that it has left."""

    def load(self):
        try:
            (self.path.parent / "killed").touch(exist_ok=False)
        except FileExistsError:
            return super().load()
        os.kill(os.getpid(), signal.SIGKILL)


def toy_model(folder, **options):
    """A model in a new folder."""
    return ToyModel(write_toy_model(folder, **options))


def halves(left, right):
    """A picture of two colors, just as large as the model wants it: nothing is blurred."""
    picture = Image.new("RGB", (4, 4), left)
    picture.paste(right, (2, 0, 4, 4))
    return picture


def encoded(picture):
    """A picture as PNG; bytes are taken as they are."""
    if isinstance(picture, bytes):
        return picture
    stream = io.BytesIO()
    (plain(picture) if isinstance(picture, tuple) else picture).save(stream, "PNG")
    return stream.getvalue()


def write_shard(path, samples):
    """A shard of (picture, captions) or (picture, captions, tags)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for number, (picture, captions, *tags) in enumerate(samples):
            record = {"captions": list(captions)} | ({"tags": tags[0]} if tags else {})
            for extension, content in (("png", encoded(picture)), ("json", json.dumps(record).encode())):
                member = tarfile.TarInfo(f"{path.stem}-{number:04}.{extension}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def shards(folder, *parts):
    """A source of as many shards as there are lists of samples."""
    return open_shards([write_shard(folder / f"s{number}.tar", samples) for number, samples in enumerate(parts)])


def records(folder):
    """All records of a manifest, as JSON."""
    lines = [line for path in sorted(Path(folder).glob("part-*.jsonl")) for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def names(record, source=None):
    """The names of a record's tags, of one source if it is given."""
    return sorted({tag["name"] for tag in record["tags"] if source in (None, tag["source"])})


def outputs(work):
    """Everything that the engine wrote and that has no times in it: content by path."""
    return {
        path.relative_to(work).as_posix(): path.read_bytes()
        for path in sorted(Path(work).rglob("*"))
        if path.is_file() and not path.name.endswith((".done.json", "report.json", "report.txt", ".lock"))
    }


def many_samples(count, seed=0):
    """Pictures in shades of red, green and blue, with captions that mostly fit."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        color = [0, 0, 0]
        color[number % 3] = int(rng.integers(128, 256))
        captions = [("a dog", "a beach", "a dog runs")[number % 3], "a dog on a beach"]
        found.append((tuple(color), captions))
    return found


CLEANING = CleaningConfig(min_regions=10, groups=3, clusters=2, regions_per_cluster=2)


def run_all(work, source, model, executor=None, progress=None, format="jsonl"):
    """Every step."""
    engine = Engine(work, executor, progress, format)
    return [
        engine.parse(source, model.path / "vocabulary.json"),
        engine.generate(source, model),
        engine.clean(source, model, CLEANING),
        engine.merge(),
    ]


if __name__ == "__main__":

    def slowly(step, done, total, marker):
        print(step, marker.unit, flush=True)
        time.sleep(0.2)

    given, model, work = map(Path, sys.argv[1:4])
    dies_at = int(sys.argv[4]) if len(sys.argv) > 4 else None
    run_all(work, open_shards(sorted(given.glob("*.tar"))), ToyModel(model, dies_at), progress=slowly)
