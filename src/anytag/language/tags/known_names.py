"""Names that large recognizers are trained on: what a search may name although a vocabulary lacks it."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files

from anytag.model.vocabulary import TagVocabulary, normalise_name


@cache
def ram_names() -> tuple[str, ...]:
    """The 4,585 names of RAM (Zhang et al., 2023), in its order."""
    packed = files("anytag.language").joinpath("data", "ram_names.txt.gz").read_bytes()
    return tuple(gzip.decompress(packed).decode("utf-8").splitlines())


def untrained_names(text: str, vocabulary: TagVocabulary, limit: int) -> list[str]:
    """Names of RAM that contain a text and are no tag of a vocabulary, nor an alias of one; shorter ones first.

    They can be asked for as categories.

    Args:
        text: Part of a name; any case.
        vocabulary: What the model was trained on.
        limit: At most that many.
    """
    key = normalise_name(text)
    found = [name for name in ram_names() if key in normalise_name(name) and vocabulary.find(name) is None]
    return sorted(found, key=lambda name: (len(name), name))[:limit]
