"""Encode a user's pictures, and collect their tags."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anytag.backends.base import FloatArray
from anytag.datasets.folder import FolderSource
from anytag.datasets.sources import SampleSource
from anytag.errors import UsageError
from anytag.evaluation.labeled_scores import nothing_readable, sample_batches
from anytag.foundations.report import Report
from anytag.foundations.wording import counted
from anytag.inference.embedding import taught_inputs
from anytag.inference.recognizer import Recognizer
from anytag.language.tags.kinds import guess_kinds
from anytag.model.names import normalize_name
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.recognition import TagKind

#: Least side of a crop, as a share of the picture's.
_LEAST_SIDE = 0.75

#: Seconds between two lines on how many pictures have been read.
_EVERY = 15.0

#: A tag's name, and its kind if the data give one.
Key = tuple[str, TagKind | None]


@dataclass(frozen=True)
class OwnPictures:
    """Encoded pictures with their tags.

    Attributes:
        inputs: ``[N, V, I]``, the plain view of each first.
        tags: Each picture's tags, their names normalized.
        keys: Digests of the pixels, equal for equal pictures.
        problems: Messages on what could not be read.
        untagged: How many pictures were skipped because they have no tags.
        repeated: How many pictures were skipped because they are duplicates; their tags were added to the first one's.
    """

    inputs: FloatArray
    tags: tuple[frozenset[Key], ...]
    keys: tuple[bytes, ...] = ()
    problems: tuple[str, ...] = ()
    untagged: int = 0
    repeated: int = 0

    def counts(self) -> Counter[Key]:
        """How many pictures each name was given to."""
        return Counter(key for tags in self.tags for key in tags)


def read_pictures(
    recognizer: Recognizer, sources: Sequence[SampleSource], views: int, seed: int, report: Report, tagged: bool = True
) -> OwnPictures:
    """Read and encode pictures.

    Args:
        recognizer: The model.
        sources: The pictures.
        views: Views of each picture.
        seed: Of random crops.
        report: Receives progress.
        tagged: Skip pictures without tags.

    Raises:
        UsageError: If no picture can be read, or none has tags.
    """
    problems: list[str] = []
    inputs: list[FloatArray] = []
    tags: dict[bytes, set[Key]] = {}
    seen = untagged = 0
    draw = np.random.default_rng(seed)
    reported = time.monotonic()
    for samples, pixels in sample_batches(recognizer, sources, problems):
        seen += len(samples)
        if time.monotonic() > reported + _EVERY:
            report(f"{seen:,} pictures read")
            reported = time.monotonic()
        rows = []
        for row, sample in enumerate(samples):
            if tagged and not sample.tags:
                untagged += 1
                continue
            key = blake2b(pixels[row].tobytes(), digest_size=16).digest()
            if key not in tags:
                rows.append(row)
            tags.setdefault(key, set()).update((normalize_name(tag.name), tag.kind) for tag in sample.tags)
        if rows:
            encoded = [taught_inputs(recognizer.backend.encode(view)) for view in _views(pixels[rows], views, draw)]
            inputs.append(np.stack(encoded, 1))
    if not seen:
        raise nothing_readable(sources, problems)
    if not inputs:
        raise _no_tags(sources, seen)
    return OwnPictures(
        inputs=np.concatenate(inputs),
        tags=tuple(map(frozenset, tags.values())),
        keys=tuple(tags),
        problems=tuple(problems),
        untagged=untagged,
        repeated=seen - untagged - len(tags),
    )


def _no_tags(sources: Sequence[SampleSource], seen: int) -> UsageError:
    """The error for pictures without tags, with the most likely reason."""
    for source in sources:
        if isinstance(source, FolderSource) and not source.classes:
            beside = source.top_level()
            if len(beside) == len(source):
                return UsageError(
                    f"{source.path}: its pictures have no tags; if the folder's name is their tag, give the folder "
                    f"that it lies in ({source.path.parent}), or else a table with a column of tags"
                )
            if beside:
                return UsageError(
                    f"{source.path}: the folders in it are tags only if no picture lies beside them; move "
                    f"{counted(len(beside), 'picture')} into one of them, or away ({beside[0]})"
                )
    return UsageError(
        f"no tags are given with the pictures that can be read ({seen:,}); give a folder with a folder of pictures for "
        "each tag, a table with a column of tags, or a JSON file beside each picture"
    )


def _views(pixels: NDArray[np.uint8], count: int, draw: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Views ``[B, R, R, 3]``: the pictures, mirrored, then random crops, every other one mirrored."""
    found = [pixels, pixels[:, :, ::-1]][:count]
    for number in range(2, count):
        crops = np.stack([_crop(picture, draw) for picture in pixels])
        found.append(crops[:, :, ::-1] if number % 2 else crops)
    return [np.ascontiguousarray(view) for view in found]


def _crop(picture: NDArray[np.uint8], draw: np.random.Generator) -> NDArray[np.uint8]:
    """Crop a square picture at random, and scale the crop to the picture's size."""
    side = len(picture)
    width, height = (int(side * draw.uniform(_LEAST_SIDE, 1)) for _ in range(2))
    left, upper = int(draw.integers(side - width + 1)), int(draw.integers(side - height + 1))
    crop = Image.fromarray(picture).crop((left, upper, left + width, upper + height))
    return np.asarray(crop.resize((side, side), Image.Resampling.BICUBIC))


def find_tags(counts: Counter[Key], vocabulary: TagVocabulary) -> dict[Key, VocabularyTag]:
    """Find the vocabulary tag of each name or alias, or make a new one.

    New tags are ordered by their number of pictures, so that the order of files does not matter.

    Args:
        counts: Pictures of each tag.
        vocabulary: The model's.
    """
    keys = sorted(counts, key=lambda key: (-counts[key], key[0], key[1] or ""))
    names = list(dict.fromkeys(name for name, _ in keys))
    guessed = dict(zip(names, guess_kinds(names), strict=True))
    found: dict[Key, VocabularyTag] = {}
    made: dict[tuple[str, TagKind], VocabularyTag] = {}
    for name, kind in keys:
        known = vocabulary.find(name, kind)
        if known is None:
            own = (name, kind or guessed[name])
            named = [tag for (other, _), tag in made.items() if other == name]
            known = vocabulary.find(*own) or made.get(own) or (named[0] if named and kind is None else None)
            if known is None:
                known = made[own] = VocabularyTag(len(vocabulary) + len(made), name, own[1], sources=("data",))
        found[name, kind] = known
    return found
