"""A user's pictures as a model's image encoder sees them, and the tags that they are given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anytag.backends.base import FloatArray
from anytag.datasets.sources import SampleSource
from anytag.errors import UsageError
from anytag.evaluation.labeled_scores import nothing_readable, sample_batches
from anytag.inference.embedding import picture_inputs
from anytag.inference.recognizer import Recognizer
from anytag.language.tags.kinds import guess_kinds
from anytag.model.names import normalize_name
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.recognition import TagKind

#: Least share of the picture's sides that a part of it has.
_LEAST_SIDE = 0.75

#: A name and its kind, as far as the data say it.
Key = tuple[str, TagKind | None]


@dataclass(frozen=True)
class OwnPictures:
    """Pictures with their tags.

    Attributes:
        inputs: ``[N, V, I]``, the plain view of each first.
        tags: The names that each was given, normalized, each with its kind where that was said.
        keys: The same for pictures that look the same to the model.
        problems: What could not be read, in sentences.
        untagged: Pictures that were left out because nobody gave them tags.
        repeated: Pictures that were left out because they are there already; their tags were added to that one's.
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
    recognizer: Recognizer, sources: Sequence[SampleSource], views: int, seed: int, tagged: bool = True
) -> OwnPictures:
    """Read and encode pictures.

    Args:
        recognizer: The model.
        sources: Where they come from.
        views: Views of each.
        seed: Of the parts that views show.
        tagged: Leave out pictures that nobody gave tags to: nothing is known of them.

    Raises:
        UsageError: If no picture can be read, or none has tags.
    """
    problems: list[str] = []
    inputs: list[FloatArray] = []
    tags: dict[bytes, set[Key]] = {}
    seen = untagged = 0
    draw = np.random.default_rng(seed)
    for samples, pixels in sample_batches(recognizer, sources, problems):
        seen += len(samples)
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
            looks = [picture_inputs(recognizer.backend.encode(look)) for look in _views(pixels[rows], views, draw)]
            inputs.append(np.stack(looks, 1))
    if not seen:
        raise nothing_readable(sources, problems)
    if not inputs:
        raise UsageError(
            f"no tags are given with the pictures that can be read ({seen:,}); give a folder a tag, a table with a "
            "column of tags, or a JSON file beside each picture"
        )
    return OwnPictures(
        inputs=np.concatenate(inputs),
        tags=tuple(map(frozenset, tags.values())),
        keys=tuple(tags),
        problems=tuple(problems),
        untagged=untagged,
        repeated=seen - untagged - len(tags),
    )


def _views(pixels: NDArray[np.uint8], count: int, draw: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Views ``[B, R, R, 3]``: as it is, mirrored, then parts, every other one mirrored."""
    found = [pixels, pixels[:, :, ::-1]][:count]
    for number in range(2, count):
        parts = np.stack([_part(picture, draw) for picture in pixels])
        found.append(parts[:, :, ::-1] if number % 2 else parts)
    return [np.ascontiguousarray(view) for view in found]


def _part(picture: NDArray[np.uint8], draw: np.random.Generator) -> NDArray[np.uint8]:
    """A part of a square picture, at its size."""
    side = len(picture)
    width, height = (int(side * draw.uniform(_LEAST_SIDE, 1)) for _ in range(2))
    left, upper = int(draw.integers(side - width + 1)), int(draw.integers(side - height + 1))
    part = Image.fromarray(picture).crop((left, upper, left + width, upper + height))
    return np.asarray(part.resize((side, side), Image.Resampling.BICUBIC))


def find_tags(counts: Counter[Key], vocabulary: TagVocabulary) -> dict[Key, VocabularyTag]:
    """The tag of each name: the model's of that name or alias, or a new one behind them.

    New ones stand in the order of how often they were given, so that the order of files does not matter.

    Args:
        counts: Pictures of each name.
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
