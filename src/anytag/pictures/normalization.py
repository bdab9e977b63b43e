"""Normalize pixels to channels with mean 0 and standard deviation 1.

The official Tag2Text, RAM and RAM++ code uses CLIP's constants in training (``ram/data``) and ImageNet's in inference
(``ram/transform.py``). :data:`IMAGENET` reproduces the official inference; with :data:`CLIP`, as in training, a user of
the official code measured a slightly higher precision.

The official ``get_transform`` is equivalent to::

    official = Preprocessing(384, "bilinear", alpha="drop")
    IMAGENET.apply(official.pixels(official.read(source)))

except that it ignores EXIF orientation and clips pixels of more than 8 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Normalization:
    """Mean and standard deviation of each color channel (red, green, blue) of a training set, where white is 1."""

    mean: Channels
    std: Channels

    def apply(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Normalize pixels ``[..., H, W, 3]`` as ``(pixel / 255 - mean) / std``, to ``[..., 3, H, W]``."""
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        channels = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(np.moveaxis(channels, -1, -3), dtype=np.float32)

    def of_bytes(self) -> tuple[Channels, Channels]:
        """Mean and standard deviation where white is 255, as in :class:`~anytag.model.config.ImageEncoderConfig`."""
        # Rounded, since 255 * 0.224 is 57.120000000000005, which would be written to config.json.
        red, green, blue = (round(255 * value, 9) for value in self.mean)
        deep_red, deep_green, deep_blue = (round(255 * value, 9) for value in self.std)
        return (red, green, blue), (deep_red, deep_green, deep_blue)


#: Torchvision's constants of ImageNet-1k.
IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

#: CLIP's constants (Radford et al., 2021; ``clip/clip.py``).
CLIP = Normalization((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
