"""Parse captions into tags, and map tags to ids (Tag2Text, section 3.2; RAM, section 3.1).

There are three steps, so that another vocabulary does not require parsing again: captions to names, names to a label
system (unless one is given), names to its ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from anytag.data_engine.inputs import digest_part
from anytag.data_engine.label_system import LabelSystemConfig, build_label_system
from anytag.data_engine.manifest import ManifestCaption, ManifestTag, PartFormat, PictureRecord, TagSource
from anytag.data_engine.work import Digest, Outcome, PartsStep, Step
from anytag.datasets.samples import TagName
from anytag.datasets.sources import SampleSource
from anytag.errors import DataError, SampleError
from anytag.language.parsing.parser import ParserName, load_parser
from anytag.language.parsing.rules import ParsedTag
from anytag.language.tags.tag_ids import TagIds
from anytag.language.tags.vocabulary_builder import TagMapper
from anytag.model.vocabulary import TagVocabulary


@dataclass(frozen=True)
class NamesStep(Step):
    """Parse captions to names of tags: ``names-00000.jsonl``, with the captions."""

    name: ClassVar[str] = "parse captions"
    noun: ClassVar[str] = "names"

    folder: Path
    source: SampleSource
    parser: ParserName = "auto"

    @property
    def units(self) -> int:
        return self.source.parts

    def settings(self) -> dict[str, Any]:
        return {"parser": self.parser}

    def inputs(self, unit: int, known: Sequence[Digest] = ()) -> list[Digest]:
        return digest_part(self.source, unit, known)

    def run(self, unit: int, output: Path) -> Outcome:
        outcome, parser = Outcome(), load_parser(self.parser)
        with output.open("w", encoding="utf-8") as handle:
            for row, item in enumerate(self.source.read(unit)):
                outcome.counts["pictures_in"] += 1
                if isinstance(item, SampleError):
                    outcome.fail(item)
                    continue
                names = [[[tag.name, tag.kind] for tag in tags] for tags in parser.parse_many(item.captions)]
                outcome.counts["captions"] += len(item.captions)
                record = {
                    "id": item.id,
                    "place": item.place,
                    "row": row,
                    "captions": list(item.captions),
                    "names": names,
                    "given": [[tag.name, tag.kind] for tag in item.tags],
                }
                handle.write(json.dumps(record, ensure_ascii=False) + "\n")
        return outcome


@dataclass(frozen=True)
class LabelsStep(Step):
    """Build a vocabulary from the names in all parts: one unit, ``vocabulary.json``."""

    name: ClassVar[str] = "make label system"
    noun: ClassVar[str] = "vocabulary"

    folder: Path
    names: NamesStep
    config: LabelSystemConfig

    @property
    def units(self) -> int:
        return 1

    def output(self, unit: int) -> Path:
        return self.folder / "vocabulary.json"

    def settings(self) -> dict[str, Any]:
        return {"label_system": self.config.model_dump()}

    def files(self, unit: int) -> list[Path]:
        return self.names.outputs()

    def run(self, unit: int, output: Path) -> Outcome:
        def pictures() -> Iterator[set[ParsedTag]]:
            for path in self.names.outputs():
                for record in read_names(path):
                    named = {ParsedTag(*tag) for tags in record["names"] for tag in tags}
                    yield named | {ParsedTag(name, kind or "object") for name, kind in record["given"]}

        vocabulary, counts = build_label_system(pictures, self.config)
        vocabulary.save(output)
        return Outcome(counts)


@dataclass(frozen=True)
class IdsStep(PartsStep):
    """Map names to ids: the parts of a manifest."""

    name: ClassVar[str] = "map tags"

    folder: Path
    names: NamesStep
    vocabulary: Path
    format: PartFormat = "jsonl"

    @property
    def units(self) -> int:
        return self.names.units

    def settings(self) -> dict[str, Any]:
        return {"format": self.format}

    def files(self, unit: int) -> list[Path]:
        return [self.names.output(unit), self.vocabulary]

    def records(self, unit: int, outcome: Outcome) -> Iterator[PictureRecord]:
        ids = load_ids(self.vocabulary)
        for record in read_names(self.names.output(unit)):
            captions = tuple(
                ManifestCaption(text, tags=tuple(sorted(ids.of_parsed(ParsedTag(*tag) for tag in tags))))
                for text, tags in zip(record["captions"], record["names"], strict=True)
            )
            given = ids.of_names(TagName(*tag) for tag in record["given"])
            parsed = {id for caption in captions for id in caption.tags}
            tags = (*as_tags(ids.vocabulary, given, "given"), *as_tags(ids.vocabulary, parsed, "parsed"))
            made = PictureRecord(record["id"], record["place"], record["row"], captions, in_order(tags))
            outcome.counts.update(
                {
                    "pictures_out": 1,
                    "tags_parsed": len(parsed),
                    "tags_given": len(given),
                    "pictures_without_tags": not made.tags,
                }
            )
            if parsed and outcome.needs_example:
                names = [tag.name for tag in made.tags]
                texts = [caption.text for caption in made.captions]
                outcome.examples.append({"id": made.id, "captions": texts, "tags": names})
            yield made
        outcome.counts.update(ids.unknown)


def as_tags(vocabulary: TagVocabulary, ids: Iterable[int], source: TagSource) -> Iterator[ManifestTag]:
    """Convert ids to a manifest's tags, ascending."""
    for id in sorted(ids):
        yield ManifestTag(id, vocabulary[id].name, vocabulary[id].kind, source)


def in_order(tags: Sequence[ManifestTag]) -> tuple[ManifestTag, ...]:
    """Sort tags by id, then source; of duplicates, keep the highest score."""
    best: dict[tuple[int, str], ManifestTag] = {}
    for tag in tags:
        kept = best.get((tag.id, tag.source))
        if kept is None or (tag.score or 0) > (kept.score or 0):
            best[tag.id, tag.source] = tag
    return tuple(best[key] for key in sorted(best))


def read_names(path: Path) -> Iterator[dict[str, Any]]:
    """Read the lines of a :class:`NamesStep`.

    Raises:
        DataError: If one is damaged: the engine writes only complete files, so none of this one can be trusted.
    """
    with path.open(encoding="utf-8") as handle:
        for number, line in enumerate(handle, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number}: damaged ({error}); delete the file and run the step again") from None


@cache
def _mapper(path: Path, changed: int) -> TagMapper:
    return TagMapper(TagVocabulary.load(path))


def load_ids(path: Path) -> TagIds:
    """Load the ids of a vocabulary's file, which is read again only when it changes, with new counts."""
    mapper = _mapper(path, path.stat().st_mtime_ns)
    return TagIds(mapper.vocabulary, mapper=mapper)
