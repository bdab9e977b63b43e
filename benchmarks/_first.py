"""The beginning of a source, for quick runs."""

from __future__ import annotations

from anytag.datasets.samples import Sample
from anytag.datasets.sources import IndexedSource


class First(IndexedSource):
    """The first samples of a source."""

    def __init__(self, source: IndexedSource, count: int):
        self.source, self.count = source, min(count, len(source))
        self.paths = source.paths  # type: ignore[attr-defined]
        self.description = self.identity = f"the first {self.count} of {source.identity}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        return self.source[index]
