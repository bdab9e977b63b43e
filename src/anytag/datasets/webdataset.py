"""WebDataset shards: tar files whose members of one name, up to its first dot, make one sample.

Shards on this machine are indexed, so that any sample is at hand; shards on the web, and compressed ones, are streamed.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from anytag.datasets.records import read_boxes, read_captions, read_tags
from anytag.datasets.remote import is_web_address, open_address
from anytag.datasets.samples import Sample
from anytag.datasets.shard_names import expand_shards
from anytag.datasets.sources import PartedSource, SampleSource
from anytag.datasets.tar_files import BROKEN, Member, is_compressed, read_tar, uncompressed
from anytag.errors import SampleError, UsageError
from anytag.pictures.formats import FORMATS

#: Extensions that hold a picture, as members of shards write them: without a dot.
#: The commonest formats come first: of several pictures in a sample, they are the picture (a JPEG beside its camera
#: file, or beside a map of depths).
_PICTURES = tuple(extension.removeprefix(".") for format in FORMATS for extension in format.extensions)

_READ_EXTENSIONS = {*_PICTURES, "json", "txt"}


#: Keys of tags, the likelier first; ``categories`` are a human's labels for validation.
_TAG_KEYS = ("tags", "tag", "keywords", "labels", "label")


def read_shard(path: str | Path) -> Iterator[Sample]:
    """Yield the samples of one shard in file order.

    A sample needs a picture member. Captions come from a ``.json`` member (keys ``caption`` or ``captions``) or a
    ``.txt`` member (one a line) of the same name, tags from the JSON key ``tags``, human labels from ``categories``.

    Args:
        path: A tar file, compressed or not.

    Yields:
        One :class:`Sample` per name that has a picture.

    Raises:
        SampleError: At the first sample that cannot be read.
        UsageError: If the file cannot be opened, or where it is damaged.
    """
    for item in _stream(str(path), Path(path).name):
        if isinstance(item, SampleError):
            raise UsageError(f"{path}: {item.reason}") if item.kind == "shard" else item
        yield item


def open_shards(
    shards: str | Path | Sequence[str | Path], *, tags: str | None = None, index_folder: str | Path | None = None
) -> ShardSource | StreamedShards:
    """Shards as a source: indexed if all lie uncompressed on this machine, else streamed.

    Args:
        shards: Paths, globs, brace ranges (``shard-{000000..000099}.tar``), or http, https and file addresses.
        tags: See :class:`ShardSource`.
        index_folder: See :class:`ShardSource`; not used for streams.

    Raises:
        UsageError: If a shard does not exist or a pattern matches nothing.
    """
    names = expand_shards([shards] if isinstance(shards, str | Path) else shards)
    if any(is_web_address(name) or _is_compressed_file(name) for name in names):
        return StreamedShards(names, tags=tags)
    return ShardSource(names, tags=tags, index_folder=index_folder)


class ShardSource(PartedSource):
    """Uncompressed shards on this machine; a part is a shard.

    Args:
        shards: Paths, in order. Eight bytes a sample are kept of them in memory.
        tags: The key of the JSON members that holds tags; ``None``: ``tags`` or, where there is none, another name that
            they usually have (``label``, ``keywords``).
        index_folder: Where to keep what was found, so that the next run need not go through the shards again.
            ``None``: nowhere.

    Raises:
        UsageError: If a shard cannot be opened, or none holds a sample.
    """

    def __init__(
        self, shards: Sequence[str | Path], *, tags: str | None = None, index_folder: str | Path | None = None
    ):
        self.paths = [Path(shard) for shard in shards]
        self.tags = tags
        folder = Path(index_folder) if index_folder is not None else None
        problems: list[SampleError] = []
        self._starts = [_kept_index(path, folder, problems) for path in self.paths]
        # The last entry of an index is where its last sample ends.
        self._set_sizes(max(0, len(starts) - 1) for starts in self._starts)
        self.problems = tuple(problems)
        if not len(self):
            raise UsageError(f"{self.paths[0]}: no samples: pictures named *.jpg, *.png … are wanted in the shards")
        self._describe()

    def _describe(self) -> None:
        self.description = f"{len(self.paths)} shards from {self.paths[0]} on: {len(self):,} samples"
        self.identity = f"shards {self.paths[0].name} and {len(self.paths) - 1} more: {len(self)}"

    def content_files(self) -> Iterable[Path]:
        return self.paths

    def without(self, shards: Iterable[Path]) -> ShardSource | None:
        """The source without some of its shards; ``None`` if none is left."""
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
            members = list(read_tar(io.BytesIO(content), _is_read))
        except (*BROKEN, ValueError) as error:
            raise SampleError("unreadable", f"cannot be read ({error})", f"{path.name}:#{row + 1}") from error
        for key, group in _groups(members):
            if sample := _to_sample(path.name, key, group, self.tags):
                return sample
        raise SampleError("unreadable", "has changed since it was indexed", f"{path.name}:#{row + 1}")


class StreamedShards(SampleSource):
    """Shards that can only be read from front to back: on the web, or compressed. A part is a shard.

    Args:
        shards: Paths and addresses, in order. Nothing is opened before it is read.
        tags: The key of the JSON members that holds tags; ``None``: ``tags`` or, where there is none, another name that
            they usually have (``label``, ``keywords``).
    """

    def __init__(self, shards: Sequence[str], *, tags: str | None = None):
        if not shards:
            raise UsageError("no shards were given")
        self.shards = list(shards)
        self.tags = tags
        self.description = f"{len(self.shards)} shards from {self.shards[0]} on, streamed"
        self.identity = f"streamed {PurePosixPath(self.shards[0]).name} and {len(self.shards) - 1} more"

    def content_files(self) -> Iterable[Path]:
        """Those that lie on this machine."""
        return [Path(name) for name in self.shards if not is_web_address(name)]

    @property
    def parts(self) -> int:
        return len(self.shards)

    def read(self, part: int, start: int = 0) -> Iterator[Sample | SampleError]:
        """The samples of a shard; one that breaks off ends with an error of kind ``shard``."""
        shard = self.shards[part]
        name = PurePosixPath(shard.partition("?")[0]).name if is_web_address(shard) else Path(shard).name
        try:
            yield from _stream(shard, name, self.tags, start)
        except UsageError as error:
            yield SampleError("shard", str(error))


def _stream(shard: str, name: str, tags: str | None = None, start: int = 0) -> Iterator[Sample | SampleError]:
    """A shard's samples from a number on; damage ends them with an error of kind ``shard``."""
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
            # What is left out need not be decoded, but its members have to be read to get past them.
            for key, group in _groups(read_tar(uncompressed(raw), _is_read)):
                number += _picture_of(group) is not None
                if number <= start:
                    continue
                try:
                    sample = _to_sample(name, key, group, tags)
                except SampleError as error:
                    yield error
                    continue
                if sample:
                    yield sample
        except (*BROKEN, SampleError) as error:
            reason = error.reason if isinstance(error, SampleError) else str(error)
            yield SampleError("shard", f"broken off after sample {number}: {reason}", name)


