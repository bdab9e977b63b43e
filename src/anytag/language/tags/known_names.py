"""RAM's tag names, which a search may suggest as categories although a vocabulary lacks them."""

from __future__ import annotations

from functools import cache

from anytag.language.data_files import read_data
from anytag.model.names import normalize_name
from anytag.model.vocabulary import TagVocabulary


@cache
def ram_names() -> tuple[str, ...]:
    """Load the 4,585 names of RAM (Zhang et al., 2023), in its order."""
    return tuple(read_data("ram_names.txt.gz").splitlines())


def untrained_names(text: str, vocabulary: TagVocabulary, limit: int) -> list[str]:
    """Return RAM's names, shortest first, that have a word with the prefix ``text`` and are not in a vocabulary.

    They are neither tags nor aliases. Only prefixes count, since "cat" is also in "locate".
    """
    key = normalize_name(text)
    named = ((name, f" {normalize_name(name)}") for name in ram_names())
    found = [name for name, words in named if f" {key}" in words and vocabulary.find(name) is None]
    return sorted(found, key=lambda name: (len(name), name))[:limit]
