"""Recognize what is not done yet, record results as they come, and write sidecars."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from anytag.errors import AnytagError, MissingProgramError, PictureError, SidecarError
from anytag.foundations.cpu_count import available_processors
from anytag.library.database import explained_write_errors
from anytag.library.entries import Entry, FileIdentity, digest_of
from anytag.library.progress import Progress
from anytag.library.scan import read_archive
from anytag.pictures.thumbnails import thumbnail
from anytag.recognition import Failure, Recognition
from anytag.writers.embedded import EmbeddedMetadata
from anytag.writers.records import PictureRecord, TagView
from anytag.writers.sidecars import SidecarWriter, read_if_present, replace_file

#: Longest work, in seconds, that a kill may cost.
_COMMIT_AFTER = 2.0

#: Recognizes pictures, given as paths or as pairs of a name and bytes; one result each, in order.
Recognize = Callable[[Iterable[Any]], Iterator[Recognition | Failure]]

#: A picture, its source if still needed, and its result.
_Result = tuple[Entry, Any, Recognition | Failure]


@dataclass
class BatchCounts:
    """Counts of a run; ``sidecars`` are files written beside pictures, and pictures written to."""

    recognized: int = 0
    failed: int = 0
    sidecars: int = 0
    sidecar_problems: int = 0


@dataclass
class Batch:
    """Recognition of the pictures of one output folder.

    Attributes:
        progress: The batch's record.
        settings: Number of the model's settings in the record.
        sidecar_settings: Identifies the writers of sidecars and their options.
        advance: Called after every picture.
    """

    progress: Progress
    recognize: Recognize
    settings: int
    view: TagView
    sidecars: Sequence[SidecarWriter | EmbeddedMetadata]
    sidecar_settings: str
    advance: Callable[[], None]
    thumbnails: bool
    done: BatchCounts = field(default_factory=BatchCounts)

    def run(self, archives: Sequence[str], limit: int | None) -> BatchCounts:
        """Recognize up to ``limit`` pending pictures, then those in archives; commit results every few seconds.

        Raises:
            LibraryError: If the record cannot be written.
        """
        with explained_write_errors(self.progress.path):
            self.progress.retry_sidecars()
            self._write_missing_sidecars()
            self._make_missing_thumbnails()
            self._recognize(self._work(archives, limit))
        return self.done

    def _work(self, archives: Sequence[str], limit: int | None) -> Iterator[tuple[Entry, Any]]:
        given = 0
        for entry in self.progress.pending(limit):
            given += 1
            yield entry, entry.shown
        for source in archives:
            for entry, item in read_archive(source, self.progress, self.settings):
                if limit is not None and given >= limit:
                    return
                given += 1
                yield entry, item

    def _recognize(self, work: Iterator[tuple[Entry, Any]]) -> None:
        """Run the model, and record its results."""
        waiting: deque[tuple[Entry, Any]] = deque()

        def sources() -> Iterator[Any]:
            for entry, item in work:
                # An archive's picture is kept in memory only if a thumbnail is made of it.
                keep = self.thumbnails or isinstance(item, Failure)
                waiting.append((entry, item if keep else None))
                if not isinstance(item, Failure):
                    yield (entry.shown, item) if entry.in_archive else item

        results = self.recognize(sources())
        pending: list[_Result] = []
        last = time.monotonic()
        try:
            while True:
                result = next(results, None)
                # Pictures that could not be read from an archive skipped the model, but keep their place.
                while waiting and isinstance(waiting[0][1], Failure):
                    entry, failure = waiting.popleft()
                    pending.append((entry, None, failure))
                if result is None:
                    break
                pending.append((*waiting.popleft(), result))
                if time.monotonic() - last > _COMMIT_AFTER:
                    # Cleared first, so that a commit that fails is not repeated below.
                    results_so_far, pending, last = pending, [], time.monotonic()
                    self._commit(results_so_far)
        finally:
            self._commit(pending)

    def _commit(self, results: list[_Result]) -> None:
        """Commit results, then write their sidecars and commit that."""
        now, thumbnails = _now(), self._thumbnails(results)
        with self.progress.transaction():
            for (entry, _, result), jpeg in zip(results, thumbnails, strict=True):
                if jpeg is not None:
                    self.progress.thumbnails.keep(entry.key, entry.identity.size, entry.identity.modified, jpeg)
                checked = _unless_changed(entry, result)
                self.progress.store(entry, checked, self.settings, now)
                self.done.failed += isinstance(checked, Failure)
                self.done.recognized += not isinstance(checked, Failure)
        self._write_missing_sidecars()
        for _ in results:
            self.advance()

    def _thumbnails(self, results: Sequence[_Result]) -> list[bytes | None]:
        """Make thumbnails of recognized pictures, in parallel."""
        if not self.thumbnails or not results:
            return [None] * len(results)
        with ThreadPoolExecutor(available_processors()) as pool:
            return list(pool.map(lambda one: None if isinstance(one[2], Failure) else _thumbnail(one[1]), results))

    def _make_missing_thumbnails(self) -> None:
        """Make the thumbnails of pictures that were done without."""
        if not self.thumbnails:
            return
        missing = self.progress.thumbnails.missing()
        while some := list(islice(missing, 64)):
            with ThreadPoolExecutor(available_processors()) as pool:
                made = list(pool.map(lambda row: _thumbnail(os.fsdecode(row[1])), some))
            with self.progress.transaction():
                for (key, _, size, modified), jpeg in zip(some, made, strict=True):
                    if jpeg is not None:
                        self.progress.thumbnails.keep(key, size, modified, jpeg)

    def _write_missing_sidecars(self) -> None:
        """Write the sidecars of done pictures that have none, or others."""
        if not self.sidecars:
            return
        for entry, record in self.progress.without_sidecars(self.sidecar_settings):
            problems = []
            for writer in self.sidecars:
                try:
                    self.done.sidecars += self._write(writer, entry, self.view(record).writable())
                except MissingProgramError:
                    raise
                except AnytagError as error:
                    problems.append(str(error))
                except OSError as error:
                    where = error.filename or record.path
                    problems.append(f"{where}: cannot be written ({error.strerror or error})")
            with self.progress.transaction():
                problem = "; ".join(problems) or None
                self.progress.sidecars_done(entry, self.sidecar_settings, problem)
            self.done.sidecar_problems += bool(problems)

    def _write(self, writer: SidecarWriter | EmbeddedMetadata, entry: Entry, record: PictureRecord) -> bool:
        """Write one sidecar; return whether anything changed."""
        if isinstance(writer, EmbeddedMetadata):
            changed = writer.write(record)
            if changed:
                with self.progress.transaction():
                    self.progress.set_identity(entry, FileIdentity.of(record.path), None)
            return changed
        sidecar = prepare_sidecar(self.progress, writer, entry, record)
        if sidecar.content in (None, sidecar.present):
            return False
        with self.progress.transaction():
            before = None if writer.merges else sidecar.before
            self.progress.intend(sidecar.target, digest_of(sidecar.content), entry.key, before)
        replace_file(sidecar.target, sidecar.content)
        return True


@dataclass(frozen=True, slots=True)
class PreparedSidecar:
    """A sidecar to write.

    Attributes:
        target: The file.
        present: Its present content; ``None`` if there is no file.
        before: Its content before anytag wrote to it.
        content: The content to write; ``None`` to leave the file alone.
    """

    target: Path
    present: bytes | None
    before: bytes | None
    content: bytes | None


def prepare_sidecar(progress: Progress, writer: SidecarWriter, entry: Entry, record: PictureRecord) -> PreparedSidecar:
    """Return what a writer would write beside a picture.

    Raises:
        AnytagError: If there can be no such file, or its present content would be lost.
        OSError: If the present file cannot be read.
    """
    target = writer.target(record)
    present = before = read_if_present(target)
    if not writer.merges and present is not None and (written := progress.wrote(target, present)):
        owner, before = written
        if owner != entry.key and os.path.lexists(owner):
            raise SidecarError(f"{target}: belongs to {os.fsdecode(owner)}, and two pictures cannot share it")
    return PreparedSidecar(target, present, before, writer.render(record, before))


def _unless_changed(entry: Entry, result: Recognition | Failure) -> Recognition | Failure:
    """Return the result, unless the file changed since it was scanned."""
    if entry.in_archive or isinstance(result, Failure):
        return result
    try:
        same = FileIdentity.of(entry.shown) == entry.identity
    except OSError:
        return Failure(entry.shown, "changed", f"{entry.shown}: vanished while it was read")
    if same:
        return result
    return Failure(entry.shown, "changed", f"{entry.shown}: was changed while it was read; the next run reads it again")


def _thumbnail(picture: Any) -> bytes | None:
    """Make a thumbnail; ``None`` if the picture cannot be read anymore."""
    try:
        return thumbnail(picture)
    except PictureError:
        return None


def _now() -> str:
    """Return the time, to the second; ``SOURCE_DATE_EPOCH`` fixes it where outputs must be reproducible."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    seconds = int(fixed) if fixed and fixed.isdigit() else time.time()
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