def has_end(shard: Path) -> bool:
    """Whether an uncompressed shard ends as POSIX says, with two blocks of zeros; one that was cut off does not."""
    with shard.open("rb") as handle:
        handle.seek(max(0, handle.seek(0, 2) - 1024))
        return not any(handle.read())


def _kept_index(path: Path, folder: Path | None, problems: list[SampleError]) -> npt.NDArray[np.int64]:
    """A shard's index, from the folder if it is there and the shard has not changed."""
    try:
        status = path.stat()
    except OSError as error:
        raise UsageError(f"{path}: the shard cannot be opened ({error.strerror or error})") from error
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
        # Ranks may write the same file at once; each has its own part.
        part = kept.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as handle:
            np.save(handle, found)
        part.replace(kept)
    return found


def _index(path: Path, size: int, problems: list[SampleError]) -> npt.NDArray[np.int64]:
    """Where each sample that has a picture begins, and behind those the place where the last one has ended."""
    starts = array("q")
    current, begin, has_picture = "", 0, False
    try:
        with path.open("rb") as handle:
            for member in read_tar(handle, lambda name: False, size):
                key, extension = _split(member.name)
                if key != current:
                    if has_picture:
                        starts.append(begin)
                    current, begin, has_picture = key, member.start, False
                has_picture = has_picture or _is_picture(key, extension)
            if has_picture:
                starts.append(begin)
            begin = handle.tell()
    except BROKEN as error:
        # The sample that was being read is left out: it may have lost a member.
        problems.append(SampleError("shard", f"broken off after sample {len(starts)}: {error}", path.name))
    if starts:
        starts.append(begin)
    return np.array(starts, np.int64)


