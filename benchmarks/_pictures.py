"""Make a folder of photographs for timing from the example pictures."""

from __future__ import annotations

import random
from pathlib import Path

from _common import ROOT
from PIL import Image, ImageOps

EXAMPLES = sorted((ROOT / "examples").glob("*.jpg"))


def make_folder(folder: Path, count: int, size: tuple[int, int] = (640, 480), seed: int = 0) -> list[Path]:
    """Write ``count`` JPEGs of one size: different crops of the examples, half of them mirrored."""
    chance = random.Random(seed)
    originals = [Image.open(path).convert("RGB") for path in EXAMPLES]
    paths = []
    for number in range(count):
        original = originals[number % len(originals)]
        share = chance.uniform(0.6, 1.0)
        width, height = (round(side * share) for side in original.size)
        left, top = chance.randint(0, original.width - width), chance.randint(0, original.height - height)
        picture = ImageOps.fit(original.crop((left, top, left + width, top + height)), size)
        if chance.random() < 0.5:
            picture = ImageOps.mirror(picture)
        paths.append(folder / f"{number:04}.jpg")
        picture.save(paths[-1], quality=90)
    return paths
