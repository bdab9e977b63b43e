"""Base classes of all sources of samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anytag.datasets.contents import digest_contents, digest_pictures
from anytag.datasets.offsets import Records
from anytag.datasets.samples import Sample
from anytag.errors import SampleError, UsageError

#: Rows per part of a source without natural parts.
ROWS_PER_PART = 4096

#: Attributes that change if a source's files do.
CONTENTS = ("contents", "picture_contents")

#: Pictures that are hashed, evenly spaced, since reading a million would take too long.
_PICTURES = 10_000


class SampleSource(ABC):
    """Samples in a fixed order.

    A source is a sequence of *parts* (shards, row groups, runs of rows), each read from its start. Reading does not
    change a source. Sources can be pickled, and read by several threads at once.

    Attributes:
        description: What was opened and how it is understood, for messages.
        identity: Identifies the data set when a run resumes, wherever its files are.
        problems: Errors that were found on opening and can be skipped, such as a shard's missing end.
    """

    description: str
    identity: str
    problems: tuple[SampleError, ...] = ()

    @cached_property
    def contents(self) -> str:
        """A hash of the source's files, which changes with their content."""
        return digest_contents(self.content_files())

    @cached_property
    def picture_contents(self) -> str:
        """A hash of up to 10,000 pictures that are files of their own; empty if there are none."""
        return ""

    def content_files(self) -> Iterable[Path]:
        """Return the local files that determine the samples."""
        return ()

    @property
    @abstractmethod
    def parts(self) -> int:
        """Number of parts."""

    @abstractmethod
    def read(self, part: int, start: int = 0) -> Iterator[Sample | SampleError]:
        """Yield the samples of a part after the first ``start``, with errors in place of unreadable ones."""

    def __iter__(self) -> Iterator[Sample]:
        """Yield all samples.

        Raises:
            SampleError: At the first unreadable sample. A stream of samples skips those instead.
        """
        for part in range(self.parts):
            for item in self.read(part):
                if isinstance(item, SampleError):
                    raise item
                yield item


class IndexedSource(SampleSource):
    """A source of known length with random access."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Read the sample of an index from 0.

        Raises:
            IndexError: If there is no such sample.
            SampleError: If it cannot be read.
        """

    @property
    def parts(self) -> int:
        return -(-len(self) // ROWS_PER_PART)

    def rows(self, part: int) -> range:
        """Return the indices of a part's samples."""
        return range(part * ROWS_PER_PART, min((part + 1) * ROWS_PER_PART, len(self)))

    def read(self, part: int, start: int = 0) -> Iterator[Sample | SampleError]:
        for index in self.rows(part)[start:]:
            try:
                yield self[index]
            except SampleError as error:
                yield error

    def _check(self, index: int) -> None:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.identity}: sample {index} of {len(self)}")


class FileSource(IndexedSource):
    """An indexed source whose pictures are files of their own."""

    @cached_property
    def picture_contents(self) -> str:
        samples = (item for item in spread(self, _PICTURES) if isinstance(item, Sample))
        return digest_pictures(sample.picture for sample in samples if isinstance(sample.picture, Path))


class RecordSource(FileSource):
    """The records of one file, by their offsets.

    Attributes:
        path: The file.
        folder: Folder of relative picture paths.
    """

    path: Path
    folder: Path
    _records: Records

    def content_files(self) -> Iterable[Path]:
        return [self.path]

    def __len__(self) -> int:
        return len(self._records)


class PartedSource(IndexedSource):
    """An indexed source with natural parts, such as shards."""

    _first: npt.NDArray[np.int64]

    def _set_sizes(self, sizes: Iterable[int]) -> None:
        """Set the number of samples in each part."""
        self._first = np.cumsum([0, *sizes])

    def __len__(self) -> int:
        return int(self._first[-1])

    @property
    def parts(self) -> int:
        return len(self._first) - 1

    def rows(self, part: int) -> range:
        return range(int(self._first[part]), int(self._first[part + 1]))

    def _place(self, index: int) -> tuple[int, int]:
        """Return a sample's part, and its row in it.

        Raises:
            IndexError: If there is no such sample.
        """
        self._check(index)
        part = int(np.searchsorted(self._first, index, "right")) - 1
        return part, index - int(self._first[part])


def spread(source: SampleSource, most: int) -> Iterator[Sample | SampleError]:
    """Yield at most ``most`` samples: evenly spaced if the source is indexed, else the first ones of its first part.

    Further parts of other sources might have to be downloaded.
    """
    if not isinstance(source, IndexedSource):
        yield from islice(source.read(0), most) if source.parts else ()
        return
    count = min(most, len(source))
    for number in range(count):
        try:
            yield source[number * len(source) // count]
        except SampleError as error:
            yield error


def contents_of(sources: Sequence[SampleSource]) -> dict[str, list[str]]:
    """Return the hashes that :func:`refuse_other_data` compares."""
    return {name: [str(getattr(source, name)) for source in sources] for name in CONTENTS}


def refuse_other_data(sources: Sequence[SampleSource], before: Mapping[str, Any]) -> None:
    """Refuse to continue a run with other data than had these :func:`contents_of`; missing hashes are not compared.

    Raises:
        UsageError: If the files of a source have changed.
    """
    for name in CONTENTS:
        for source, then in zip(sources, before.get(name, ()), strict=False):
            if getattr(source, name) != then:
                what = "the data" if name == "contents" else "the pictures"
                raise UsageError(
                    f"{source.identity}: {what} have changed since the run began, which would change what it learns, "
                    "and in which order. Restore them, or start a new run"
                )
