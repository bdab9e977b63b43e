"""Build a vocabulary from the tags of many captions, and map a caption's tags to its ids."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from anytag.errors import VocabularyError
from anytag.language.parsing.rules import ParsedTag
from anytag.language.tags.knowledge import (
    UNREAL_MODIFIERS,
    Key,
    Knowledge,
    NameIndex,
    WordClass,
    load_knowledge,
    squash,
    word_class,
)
from anytag.model.names import normalize_name
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.recognition import TagKind

#: A noun is an action if captions use it this many times as often as a verb ("the leap" is "to leap").
_VERB_DOMINANCE = 1.5


class TagMapper:
    """Maps parsed tags to a vocabulary's ids.

    A name is looked up among names and aliases, then as a plural, then in another spelling ("skate board"). An unknown
    compound falls back to its head ("wooden dining table": "dining table"), unless its modifier says that it is not
    real ("toy car"). Other unknown names are dropped.
    """

    def __init__(self, vocabulary: TagVocabulary):
        self.vocabulary = vocabulary
        self._blocked = load_knowledge().blocked
        self._index: NameIndex[int] = NameIndex()
        # Names first, so that one tag's alias does not hide another's name.
        for tag in vocabulary:
            self._index.add(word_class(tag.kind), normalize_name(tag.name), tag.id)
        for tag in vocabulary:
            for alias in tag.aliases:
                self._index.add(word_class(tag.kind), normalize_name(alias), tag.id)
        self._classes = {word_class(tag.kind) for tag in vocabulary}
        self._known: dict[ParsedTag, tuple[int, ...]] = {}

    def __call__(self, tags: Iterable[ParsedTag], implied: bool = True) -> set[int]:
        """Return the ids of parsed tags, with those of the tags that they imply if ``implied``."""
        ids = {id for tag in tags for id in self.ids(tag)}
        return self.vocabulary.with_implied(ids) if implied else ids

    def ids(self, tag: ParsedTag) -> tuple[int, ...]:
        """Return the ids of one parsed tag, mostly one, none if it is unknown; without implied tags."""
        known = self._known.get(tag)
        if known is None:
            known = self._known[tag] = self._find(normalize_name(tag.name), word_class(tag.kind))
        return known

    def _find(self, name: str, words: WordClass) -> tuple[int, ...]:
        if words not in self._classes:
            words = "noun"  # In a vocabulary without kinds, everything is an object.
        if (found := self._index.get(words, name)) is not None:
            return (found,)
        if (words, name) in self._blocked and " " not in name:
            return ()
        if words == "noun":
            return self._back_off(name.split())
        if words == "attribute":
            if (found := self._index.get("action", name)) is not None:  # "smiling" is "to smile".
                return (found,)
            if " " in name and (found := self._index.get(words, name.split()[-1])) is not None:
                return (found,)
        return ()

    def _back_off(self, words: list[str]) -> tuple[int, ...]:
        if not UNREAL_MODIFIERS.isdisjoint(words[:-1]):
            return ()
        for start in range(1, len(words)):
            if (found := self._index.get("noun", " ".join(words[start:]))) is not None:
                return (found,)
        head = words[-1]
        action = None if ("noun", head) in self._blocked and len(words) == 1 else self._index.get("action", head)
        if action is None:
            return ()
        # Taggers take the verb of "a dog leap" for the head of a compound.
        return (*(self._find(" ".join(words[:-1]), "noun") if len(words) > 1 else ()), action)


def imagenet_tag_ids(vocabulary: TagVocabulary) -> list[int | None]:
    """Return the tag of each of the 1,000 ImageNet classes, in class order; ``None`` if the vocabulary lacks it."""
    mapper = TagMapper(vocabulary)
    ids = []
    for item in load_knowledge().imagenet:
        found = mapper.ids(ParsedTag(item.name, "object"))
        same = [i for i in found if vocabulary[i].name == item.name or item.name in vocabulary[i].aliases]
        ids.append(same[0] if same else None)
    return ids


@dataclass(frozen=True)
class CaptionTags:
    """Counts of the tags in captions.

    Attributes:
        named: Different tags, after merging synonyms and plurals.
        kept: Those that are in the vocabulary.
        rare: Those in too few pictures.
        surplus: Those beyond ``max_tags``.
    """

    pictures: int
    named: int
    kept: int
    rare: int
    surplus: int

    @property
    def unfit(self) -> int:
        """Those that are not good tags: blocked by the tables, single letters, verbs taken for nouns."""
        return self.named - self.kept - self.rare - self.surplus


def build_vocabulary(
    pictures: Iterable[Iterable[ParsedTag]],
    min_support: int = 8,
    max_tags: int | None = None,
    imagenet: bool = True,
    report: Callable[[CaptionTags], None] | None = None,
) -> TagVocabulary:
    """Build a vocabulary from the tags of pictures.

    Tags are merged by the reviewed tables and kept if enough pictures support them. ImageNet classes are added, and
    all tags that kept ones imply. Ids are ordered by falling support, then name, so that the result is reproducible.

    Args:
        pictures: For each picture, the tags of all its captions.
        min_support: Pictures that a tag from captions needs.
        max_tags: Most tags from captions; ImageNet classes and implied tags are added to these.
        imagenet: Add the 1,000 ImageNet classes.
        report: Receives the counts of the captions' tags.

    Returns:
        The vocabulary. ``support`` counts the pictures in which a tag is named or implied.

    Raises:
        VocabularyError: If ``min_support`` is less than 1, or no tag is left.
    """
    if min_support < 1:
        raise VocabularyError(f"min_support is {min_support}; it must be 1 or more")
    knowledge = load_knowledge()
    counts = _Counts.of(pictures, knowledge)
    fit = counts.frequent(min_support, knowledge)
    kept = fit[:max_tags]
    if report is not None:
        rare = sum(count < min_support for count in counts.by_key.values())
        report(CaptionTags(len(counts.pictures), len(counts.by_key), len(kept), rare, len(fit) - len(kept)))
    classes: set[Key] = {("noun", item.name) for item in knowledge.imagenet} if imagenet else set()
    draft = _assemble(set(kept), classes, counts, knowledge)
    if not draft:
        raise VocabularyError(f"none of {len(kept)} tags has the support of {min_support} pictures")
    support = counts.support(TagMapper(draft))
    order = sorted(draft, key=lambda tag: (-support[tag.id], tag.name, tag.kind))
    renumber = {tag.id: id for id, tag in enumerate(order)}
    return TagVocabulary(
        replace(tag, id=id, implies=tuple(sorted(renumber[i] for i in tag.implies)), support=support[tag.id])
        for id, tag in enumerate(order)
    )


@dataclass
class _Counts:
    """The tags of all pictures, each distinct tag stored once."""

    tags: list[ParsedTag] = field(default_factory=list)
    pictures: list[array[int]] = field(default_factory=list)
    by_key: Counter[Key] = field(default_factory=Counter)
    kinds: dict[Key, Counter[TagKind]] = field(default_factory=dict)

    @classmethod
    def of(cls, pictures: Iterable[Iterable[ParsedTag]], knowledge: Knowledge) -> _Counts:
        counts, numbers = cls(), dict[ParsedTag, int]()
        named: Counter[int] = Counter()
        for tags in pictures:
            indices = sorted({numbers.setdefault(tag, len(numbers)) for tag in tags})
            named.update(indices)
            counts.pictures.append(array("I", indices))
        counts.tags = list(numbers)
        # Singulars before plurals and common spellings before rare ones, in whatever order the pictures come.
        order = sorted(numbers, key=lambda tag: (len(squash(tag.name)), -named[numbers[tag]], tag.name))
        unknown: NameIndex[str] = NameIndex()
        keys = {numbers[tag]: _key(tag, knowledge, unknown) for tag in order}
        for numbered in counts.pictures:
            counts.by_key.update({keys[number] for number in numbered})
        for number, count in named.items():
            counts.kinds.setdefault(keys[number], Counter())[counts.tags[number].kind] += count
        return counts

    def frequent(self, min_support: int, knowledge: Knowledge) -> list[Key]:
        """Return the tags worth keeping, most frequent first."""
        reviewed = set(knowledge.reviewed())
        frequent = [
            (key, count)
            for key, count in self.by_key.items()
            if count >= min_support
            and key not in knowledge.blocked
            and (key in reviewed or (len(key[1]) > 1 and not self._is_verb(key, count, knowledge)))
        ]
        frequent.sort(key=lambda item: (-item[1], item[0]))
        return [key for key, _ in frequent]

    def _is_verb(self, key: Key, count: int, knowledge: Knowledge) -> bool:
        words, name = key
        head = name.split()[-1]
        if words == "action":
            return False
        as_action = self.by_key["action", knowledge.canonical("action", head) or head]
        if head == name:
            return as_action > _VERB_DOMINANCE * count
        return words == "noun" and as_action > _VERB_DOMINANCE * self.by_key["noun", head]

    def kind(self, key: Key, knowledge: Knowledge) -> TagKind:
        words, name = key
        if words != "noun":
            return words
        if name in knowledge.scenes:
            return "scene"
        counts = self.kinds.get(key, Counter())
        return "scene" if counts["scene"] > counts["object"] else "object"

    def support(self, mapper: TagMapper) -> list[int]:
        support = [0] * len(mapper.vocabulary)
        for numbers in self.pictures:
            for id in mapper(self.tags[number] for number in numbers):
                support[id] += 1
        return support


def _key(tag: ParsedTag, knowledge: Knowledge, unknown: NameIndex[str]) -> Key:
    words, name = word_class(tag.kind), normalize_name(tag.name)
    if (known := knowledge.canonical(words, name)) is not None:
        return words, known
    # A participle used as an adjective is the action of which it is an alias.
    if words == "attribute" and (known := knowledge.canonical("action", name)) is not None and known != name:
        return "action", known
    if (known := unknown.get(words, name)) is not None:
        return words, known
    unknown.add(words, name, name)
    return words, name


def _parents(key: Key, present: set[Key], knowledge: Knowledge) -> Sequence[str]:
    """Return the tags that a tag implies: by the tables, or for an unknown compound, its last word."""
    words, name = key
    if knowledge.canonical(words, name) is not None:
        return knowledge.parents.get(key, ())
    *modifiers, head = name.split()
    if words == "noun" and modifiers and UNREAL_MODIFIERS.isdisjoint(modifiers):
        head = knowledge.canonical("noun", head) or head
        if ("noun", head) in present and head != name:
            return (head,)
    return ()


def _assemble(captions: set[Key], imagenet: set[Key], counts: _Counts, knowledge: Knowledge) -> TagVocabulary:
    """Return a vocabulary, in no particular order, of the tags from captions, ImageNet's, and all that they imply."""
    wanted = captions | imagenet
    parents: dict[Key, Sequence[str]] = {}
    pending = sorted(wanted)
    while pending:
        key = pending.pop()
        if key not in parents:
            parents[key] = _parents(key, wanted, knowledge)
            pending.extend((key[0], parent) for parent in parents[key])
    ids = {key: id for id, key in enumerate(sorted(parents))}
    tags = []
    for key, id in ids.items():
        sources = [s for s, keys in (("captions", captions), ("imagenet", imagenet)) if key in keys]
        tags.append(
            VocabularyTag(
                id=id,
                name=key[1],
                kind=counts.kind(key, knowledge),
                aliases=knowledge.aliases.get(key, ()),
                implies=tuple(ids[key[0], parent] for parent in parents[key]),
                sources=tuple(sources) or ("implied",),
            )
        )
    return TagVocabulary(tags)
