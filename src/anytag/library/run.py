"""One batch over sources with a model, step by step."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from anytag.errors import AnytagError, LibraryError, UsageError
from anytag.foundations.folder_locks import LOCK_FILE, LockedError, locked
from anytag.library.batch import Batch, BatchCounts, prepare_sidecar
from anytag.library.database import explained_write_errors
from anytag.library.entries import Entry
from anytag.library.outputs import claim_outputs, own_outputs, write_outputs
from anytag.library.progress import Progress
from anytag.library.scan import Scan, scan_files
from anytag.recognition import Recognition
from anytag.writers.embedded import EmbeddedMetadata
from anytag.writers.records import PictureRecord, Provenance

if TYPE_CHECKING:
    from anytag.inference.questions import Question
    from anytag.inference.recognizer import Recognizer
    from anytag.inference.tag_choice import TagChoice
    from anytag.library.cluster import RayCluster
    from anytag.recognition import Failure
    from anytag.writers.records import TagView
    from anytag.writers.sidecars import SidecarWriter

#: The record of a batch, in its output folder.
PROGRESS_FILE = "progress.sqlite"

#: Pictures that a dry run inspects at once.
_PLANNED_TOGETHER = 100


@dataclass
class BatchRun:
    """A model, its options, and where results go.

    Attributes:
        options: Of :meth:`~anytag.inference.recognizer.Recognizer.tag`.
        choice: The choice of tags that the recognizer was opened with.
        sidecars: Writers of files beside or in pictures.
        tables: Keys of :data:`~anytag.library.outputs.TABLES`.
        cluster: Where the model runs; ``None``: in this process.

    Raises:
        UsageError: If categories are asked for together with captions, which come with the tags found.
    """

    recognizer: Recognizer
    options: dict[str, Any]
    caption: bool
    choice: TagChoice | None
    view: TagView
    sidecars: Sequence[SidecarWriter | EmbeddedMetadata]
    tables: Sequence[str]
    out: Path
    cluster: RayCluster | None = None
    progress_file: str = PROGRESS_FILE
    lock_file: str = LOCK_FILE

    progress_type: ClassVar[type[Progress]] = Progress

    def __post_init__(self) -> None:
        if self.caption and self.options.get("categories") is not None:
            raise UsageError(
                "--caption and --categories exclude each other: a caption comes with the tags found; ask for them in "
                "two batches with two --out"
            )

    @contextmanager
    def open(self) -> Iterator[Progress]:
        """Open the record, locked against other processes.

        Raises:
            LibraryError: If another batch runs, files that this one did not write are in the way, or the record
                cannot be written, also later.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise LibraryError(f"{self.out}: exists and is not a folder; give another --out") from None
        try:
            with (
                locked(self.out / self.lock_file),
                explained_write_errors(self.record_path),
                closing(self.progress_type(self.record_path)) as progress,
            ):
                if self.tables:  # Now rather than after hours.
                    claim_outputs(progress, self.tables, self.out)
                yield progress
        except LockedError:
            raise LibraryError(
                f"{self.out}: another batch is running here; wait for it, or use another --out"
            ) from None

    @contextmanager
    def open_copy(self) -> Iterator[Progress]:
        """Open a copy of the record, which a dry run may change."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / self.progress_file
            if self.record_path.exists():
                for path in self.out.glob(f"{self.progress_file}*"):
                    shutil.copyfile(path, copy.with_name(path.name))
            with closing(self.progress_type(copy)) as progress:
                yield progress

    @property
    def record_path(self) -> Path:
        """Path of the record."""
        return self.out / self.progress_file

    def own_files(self, progress: Progress) -> set[str]:
        """Return absolute paths of the files that batches with this output folder wrote, sidecars included."""
        records = self.out.glob(f"{self.progress_file}*")
        outputs = [*own_outputs(progress, self.out), *records, self.out / self.lock_file]
        return {str(path.absolute()) for path in outputs} | set(progress.written_files())

    def settings(self) -> dict[str, Any]:
        """Return the settings that determine a picture's result."""
        directory = self.recognizer.directory
        return {
            "model": directory.config.name,
            "version": directory.fingerprint[:12],
            "caption": self.caption,
            **self.options,
            "choice": _choice_text(self.choice),
        }

    def scan(
        self,
        progress: Progress,
        files: Iterable[Path],
        folders: Sequence[str],
        *,
        by_content: bool = False,
        since: float | None = None,
        at_rest: float | None = None,
    ) -> Scan:
        """Compare files with the record; see :func:`~anytag.library.scan.scan_files`."""
        number = progress.settings(self.settings())
        return scan_files(files, progress, number, folders=folders, by_content=by_content, since=since, at_rest=at_rest)

    def plan(self, progress: Progress, limit: int | None = None) -> Iterator[tuple[str, list[str]]]:
        """Describe what would be written beside or into each picture, or what would prevent it.

        Yields:
            A path, and lines about it: of done pictures that lack a sidecar, then of up to ``limit`` pending ones.
        """
        owners: dict[Path, str] = {}
        planned = chain(self._unfinished(progress), map(_unknown_record, progress.pending(limit)))
        while some := list(islice(planned, _PLANNED_TOGETHER)):
            inside = self._plan_inside([entry.shown for entry, _ in some])
            for entry, record in some:
                yield entry.shown, [*self._plan_beside(progress, entry, record, owners), *inside.get(entry.shown, ())]

    def _unfinished(self, progress: Progress) -> Iterator[tuple[Entry, PictureRecord]]:
        """Yield done pictures that lack a sidecar."""
        if self.sidecars:
            for entry, record in progress.without_sidecars(self._sidecar_settings()):
                yield entry, self.view(record).writable()

    def _plan_inside(self, pictures: Sequence[str]) -> dict[str, list[str]]:
        """Describe what would be written into pictures."""
        writers = [writer for writer in self.sidecars if isinstance(writer, EmbeddedMetadata)]
        plans = [writer.plan(pictures) for writer in writers]
        return {picture: list(lines) for picture, *lines in zip(pictures, *plans, strict=True)}

    def _plan_beside(
        self, progress: Progress, entry: Entry, record: PictureRecord, owners: dict[Path, str]
    ) -> Iterator[str]:
        """Describe what would be written beside one picture."""
        for writer in self.sidecars:
            if isinstance(writer, EmbeddedMetadata):
                continue
            try:
                sidecar = prepare_sidecar(progress, writer, entry, record)
            except (AnytagError, OSError) as error:
                yield f"not written: {error}"
                continue
            owner = owners.setdefault(sidecar.target, entry.shown)
            if owner != entry.shown and not writer.merges:
                yield f"not written: {sidecar.target} will belong to {owner}, and two pictures cannot share it"
            elif sidecar.content in (None, sidecar.present):
                yield f"{sidecar.target}: kept as it is"
            else:
                yield f"{sidecar.target}: {'new' if sidecar.present is None else 'changed'}"

    def _sidecar_settings(self) -> str:
        """Return the settings that determine the content of sidecars."""
        return json.dumps([_writer_options(writer) for writer in self.sidecars], sort_keys=True)

    def recognize(
        self,
        progress: Progress,
        archives: Sequence[str] = (),
        limit: int | None = None,
        advance: Callable[[], None] = lambda: None,
        thumbnails: bool | None = None,
    ) -> BatchCounts:
        """Recognize pending pictures, and write sidecars; see :meth:`~anytag.library.batch.Batch.run`.

        ``thumbnails`` stores or deletes thumbnails; ``None`` keeps the last setting.
        """
        if thumbnails is not None:
            progress.set_value("thumbnails", "yes" if thumbnails else "")
            if not thumbnails:
                progress.thumbnails.clear()
        batch = Batch(
            progress,
            partial(self._results, progress),
            progress.settings(self.settings()),
            self.view,
            self.sidecars,
            self._sidecar_settings(),
            advance,
            thumbnails=bool(progress.value("thumbnails", "")),
        )
        return batch.run(archives, limit)

    def write(self, progress: Progress) -> list[Path]:
        """Write the tables; see :func:`~anytag.library.outputs.write_outputs`."""
        return write_outputs(progress, self.tables, self.out, self.view)

    def question(self) -> Question[Recognition]:
        """Return the question that the recognizer answers about every picture."""
        return _question(self.options, self.caption, self.recognizer)

    def _results(self, progress: Progress, pictures: Iterable[Any]) -> Iterator[Recognition | Failure]:
        if self.cluster is None:
            return self.recognizer.answers(pictures, self.question())
        return self.cluster.answers(pictures, self.recognizer, partial(_question, self.options, self.caption))


def _unknown_record(entry: Entry) -> tuple[Entry, PictureRecord]:
    """Return a pending picture with an empty recognition."""
    return entry, PictureRecord(entry.shown, Recognition(entry.shown), Provenance("", "", ""))


def _question(options: dict[str, Any], caption: bool, recognizer: Recognizer) -> Question[Recognition]:
    if caption:
        return recognizer.questions.caption(**{name: value for name, value in options.items() if name != "categories"})
    return recognizer.questions.tags(**options)


def _writer_options(writer: SidecarWriter | EmbeddedMetadata) -> dict[str, Any]:
    values: dict[str, Any] = {field.name: getattr(writer, field.name) for field in fields(writer)}  # type: ignore[arg-type]
    view = values.pop("view", None)
    return values | ({} if view is None else {"selection": view.selection, "per_kind": view.per_kind})


def _choice_text(choice: TagChoice | None) -> str | None:
    """Return a digest of a choice of tags, its files included."""
    if choice is None:
        return None
    values = [getattr(choice, field.name) for field in fields(choice)]
    texts = [value.read_bytes() if isinstance(value, Path) else repr(value).encode() for value in values]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:12]
