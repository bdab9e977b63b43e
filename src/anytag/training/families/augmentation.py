"""Random augmentation of training pictures as for the official models, with Pillow alone.

The official Tag2Text, RAM and RAM++ code (``ram/data/__init__.py``) uses BLIP's: a random crop is squashed to the
encoder's square, flipped with probability 0.5, and changed by up to two of ten operations (RandAugment, Cubuk et al.,
2020, in BLIP's variant: two are drawn, and each is skipped with probability 0.5).
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

#: Gray fill of the areas that shifts and rotations leave open.
_FILL = (128, 128, 128)

#: The largest magnitude.
_MOST = 10.0

#: Crops drawn before the center of the picture is taken.
_TRIES = 10

#: No augmentation, for validation: the whole picture, squashed to the square.
PLAIN = AugmentationConfig(crop=None, flip=0.0, operations=0)


def augmented_pixels(
    picture: Image.Image, preprocessing: Preprocessing, config: AugmentationConfig, draw: random.Random
) -> npt.NDArray[np.uint8]:
    """Return a random view of a picture.

    Args:
        picture: Upright, in RGB.
        preprocessing: Resizes to the encoder's square of side R.
        config: The augmentation.
        draw: The source of randomness: the same state gives the same view.

    Returns:
        ``[R, R, 3]``, 0 to 255, not normalized.
    """
    box = _crop(*picture.size, config, draw) if config.crop is not None else None
    view = Image.fromarray(preprocessing.pixels(picture, box))
    if draw.random() < config.flip:
        view = ImageOps.mirror(view)
    operations = list(OPERATIONS.values())
    for _ in range(config.operations):
        operation = draw.choice(operations)
        if draw.random() >= config.omission:
            view = operation(view, config.magnitude / _MOST, draw)
    return np.asarray(view, dtype=np.uint8).copy()


def _crop(
    width: int, height: int, config: AugmentationConfig, draw: random.Random
) -> tuple[float, float, float, float]:
    """Left, upper, right and lower side of a random crop; areas and logarithms of aspects are uniform."""
    assert config.crop is not None
    narrow, wide = config.aspect
    for _ in range(_TRIES):
        area = width * height * draw.uniform(*config.crop)
        aspect = math.exp(draw.uniform(math.log(narrow), math.log(wide)))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            left, upper = draw.randint(0, width - across), draw.randint(0, height - down)
            return left, upper, left + across, upper + down
    # A very long picture: as much of its center as the aspects allow.
    across, down = min(width, max(1, round(height * wide))), min(height, max(1, round(width / narrow)))
    return (width - across) / 2, (height - down) / 2, (width + across) / 2, (height + down) / 2


#: Changes a picture with a strength in [0, 1].
Operation = Callable[[Image.Image, float, random.Random], Image.Image]


def _either(amount: float, draw: random.Random) -> float:
    return amount if draw.random() < 0.5 else -amount


def _transformed(picture: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return picture.transform(
        picture.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR, fillcolor=_FILL
    )


#: BLIP's operations: at full strength, shears by 0.3, shifts by 10 pixels, rotations by 30 degrees.
OPERATIONS: dict[str, Operation] = {
    "identity": lambda picture, strength, draw: picture,
    "autocontrast": lambda picture, strength, draw: ImageOps.autocontrast(picture),
    "equalize": lambda picture, strength, draw: ImageOps.equalize(picture),
    "brightness": lambda picture, strength, draw: ImageEnhance.Brightness(picture).enhance(0.1 + 1.8 * strength),
    "sharpness": lambda picture, strength, draw: ImageEnhance.Sharpness(picture).enhance(0.1 + 1.8 * strength),
    "shear_x": lambda picture, strength, draw: _transformed(picture, (1, _either(0.3 * strength, draw), 0, 0, 1, 0)),
    "shear_y": lambda picture, strength, draw: _transformed(picture, (1, 0, 0, _either(0.3 * strength, draw), 1, 0)),
    "translate_x": lambda picture, strength, draw: _transformed(picture, (1, 0, _either(10 * strength, draw), 0, 1, 0)),
    "translate_y": lambda picture, strength, draw: _transformed(picture, (1, 0, 0, 0, 1, _either(10 * strength, draw))),
    "rotate": lambda picture, strength, draw: picture.rotate(
        _either(30 * strength, draw), Image.Resampling.BILINEAR, fillcolor=_FILL
    ),
}
