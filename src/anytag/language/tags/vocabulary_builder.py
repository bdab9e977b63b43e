"""From the tags of many captions to a vocabulary, and from one caption's tags to vocabulary ids."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

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

#: A noun that captions use this many times more often as a verb is an action ("the leap" is "to leap").
_VERB_DOMINANCE = 1.5


class TagMapper:
    """Maps what a caption names to the ids of a vocabulary.

    A name is looked for among names and aliases, then as a plural, then joined another way ("skate board"). An
    unknown compound backs off to its head ("wooden dining table": "dining table"), but not where a word in front
    says that it is no such thing ("toy car"). What is still unknown is left out.

    Args:
        vocabulary: Whose ids are wanted.
    """

    def __init__(self, vocabulary: TagVocabulary):
        self.vocabulary = vocabulary
        self._blocked = load_knowledge().blocked
        self._index: NameIndex[int] = NameIndex()
        # Names go before aliases, so that no alias of one tag hides the name of another.
        for tag in vocabulary:
            self._index.add(word_class(tag.kind), normalize_name(tag.name), tag.id)
        for tag in vocabulary:
            for alias in tag.aliases:
                self._index.add(word_class(tag.kind), normalize_name(alias), tag.id)
        self._classes = {word_class(tag.kind) for tag in vocabulary}
        self._known: dict[ParsedTag, tuple[int, ...]] = {}

    def __call__(self, tags: Iterable[ParsedTag], implied: bool = True) -> set[int]:
        """Ids of the tags.

        Args:
            tags: Of one caption, or of all captions of a picture.
            implied: Add what follows from them.
        """
        ids = {id for tag in tags for id in self.ids(tag)}
        return self.vocabulary.with_implied(ids) if implied else ids

    def ids(self, tag: ParsedTag) -> tuple[int, ...]:
        """Ids that one parsed tag stands for: mostly one, none if it is unknown; nothing implied is added."""
        known = self._known.get(tag)
        if known is None:
            known = self._known[tag] = self._find(normalize_name(tag.name), word_class(tag.kind))
        return known

    def _find(self, name: str, words: WordClass) -> tuple[int, ...]:
        if words not in self._classes:
            words = "noun"  # a vocabulary without kinds calls everything an object
        if (found := self._index.get(words, name)) is not None:
            return (found,)
        if (words, name) in self._blocked and " " not in name:
            return ()
        if words == "noun":
            return self._back_off(name.split())
        if words == "attribute":
            if (found := self._index.get("action", name)) is not None:  # "smiling" is "to smile"
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
        # "a dog leap": taggers take the verb for the head of a compound.
        return (*(self._find(" ".join(words[:-1]), "noun") if len(words) > 1 else ()), action)


def imagenet_tag_ids(vocabulary: TagVocabulary) -> list[int | None]:
    """The tag of each of the 1,000 ImageNet classes, in class order; ``None`` where the vocabulary lacks it."""
    mapper = TagMapper(vocabulary)
    ids = []
    for item in load_knowledge().imagenet:
        found = mapper.ids(ParsedTag(item.name, "object"))
        same = [i for i in found if vocabulary[i].name == item.name or item.name in vocabulary[i].aliases]
        ids.append(same[0] if same else None)
    return ids


@dataclass(frozen=True)
class CaptionTags:
    """What became of the tags that captions named.

    Attributes:
        pictures: How many pictures there were.
        named: Different tags, synonyms and plurals folded.
        kept: Of those, how many are in the vocabulary.
        rare: How many too few pictures support.
        surplus: How many there was no room for.
    """

    pictures: int
    named: int
    kept: int
    rare: int
    surplus: int

    @property
    def unfit(self) -> int:
        """How many are not good tags: blocked by the tables, single letters, verbs taken for nouns."""
        return self.named - self.kept - self.rare - self.surplus


def build_vocabulary(
    pictures: Iterable[Iterable[ParsedTag]],
    min_support: int = 8,
    max_tags: int | None = None,
    imagenet: bool = True,
    report: Callable[[CaptionTags], None] | None = None,
) -> TagVocabulary:
    """Count tags over pictures and make a vocabulary of them.

    Tags are folded by the reviewed tables, kept if enough pictures support them, and joined by the ImageNet classes
    and by everything that follows from a kept tag. Ids go by falling support, then name, so that the same input
    gives the same vocabulary.

    Args:
        pictures: For every picture the tags of all its captions.
        min_support: Pictures that a caption tag needs.
        max_tags: Keep at most this many caption tags; ImageNet classes and implied tags come on top.
        imagenet: Let the 1,000 ImageNet classes in.
        report: Is told what became of the captions' tags.

    Returns:
        The vocabulary. ``support`` counts the pictures in which a tag is true, named or implied.

    Raises:
        VocabularyError: If ``min_support`` is less than 1 or no tag is left.
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
    wanted = dict.fromkeys(kept, "captions")
    names: set[Key] = {("noun", item.name) for item in knowledge.imagenet} if imagenet else set()
    draft = _assemble(set(kept) | names, kept, names, counts, knowledge)
    if not draft:
        raise VocabularyError(f"none of {len(wanted)} tags has the support of {min_support} pictures")
    support = counts.support(TagMapper(draft))
    order = sorted(draft, key=lambda tag: (-support[tag.id], tag.name, tag.kind))
    renumber = {tag.id: place for place, tag in enumerate(order)}
    return TagVocabulary(
        VocabularyTag(
            id=place,
            name=tag.name,
            kind=tag.kind,
            aliases=tag.aliases,
            implies=tuple(sorted(renumber[i] for i in tag.implies)),
            support=support[tag.id],
            sources=tag.sources,
        )
        for place, tag in enumerate(order)
    )


