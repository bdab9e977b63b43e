"""Build a label system from captions: tags, their names, and which names are the same tag.

RAM's has 6,449 labels that fold into 4,585 ids, chosen by hand from the 10,000 tags that 14 million captions name most
often (section 3.1); Tag2Text's has 3,429 of the 5,000 most frequent (section 3.2). Here tags are chosen by frequency,
and the package's reviewed tables fold synonyms, block invisible things, and define implications.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from pydantic import Field

from anytag.errors import VocabularyError
from anytag.foundations.settings import Settings
from anytag.language.parsing.rules import ParsedTag
from anytag.language.tags.vocabulary_builder import TagMapper, build_vocabulary
from anytag.model.vocabulary import TagVocabulary
from anytag.recognition import TAG_KINDS


class LabelSystemConfig(Settings):
    """How to build a label system.

    Attributes:
        labels: Most frequent names to use; they fold into fewer ids (RAM: 6,449 of the top 10,000; Tag2Text: top
            5,000). ``None``: all.
        size: Most ids, by number of pictures (RAM: 4,585; Tag2Text: 3,429). ``None``: all.
        min_support: Pictures that a tag needs. The papers have no limit; rarer tags can hardly be learned.
        imagenet: Add the 1,000 ImageNet classes; the papers cover them in part.
    """

    labels: int | None = Field(default=None, ge=1)
    size: int | None = Field(default=None, ge=1)
    min_support: int = Field(default=8, ge=1)
    imagenet: bool = False


def build_label_system(
    pictures: Callable[[], Iterable[Iterable[ParsedTag]]], config: LabelSystemConfig
) -> tuple[TagVocabulary, Counter[str]]:
    """Choose tags by frequency, merge their names, and assign their kinds.

    ``pictures``, called more than once, returns for every picture the tags of all its captions.

    Returns:
        The vocabulary, ids by falling support; and counts: ``names`` in the captions, ``names_kept``, ``labels`` (those
        of them that the vocabulary knows, exactly or in another spelling), ``ids``, and ids by kind.

    Raises:
        VocabularyError: If no tag is left.
    """
    named: Counter[ParsedTag] = Counter()
    for tags in pictures():
        named.update(set(tags))
    kept = named
    if config.labels is not None:
        best = sorted(named.items(), key=lambda item: (-item[1], item[0].name, item[0].kind))[: config.labels]
        kept = Counter(dict(best))

    def chosen() -> Iterator[list[ParsedTag]]:
        return ([tag for tag in tags if tag in kept] for tags in pictures())

    vocabulary = build_vocabulary(chosen(), config.min_support, imagenet=config.imagenet)
    if config.size is not None and len(vocabulary) > config.size:
        size = config.size
        # Implied tags have at least the support of the tag that implies them, so none of them is cut off.
        vocabulary = vocabulary.select(lambda tag: tag.id < size)
    if not len(vocabulary):
        raise VocabularyError("the captions name no tag that can be kept")
    counts = Counter({"names": len(named), "names_kept": len(kept), "ids": len(vocabulary)})
    mapper = TagMapper(vocabulary)
    counts["labels"] = sum(1 for tag in kept if _is_known(mapper, tag))
    counts.update({f"ids_{kind}": sum(tag.kind == kind for tag in vocabulary) for kind in TAG_KINDS})
    return vocabulary, counts


def _is_known(mapper: TagMapper, tag: ParsedTag) -> bool:
    """Return whether the vocabulary has a name itself, rather than the head of a compound."""
    words = len(tag.name.split())
    return any(
        any(len(name.split()) >= words for name in (entry.name, *entry.aliases))
        for id in mapper.ids(tag)
        for entry in (mapper.vocabulary[id],)
    )
