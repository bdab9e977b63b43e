"""One batch over sources with a model: what ``anytag batch`` does, step by step."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anytag.errors import AnytagError, LibraryError, UsageError
from anytag.foundations.folder_locks import LOCK_FILE, LockedError, locked
from anytag.library.batch import Batch, Done, prepare_sidecar
from anytag.library.database import full_disk_told
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

#: What is known of a batch, in its output folder.
PROGRESS_FILE = "progress.sqlite"

#: So many pictures are looked into at once for a dry run.
_PLANNED_TOGETHER = 100


class BatchRun:
    """A model, what it is asked, and where results go.

    Args:
        recognizer: The model.
        asked: Options of :meth:`~anytag.inference.recognizer.Recognizer.tag`.
        caption: Whether to write captions, too.
        choice: Of tags, as the recognizer was opened with.
        view: Which tags are written.
        sidecars: Writers of files beside or in pictures.
        tables: Names of :data:`~anytag.library.outputs.TABLES`.
        out: The output folder.
        cluster: Where the model runs; ``None``: in this process.

    Raises:
        UsageError: If categories are asked for together with captions, which come with the tags found.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        asked: dict[str, Any],
        caption: bool,
        choice: TagChoice | None,
        view: TagView,
        sidecars: Sequence[SidecarWriter | EmbeddedMetadata],
        tables: Sequence[str],
        out: Path,
        cluster: RayCluster | None = None,
    ):
        if caption and asked.get("categories") is not None:
            raise UsageError(
                "--caption and --categories exclude each other: a caption comes with the tags found; ask for them in "
                "two batches with two --out"
            )
        self.recognizer, self.asked, self.caption, self.choice = recognizer, asked, caption, choice
        self.view, self.sidecars, self.tables, self.out, self.cluster = view, sidecars, tables, out, cluster

    #: Opens the file of what is known.
    progress_type: Callable[[Path], Progress] = Progress

    #: That file, in the output folder.
    progress_file = PROGRESS_FILE

    #: Held by whoever works on it, and gone when nobody does.
    lock_file = LOCK_FILE

    @contextmanager
    def open(self) -> Iterator[Progress]:
        """What is known so far; nobody else works on it meanwhile.

        Raises:
            LibraryError: If another batch does, files that this one did not write are in the way, or what is known
                cannot be written, also later.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise LibraryError(
                f"{self.out}: cannot be a folder, something else stands there; give another --out"
            ) from None
        try:
            with (
                locked(self.out / self.lock_file),
                full_disk_told(self.place),
                closing(self.progress_type(self.place)) as known,
            ):
                if self.tables:  # Rather now than after hours.
                    claim_outputs(known, self.tables, self.out)
                yield known
        except LockedError:
            raise LibraryError(f"{self.out}: another batch works here; wait for it, or use another --out") from None

    @contextmanager
    def rehearsal(self) -> Iterator[Progress]:
        """A copy of what is known, that a dry run may change."""
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / self.progress_file
            if self.place.exists():
                for path in self.out.glob(f"{self.progress_file}*"):
                    shutil.copyfile(path, place.with_name(path.name))
            with closing(self.progress_type(place)) as known:
                yield known

    @property
    def place(self) -> Path:
        """The file of what is known."""
        return self.out / self.progress_file

    def own_files(self, known: Progress) -> set[str]:
        """Absolute paths of the files that batches with this output folder have written, sidecars included."""
        outputs = [*own_outputs(known, self.out), *self.out.glob(f"{self.progress_file}*"), self.out / self.lock_file]
        return {str(path.absolute()) for path in outputs} | set(known.written_files())

    def settings(self) -> dict[str, Any]:
        """What decides a picture's result."""
        directory = self.recognizer.directory
        return {
            "model": directory.config.name,
            "version": directory.fingerprint[:12],
            "caption": self.caption,
            **self.asked,
            "choice": _choice_text(self.choice),
        }

    def scan(
        self,
        known: Progress,
        files: Iterable[Path],
        folders: Sequence[str],
        *,
        by_content: bool = False,
        since: float | None = None,
        at_rest: float | None = None,
    ) -> Scan:
        """Compare files with what is known; see :func:`~anytag.library.scan.scan_files`."""
        number = known.settings(self.settings())
        return scan_files(files, known, number, folders=folders, by_content=by_content, since=since, at_rest=at_rest)

    def plan(self, known: Progress, limit: int | None = None) -> Iterator[tuple[str, list[str]]]:
        """What would be written beside or into each picture, or what would keep it from that.

        Args:
            known: What was done.
            limit: At most that many pictures that are to do.

        Yields:
            A path, and lines about it: first of pictures that are done and lack a sidecar, then of those to do.
        """
        owners: dict[Path, str] = {}
        unknown = Provenance("", "", "")
        for done in (True, False):
            if done:
                planned = ((entry, self.view(record).writable()) for entry, record in self._without_sidecars(known))
            else:
                to_do = known.pending(limit)
                planned = ((entry, PictureRecord(entry.shown, Recognition(entry.shown), unknown)) for entry in to_do)
            while some := list(islice(planned, _PLANNED_TOGETHER)):
                inside = self._inside([entry.shown for entry, _ in some])
                for entry, record in some:
                    yield entry.shown, [*self._beside(known, entry, record, owners), *inside.get(entry.shown, ())]

    def _without_sidecars(self, known: Progress) -> Iterator[tuple[Entry, PictureRecord]]:
        return known.without_sidecars(self._sidecar_settings()) if self.sidecars else iter(())

    def _inside(self, pictures: Sequence[str]) -> dict[str, list[str]]:
        """What would be written into pictures."""
        writers = [writer for writer in self.sidecars if isinstance(writer, EmbeddedMetadata)]
        plans = [writer.plan(pictures) for writer in writers]
        return {picture: list(lines) for picture, *lines in zip(pictures, *plans, strict=True)}

    def _beside(self, known: Progress, entry: Entry, record: PictureRecord, owners: dict[Path, str]) -> Iterator[str]:
        """What would be written beside one picture."""
        for writer in self.sidecars:
            if isinstance(writer, EmbeddedMetadata):
                continue
            try:
                made = prepare_sidecar(known, writer, entry, record)
            except (AnytagError, OSError) as error:
                yield f"not written: {error}"
                continue
            owner = owners.setdefault(made.target, entry.shown)
            if owner != entry.shown and not writer.merges:
                yield f"not written: {made.target} will belong to {owner}, and two pictures cannot share it"
            elif made.content in (None, made.there):
                yield f"{made.target}: kept as it is"
            else:
                yield f"{made.target}: {'new' if made.there is None else 'changed'}"

    def _sidecar_settings(self) -> str:
        """What decides what stands in sidecars."""
        return json.dumps([_options(writer) for writer in self.sidecars], sort_keys=True)

    def recognize(
        self,
        known: Progress,
        archives: Sequence[str] = (),
        limit: int | None = None,
        advance: Callable[[], None] = lambda: None,
        thumbnails: bool | None = None,
    ) -> Done:
        """Recognize what is to do, and write sidecars; see :meth:`~anytag.library.batch.Batch.run`.

        Args:
            known: What was done.
            archives: Sources that hold many pictures.
            limit: At most that many pictures.
            advance: Called after every picture.
            thumbnails: Keep small pictures; ``False``: forget them; ``None``: as before.
        """
        if thumbnails is not None:
            known.set_fact("thumbnails", "yes" if thumbnails else "")
            if not thumbnails:
                known.thumbnails.clear()
        number = known.settings(self.settings())
        results, sidecars = partial(self._results, known), self._sidecar_settings()
        work = Batch(known, results, number, self.view, self.sidecars, sidecars, advance)
        work.thumbnails = bool(known.fact("thumbnails", ""))
        return work.run(archives, limit)

    def write(self, known: Progress) -> list[Path]:
        """Write the tables anew; see :func:`~anytag.library.outputs.write_outputs`."""
        return write_outputs(known, self.tables, self.out, self.view)

    def question(self) -> Question[Recognition]:
        """What every picture is asked."""
        return _question(self.asked, self.caption, self.recognizer)

    def _results(self, known: Progress, pictures: Iterable[Any]) -> Iterator[Recognition | Failure]:
        if self.cluster is None:
            return self.recognizer.answers(pictures, self.question())
        return self.cluster.answers(pictures, self.recognizer, partial(_question, self.asked, self.caption))


def _question(asked: dict[str, Any], caption: bool, recognizer: Recognizer) -> Question[Recognition]:
    """What every picture is asked of a model; workers elsewhere make it of theirs."""
    if caption:
        return recognizer.questions.caption(**{name: value for name, value in asked.items() if name != "categories"})
    return recognizer.questions.tags(**asked)


def _options(writer: SidecarWriter | EmbeddedMetadata) -> dict[str, Any]:
    """A writer's name and options."""
    values: dict[str, Any] = {field.name: getattr(writer, field.name) for field in fields(writer)}  # type: ignore[arg-type]
    view = values.pop("view", None)
    return values | ({} if view is None else {"selection": view.selection, "per_kind": view.per_kind})


def _choice_text(choice: TagChoice | None) -> str | None:
    """A choice of tags, with what its files hold."""
    if choice is None:
        return None
    values = [getattr(choice, field.name) for field in fields(choice)]
    texts = [value.read_bytes() if isinstance(value, Path) else repr(value).encode() for value in values]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:12]
