"""WebDataset shards: tar files in which members with the same name, up to its first dot, make a sample.

Uncompressed shards on this machine are indexed for random access; compressed ones, and those on the web, are streamed.
"""

from __future__ import annotations

import copy
import hashlib
import io
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from anytag.datasets.remote import is_web_address, open_address
from anytag.datasets.samples import Sample
from anytag.datasets.shard_names import expand_shards
from anytag.datasets.shard_samples import (
    NO_KEYS,
    groups,
    is_picture,
    is_read,
    keys_of_roles,
    picture_of,
    split,
    to_sample,
)
from anytag.datasets.sources import PartedSource, SampleSource
from anytag.datasets.tar_files import BROKEN, is_compressed, read_tar, uncompressed
from anytag.errors import SampleError, UsageError
from anytag.foundations.stand_in_files import stand_in
from anytag.foundations.wording import counted


def read_shard(path: str | Path) -> Iterator[Sample]:
    """Yield the samples of a tar file, compressed or not, in file order.

    A sample needs a picture. Captions come from a ``.json`` member (keys ``caption`` or ``captions``) or a ``.txt``
    member (one per line) of the same name, tags from the JSON key ``tags`` or another usual name such as ``label``, or
    from a ``.cls`` member with a name in it, human labels from ``categories``.

    Raises:
        SampleError: At the first unreadable sample.
        UsageError: If the file cannot be opened, or is damaged.
    """
    for item in _stream(str(path), Path(path).name):
        if isinstance(item, SampleError):
            raise UsageError(f"{path}: {item.reason}") if item.kind == "shard" else item
        yield item


def open_shards(
    shards: str | Path | Sequence[str | Path],
    *,
    tags: str | None = None,
    columns: Mapping[str, Any] | None = None,
    index_folder: str | Path | None = None,
) -> ShardSource | StreamedShards:
    """Open shards: indexed if all are uncompressed files on this machine, else streamed.

    They are given as paths, globs, brace ranges (``shard-{000000..000099}.tar``), or http, https and file addresses;
    for the options see :class:`ShardSource`.

    Raises:
        UsageError: If a shard does not exist or a pattern matches nothing.
    """
    names = expand_shards([shards] if isinstance(shards, str | Path) else shards)
    if any(is_web_address(name) or _is_compressed_file(name) for name in names):
        return StreamedShards(names, tags=tags, columns=columns)
    return ShardSource(names, tags=tags, columns=columns, index_folder=index_folder)


class ShardSource(PartedSource):
    """Uncompressed shards on this machine; a part is a shard.

    Args:
        shards: Paths, in order. Eight bytes per sample stay in memory.
        tags: The key of tags in JSON members; ``None``: ``tags``, or else another usual name (``label``, ``keywords``).
        columns: Keys of JSON members by role: ``captions``, ``tags``, ``labels`` (human, for validation), ``id``; one
            or several each, ``None`` for none; ``separator`` for that of tags. Other roles are read as by
            :func:`read_shard`.
        index_folder: Where to keep the index for the next run; ``None``: nowhere.

    Raises:
        UsageError: If a shard cannot be opened, or none contains a sample.
    """

    def __init__(
        self,
        shards: Sequence[str | Path],
        *,
        tags: str | None = None,
        columns: Mapping[str, Any] | None = None,
        index_folder: str | Path | None = None,
    ):
        self.paths = [Path(shard) for shard in shards]
        self._keys = keys_of_roles(tags, columns, str(self.paths[0]))
        folder = Path(index_folder) if index_folder is not None else None
        problems: list[SampleError] = []
        self._starts = [_kept_index(path, folder, problems) for path in self.paths]
        # An index ends with the offset after its last sample.
        self._set_sizes(max(0, len(starts) - 1) for starts in self._starts)
        self.problems = tuple(problems)
        if not len(self):
            if problems:
                raise UsageError(f"{self.paths[0].parent}: no samples: {problems[0]}")
            raise UsageError(f"{self.paths[0]}: no samples; shards must contain pictures named *.jpg, *.png …")
        self._describe()

    def _describe(self) -> None:
        self.description = (
            f"{counted(len(self.paths), 'shard')} from {self.paths[0]} on: {counted(len(self), 'sample')}"
        )
        self.identity = f"shards {self.paths[0].name} and {len(self.paths) - 1} more: {len(self)}"

    def content_files(self) -> Iterable[Path]:
        return self.paths

    def without(self, shards: Iterable[Path]) -> ShardSource | None:
        """Return the source without some of its shards; ``None`` if none is left."""
        left_out = {path.resolve() for path in shards}
        kept = [place for place, path in enumerate(self.paths) if path.resolve() not in left_out]
        if len(kept) == len(self.paths):
            return self
        rest = copy.copy(self)
        rest.paths = [self.paths[place] for place in kept]
        rest._starts = [self._starts[place] for place in kept]
        rest._set_sizes(max(0, len(starts) - 1) for starts in rest._starts)
        if not len(rest):
            return None
        names = {path.name for path in rest.paths}
        rest.problems = tuple(problem for problem in self.problems if problem.source in names)
        rest._describe()
        return rest

    def __getitem__(self, index: int) -> Sample:
        shard, row = self._place(index)
        path = self.paths[shard]
        start, end = (int(at) for at in self._starts[shard][row : row + 2])
        try:
            with path.open("rb", buffering=0) as handle:
                handle.seek(start)
                content = handle.read(end - start)
            members = list(read_tar(io.BytesIO(content), is_read))
        except (*BROKEN, ValueError) as error:
            raise SampleError("unreadable", f"cannot be read ({error})", f"{path.name}:#{row + 1}") from error
        for key, group in groups(members):
            if sample := to_sample(path.name, key, group, self._keys):
                return sample
        raise SampleError("unreadable", "has changed since it was indexed", f"{path.name}:#{row + 1}")


