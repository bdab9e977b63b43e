"""Image inputs of the ``lite`` objective: cached maps, or pixels for stages that train the lower encoder."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance

from anytag.datasets.sources import IndexedSource, SampleSource
from anytag.errors import UsageError
from anytag.model.config import ImageEncoderConfig
from anytag.nn.efficientnet_lite import EfficientNetLite
from anytag.nn.model import encoder_input
from anytag.training.families.feature_cache import CachedShard, PictureCache


@dataclass(frozen=True)
class FeatureCache(PictureCache):
    """Output of the lower part of the image encoder, which comes with its ImageNet classifier.

    The map at stride 16 is cached rather than the last layer's tokens: it is a third of the size, and the layers above
    it stay trainable.

    Args:
        own: Another encoder of the same sizes for the maps: that of the model to start from, if it was trained.
    """

    own: EfficientNetLite | None = None

    @property
    def place(self) -> Path:
        return self.folder / f"features-{self.digest('', self.encoder, self.own)}"

    def encode(self, pixels: np.ndarray, classify: bool) -> tuple[np.ndarray, np.ndarray]:
        encoder = self.encoder
        assert isinstance(encoder, EfficientNetLite)
        # Four pictures at a time stay in the CPU's cache: twice as fast as thirty-two.
        inputs = encoder_input(torch.from_numpy(pixels), self.sizes)
        chunks = inputs.contiguous(memory_format=torch.channels_last).split(4)
        lower = torch.cat([(self.own or encoder).lower_stages(chunk) for chunk in chunks])
        maps = lower.permute(0, 2, 3, 1).numpy().astype(np.float16)
        if not classify:
            return maps, np.zeros((len(maps), 0), np.float16)
        if encoder.classifier is None:
            raise ValueError("the encoder needs its ImageNet classifier to cache what it says")
        if self.own is not None:
            lower = torch.cat([encoder.lower_stages(chunk) for chunk in chunks])
        return maps, encoder.classifier(encoder.upper_stages(lower).mean(1)).numpy().astype(np.float16)

    def view(self, picture: Image.Image, draw: random.Random) -> np.ndarray:
        return self.sizes.preprocessing.pixels(augment(picture, draw))


class PictureReader:
    """Random access to the pictures of cached shards, for stages that train on pixels; ``workers`` threads decode.

    Raises:
        UsageError: If a source is not indexed.
    """

    def __init__(
        self,
        sources: Sequence[SampleSource],
        shards: Sequence[CachedShard],
        encoder: ImageEncoderConfig,
        seed: int,
        workers: int = 2,
    ):
        self.encoder, self.seed = encoder, seed
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
        """Read pictures as the encoder's input ``[B, 3, R, R]``, augmented if there is a ``step``, which seeds it."""
        rows = self._pool.map(lambda index: self._pixels(int(index), step), indices)
        return encoder_input(torch.from_numpy(np.stack(list(rows))), self.encoder)

    def _pixels(self, index: int, step: int | None) -> np.ndarray:
        source, place = self._places[index]
        picture = self.encoder.preprocessing.read(source[place].picture, draft=False)
        if step is not None:
            picture = augment(picture, random.Random(f"{self.seed}/{step}/{index}"))
        return self.encoder.preprocessing.pixels(picture)


def augment(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Apply a random crop (45–100 % of the area, aspect 3:4 to 4:3), flip, and light color changes."""
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
