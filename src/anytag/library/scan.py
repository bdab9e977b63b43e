"""Compare the sources with what a batch has done."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from anytag.datasets.opening import expand_parquet, open_source
from anytag.datasets.samples import Sample
from anytag.datasets.shard_names import expand_shards, is_shard_name
from anytag.errors import SampleError, UsageError
from anytag.library.entries import Entry, FileIdentity, digest_of, is_gone, key_of
from anytag.library.progress import Progress
from anytag.recognition import Failure

#: Pictures between two commits of a scan.
_COMMIT_EVERY = 5000


@dataclass
class Scan:
    """Counts of a scan of the sources.

    Attributes:
        found: Pictures that are files of their own.
        new: Unknown to earlier runs.
        changed: With changed files.
        redone: Done with other settings.
        left: Known to earlier runs, but not reached.
        copied: Whose content is known under another path that still exists.
        moved: Whose content is known under a path that no longer exists.
        known: Done with the same settings.
        failed_before: Failed before, with the same file.
        gone: That no longer exist.
        skipped: Left out by ``since``.
        unfinished: Left for the next scan, since they may still be being written.
        other_settings: Number of ``redone`` pictures, by the settings they were done with.
    """

    found: int = 0
    new: int = 0
    changed: int = 0
    redone: int = 0
    left: int = 0
    copied: int = 0
    moved: int = 0
    known: int = 0
    failed_before: int = 0
    gone: int = 0
    skipped: int = 0
    unfinished: int = 0
    other_settings: Counter[int] = field(default_factory=Counter)

    @property
    def to_do(self) -> int:
        """Number of pictures to recognize."""
        return self.new + self.changed + self.redone + self.left

    @property
    def rearranged(self) -> bool:
        """Whether outputs change even if nothing is recognized."""
        return bool(self.copied or self.moved or self.gone)


def is_archive(source: str) -> bool:
    """Whether a source is a file of many pictures: a shard or a Parquet file."""
    return is_shard_name(source) or source.lower().endswith(".parquet")


def expand_archive(source: str) -> list[str]:
    """Return the archives that a path, glob, brace range or address stands for, in order.

    Raises:
        UsageError: If there is no such file.
    """
    if Path(source).exists():
        return [source]
    return expand_shards([source]) if is_shard_name(source) else expand_parquet(source)


def scan_files(
    paths: Iterable[Path],
    progress: Progress,
    settings: int,
    *,
    folders: Sequence[str] = (),
    by_content: bool = False,
    since: float | None = None,
    at_rest: float | None = None,
) -> Scan:
    """Update the record with the pictures that exist now.

    A picture is identified by its path, its size and its time. ``by_content`` also computes digests, and copies the
    results of pictures with the same content: moved or copied pictures are not recognized again, and moved ones are
    forgotten at their old path.

    Args:
        paths: The pictures.
        progress: The record.
        settings: Number of this run's settings.
        folders: Sources that were walked completely; deleted pictures in them are forgotten.
        by_content: See above.
        since: Seconds since 1970; pictures changed before are left out.
        at_rest: Seconds since 1970; files written later may be incomplete, and wait for the next scan.
    """
    scan, number, waiting = Scan(), progress.begin_scan(), iter(paths)
    while some := list(islice(waiting, _COMMIT_EVERY)):
        with progress.transaction():
            for path in some:
                _scan_file(os.fspath(path), progress, settings, number, scan, by_content, since, at_rest)
    with progress.transaction():
        scan.gone = progress.forget_gone(number, [key_of(folder) for folder in folders])
    return scan


def _scan_file(
    path: str,
    progress: Progress,
    settings: int,
    number: int,
    scan: Scan,
    by_content: bool,
    since: float | None,
    at_rest: float | None,
) -> None:
    try:
        identity = FileIdentity.of(path)
    except OSError:
        identity = FileIdentity(-1, -1)  # The reader will report it.
    if since is not None and identity.modified < since * 1e9:
        scan.skipped += 1
        return
    # A time in the future means nothing: clocks differ, and programs set times as they like.
    if at_rest is not None and at_rest * 1e9 < identity.modified <= time.time_ns():
        scan.unfinished += 1
        return
    scan.found += 1
    key = key_of(path)
    known = progress.known(key)
    if known is not None and known[0] == identity:
        _, state, with_settings = known
        progress.touch(key, path, number)
        if by_content and progress.lacks_content(key):
            progress.set_content(key, _digest(path))
        if state == "pending":
            scan.left += 1
        elif state == "failed":
            scan.failed_before += 1
        elif with_settings == settings:
            scan.known += 1
        else:
            scan.redone += 1
            scan.other_settings[with_settings or 0] += 1
            progress.add(Entry(key, path, identity), number)
        return
    entry = Entry(key, path, identity, _digest(path) if by_content else None)
    same = None if entry.content is None else progress.copy_result(entry, settings, number)
    if same is not None:
        moved = is_gone(same)
        if moved:
            progress.forget(same)
        scan.moved += moved
        scan.copied += not moved
        return
    scan.new += known is None
    scan.changed += known is not None
    progress.add(entry, number)


def _digest(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return digest_of(file.read())
    except OSError:
        return None


def read_archive(source: str, progress: Progress, settings: int) -> Iterator[tuple[Entry, bytes | Path | Failure]]:
    """Yield the pictures of an archive that are not done yet, or a failure in place of unreadable ones.

    Raises:
        UsageError: If the archive cannot be opened.
    """
    try:
        identity = FileIdentity.of(source)
    except OSError as error:
        raise UsageError(f"{source}: cannot be read ({error.strerror or error})") from None
    opened = open_source(source)
    number = int(progress.value("scan", "0"))
    for part in range(opened.parts):
        for place, item in enumerate(opened.read(part)):
            name = item.id if isinstance(item, Sample) else f"{part}-{place}"
            entry = Entry(key_of(source, name), f"{source}/{name}", identity)
            known = progress.known(entry.key)
            if known is not None and known[0] == identity and (known[1] == "failed" or known[1:] == ("done", settings)):
                progress.touch(entry.key, entry.shown, number)
                continue
            progress.add(entry, number)
            if isinstance(item, SampleError):
                yield entry, Failure(entry.shown, item.kind, str(item))
            else:
                yield entry, item.picture