@dataclass
class _Counts:
    """Tags of all pictures, each distinct tag stored once."""

    tags: list[ParsedTag] = field(default_factory=list)
    pictures: list[array[int]] = field(default_factory=list)
    by_key: Counter[Key] = field(default_factory=Counter)
    kinds: dict[Key, Counter[TagKind]] = field(default_factory=dict)

    @classmethod
    def of(cls, pictures: Iterable[Iterable[ParsedTag]], knowledge: Knowledge) -> _Counts:
        counts, numbers = cls(), dict[ParsedTag, int]()
        named: Counter[int] = Counter()
        for tags in pictures:
            seen = sorted({numbers.setdefault(tag, len(numbers)) for tag in tags})
            named.update(seen)
            counts.pictures.append(array("I", seen))
        counts.tags = list(numbers)
        # Singulars come before plurals and usual spellings before rare ones, whatever the order of the pictures.
        order = sorted(numbers, key=lambda tag: (len(squash(tag.name)), -named[numbers[tag]], tag.name))
        unknown: NameIndex[str] = NameIndex()
        keys = {numbers[tag]: _key(tag, knowledge, unknown) for tag in order}
        for numbered in counts.pictures:
            counts.by_key.update({keys[number] for number in numbered})
        for number, count in named.items():
            counts.kinds.setdefault(keys[number], Counter())[counts.tags[number].kind] += count
        return counts

    def frequent(self, min_support: int, knowledge: Knowledge) -> list[Key]:
        """Caption tags worth keeping, most frequent first."""
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
        seen = self.kinds.get(key, Counter())
        return "scene" if seen["scene"] > seen["object"] else "object"

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
    # A participle used as an adjective is the action that the tables list it under.
    if words == "attribute" and (known := knowledge.canonical("action", name)) is not None and known != name:
        return "action", known
    if (known := unknown.get(words, name)) is not None:
        return words, known
    unknown.add(words, name, name)
    return words, name


def _parents(key: Key, present: set[Key], knowledge: Knowledge) -> Sequence[str]:
    """What follows from a tag by the table or, for a compound that no table knows, by its last word."""
    words, name = key
    if knowledge.canonical(words, name) is not None:
        return knowledge.parents.get(key, ())
    *modifiers, head = name.split()
    if words == "noun" and modifiers and UNREAL_MODIFIERS.isdisjoint(modifiers):
        head = knowledge.canonical("noun", head) or head
        if ("noun", head) in present and head != name:
            return (head,)
    return ()


def _assemble(
    wanted: set[Key], captions: Iterable[Key], imagenet: set[Key], counts: _Counts, knowledge: Knowledge
) -> TagVocabulary:
    """A vocabulary of the wanted tags and all that follows from them, in no particular order."""
    from_captions = set(captions)
    parents: dict[Key, Sequence[str]] = {}
    pending = sorted(wanted)
    while pending:
        key = pending.pop()
        if key not in parents:
            parents[key] = _parents(key, wanted, knowledge)
            pending.extend((key[0], parent) for parent in parents[key])
    ids = {key: place for place, key in enumerate(sorted(parents))}
    tags = []
    for key, place in ids.items():
        sources = [s for s, keys in (("captions", from_captions), ("imagenet", imagenet)) if key in keys]
        tags.append(
            VocabularyTag(
                id=place,
                name=key[1],
                kind=counts.kind(key, knowledge),
                aliases=knowledge.aliases.get(key, ()),
                implies=tuple(ids[key[0], parent] for parent in parents[key]),
                sources=tuple(sources) or ("implied",),
            )
        )
    return TagVocabulary(tags)
