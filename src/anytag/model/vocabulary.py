"""The tag vocabulary: the tags of a model with their names, kinds, thresholds and relations.

Tags are identified by ids, not names: "train" the vehicle and "train" the action are two tags.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from anytag.errors import VocabularyError
from anytag.foundations.atomic_files import write_text
from anytag.model.names import normalize_name
from anytag.model.translations import TRANSLATIONS_FILE, Translations, read_translations
from anytag.recognition import TAG_KINDS, TagKind

#: Version of the file layout; a reader refuses a newer one.
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class VocabularyTag:
    """One tag.

    Attributes:
        id: Position in the vocabulary.
        name: Preferred name: lower case, singular or base form.
        aliases: Synonyms ("motorbike" for "motorcycle").
        implies: Ids of tags that are true whenever this one is ("dog" implies "animal").
        support: Number of training pictures for which the tag is true, named or implied.
        shift: Log-odds to subtract from the model's logit, which calibrates tags against each other.
        threshold: Lowest score at which the tag is returned; ``None``: the model's default.
        threshold_from: Origin of the threshold ("validation F1, 2,000 pictures").
        sources: Origin of the tag: "captions", "imagenet", "implied" (only implied by other tags).
        classes: Classes of the image encoder's classifier that are this tag.
        translations: Names in other languages, by language code.
    """

    id: int
    name: str
    kind: TagKind
    aliases: tuple[str, ...] = ()
    implies: tuple[int, ...] = ()
    support: int = 0
    shift: float = 0.0
    threshold: float | None = None
    threshold_from: str | None = None
    sources: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    translations: tuple[tuple[str, str], ...] = ()


class TagVocabulary:
    """An ordered set of tags with look-up by id, name and alias.

    Args:
        tags: Tags with ids 0, 1, 2, ….
        table: A file of names in other languages (:mod:`anytag.model.translations`), read on first use. Translations of
            the tags themselves take precedence.

    Raises:
        VocabularyError: If ids are not consecutive, a kind is unknown, an implied id does not exist, or two tags of one
            kind share a name.
    """

    def __init__(self, tags: Iterable[VocabularyTag], table: Path | None = None):
        self._tags, self._table = tuple(tags), table
        self._by_name: dict[str, list[int]] = {}
        self._by_alias: dict[str, list[int]] = {}
        seen: set[tuple[str, str]] = set()
        for position, tag in enumerate(self._tags):
            if tag.id != position:
                raise VocabularyError(f"tag {tag.name!r} has id {tag.id} but stands at place {position}")
            if tag.kind not in TAG_KINDS:
                raise VocabularyError(f"tag {tag.name!r} has the unknown kind {tag.kind!r}; use one of {TAG_KINDS}")
            if (tag.name, tag.kind) in seen:
                raise VocabularyError(f"two tags of kind {tag.kind!r} are called {tag.name!r}")
            seen.add((tag.name, tag.kind))
            if bad := [i for i in tag.implies if not 0 <= i < len(self._tags)]:
                raise VocabularyError(f"tag {tag.name!r} implies ids that do not exist: {bad}")
            self._by_name.setdefault(normalize_name(tag.name), []).append(position)
            for alias in tag.aliases:
                self._by_alias.setdefault(normalize_name(alias), []).append(position)

    def __len__(self) -> int:
        return len(self._tags)

    def __iter__(self) -> Iterator[VocabularyTag]:
        return iter(self._tags)

    def __getitem__(self, id: int) -> VocabularyTag:
        return self._tags[id]

    def find(self, name: str, kind: TagKind | None = None) -> VocabularyTag | None:
        """Find a tag by its name, or else by an alias.

        Args:
            name: Case does not matter; spaces and underscores are equal.
            kind: Only a tag of this kind; ``None``: the first kind in :data:`~anytag.recognition.TAG_KINDS`.
        """
        key = normalize_name(name)
        for table in (self._by_name, self._by_alias):
            found = [self._tags[i] for i in table.get(key, ()) if kind is None or self._tags[i].kind == kind]
            if found:
                return min(found, key=lambda tag: TAG_KINDS.index(tag.kind))
        return None

    def with_alias(self, name: str) -> list[VocabularyTag]:
        """All tags with an alias, of any kind."""
        return [self._tags[place] for place in self._by_alias.get(normalize_name(name), ())]

    @cached_property
    def translations(self) -> Translations:
        """Names in other languages.

        Raises:
            VocabularyError: If their table cannot be read.
        """
        table = {} if self._table is None else read_translations(self._table)
        names: dict[str, dict[int, str]] = {}
        for tag in self._tags:
            for code, name in (table.get((tag.name, tag.kind), {}) | dict(tag.translations)).items():
                names.setdefault(code, {})[tag.id] = name
        return Translations(names)

    def search(self, text: str, limit: int = 20) -> list[VocabularyTag]:
        """Tags with a name in any language, or alias, that contains the text; exact matches and frequent tags first."""
        key = normalize_name(text)
        named = {
            tag.id: [normalize_name(n) for n in (tag.name, *tag.aliases, *self.translations.of(tag.id).values())]
            for tag in self._tags
        }

        def rank(tag: VocabularyTag) -> tuple[int, int]:
            names = named[tag.id]
            exact = 0 if key in names else 1 if any(key in n.split() for n in names) else 2
            return exact, -tag.support

        hits = [tag for tag in self._tags if any(key in name for name in named[tag.id])]
        return sorted(hits, key=rank)[:limit]

    def describe(self, tag: VocabularyTag) -> dict[str, Any]:
        """A tag as a JSON line, with the names of the tags that it implies directly."""
        return {
            "id": tag.id,
            "name": tag.name,
            "kind": tag.kind,
            "support": tag.support,
            "aliases": list(tag.aliases),
            "implies": [self._tags[i].name for i in tag.implies],
            "threshold": tag.threshold,
            "sources": list(tag.sources),
        }

    def with_implied(self, ids: Iterable[int]) -> set[int]:
        """The ids and those that they imply, directly or not."""
        result: set[int] = set()
        pending = list(ids)
        while pending:
            id = pending.pop()
            if id not in result:
                result.add(id)
                pending.extend(self._tags[id].implies)
        return result

    def most_specific(self, ids: Iterable[int]) -> set[int]:
        """The ids without those that another one implies (without "dog" if there is "puppy")."""
        kept = set(ids)
        return kept - {other for id in kept for other in self.with_implied(self._tags[id].implies) if other != id}

    def path(self, id: int) -> tuple[str, ...]:
        """Names from the most general tag down to this one: ``("animal", "dog", "puppy")``.

        Of several parents, the one with most support is used, so that every tag has one path.
        """
        names: list[str] = []
        seen: set[int] = set()
        while id not in seen:
            seen.add(id)
            tag = self._tags[id]
            names.append(tag.name)
            id = max(tag.implies, key=lambda i: (self._tags[i].support, -i), default=id)
        return tuple(reversed(names))

    def select(self, keep: Callable[[VocabularyTag], bool]) -> TagVocabulary:
        """A smaller vocabulary with new consecutive ids, without implications of dropped tags."""
        kept = [tag for tag in self._tags if keep(tag)]
        renumber = {tag.id: position for position, tag in enumerate(kept)}
        return TagVocabulary(
            (
                replace(tag, id=renumber[tag.id], implies=tuple(renumber[i] for i in tag.implies if i in renumber))
                for tag in kept
            ),
            self._table,
        )

    def to_json(self) -> dict[str, Any]:
        """The content of ``vocabulary.json``, without empty fields."""
        tags = []
        for tag in self._tags:
            record = {k: v for k, v in asdict(tag).items() if v not in ((), None) and (v or k in ("id", "threshold"))}
            if tag.translations:
                record["translations"] = dict(tag.translations)
            tags.append(record)
        return {"format": FORMAT_VERSION, "tags": tags}

    @classmethod
    def from_json(cls, record: dict[str, Any], source: str = "vocabulary", table: Path | None = None) -> TagVocabulary:
        """Create a vocabulary from the result of :meth:`to_json`.

        Args:
            source: Its name in errors.
            table: A file of names in other languages.

        Raises:
            VocabularyError: If the record has a newer format or is not a vocabulary.
        """
        if not isinstance(record, dict) or "tags" not in record:
            raise VocabularyError(f"{source}: not a vocabulary (no 'tags'); make one with: anytag vocabulary build")
        if record.get("format", 0) > FORMAT_VERSION:
            raise VocabularyError(f"{source}: format {record['format']} is newer than this anytag reads; update anytag")
        known = {f.name for f in fields(VocabularyTag)}
        tags = []
        for place, entry in enumerate(record["tags"]):
            if unknown := set(entry) - known:
                raise VocabularyError(f"{source}: tag {place} has unknown fields {sorted(unknown)}")
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
            values["translations"] = tuple(entry.get("translations", {}).items())
            try:
                tags.append(VocabularyTag(**values))
            except TypeError as error:
                raise VocabularyError(f"{source}: tag {place}: {error}") from None
        return cls(tags, table)

    def save(self, path: str | Path) -> None:
        """Write ``vocabulary.json`` atomically, one tag per line."""
        path = Path(path)
        record = self.to_json()
        lines = ",\n".join(json.dumps(tag, ensure_ascii=False) for tag in record["tags"])
        text = f'{{"format": {record["format"]}, "tags": [\n{lines}\n]}}\n'
        write_text(path, text)

    @classmethod
    def load(cls, path: str | Path) -> TagVocabulary:
        """Read a ``vocabulary.json``, with the table of names in other languages beside it.

        Raises:
            VocabularyError: If the file is missing, not JSON, or not a vocabulary.
        """
        path = Path(path)
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise VocabularyError(f"{path}: no such vocabulary file") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise VocabularyError(f"{path}: not a JSON file ({error})") from None
        table = path.with_name(TRANSLATIONS_FILE)
        return cls.from_json(record, str(path), table if table.is_file() else None)
