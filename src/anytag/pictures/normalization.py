"""From pixels to what image encoders were trained on: channels with mean 0 and deviation 1.

The official Tag2Text, RAM and RAM++ code normalizes pictures with CLIP's constants in training (``ram/data``) and with
ImageNet's in inference (``ram/transform.py``). :data:`IMAGENET` gives what the official inference gives; :data:`CLIP`
is what the weights were trained with, and a user of the official code measured a slightly higher precision with it.

The whole of the official ``get_transform`` is::

    official = Preprocessing(384, "bilinear", alpha="drop")
    IMAGENET.apply(official.pixels(official.read(source)))

but for pictures with an EXIF orientation, which it does not turn, and of more than 8 bits, which it clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Normalization:
    """Mean and standard deviation of each color channel of a training set.

    Attributes:
        mean: Red, green, blue, where white is 1.
        std: The same for the deviation.
    """

    mean: Channels
    std: Channels

    def apply(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """``(pixel / 255 - mean) / std``, the channels first.

        Args:
            pixels: ``[..., H, W, 3]``, 0 to 255.

        Returns:
            ``[..., 3, H, W]``.
        """
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        channels = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(np.moveaxis(channels, -1, -3), dtype=np.float32)

    def of_bytes(self) -> tuple[Channels, Channels]:
        """Mean and deviation where white is 255, the scale of :class:`~anytag.model.config.ImageEncoderConfig`."""
        # Rounded: 255 * 0.224 would be 57.120000000000005, which would go on into every config.json.
        red, green, blue = (round(255 * value, 9) for value in self.mean)
        deep_red, deep_green, deep_blue = (round(255 * value, 9) for value in self.std)
        return (red, green, blue), (deep_red, deep_green, deep_blue)


#: Torchvision's constants of ImageNet-1k.
IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

#: Those of CLIP's training pictures (Radford et al., 2021; ``clip/clip.py``).
CLIP = Normalization((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
