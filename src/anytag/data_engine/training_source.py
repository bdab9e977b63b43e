"""A manifest with its pictures, as a source of training samples."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from anytag.data_engine.manifest import Manifest, PictureRecord
from anytag.datasets.offsets import Records, index_lines
from anytag.datasets.samples import Sample, TagName
from anytag.datasets.sources import IndexedSource, PartedSource, SampleSource
from anytag.errors import SampleError, UsageError
from anytag.model.vocabulary import TagVocabulary


def open_manifest(folder: str | Path, pictures: SampleSource) -> SampleSource:
    """Open a manifest as samples, with its captions and tags, and its source's pictures, boxes and validation labels.

    A sample's ``tags`` are those from all sources, ``caption_tags`` those that each caption names, and
    ``extra["caption_sources"]`` lists who wrote each caption. The result is indexed, and can be shuffled exactly, if
    the source is indexed and the manifest is in JSON lines.

    Raises:
        UsageError: If the manifest is of another source, or not complete.
    """
    manifest = Manifest.load(folder)
    check_source(manifest, pictures)
    if isinstance(pictures, IndexedSource) and manifest.format == "jsonl":
        return IndexedManifestSource(manifest, pictures)
    return ManifestSource(manifest, pictures)


def check_source(manifest: Manifest, pictures: SampleSource) -> None:
    """Check that a manifest describes a source.

    Raises:
        UsageError: If it does not.
    """
    if (manifest.source, manifest.parts) != (pictures.identity, pictures.parts):
        raise UsageError(
            f"{manifest.folder}: describes {manifest.source!r} in {manifest.parts} parts, not {pictures.identity!r} in "
            f"{pictures.parts}; give the same sources in the same order, or parse again"
        )


class ManifestSource(SampleSource):
    """A manifest with a source that is read from start to end."""

    pictures: SampleSource

    def __init__(self, manifest: Manifest, pictures: SampleSource):
        self.manifest, self.pictures = manifest, pictures
        self.vocabulary = manifest.vocabulary
        self.description = f"manifest {manifest.folder} over {pictures.description}"
        self.identity = f"manifest of {pictures.identity}"
        self.problems = pictures.problems

    @cached_property
    def picture_contents(self) -> str:
        return self.pictures.picture_contents

    def content_files(self) -> Iterable[Path]:
        return [*map(self.manifest.part, range(self.manifest.parts)), *self.pictures.content_files()]

    @property
    def parts(self) -> int:
        return self.manifest.parts

    def read(self, part: int, start: int = 0) -> Iterator[Sample | SampleError]:
        samples = enumerate(self.pictures.read(part))
        for number, item in enumerate(self.manifest.read(part)):
            if isinstance(item, SampleError):
                if number >= start:
                    yield item
                continue
            sample = next((sample for row, sample in samples if row == item.row), None)
            if number >= start:
                yield _joined(item, sample, self.vocabulary)


class IndexedManifestSource(PartedSource, ManifestSource):
    """A manifest in JSON lines with an indexed source."""

    pictures: IndexedSource

    def __init__(self, manifest: Manifest, pictures: IndexedSource):
        super().__init__(manifest, pictures)
        self._lines: list[Records] = [index_lines(manifest.part(part)) for part in range(manifest.parts)]
        self._set_sizes(map(len, self._lines))
        self.description = f"manifest {manifest.folder}: {len(self):,} of {len(pictures):,} pictures"
        self.identity = f"{self.identity}: {len(self)}"

    def __getitem__(self, index: int) -> Sample:
        part, line = self._place(index)
        place = f"{self.manifest.part(part).name}:{line + 1}"
        try:
            record = PictureRecord.from_json(json.loads(self._lines[part][line]), place)
        except ValueError as error:
            raise SampleError("row", f"not a line of JSON ({error})", place) from None
        rows = self.pictures.rows(part)
        sample = self.pictures[rows[record.row]] if record.row < len(rows) else None
        joined = _joined(record, sample, self.vocabulary)
        if isinstance(joined, SampleError):
            raise joined
        return joined


def _joined(
    record: PictureRecord, sample: Sample | SampleError | None, vocabulary: TagVocabulary
) -> Sample | SampleError:
    if sample is None:
        return SampleError("row", "the source has no such picture anymore", record.place)
    if isinstance(sample, SampleError):
        return sample
    if sample.id != record.id:
        return SampleError("row", f"the source has {sample.id!r} in place of {record.id!r}; parse again", record.place)

    def named(id: int) -> TagName:
        return TagName(vocabulary[id].name, vocabulary[id].kind)

    return Sample(
        id=sample.id,
        picture=sample.picture,
        captions=tuple(caption.text for caption in record.captions),
        labels=sample.labels,
        source=sample.source,
        extra={**sample.extra, "caption_sources": [caption.source for caption in record.captions]},
        tags=tuple(named(id) for id in sorted(record.tag_ids())),
        caption_tags=tuple(tuple(named(id) for id in caption.tags) for caption in record.captions),
        boxes=sample.boxes,
    )
