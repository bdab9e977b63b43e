"""Sample photographs for measuring the ranges of a model's activations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anytag.errors import UsageError
from anytag.foundations.report import Report
from anytag.model.config import ImageEncoderConfig
from anytag.nn.model import encoder_input
from anytag.pictures.sources import PictureSource

#: Number of pictures; more hardly widen the ranges, and each takes a large model seconds.
SAMPLE = 32


def sample_pictures(
    config: ImageEncoderConfig, sources: Iterable[PictureSource], report: Report = print
) -> NDArray[np.uint8]:
    """Load pixels ``[n, R, R, 3]`` of up to :data:`SAMPLE` pictures, evenly spaced among ``sources``.

    Args:
        sources: Photographs like those to be tagged.
        report: Receives a line for every picture that cannot be read and is skipped.

    Raises:
        UsageError: If none can be read.
    """
    given = list(sources)
    places = np.linspace(0, max(len(given) - 1, 0), min(SAMPLE, len(given))).round().astype(int)
    batches = list(config.preprocessing.batches([given[place] for place in places], 1))
    for failure in (failure for batch in batches for failure in batch.failures):
        report(f"left out: {failure.message}")
    pixels = [batch.pixels for batch in batches if len(batch.pixels)]
    if not pixels:
        raise UsageError(
            f"no picture could be read ({len(given)} tried), so ranges of activations cannot be measured; give "
            "photographs like those that will be tagged"
        )
    return np.concatenate(pixels)


def normalized(config: ImageEncoderConfig, pixels: NDArray[np.uint8]) -> Iterator[Tensor]:
    """Yield normalized pictures ``[1, 3, R, R]`` one by one."""
    for picture in torch.from_numpy(pixels).split(1):
        yield encoder_input(picture, config)
