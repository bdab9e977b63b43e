"""What a frozen image encoder makes of the pictures, computed once: tokens in place of pixels, in several views."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from anytag.datasets.samples import Sample
from anytag.errors import SampleError, UsageError
from anytag.nn.model import encoder_input
from anytag.training.families.augmentation import augmented_pixels
from anytag.training.families.batches import ExampleLoader, Seen
from anytag.training.families.feature_cache import CachedShard, PictureCache
from anytag.training.recipes.config import AugmentationConfig

#: Pictures that go through the encoder at a time.
_AT_ONCE = 8


@dataclass(frozen=True)
class TokenCache(PictureCache):
    """The last tokens of an image encoder, of any kind.

    Args:
        encoder: In eval mode for as long as it is asked.
        augmentation: Of all views but the first.
    """

    augmentation: AugmentationConfig = field(kw_only=True)

    @property
    def place(self) -> Path:
        """The folder of these settings."""
        digest = self.digest(str(self.augmentation.model_dump()), self.encoder)
        return self.folder / f"tokens-{digest}"

    def look(self, pixels: np.ndarray, classify: bool) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of pixels; nobody classifies."""
        device = next(self.encoder.parameters()).device
        rows = torch.from_numpy(pixels).to(device).split(_AT_ONCE)
        tokens = torch.cat([self.encoder(encoder_input(row, self.sizes).contiguous()).float() for row in rows])
        return tokens.cpu().numpy().astype(np.float16), np.zeros((len(tokens), 0), np.float16)

    def view(self, picture: Image.Image, draw: random.Random) -> np.ndarray:
        """A view as training draws it, as pixels."""
        return augmented_pixels(picture, self.sizes.preprocessing, self.augmentation, draw)


class CachedLoader(ExampleLoader):
    """Makes examples with cached tokens in place of pixels; a view of each is drawn anew in every epoch.

    Args:
        plain: Makes the rest of them.
        shards: Cached tokens.

    Raises:
        UsageError: If two samples have the same name, so that nobody can say whose tokens are whose.
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

    def see(self, sample: Sample, draw: random.Random) -> Seen:
        """The tokens of a view.

        Raises:
            SampleError: If the picture could not be read when the cache was made.
        """
        place = sample.source or sample.id
        if place not in self._places:
            raise SampleError("picture", "could not be read when its features were cached", place)
        shard, row = self._places[place]
        return Seen(tokens=np.asarray(shard.maps[draw.randrange(len(shard.maps))][row]))
