"""Recognition over whole libraries: only what is not done yet, kept as it comes, written as it is wanted."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from anytag.errors import AnytagError, MissingProgramError, PictureError, SidecarError
from anytag.foundations.cpu_count import available_processors
from anytag.library.database import full_disk_told
from anytag.library.entries import Entry, FileIdentity, digest_of
from anytag.library.progress import Progress
from anytag.library.scan import read_archive
from anytag.pictures.thumbnails import thumbnail
from anytag.recognition import Failure, Recognition
from anytag.writers.embedded import EmbeddedMetadata
from anytag.writers.records import PictureRecord, TagView
from anytag.writers.sidecars import SidecarWriter, replace_file

#: Seconds of work that a kill may cost at the most.
_COMMIT_AFTER = 2.0

#: Recognizes pictures, given as paths or as pairs of a name and bytes: one result each, in order.
Recognize = Callable[[Iterable[Any]], Iterator[Recognition | Failure]]

#: A picture, its source where that is needed once more, and what came of it.
_Result = tuple[Entry, Any, Recognition | Failure]


@dataclass
class Done:
    """What a run did.

    Attributes:
        recognized: Pictures.
        failed: Pictures that could not be read.
        sidecars: Files written beside or into pictures.
        sidecar_problems: Those that could not be.
    """

    recognized: int = 0
    failed: int = 0
    sidecars: int = 0
    sidecar_problems: int = 0


class Batch:
    """The work on one output folder.

    Args:
        progress: What was done before.
        recognize: The model.
        settings: Number of the settings that it works with.
        view: Which tags are written to sidecars.
        sidecars: Writers of files beside pictures.
        sidecar_settings: Tells whether sidecars were written with these writers and options.
        advance: Called after every picture.
    """

    def __init__(
        self,
        progress: Progress,
        recognize: Recognize,
        settings: int,
        view: TagView,
        sidecars: Sequence[SidecarWriter | EmbeddedMetadata] = (),
        sidecar_settings: str = "",
        advance: Callable[[], None] = lambda: None,
    ):
        self.progress, self.recognize, self.settings, self.view = progress, recognize, settings, view
        self.sidecars, self.sidecar_settings, self.advance = tuple(sidecars), sidecar_settings, advance
        self.done = Done()
        #: Whether small pictures are kept, too.
        self.thumbnails = False

    def run(self, archives: Sequence[str] = (), limit: int | None = None) -> Done:
        """Recognize what is pending, then what archives hold; keep results every few seconds.

        Args:
            archives: Sources that hold many pictures.
            limit: At most that many pictures.

        Returns:
            What was done, also if it is interrupted; then the interrupt goes on.

        Raises:
            LibraryError: If the progress file cannot be written.
        """
        with full_disk_told(self.progress.path):
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
        """Pass work through the model, and keep what comes out of it."""
        waiting: deque[tuple[Entry, Any]] = deque()

        def sources() -> Iterator[Any]:
            for entry, item in work:
                # A picture of an archive is held until it is done only if a small one is made of it.
                held = self.thumbnails or isinstance(item, Failure)
                waiting.append((entry, item if held else None))
                if not isinstance(item, Failure):
                    yield (entry.shown, item) if entry.in_archive else item

        results = self.recognize(sources())
        pending: list[_Result] = []
        last = time.monotonic()
        try:
            while True:
                result = next(results, None)
                # What could not be read from an archive has not gone through the model; it keeps its place.
                while waiting and isinstance(waiting[0][1], Failure):
                    entry, failure = waiting.popleft()
                    pending.append((entry, None, failure))
                if result is None:
                    break
                pending.append((*waiting.popleft(), result))
                if time.monotonic() - last > _COMMIT_AFTER:
                    # Given away first: what could not be kept is not tried again below, half of it gone by then.
                    kept, pending, last = pending, [], time.monotonic()
                    self._keep(kept)
        finally:
            self._keep(pending)

    def _keep(self, results: list[_Result]) -> None:
        """Commit results, then write their sidecars and commit that."""
        now, small = _now(), self._thumbnails(results)
        with self.progress.transaction():
            for (entry, _, result), jpeg in zip(results, small, strict=True):
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
        """Small pictures of what was recognized, made side by side."""
        if not self.thumbnails or not results:
            return [None] * len(results)
        with ThreadPoolExecutor(available_processors()) as pool:
            return list(pool.map(lambda one: None if isinstance(one[2], Failure) else _small(one[1]), results))

    def _make_missing_thumbnails(self) -> None:
        """Make the small pictures of what was done without."""
        if not self.thumbnails:
            return
        missing = self.progress.thumbnails.missing()
        while some := list(islice(missing, 64)):
            with ThreadPoolExecutor(available_processors()) as pool:
                made = list(pool.map(lambda row: _small(os.fsdecode(row[1])), some))
            with self.progress.transaction():
                for (key, _, size, modified), jpeg in zip(some, made, strict=True):
                    if jpeg is not None:
                        self.progress.thumbnails.keep(key, size, modified, jpeg)

    def _write_missing_sidecars(self) -> None:
        """Write the sidecars of whatever is done and has none, or others."""
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
        """Write one sidecar; gives whether anything changed."""
        if isinstance(writer, EmbeddedMetadata):
            changed = writer.write(record)
            if changed:
                with self.progress.transaction():
                    self.progress.set_identity(entry, FileIdentity.of(record.path), None)
            return changed
        made = prepare_sidecar(self.progress, writer, entry, record)
        if made.content is None or made.content == made.there:
            return False
        with self.progress.transaction():
            before = None if writer.merges else made.before
            self.progress.intend(made.target, digest_of(made.content), entry.key, before)
        replace_file(made.target, made.content)
        return True


@dataclass(frozen=True, slots=True)
class PreparedSidecar:
    """A sidecar that could be written.

    Attributes:
        target: The file.
        there: What stands in it; ``None``: there is none.
        before: What stood there before anything of ours.
        content: What is to stand in it; ``None``: it is left alone.
    """

    target: Path
    there: bytes | None
    before: bytes | None
    content: bytes | None


def prepare_sidecar(progress: Progress, writer: SidecarWriter, entry: Entry, record: PictureRecord) -> PreparedSidecar:
    """What a writer would do beside a picture.

    Args:
        progress: Knows whose the files are.
        writer: Says what stands in them.
        entry: The picture.
        record: What was found in it.

    Raises:
        AnytagError: If there can be no such file, or what is there would be lost.
        OSError: If the file that is there cannot be read.
    """
    target = writer.target(record)
    there = _read(target)
    before = there
    if not writer.merges and there is not None:
        known = progress.wrote(target, there)
        if known is not None:
            owner, before = known
            if owner != entry.key and os.path.lexists(owner):
                raise SidecarError(f"{target}: belongs to {os.fsdecode(owner)}, and two pictures cannot share it")
    return PreparedSidecar(target, there, before, writer.render(record, before))


def _unless_changed(entry: Entry, result: Recognition | Failure) -> Recognition | Failure:
    """The result, unless the file is not the one that was scanned anymore."""
    if entry.in_archive or isinstance(result, Failure):
        return result
    try:
        same = FileIdentity.of(entry.shown) == entry.identity
    except OSError:
        return Failure(entry.shown, "changed", f"{entry.shown}: vanished while it was read")
    if same:
        return result
    return Failure(entry.shown, "changed", f"{entry.shown}: was changed while it was read; the next run reads it again")


def _small(picture: Any) -> bytes | None:
    """A small picture; ``None`` if it cannot be read anymore."""
    try:
        return thumbnail(picture)
    except PictureError:
        return None


def _read(target: Path) -> bytes | None:
    try:
        return target.read_bytes()
    except FileNotFoundError:
        return None


def _now() -> str:
    """The time, to the second; ``SOURCE_DATE_EPOCH`` fixes it where outputs must be reproducible."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    seconds = int(fixed) if fixed and fixed.isdigit() else time.time()
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
