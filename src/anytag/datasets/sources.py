"""What every source of samples offers: its length where it is known, a way through, and a cheap way back in."""

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
from anytag.datasets.samples import Sample
from anytag.errors import SampleError, UsageError

#: Rows that make a part of a source which has no natural parts.
ROWS_PER_PART = 4096

#: By which attributes it is known whether a source's files have changed.
CONTENTS = ("contents", "picture_contents")

#: Pictures that a source is known by, evenly spread: to read a million would take too long.
_PICTURES = 10_000


class SampleSource(ABC):
    """Samples in a fixed order.

    A source is a row of *parts* (shards, row groups, runs of rows), each read from its start. Reading a source neither
    changes it nor keeps what was read. Sources can be pickled, and may be read by several threads at once.

    Attributes:
        description: What was opened and how it is understood, for people.
        identity: Tells data sets apart when a run is resumed; does not depend on where the data lies.
        problems: What was found wrong when it was opened and could be left out, such as the lost end of a shard.
    """

    description: str
    identity: str
    problems: tuple[SampleError, ...] = ()

    @cached_property
    def contents(self) -> str:
        """Changes when what the source's files hold does: a mended caption, another shard under the same name."""
        return digest_contents(self.content_files())

    @cached_property
    def picture_contents(self) -> str:
        """Changes when pictures in files of their own do, as far as 10,000 of them tell; empty where there are none."""
        return ""

    def content_files(self) -> Iterable[Path]:
        """The files whose content decides what the samples are; none for data that lie elsewhere."""
        return ()

    @property
    @abstractmethod
    def parts(self) -> int:
        """How many parts there are."""

    @abstractmethod
    def read(self, part: int, start: int = 0) -> Iterator[Sample | SampleError]:
        """The samples of a part, in order.

        Args:
            part: Which one, from 0.
            start: How many of its samples to leave out.

        Yields:
            Samples, or in the place of one that cannot be read the reason.
        """

    def __iter__(self) -> Iterator[Sample]:
        """All samples.

        Raises:
            SampleError: At the first one that cannot be read. A stream of samples skips those instead.
        """
        for part in range(self.parts):
            for item in self.read(part):
                if isinstance(item, SampleError):
                    raise item
                yield item


class IndexedSource(SampleSource):
    """A source of known length, any sample of which can be read by its number."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """One sample.

        Args:
            index: From 0.

        Raises:
            IndexError: If there is no such sample.
            SampleError: If it cannot be read.
        """

    @property
    def parts(self) -> int:
        return -(-len(self) // ROWS_PER_PART)

    def _pictures_by_file(self) -> str:
        """See :attr:`picture_contents`."""
        samples = (item for item in spread(self, _PICTURES) if isinstance(item, Sample))
        return digest_pictures(sample.picture for sample in samples if isinstance(sample.picture, Path))

    def rows(self, part: int) -> range:
        """The numbers of a part's samples."""
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


class PartedSource(IndexedSource):
    """An indexed source whose parts have sizes of their own, such as shards."""

    _first: npt.NDArray[np.int64]

    def _set_sizes(self, sizes: Iterable[int]) -> None:
        """Say how many samples each part has."""
        self._first = np.cumsum([0, *sizes])

    def __len__(self) -> int:
        return int(self._first[-1])

    @property
    def parts(self) -> int:
        return len(self._first) - 1

    def rows(self, part: int) -> range:
        return range(int(self._first[part]), int(self._first[part + 1]))

    def _place(self, index: int) -> tuple[int, int]:
        """The part of a sample, and its row there.

        Raises:
            IndexError: If there is no such sample.
        """
        self._check(index)
        part = int(np.searchsorted(self._first, index, "right")) - 1
        return part, index - int(self._first[part])


def spread(source: SampleSource, most: int) -> Iterator[Sample | SampleError]:
    """Some samples: of an indexed source evenly spread over it, of another the first ones of its first part.

    Args:
        source: Whose; further parts may have to be fetched from the web.
        most: At most that many.
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
    """What :func:`refuse_other_data` knows sources by."""
    return {name: [str(getattr(source, name)) for source in sources] for name in CONTENTS}


def refuse_other_data(sources: Sequence[SampleSource], before: Mapping[str, Any]) -> None:
    """Refuse to go on with other data than those that a run began with.

    Args:
        sources: As they are now.
        before: What :func:`contents_of` said of them then; what it does not hold is not compared.

    Raises:
        UsageError: If the files of a source have changed.
    """
    for name in CONTENTS:
        for source, then in zip(sources, before.get(name, ()), strict=False):
            if getattr(source, name) != then:
                what = "the data" if name == "contents" else "the pictures"
                raise UsageError(
                    f"{source.identity}: {what} have changed since the run began, and it would learn something else "
                    "in another order. Restore what they were, or begin a new run"
                )
