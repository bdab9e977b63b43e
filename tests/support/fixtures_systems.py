"""Systems and benchmarks small enough to know every figure of."""

from __future__ import annotations

import numpy as np
from PIL import Image

from anytag.errors import PictureError
from anytag.evaluation.benchmarks.benchmark import Benchmark
from anytag.evaluation.benchmarks.pictures import PictureFiles
from anytag.pictures import read_picture
from anytag.recognition import Failure

#: Colors by name; the system below is sure of a color as far as a picture has it.
COLORS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}


class ColorSystem:
    """Scores colors by the mean of their channel; counts the pictures that it looked at."""

    title, paradigm, identity, parser = "Colors", "tagging", "colors 1", None

    def __init__(self, paradigm="tagging", unknown=()):
        self.paradigm, self.unknown, self.seen, self.names = paradigm, set(unknown), 0, []

    def set_categories(self, names, synonyms):
        self.names = list(names)
        return [name for name in names if name in self.unknown]

    def set_texts(self, texts):
        self.names = [text.split()[0] for text in texts]

    def _means(self, pictures):
        for source in pictures:
            try:
                pixels = np.asarray(read_picture(source))
            except PictureError as error:
                yield Failure(error.path, error.kind, str(error))
                continue
            self.seen += 1
            yield dict(zip(COLORS, pixels.mean((0, 1)) / 255, strict=True))

    def scores(self, pictures):
        for means in self._means(pictures):
            if isinstance(means, Failure):
                yield means
            else:
                yield np.array([np.nan if n in self.unknown else means.get(n, 0.0) for n in self.names], np.float32)

    def captions(self, pictures):
        for means in self._means(pictures):
            yield means if isinstance(means, Failure) else f"a {max(means, key=means.get)} wall"

    def thresholds(self):
        return None


def color_benchmark(folder, count=12, names=tuple(COLORS), **changes):
    """Pictures of one color each, red, green, blue, red, …; and annotations that say so."""
    folder.mkdir(parents=True, exist_ok=True)
    order = list(COLORS)
    for number in range(count):
        shade = np.array(COLORS[order[number % 3]]) - number
        Image.new("RGB", (8, 8), tuple(int(v) for v in shade.clip(0))).save(folder / f"{number}.png")
    targets = np.array([[order[number % 3] == name for name in names] for number in range(count)])
    options = {
        "key": "colors",
        "title": "Colors",
        "task": "tagging",
        "pictures": PictureFiles(folder, tuple(f"{number}.png" for number in range(count))),
        "names": names,
        "texts": names,
        "targets": targets,
        "captions": tuple((f"a {order[number % 3]} wall",) for number in range(count)),
    }
    return Benchmark(**(options | changes))
