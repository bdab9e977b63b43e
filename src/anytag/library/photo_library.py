"""``anytag.Library``: a searchable library of photos."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from anytag.backends.base import Encoded
from anytag.errors import LibraryError, UsageError
from anytag.foundations import arguments
from anytag.foundations.folder_locks import LOCK_FILE
from anytag.foundations.headroom import allocate_blas_buffers
from anytag.inference.embedding import picture_embeddings
from anytag.library.batch import BatchCounts
from anytag.library.index import INDEX_FILE, Embeddings, Index
from anytag.library.people import PictureTags, read_sidecar, write_sidecar
from anytag.library.run import BatchRun
from anytag.library.scan import Scan
from anytag.library.search import DUPLICATE, Hits, Search
from anytag.library.tag_names import TagNames
from anytag.pictures import find_pictures
from anytag.pictures.left_out import INDEX_FOLDER
from anytag.pictures.thumbnails import thumbnail
from anytag.recognition import Failure, Recognition
from anytag.writers.records import PictureRecord, TagView

if TYPE_CHECKING:
    from anytag.inference.questions import EmbeddedText
    from anytag.inference.recognizer import Recognizer
    from anytag.library.progress import Progress
    from anytag.model.vocabulary import TagVocabulary
    from anytag.pictures import PictureSource


class IndexRun(BatchRun):
    """A batch whose results go into an index."""

    progress_type = Index

    def _results(self, progress: Progress, pictures: Iterable[Any]) -> Iterator[Recognition | Failure]:
        """Yield recognitions, and pass the embeddings of the same encoding to the index."""
        question, index = self.question(), cast(Index, progress)
        joint = self.recognizer.questions.joint_embedding

        def both(encoded: Encoded, paths: Sequence[str]) -> list[tuple[Recognition, Embeddings]]:
            looks = picture_embeddings(encoded)
            texts = np.empty((len(looks), 0), np.float32) if joint is None else joint.pictures(encoded)
            return list(zip(question(encoded, paths), map(Embeddings, looks, texts), strict=True))

        for answer in self.recognizer.answers(pictures, both):
            if isinstance(answer, Failure):
                yield answer
            else:
                recognition, vectors = answer
                index.pending_embeddings[recognition.path] = vectors
                yield recognition


class Library:
    """Photos with a searchable index.

    Example:
        >>> library = anytag.Library("photos")
        >>> library.update()
        >>> for hit in library.search("dog beach -cat").hits:
        ...     print(hit.path, hit.reasons)

    Args:
        place: A folder of photos, with its index in ``.anytag``, or the file of an index.
        model: A recognizer, or a model as :func:`anytag.load` takes it.
    """

    def __init__(self, place: str | os.PathLike[str], model: str | Path | Recognizer | None = None):
        self.path = index_path(arguments.path("place", place))
        self._model = model
        self._names: TagNames | None = None

    def update(
        self,
        pictures: Iterable[str | os.PathLike[str]] | None = None,
        *,
        captions: bool = False,
        by_content: bool = False,
        retry_failed: bool = False,
        thumbnails: bool | None = None,
        absent: Collection[str | os.PathLike[str]] = (),
        at_rest: float | None = None,
        advance: Callable[[], None] = lambda: None,
        begin: Callable[[Scan], None] = lambda scan: None,
    ) -> BatchCounts:
        """Index new and changed pictures, and forget deleted ones.

        Args:
            pictures: Files and folders; ``None``: those of the last update or, the first time, the folder of photos.
            captions: Write captions, too; takes longer.
            by_content: Recognize pictures by content, so that moved ones are not recognized again.
            retry_failed: Retry what failed before.
            thumbnails: Store thumbnails for web pages; ``False``: delete them; ``None``: as in the last update.
            absent: Sources that are not available now, such as a disconnected disk; their pictures stay in the index.
            at_rest: Seconds since 1970; files written later may be incomplete, and wait for the next update.
            advance: Called after every picture.
            begin: Called with the result of the scan.

        Returns:
            Numbers of pictures indexed and failed.

        Raises:
            UsageError: If there is nothing to index.
            LibraryError: If another process updates the index, or it cannot be written.
        """
        for name, given in (("captions", captions), ("by_content", by_content), ("retry_failed", retry_failed)):
            arguments.flag(name, given)
        if thumbnails is not None:
            arguments.flag("thumbnails", thumbnails)
        run = IndexRun(
            self._recognizer,
            {},
            captions,
            choice=None,
            view=TagView(self._recognizer.vocabulary),
            sidecars=(),
            tables=(),
            out=self.path.parent,
            progress_file=self.path.name,
            lock_file=f".{self.path.name}{LOCK_FILE}",
        )
        with run.open() as progress:
            index = cast(Index, progress)
            away = {os.path.abspath(place) for place in absent}  # noqa: PTH100
            sources = [source for source in self._sources(index, pictures) if source not in away]
            index.begin_model(str(run.settings()["version"]))
            if retry_failed:
                index.retry_failed()
            folders = [source for source in sources if Path(source).is_dir()]
            scan = run.scan(index, find_pictures(sources), folders, by_content=by_content, at_rest=at_rest)
            begin(scan)
            done = run.recognize(index, advance=advance, thumbnails=thumbnails)
            index.pack()
        return done

    def search(
        self,
        query: str | None = None,
        *,
        text: str | None = None,
        like: PictureSource | None = None,
        limit: int = 20,
        facets: int = 0,
    ) -> Hits:
        """Find pictures by tags and words, by a sentence that describes them, or by a similar picture.

        Args:
            query: See :mod:`anytag.library.query`. With ``text`` or ``like``, hits must match it, too.
            text: A sentence; hits are ordered by how well they fit, and show the tags that it names.
            like: A picture; hits are ordered by similarity.
            limit: Highest number of hits.
            facets: Number of most frequent tags to return, among everything found.

        Raises:
            UsageError: If none is given, or both ``text`` and ``like``; or the query cannot be parsed.
            LibraryError: If there is no index.
            ModelError: If the model cannot compare pictures with sentences.
            PictureError: If ``like`` cannot be read.
        """
        for name, given in (("query", query), ("text", text)):
            if given is not None:
                arguments.text(name, given)
        arguments.whole_number("limit", limit, 0)
        arguments.whole_number("facets", facets, 0)
        if query is None and like is None and text is None:
            raise UsageError("search needs a query, a text, or a picture that hits look like")
        if like is not None and text is not None:
            raise UsageError("text and like exclude each other: hits are ordered by one of them")
        if text is not None:
            return self.search_embedded(text, self._recognizer.questions.embed_text(text), query, limit, facets)
        with self._search() as search:
            if like is None:
                assert query is not None
                return search.by_words(query, limit, facets)
            return search.by_vector("picture", self._recognizer.embed(like), query, limit, facets)

    def search_embedded(
        self, text: str, embedded: EmbeddedText, query: str | None = None, limit: int = 20, facets: int = 0
    ) -> Hits:
        """Search by a sentence that was embedded with :meth:`~anytag.inference.questions.Questions.embed_text`.

        Raises:
            UsageError: If the query cannot be parsed, or the index holds no embeddings of this model.
            LibraryError: If there is no index.
        """
        with self._search() as search:
            return search.by_text(text, *embedded, query, limit, facets)

    def newest(self, limit: int = 20) -> Hits:
        """Return the most recently changed pictures; see :meth:`~anytag.library.search.Search.newest`."""
        arguments.whole_number("limit", limit, 0)
        with self._search() as search:
            return search.newest(limit)

    def duplicates(self, least: float = DUPLICATE) -> list[list[str]]:
        """Return groups of near-duplicates; see :meth:`~anytag.library.search.Search.duplicates`."""
        arguments.number("least", least, 0, 1)
        with self._search() as search:
            return search.duplicates(least)

    def facets(self, most: int = 50) -> list[tuple[str, int]]:
        """Return the most frequent tags, each with its number of pictures."""
        arguments.whole_number("most", most, 0)
        with self._open() as index:
            return index.frequent_tags(most)

    def failures(self) -> list[Failure]:
        """Return the pictures that could not be read, and why, in the order of paths."""
        with self._open() as index:
            return list(index.failures())

    def thumbnail(self, number: int) -> bytes | None:
        """Return a picture as a small JPEG, stored or made now, by its number in a hit; ``None`` if there is none.

        Raises:
            PictureError: If none is stored and the picture cannot be read.
        """
        with self._open() as index:
            record = index.record(number)
            stored = None if record is None else index.stored_thumbnail(number)
        if record is None or stored is not None:
            return stored
        return thumbnail(record.path)

    def tags_of(self, number: int) -> PictureTags | None:
        """Return the tags of a picture, by its number in a hit; ``None`` if there is no such picture."""
        with self._open() as index:
            record = index.record(number)
        if record is None:
            return None
        sidecar = read_sidecar(record.path, record.in_archive)
        return PictureTags(number, record.path, record.tags, sidecar, record.recognition.caption)

    def edit(
        self, number: int, people: Sequence[str], refused: Sequence[str] = (), *, revision: str | None = None
    ) -> PictureTags | None:
        """Set the keywords that people give a picture, in its XMP sidecar, with the model's tags, and in the index.

        Args:
            number: Of the picture, as in a hit.
            people: All keywords of people. They are kept apart from the model's tags: ``anytag untag`` leaves them.
            refused: All tags of the model that are wrong. They stay away, even when the picture is tagged again.
            revision: Revision of the sidecar that the edit is based on; ``None``: replace any.

        Returns:
            The picture's tags after the edit; ``None`` if there is no such picture.

        Raises:
            UsageError: If a keyword is not valid.
            SidecarError: If the picture cannot have a sidecar or no longer exists, or its sidecar has another revision.
            XmpError: If a file of the sidecar's name is not XMP.
            LibraryError: If the sidecar was written, but the index cannot be.
            OSError: If the sidecar cannot be written; it then keeps its content.
        """
        with self._open() as index:
            record = index.record(number)
        if record is None:
            return None
        vocabulary = self._vocabulary
        write_sidecar(_as_known(record, vocabulary), TagView(vocabulary), people, refused, revision)
        try:
            with closing(Index(self.path)) as index:
                index.read_people(number)
        except sqlite3.OperationalError as error:
            raise LibraryError(f"{self.path}: cannot be written ({error}); the sidecar is") from error
        return self.tags_of(number)

    def __len__(self) -> int:
        """Return the number of pictures in the index."""
        with self._open() as index:
            return len(index)

    def _sources(self, known: Index, pictures: Iterable[str | os.PathLike[str]] | None) -> list[str]:
        if pictures is not None:
            sources = [os.path.abspath(given) for given in pictures]  # noqa: PTH100
            known.set_sources(sources)
            return sources
        if before := known.sources():
            return before
        if self.path.parent.name != INDEX_FOLDER:
            raise UsageError(f"{self.path}: name the pictures to index")
        return [str(self.path.parent.parent)]

    @contextmanager
    def _open(self) -> Iterator[Index]:
        if not self.path.exists():
            raise LibraryError(_no_index(self.path))
        with closing(Index(self.path, read_only=True)) as index:
            yield index

    @contextmanager
    def _search(self) -> Iterator[Search]:
        allocate_blas_buffers()
        with self._open() as index:
            names = self._names
            if names is None or not names.fits(index):
                names = self._names = TagNames(index, self._vocabulary)
            yield Search(index, names=names)

    @cached_property
    def _vocabulary(self) -> TagVocabulary:
        """The model's vocabulary, for aliases; read without loading the model."""
        from anytag.model.directory import find_model

        given = self._model
        return find_model(given).vocabulary if given is None or isinstance(given, str | Path) else given.vocabulary

    @cached_property
    def _recognizer(self) -> Recognizer:
        from anytag.inference.recognizer import load

        given = self._model
        return load(given) if given is None or isinstance(given, str | Path) else given


