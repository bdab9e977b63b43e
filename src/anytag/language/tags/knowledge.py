"""The package's reviewed tables of tag names.

In ``anytag/language/data``: ``synonyms.tsv`` (aliases), ``implies.tsv`` (tags that imply others), ``blocked.tsv``
(words that name nothing visible), ``imagenet_tags.tsv`` (a common name for each ImageNet-1k class) and ``scenes.txt``
(places). Their entries were proposed by WordNet and by counts over captions, and reviewed by people: see
``docs/decisions/vocabulary.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Generic, Literal, TypeVar, get_args

from anytag.errors import VocabularyError
from anytag.language.data_files import read_data
from anytag.language.parsing.lexicon import scene_names
from anytag.recognition import TagKind

#: Objects and scenes are both nouns, with shared synonyms.
WordClass = Literal["noun", "attribute", "action"]

WORD_CLASSES: tuple[WordClass, ...] = get_args(WordClass)

#: Modifiers of things that are not real: a toy car is not a car.
UNREAL_MODIFIERS = frozenset({
    "bronze", "candy", "cardboard", "cartoon", "chocolate", "fake", "gingerbread", "inflatable", "lego", "miniature",
    "model", "origami", "paper", "plush", "rubber", "sand", "snow", "statue", "stone", "stuffed", "toy",
})  # fmt: skip

#: Marks compounds in ``implies.tsv`` that do not imply their last word.
NOTHING = "-"

Key = tuple[WordClass, str]
T = TypeVar("T")


def word_class(kind: TagKind) -> WordClass:
    """Return the word class of a kind of tag."""
    return "noun" if kind in ("object", "scene") else kind  # type: ignore[return-value]


def singulars(name: str) -> Iterator[str]:
    """Yield names of which ``name`` may be the regular plural, most likely first."""
    if re.search(r"[^aeiou]ies$", name):
        yield name[:-3] + "y"
    if re.search(r"(s|x|z|ch|sh|o)es$", name):
        yield name[:-2]
    if re.search(r"[^su]s$", name):
        yield name[:-1]


def squash(name: str) -> str:
    """Remove blanks and hyphens, so that "skate board", "skate-board" and "skateboard" are the same."""
    return name.replace(" ", "").replace("-", "")


class NameIndex(Generic[T]):
    """Values by word class and name, which plurals and other spellings of compounds find too."""

    def __init__(self) -> None:
        self._exact: dict[Key, T] = {}
        self._squashed: dict[Key, T] = {}

    def add(self, words: WordClass, name: str, value: T) -> None:
        """Add a value, unless the name has one."""
        self._exact.setdefault((words, name), value)
        self._squashed.setdefault((words, squash(name)), value)

    def get(self, words: WordClass, name: str) -> T | None:
        """Return the value of the name, its singular, or another spelling of the compound, in this order."""
        forms = (name, *singulars(name)) if words == "noun" else (name,)
        for form in forms:
            if (found := self._exact.get((words, form))) is not None:
                return found
        for form in forms:
            if (found := self._squashed.get((words, squash(form)))) is not None:
                return found
        return None


@dataclass(frozen=True, slots=True)
class ImageNetClass:
    """One of the 1,000 classes.

    Attributes:
        wnid: "n" and the offset of its synset in WordNet 3.0.
        name: The class's tag, which several classes may share.
        note: Says so if the class's usual label is misleading.
    """

    wnid: str
    name: str
    note: str = ""


@dataclass(frozen=True)
class Knowledge:
    """The tables.

    Attributes:
        imagenet: The 1,000 classes in class order.
        parents: Tags that a tag implies directly; empty for a reviewed tag that implies none.
        scenes: Nouns that name a place or an occasion.
    """

    imagenet: tuple[ImageNetClass, ...]
    aliases: Mapping[Key, tuple[str, ...]]
    parents: Mapping[Key, tuple[str, ...]]
    blocked: frozenset[Key]
    scenes: frozenset[str]

    @cached_property
    def _names(self) -> NameIndex[str]:
        names: NameIndex[str] = NameIndex()
        known_aliases = {(words, alias) for (words, _), aliases in self.aliases.items() for alias in aliases}
        for key in self.reviewed():
            if key not in known_aliases:  # "woods" is one of the scenes, and an alias of "forest".
                names.add(*key, key[1])
        for (words, name), aliases in self.aliases.items():
            for alias in aliases:
                names.add(words, alias, name)
        return names

    def reviewed(self) -> Iterator[Key]:
        """Yield all tags in the tables except aliases, those that have aliases first."""
        yield from self.aliases
        for item in self.imagenet:
            yield "noun", item.name
        for (words, child), parents in self.parents.items():
            yield words, child
            yield from ((words, parent) for parent in parents)
        yield from (("noun", scene) for scene in sorted(self.scenes))

    def canonical(self, words: WordClass, name: str) -> str | None:
        """Return the reviewed tag of a name; ``None`` if no table has it."""
        return self._names.get(words, name)


@cache
def load_knowledge() -> Knowledge:
    """Load the tables that ship with the package.

    Raises:
        VocabularyError: If a table is malformed.
    """
    aliases: dict[Key, tuple[str, ...]] = {}
    imagenet = []
    for wnid, name, other, note in _rows("imagenet_tags.tsv", 4):
        imagenet.append(ImageNetClass(wnid, name, note))
        if other:
            aliases["noun", name] = tuple(other.split("; "))
    for words, name, other in _rows("synonyms.tsv", 3):
        key = (_checked("synonyms.tsv", words), name)
        aliases[key] = aliases.get(key, ()) + tuple(other.split("; "))
    parents: dict[Key, tuple[str, ...]] = {}
    for words, parent, children in _rows("implies.tsv", 3):
        for child in children.split("; "):
            key = (_checked("implies.tsv", words), child)
            parents[key] = parents.get(key, ()) + (() if parent == NOTHING else (parent,))
    blocked = frozenset(
        (_checked("blocked.tsv", words), name) for words, names in _rows("blocked.tsv", 2) for name in names.split("; ")
    )
    return Knowledge(tuple(imagenet), aliases, parents, blocked, scene_names())


def _rows(table: str, columns: int) -> Iterator[list[str]]:
    for number, line in enumerate(read_data(table).splitlines(), 1):
        if line and not line.startswith("#"):
            cells = line.split("\t")
            if len(cells) > columns:
                raise VocabularyError(f"{table}, line {number}: {len(cells)} columns where there are {columns}")
            yield cells + [""] * (columns - len(cells))


def _checked(table: str, words: str) -> WordClass:
    if words not in WORD_CLASSES:
        raise VocabularyError(f"{table}: unknown word class {words!r}; use one of {WORD_CLASSES}")
    return words
