"""Merge original and generated captions and tags, without removed ones: the manifest for the next training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from anytag.data_engine.manifest import Manifest, ManifestCaption, PartFormat, PictureRecord
from anytag.data_engine.parse import in_order
from anytag.data_engine.work import Outcome, PartsStep
from anytag.errors import SampleError, UsageError

#: Sources of tags before any model is used.
ORIGINAL = ("given", "parsed")


@dataclass(frozen=True)
class MergeStep(PartsStep):
    """Merge several manifests of one source. A tag that is removed in any of them is removed.

    Merging is idempotent, and the order of manifests matters only for that of captions.

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

    def files(self, unit: int) -> list[Path]:
        return [manifest.part(unit) for manifest in self.manifests]

    def records(self, unit: int, outcome: Outcome) -> Iterator[PictureRecord]:
        by_row: dict[int, list[PictureRecord]] = {}
        for manifest in self.manifests:
            for item in manifest.read(unit):
                if isinstance(item, SampleError):
                    outcome.fail(item)
                else:
                    by_row.setdefault(item.row, []).append(item)
        for row in sorted(by_row):
            merged = merge_records(by_row[row])
            _count(outcome, merged)
            if outcome.needs_example:
                outcome.examples.append(
                    {
                        "id": merged.id,
                        "captions": [caption.text for caption in merged.captions],
                        "tags": sorted({tag.name for tag in merged.tags}),
                        "removed": sorted({entry.tag.name for entry in merged.removed}),
                    }
                )
            yield merged


def merge_records(records: Sequence[PictureRecord]) -> PictureRecord:
    """Merge records of the same picture.

    Captions are merged by text, human ones first, and tags by id and source, keeping the highest score. Tags that any
    record has removed are removed.
    """
    captions: dict[str, ManifestCaption] = {}
    for caption in sorted((c for record in records for c in record.captions), key=lambda c: c.source != "human"):
        captions.setdefault(caption.text, caption)
    removed = {
        (entry.tag.id, entry.tag.source): entry for record in reversed(records) for entry in reversed(record.removed)
    }
    removed_ids = {id for id, _ in removed}
    tags = [tag for record in records for tag in record.tags if tag.id not in removed_ids]
    return replace(
        records[0],
        captions=tuple(captions.values()),
        tags=in_order(tags),
        removed=tuple(removed[key] for key in sorted(removed)),
    )


def _count(outcome: Outcome, record: PictureRecord) -> None:
    """Count tags (original, with generated ones, and after cleaning) and captions by source."""
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