def _as_known(record: PictureRecord, vocabulary: TagVocabulary) -> PictureRecord:
    """Remove the ids of tags that come from another vocabulary, whose parents are unknown."""
    tags = tuple(
        tag
        if tag.id is None or (tag.id < len(vocabulary) and vocabulary[tag.id].name == tag.name)
        else replace(tag, id=None)
        for tag in record.tags
    )
    return replace(record, recognition=replace(record.recognition, tags=tags))


def _no_index(path: Path) -> str:
    """Say that there is no index, and how to make one."""
    if path.parent.name != INDEX_FOLDER:
        return f"{path}: no such file or folder; name a folder of photos, or the file of an index"
    photos = path.parent.parent
    if not photos.is_dir():
        return f"{photos}: no such folder; name a folder of photos, or the file of an index"
    return f"{photos}: there is no index in this folder; make one with: anytag index {shlex.quote(str(photos))}"


def index_path(place: str | os.PathLike[str]) -> Path:
    """Return the file of an index: ``place`` itself, or the one in a folder of photos."""
    path = Path(place)
    if path.is_dir() and path.name != INDEX_FOLDER:
        return path / INDEX_FOLDER / INDEX_FILE
    return path / INDEX_FILE if path.is_dir() else path


def find_index(start: Path) -> Path:
    """Find the index of the nearest folder that has one, from a folder upwards.

    Raises:
        LibraryError: If none has.
    """
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / INDEX_FOLDER / INDEX_FILE).exists():
            return folder / INDEX_FOLDER / INDEX_FILE
    raise LibraryError(f"no index in {start} or above; make one with: anytag index PHOTOS, or name it with --library")