class StreamedShards(SampleSource):
    """Shards that can only be read from start to end: compressed, or on the web. A part is a shard.

    They are opened when they are read; see :class:`ShardSource` for the options.
    """

    def __init__(self, shards: Sequence[str], *, tags: str | None = None, columns: Mapping[str, Any] | None = None):
        if not shards:
            raise UsageError("no shards were given")
        self.shards = list(shards)
        self._keys = keys_of_roles(tags, columns, self.shards[0])
        self.description = f"{counted(len(self.shards), 'shard')} from {self.shards[0]} on, streamed"
        self.identity = f"streamed {PurePosixPath(self.shards[0]).name} and {len(self.shards) - 1} more"

    def content_files(self) -> Iterable[Path]:
        return [Path(name) for name in self.shards if not is_web_address(name)]

    @property
    def parts(self) -> int:
        return len(self.shards)

    def read(self, part: int, start: int = 0) -> Iterator[Sample | SampleError]:
        """Read the samples of a shard; a truncated one ends with an error of kind ``shard``."""
        shard = self.shards[part]
        name = PurePosixPath(shard.partition("?")[0]).name if is_web_address(shard) else Path(shard).name
        try:
            yield from _stream(shard, name, self._keys, start)
        except UsageError as error:
            yield SampleError("shard", str(error))


def _stream(
    shard: str, name: str, keys: Mapping[str, tuple[str, ...]] = NO_KEYS, start: int = 0
) -> Iterator[Sample | SampleError]:
    """Yield a shard's samples after the first ``start``; damage ends them with an error of kind ``shard``."""
    number = 0
    try:
        raw = open_address(shard) if is_web_address(shard) else Path(shard).open("rb")  # noqa: SIM115 (closed below)
    except SampleError as error:
        yield SampleError("shard", error.reason, name)
        return
    except OSError as error:
        raise UsageError(f"{shard}: the shard cannot be opened ({error.strerror or error})") from error
    with raw:
        try:
            # Skipped samples are not decoded, but have to be read.
            for key, group in groups(read_tar(uncompressed(raw), is_read)):
                number += picture_of(group) is not None
                if number <= start:
                    continue
                try:
                    sample = to_sample(name, key, group, keys)
                except SampleError as error:
                    yield error
                    continue
                if sample:
                    yield sample
        except (*BROKEN, SampleError) as error:
            reason = error.reason if isinstance(error, SampleError) else str(error)
            yield SampleError("shard", f"broken off after sample {number}: {reason}", name)


def has_end(shard: Path) -> bool:
    """Return whether an uncompressed shard ends with two blocks of zeros, as POSIX requires, or is truncated."""
    with shard.open("rb") as handle:
        handle.seek(max(0, handle.seek(0, 2) - 1024))
        return not any(handle.read())


def _kept_index(path: Path, folder: Path | None, problems: list[SampleError]) -> npt.NDArray[np.int64]:
    """Return a shard's index, from the folder if the shard has not changed."""
    try:
        status = path.stat()
    except OSError as error:
        raise UsageError(f"{path}: the shard cannot be opened ({error.strerror or error})") from error
    if what := stand_in(path):
        problems.append(SampleError("shard", what, path.name))
        return np.zeros(0, np.int64)
    if folder is None:
        return _index(path, status.st_size, problems)
    stamp = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
    kept = folder / f"{path.stem}-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.npy"
    if kept.exists():
        found: npt.NDArray[np.int64] = np.load(kept)
        return found
    before = len(problems)
    found = _index(path, status.st_size, problems)
    if len(problems) == before:
        folder.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}.part")  # Ranks may write the same file at once.
        with part.open("wb") as handle:
            np.save(handle, found)
        part.replace(kept)
    return found


def _index(path: Path, size: int, problems: list[SampleError]) -> npt.NDArray[np.int64]:
    """Return the offset of each sample with a picture, followed by the offset after the last one."""
    starts = array("q")
    current, begin, has_picture = "", 0, False
    try:
        with path.open("rb") as handle:
            for member in read_tar(handle, lambda name: False, size):
                key, extension = split(member.name)
                if key != current:
                    if has_picture:
                        starts.append(begin)
                    current, begin, has_picture = key, member.start, False
                has_picture = has_picture or is_picture(key, extension)
            if has_picture:
                starts.append(begin)
            begin = handle.tell()
    except BROKEN as error:
        # The last sample is dropped, since it may lack a member.
        problems.append(SampleError("shard", f"broken off after sample {len(starts)}: {error}", path.name))
    if starts:
        starts.append(begin)
    return np.array(starts, np.int64)


def _is_compressed_file(name: str) -> bool:
    try:
        with Path(name).open("rb") as handle:
            return is_compressed(handle.read(6))
    except OSError:
        return False
