"""What the package knows of tags before it sees any data: reviewed tables of names.

Four tables lie in ``anytag/language/data``: ``synonyms.tsv`` (other names), ``implies.tsv`` (what follows from a
tag), ``blocked.tsv`` (words that name nothing to be seen) and ``imagenet_tags.tsv`` (the everyday name of each
ImageNet-1k class); ``scenes.txt`` lists the names of places. WordNet and counts over captions proposed their
entries, people decided: see ``docs/decisions/vocabulary.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Generic, Literal, TypeVar

from anytag.errors import VocabularyError
from anytag.language.parsing.lexicon import scene_names
from anytag.recognition import TagKind

#: Objects and scenes are both nouns, and share their names: whether "mountain" is a scene is no matter of its synonyms.
WordClass = Literal["noun", "attribute", "action"]

WORD_CLASSES: tuple[WordClass, ...] = ("noun", "attribute", "action")

#: A compound with one of these in front is not a real thing of its head's kind: a toy car is not a car.
UNREAL_MODIFIERS = frozenset({
    "bronze", "candy", "cardboard", "cartoon", "chocolate", "fake", "gingerbread", "inflatable", "lego", "miniature",
    "model", "origami", "paper", "plush", "rubber", "sand", "snow", "statue", "stone", "stuffed", "toy",
})  # fmt: skip

#: Row of ``implies.tsv`` for compounds from which their last word does not follow.
NOTHING = "-"

Key = tuple[WordClass, str]
T = TypeVar("T")


def word_class(kind: TagKind) -> WordClass:
    """The word class whose names a kind of tag uses."""
    return "noun" if kind in ("object", "scene") else kind  # type: ignore[return-value]


def singulars(name: str) -> Iterator[str]:
    """Names of which ``name`` may be the regular plural, likeliest first."""
    if re.search(r"[^aeiou]ies$", name):
        yield name[:-3] + "y"
    if re.search(r"(s|x|z|ch|sh|o)es$", name):
        yield name[:-2]
    if re.search(r"[^su]s$", name):
        yield name[:-1]


def squash(name: str) -> str:
    """A name without blanks and hyphens, so that "skate board", "skate-board" and "skateboard" are one."""
    return name.replace(" ", "").replace("-", "")


class NameIndex(Generic[T]):
    """Values by word class and name; plurals and differently joined words find them too."""

    def __init__(self) -> None:
        self._exact: dict[Key, T] = {}
        self._squashed: dict[Key, T] = {}

    def add(self, words: WordClass, name: str, value: T) -> None:
        """Enter a value; a name that is taken keeps what it has."""
        self._exact.setdefault((words, name), value)
        self._squashed.setdefault((words, squash(name)), value)

    def get(self, words: WordClass, name: str) -> T | None:
        """The value of the name, of its singular, or of the name joined another way, tried in this order."""
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
        name: Its tag; several classes may share one.
        note: Where the classifier's labels mislead, if they do.
    """

    wnid: str
    name: str
    note: str = ""


@dataclass(frozen=True)
class Knowledge:
    """The tables, read.

    Attributes:
        imagenet: The 1,000 classes in class order.
        aliases: Other names of a tag.
        parents: What follows from a tag, nearest steps only; empty for a reviewed tag from which nothing follows.
        blocked: Names that are not tags.
        scenes: Nouns that name a place or an occasion.
    """

    imagenet: tuple[ImageNetClass, ...]
    aliases: Mapping[Key, tuple[str, ...]]
    parents: Mapping[Key, tuple[str, ...]]
    blocked: frozenset[Key]
    scenes: frozenset[str]

    def __post_init__(self) -> None:
        names: NameIndex[str] = NameIndex()
        known_aliases = {(words, alias) for (words, _), aliases in self.aliases.items() for alias in aliases}
        for key in self.reviewed():
            if key not in known_aliases:  # "woods" is a scene to the parser, and an alias of "forest" here
                names.add(*key, key[1])
        for (words, name), aliases in self.aliases.items():
            for alias in aliases:
                names.add(words, alias, name)
        object.__setattr__(self, "_names", names)

    def reviewed(self) -> Iterator[Key]:
        """Every tag that the tables speak of (aliases apart); tags that have aliases come first."""
        yield from self.aliases
        for item in self.imagenet:
            yield "noun", item.name
        for (words, child), parents in self.parents.items():
            yield words, child
            yield from ((words, parent) for parent in parents)
        yield from (("noun", scene) for scene in sorted(self.scenes))

    def canonical(self, words: WordClass, name: str) -> str | None:
        """The reviewed tag that a name stands for; ``None`` if no table knows it."""
        names: NameIndex[str] = self._names  # type: ignore[attr-defined]
        return names.get(words, name)


@cache
def load_knowledge() -> Knowledge:
    """Read the tables that ship with the package.

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
    text = (files("anytag.language") / "data" / table).read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        if line and not line.startswith("#"):
            cells = line.split("\t")
            if len(cells) > columns:
                raise VocabularyError(f"{table}, line {number}: {len(cells)} columns where there are {columns}")
            yield cells + [""] * (columns - len(cells))


def _checked(table: str, words: str) -> WordClass:
    if words not in WORD_CLASSES:
        raise VocabularyError(f"{table}: unknown word class {words!r}; use one of {WORD_CLASSES}")
    return words
