"""Names that large recognizers are trained on: what a search may name although a vocabulary lacks it."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files

from anytag.model.names import normalize_name
from anytag.model.vocabulary import TagVocabulary


@cache
def ram_names() -> tuple[str, ...]:
    """The 4,585 names of RAM (Zhang et al., 2023), in its order."""
    packed = files("anytag.language").joinpath("data", "ram_names.txt.gz").read_bytes()
    return tuple(gzip.decompress(packed).decode("utf-8").splitlines())


def untrained_names(text: str, vocabulary: TagVocabulary, limit: int) -> list[str]:
    """Names of RAM with a word that begins so, which are not tags of a vocabulary, nor an alias; shorter ones first.

    They can be asked for as categories. ("cat" is also in "locate", which nobody who searches for it means.)

    Args:
        text: A name, or how a word of it begins; any case.
        vocabulary: What the model was trained on.
        limit: At most that many.
    """
    key = normalize_name(text)
    named = ((name, f" {normalize_name(name)}") for name in ram_names())
    found = [name for name, words in named if f" {key}" in words and vocabulary.find(name) is None]
    return sorted(found, key=lambda name: (len(name), name))[:limit]