def _split(name: str) -> tuple[str, str]:
    """A member's key and extension, which begins at the first dot of the file's name."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    # Some systems pack hidden files beside the real ones.
    return (folder + slash + stem, extension.lower()) if stem else ("", "")


def _is_picture(key: str, extension: str) -> bool:
    return bool(key) and extension.rpartition(".")[2] in _PICTURES


def _is_read(name: str) -> bool:
    return _split(name)[1].rpartition(".")[2] in _READ_EXTENSIONS


def _groups(members: Iterable[Member]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Neighboring members of one key: their contents by extension."""
    current = ""
    group: dict[str, bytes] = {}
    for member in members:
        key, extension = _split(member.name)
        if key != current:
            if current:
                yield current, group
            current, group = key, {}
        if member.content is not None:
            group[extension] = member.content
    if current:
        yield current, group


def _picture_of(group: dict[str, bytes]) -> str | None:
    """The extension of a sample's picture: a plain one ("jpg") goes before others ("left.jpg")."""
    plain = next((extension for extension in _PICTURES if extension in group), None)
    return plain or next((e for e in group if e.rpartition(".")[2] in _PICTURES), None)


def _member_of(group: dict[str, bytes], extension: str) -> bytes | None:
    return group.get(extension) or next((group[e] for e in group if e.endswith("." + extension)), None)


def _to_sample(shard: str, key: str, group: dict[str, bytes], tags: str | None) -> Sample | None:
    extension = _picture_of(group)
    if extension is None:
        return None
    source = f"{shard}:{key}.{extension}"
    try:
        text = _member_of(group, "json")
        record: Any = json.loads(text) if text else {}
        if not isinstance(record, dict):
            raise SampleError("row", f"the JSON member holds {record!r:.80}, not an object")
        key_of_tags = tags or next((name for name in _TAG_KEYS if _holds_names(record.get(name))), _TAG_KEYS[0])
        captions = read_captions(record.get("captions") or record.get("caption"), "caption")
        lines = _member_of(group, "txt")
        if not captions and lines:
            captions = tuple(line.strip() for line in lines.decode("utf-8").splitlines() if line.strip())
        return Sample(
            id=str(record.get("id", key)),
            picture=group[extension],
            captions=captions,
            labels=tuple(tag.name for tag in read_tags(record.get("categories"), "categories")),
            tags=read_tags(record.get(key_of_tags), key_of_tags),
            boxes=read_boxes(record.get("boxes")),
            source=source,
        )
    except SampleError as error:
        raise error.at(source) from error
    except ValueError as error:
        raise SampleError("row", f"a text member is not JSON, or not in UTF-8 ({error})", source) from error


def _holds_names(value: object) -> bool:
    """Whether a field holds names, not the numbers of classes."""
    return isinstance(value, str) or (isinstance(value, list) and any(isinstance(entry, str | dict) for entry in value))


def _is_compressed_file(name: str) -> bool:
    try:
        with Path(name).open("rb") as handle:
            return is_compressed(handle.read(6))
    except OSError:
        return False
