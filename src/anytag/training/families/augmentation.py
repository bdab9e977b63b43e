"""Random views of training pictures, as the official models were trained with; Pillow alone does the work.

The official Tag2Text, RAM and RAM++ code (``ram/data/__init__.py``) takes over BLIP's: a random part of the picture is
squashed to the encoder's square, mirrored half of the time, and changed by up to two of ten operations (RandAugment,
Cubuk et al., 2020, in BLIP's variant: two are drawn, and each is left out half of the time).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps

from anytag.pictures.preprocessing import Preprocessing
from anytag.training.recipes.config import AugmentationConfig

#: What a shifted or turned picture leaves open is filled with this gray.
_FILL = (128, 128, 128)

#: Magnitudes go up to here.
_MOST = 10.0

#: Crops that are drawn before the middle of the picture is taken.
_TRIES = 10


#: The picture as it is, squashed to the square: what validation sees.
PLAIN = AugmentationConfig(crop=None, flip=0.0, operations=0)


def augmented_pixels(
    picture: Image.Image, preprocessing: Preprocessing, config: AugmentationConfig, draw: random.Random
) -> npt.NDArray[np.uint8]:
    """A random view of a picture.

    Args:
        picture: Upright, in RGB.
        preprocessing: How the encoder's pictures are resized, to a square of side R.
        config: What may be done.
        draw: All chance comes from it: the same state gives the same view.

    Returns:
        ``[R, R, 3]``, 0 to 255, not normalized.
    """
    box = _crop(*picture.size, config, draw) if config.crop is not None else None
    view = Image.fromarray(preprocessing.pixels(picture, box))
    if draw.random() < config.flip:
        view = ImageOps.mirror(view)
    for _ in range(config.operations):
        operation = draw.choice(OPERATIONS)
        if draw.random() >= config.omission:
            view = operation(view, config.magnitude / _MOST, draw)
    return np.asarray(view, dtype=np.uint8).copy()


def _crop(
    width: int, height: int, config: AugmentationConfig, draw: random.Random
) -> tuple[float, float, float, float]:
    """Left, upper, right and lower side of a random part; areas and logarithms of aspects are drawn evenly."""
    assert config.crop is not None
    narrow, wide = config.aspect
    for _ in range(_TRIES):
        area = width * height * draw.uniform(*config.crop)
        aspect = math.exp(draw.uniform(math.log(narrow), math.log(wide)))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            left, upper = draw.randint(0, width - across), draw.randint(0, height - down)
            return left, upper, left + across, upper + down
    # A very long picture: its middle, as much of it as the aspects allow.
    across, down = min(width, max(1, round(height * wide))), min(height, max(1, round(width / narrow)))
    return (width - across) / 2, (height - down) / 2, (width + across) / 2, (height + down) / 2


#: Changes a picture by a strength in [0, 1].
Operation = Callable[[Image.Image, float, random.Random], Image.Image]


def _identity(picture: Image.Image, strength: float, draw: random.Random) -> Image.Image:
    return picture


def _autocontrast(picture: Image.Image, strength: float, draw: random.Random) -> Image.Image:
    return ImageOps.autocontrast(picture)


def _equalize(picture: Image.Image, strength: float, draw: random.Random) -> Image.Image:
    return ImageOps.equalize(picture)


def _brightness(picture: Image.Image, strength: float, draw: random.Random) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(0.1 + 1.8 * strength)


def _sharpness(picture: Image.Image, strength: float, draw: random.Random) -> Image.Image:
    return ImageEnhance.Sharpness(picture).enhance(0.1 + 1.8 * strength)


def _shear_x(picture: Image.Image, strength: float, draw: random.Random) -> Image.Image:
    return _shifted(picture, (1, _either(0.3 * strength, draw), 0, 0, 1, 0))


def _shear_y(picture: Image.Image, strength: float, draw: random.Random) -> Image.Image:
    return _shifted(picture, (1, 0, 0, _either(0.3 * strength, draw), 1, 0))


def _translate_x(picture: Image.Image, strength: float, draw: random.Random) -> Image.Image:
    return _shifted(picture, (1, 0, _either(10 * strength, draw), 0, 1, 0))


def _translate_y(picture: Image.Image, strength: float, draw: random.Random) -> Image.Image:
    return _shifted(picture, (1, 0, 0, 0, 1, _either(10 * strength, draw)))


def _rotate(picture: Image.Image, strength: float, draw: random.Random) -> Image.Image:
    degrees = _either(30 * strength, draw)
    return picture.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=_FILL)


def _either(amount: float, draw: random.Random) -> float:
    return amount if draw.random() < 0.5 else -amount


def _shifted(picture: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return picture.transform(
        picture.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR, fillcolor=_FILL
    )


#: BLIP's list: shears up to 0.3, shifts up to 10 pixels, turns up to 30 degrees at the largest magnitude.
OPERATIONS: tuple[Operation, ...] = (
    *(_identity, _autocontrast, _equalize, _brightness, _sharpness),
    *(_shear_x, _shear_y, _translate_x, _translate_y, _rotate),
)
