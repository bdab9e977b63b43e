"""Originals and generated, without what was removed: the manifest to train on next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from anytag.data_engine.manifest import (
    Manifest,
    ManifestCaption,
    PartFormat,
    PictureRecord,
)
from anytag.data_engine.parse import in_order
from anytag.data_engine.work import Digest, Outcome, PartsStep
from anytag.errors import SampleError, UsageError

#: What people and their captions say, before any model is asked.
ORIGINAL = ("given", "parsed")


@dataclass(frozen=True)
class MergeStep(PartsStep):
    """Several manifests of one source to one. A tag that any of them has removed is removed.

    Merging what was merged changes nothing, and the order of manifests does not matter but for their captions'.

    Attributes:
        folder: Where outputs go.
        manifests: One or more, with the same vocabulary.
        format: Of the parts.

    Raises:
        UsageError: If the manifests do not belong together.
    """

    name: ClassVar[str] = "merge"

    folder: Path
    manifests: tuple[Manifest, ...]
    format: PartFormat = "jsonl"

    def __post_init__(self) -> None:
        if not self.manifests:
            raise UsageError("give at least one manifest to merge")
        first = self.manifests[0]
        for other in self.manifests[1:]:
            if (other.source, other.parts) != (first.source, first.parts):
                raise UsageError(
                    f"{other.folder} and {first.folder} describe different pictures ({other.source}; {first.source})"
                )
            if other.vocabulary_path.read_bytes() != first.vocabulary_path.read_bytes():
                raise UsageError(
                    f"{other.folder} and {first.folder} have different vocabularies; run the later steps again"
                )

    @property
    def units(self) -> int:
        return self.manifests[0].parts

    def settings(self) -> dict[str, Any]:
        return {"format": self.format, "manifests": len(self.manifests)}

    def inputs(self, unit: int, known: Sequence[Digest] = ()) -> list[Digest]:
        """The part of every manifest."""
        # They are called alike, so that their place tells which is which.
        paths = [manifest.part(unit) for manifest in self.manifests]
        earlier = [*known, *[None] * len(paths)]
        return [Digest.of(path, before) for path, before in zip(paths, earlier, strict=False)]

    def records(self, unit: int, outcome: Outcome) -> Iterator[PictureRecord]:
        by_row: dict[int, list[PictureRecord]] = {}
        for manifest in self.manifests:
            for item in manifest.read(unit):
                if isinstance(item, SampleError):
                    outcome.fail(item)
                else:
                    by_row.setdefault(item.row, []).append(item)
        for row in sorted(by_row):
            made = merge_records(by_row[row])
            _count(outcome, made)
            outcome.show(lambda made=made: {  # type: ignore[misc]
                "id": made.id,
                "captions": [caption.text for caption in made.captions],
                "tags": sorted({tag.name for tag in made.tags}),
                "removed": sorted({entry.tag.name for entry in made.removed}),
            })  # fmt: skip
            yield made


def merge_records(records: Sequence[PictureRecord]) -> PictureRecord:
    """One record of several about the same picture.

    Captions are told apart by their text, human ones first; tags by id and source, of which the surest stays; whatever
    any record has removed is removed.
    """
    captions: dict[str, ManifestCaption] = {}
    for caption in sorted((c for record in records for c in record.captions), key=lambda c: c.source != "human"):
        captions.setdefault(caption.text, caption)
    removed = {
        (entry.tag.id, entry.tag.source): entry for record in reversed(records) for entry in reversed(record.removed)
    }
    gone = {id for id, _ in removed}
    tags = [tag for record in records for tag in record.tags if tag.id not in gone]
    return replace(
        records[0],
        captions=tuple(captions.values()),
        tags=in_order(tags),
        removed=tuple(removed[key] for key in sorted(removed)),
    )


def _count(outcome: Outcome, record: PictureRecord) -> None:
    """Tags before anything was generated, with all that was, and after cleaning; captions by source."""
    removed = {entry.tag.id for entry in record.removed}
    sources = [*record.tags, *(entry.tag for entry in record.removed)]
    outcome.counts.update(
        {
            "pictures_in": 1,
            "pictures_out": 1,
            "tags_original": len({tag.id for tag in sources if tag.source in ORIGINAL}),
            "tags_with_generated": len(record.tag_ids() | removed),
            "tags_removed": len(removed),
            "tags": len(record.tag_ids()),
        }
    )
    outcome.counts.update(
        f"tags_from_{source}" for source in {(tag.id, tag.source): tag.source for tag in record.tags}.values()
    )
    outcome.counts.update(f"captions_{caption.source}" for caption in record.captions)
