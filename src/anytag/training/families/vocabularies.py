"""Choose the vocabulary of a run: a list or the tags of the data, combined with those of the initial model."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from anytag.datasets.paper_lists import read_tag_list
from anytag.datasets.sources import SampleSource
from anytag.errors import DataError, SampleError, UsageError, VocabularyError
from anytag.foundations.wording import counted
from anytag.language.parsing.parser import CaptionParser, ParsedTag
from anytag.language.tags.kinds import guess_kinds
from anytag.language.tags.vocabulary_builder import build_vocabulary
from anytag.model.names import normalize_name
from anytag.model.vocabulary import TagVocabulary, VocabularyTag
from anytag.recognition import TagKind
from anytag.training.families.data_sources import readable_samples
from anytag.training.recipes.config import VocabularyConfig


@dataclass(frozen=True)
class ChosenVocabulary:
    """The vocabulary of a run.

    Attributes:
        vocabulary: The tags, without thresholds, since training shifts the scores.
        origins: For every tag its id in the initial model's vocabulary; ``None``: the tag is new.
    """

    vocabulary: TagVocabulary
    origins: tuple[int | None, ...]


def choose_vocabulary(
    config: VocabularyConfig,
    start: TagVocabulary | None,
    file: Path | None,
    sources: Sequence[SampleSource],
    parser: CaptionParser | None,
    cache: Path,
) -> ChosenVocabulary:
    """Choose the vocabulary of a run from a file, or from the training data, combined with that of the initial model.

    The data are iterated once, without reading pictures, and their tags are cached.

    Raises:
        UsageError: If the data have no tags.
        VocabularyError: If the file cannot be read, or no tag is left.
    """
    if start is not None and config.change == "keep":
        return ChosenVocabulary(_without_thresholds(start), tuple(range(len(start))))
    wanted = read_vocabulary(file) if file is not None else _cached_of_data(config, start, sources, parser, cache)
    if start is None:
        return ChosenVocabulary(wanted, (None,) * len(wanted))
    # The model's tag of the same name or alias, preferably of the same kind.
    same = [start.find(tag.name, tag.kind) or start.find(tag.name) for tag in wanted]
    known = [None if tag is None else tag.id for tag in same]
    if config.change == "add":
        # The model's own tags keep their ids, so that earlier results stay valid.
        new = [tag for tag, id in zip(wanted, known, strict=True) if id is None]
        old = list(_without_thresholds(start))
        added = [replace(tag, id=len(old) + place, implies=()) for place, tag in enumerate(new)]
        return ChosenVocabulary(TagVocabulary([*old, *added]), (*range(len(old)), *[None] * len(added)))
    return _replaced(wanted, known, start)


def read_vocabulary(path: Path) -> TagVocabulary:
    """Read a ``vocabulary.json``, or a text file with one name per line, optionally followed by a tab and a kind.

    Missing kinds are guessed; if a name appears twice, each line is a sense of its own.

    Raises:
        VocabularyError: If it cannot be read, or a line is invalid.
    """
    if path.suffix == ".json":
        return TagVocabulary.load(path)
    try:
        names = read_tag_list(path)
    except (UsageError, SampleError) as error:
        raise VocabularyError(str(error)) from error
    guessed = guess_kinds([name.name for name in names])
    return TagVocabulary(
        VocabularyTag(id=place, name=name.name, kind=name.kind or kind, sources=("list",))
        for place, (name, kind) in enumerate(zip(names, guessed, strict=True))
    )


def _cached_of_data(
    config: VocabularyConfig,
    start: TagVocabulary | None,
    sources: Sequence[SampleSource],
    parser: CaptionParser | None,
    cache: Path,
) -> TagVocabulary:
    known = [] if start is None else [(tag.name, tag.kind) for tag in start]
    made_of = [
        config.model_dump(),
        [[source.identity, source.contents] for source in sources],
        parser and parser.name,
        known,
    ]
    path = cache / f"vocabulary-{hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]}.json"
    if not path.exists():
        found = _of_data(config, start, sources, parser)
        cache.mkdir(parents=True, exist_ok=True)
        found.save(path)
    return TagVocabulary.load(path)


def _of_data(
    config: VocabularyConfig,
    start: TagVocabulary | None,
    sources: Sequence[SampleSource],
    parser: CaptionParser | None,
) -> TagVocabulary:
    """Tags that samples list, then those in their captions."""
    named: Counter[tuple[str, TagKind | None]] = Counter()
    spelled: dict[tuple[str, TagKind | None], str] = {}
    parsed: list[list[ParsedTag]] = []
    problems: list[str] = []
    count = 0
    for sample in readable_samples(sources, problems):
        count += 1
        if config.read != "captions":
            for name in dict.fromkeys(sample.tags):
                key = (normalize_name(name.name), name.kind)
                named[key] += 1
                spelled.setdefault(key, name.name.strip())
        if config.read != "tags" and parser is not None and sample.captions and not sample.caption_tags:
            parsed.append([tag for tags in parser.parse_many(sample.captions) for tag in tags])
    # The most frequent first, so that the order does not depend on that of the files.
    kept = sorted((key for key, count in named.items() if count >= config.min_support), key=lambda k: (-named[k], k[0]))
    tags = list(_listed(kept, spelled, named, start))
    if parsed:
        known = {normalize_name(tag.name) for tag in tags}
        built = build_vocabulary(parsed, config.min_support, config.max_tags, config.imagenet)
        added = [tag for tag in built if normalize_name(tag.name) not in known]
        places = {tag.id: len(tags) + place for place, tag in enumerate(added)}
        tags += [
            replace(tag, id=places[tag.id], implies=tuple(places[id] for id in tag.implies if id in places))
            for tag in added
        ]
    if not tags and not count and problems:
        raise DataError(f"no sample can be read ({len(problems):,} tried).{_examples(problems)}")
    if not tags and not count:
        raise UsageError(f"there is no sample in the data ({', '.join(source.description for source in sources)})")
    if not tags and named:
        (common, _), most = named.most_common(1)[0]
        raise UsageError(
            f"none of the {len(named):,} tags that the data name is in {config.min_support:,} pictures "
            f"(vocabulary.min_support); the most frequent, {common!r}, is in {most:,}"
        )
    if not tags:
        unread = f". Nor can {counted(len(problems), 'sample')} be read.{_examples(problems)}" if problems else ""
        raise UsageError(
            f"no tag is named in the data ({counted(count, 'sample')}), neither by name nor in captions; give a list "
            f"as vocabulary.tags, or sources with captions or tags{unread}"
        )
    return TagVocabulary(tags)


def _examples(problems: Sequence[str]) -> str:
    return " The first:" + "".join(f"\n  {problem}" for problem in problems[:3])


def _listed(
    keys: Sequence[tuple[str, TagKind | None]],
    spelled: dict[tuple[str, TagKind | None], str],
    named: Counter[tuple[str, TagKind | None]],
    start: TagVocabulary | None,
) -> Iterator[VocabularyTag]:
    """Tags that the data list; missing kinds are those of the model's tags, or guessed."""
    guessed = guess_kinds([key[0] for key in keys])
    taken: set[tuple[str, TagKind]] = set()
    place = 0
    for key, guess in zip(keys, guessed, strict=True):
        known = start.find(key[0], key[1]) if start is not None else None
        kind = key[1] or (known.kind if known is not None else guess)
        if (key[0], kind) not in taken:
            taken.add((key[0], kind))
            yield VocabularyTag(id=place, name=spelled[key], kind=kind, support=named[key], sources=("data",))
            place += 1


def _replaced(wanted: TagVocabulary, found: Sequence[int | None], start: TagVocabulary) -> ChosenVocabulary:
    """The wanted tags alone; known ones keep the model's data, under the wanted name."""
    first = {known: place for place, known in reversed(list(enumerate(found))) if known is not None}
    tags, origins = [], []
    for place, (tag, known) in enumerate(zip(wanted, found, strict=True)):
        origin = known if known is not None and first[known] == place else None
        origins.append(origin)
        if origin is None:
            tags.append(replace(tag, implies=()))
            continue
        old = start[origin]
        others = {normalize_name(name): name for name in (old.name, *old.aliases)}
        others.pop(normalize_name(tag.name), None)
        implied = tuple(first[id] for id in old.implies if id in first and first[id] != place)
        translations = old.translations or tag.translations
        tags.append(
            replace(
                tag, aliases=tuple(others.values()), implies=implied, classes=old.classes, translations=translations
            )
        )
    return ChosenVocabulary(TagVocabulary(tags), tuple(origins))


def _without_thresholds(vocabulary: TagVocabulary) -> TagVocabulary:
    return TagVocabulary(replace(tag, threshold=None, threshold_from=None, shift=0.0) for tag in vocabulary)
