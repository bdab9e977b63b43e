"""The default of a stream: samples with their pictures decoded."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from anytag.datasets.samples import Sample
from anytag.pictures import read_picture


@dataclass(frozen=True, slots=True)
class Loaded:
    """A sample with its picture decoded.

    Attributes:
        sample: What is known of the picture.
        picture: Upright, in RGB.
        epoch: The pass over the data, from 0; with the sample's source, a seed for augmentation.
    """

    sample: Sample
    picture: Image.Image
    epoch: int


def load_picture(sample: Sample, epoch: int) -> Loaded:
    """Decode a sample's picture.

    Raises:
        PictureError: If it cannot be read.
    """
    return Loaded(sample, read_picture(sample.picture, label=sample.place), epoch)
