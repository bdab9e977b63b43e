"""Inputs of the engine: sources of pictures, and captions without pictures."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from pathlib import Path

from anytag.data_engine.work import Digest
from anytag.datasets.caption_files import open_captions
from anytag.datasets.opening import guess_kind, open_source
from anytag.datasets.remote import is_web_address
from anytag.datasets.samples import Sample
from anytag.datasets.sources import IndexedSource, SampleSource
from anytag.errors import SampleError, UsageError
from anytag.foundations.wording import counted

#: Lines per part of a caption file.
LINES_PER_PART = 20_000


class CaptionLines(SampleSource):
    """Text files with a caption per line, as samples without pictures (their bytes are empty).

    Args:
        paths: Plain or gzip, in UTF-8; invalid bytes are replaced. They are read once to count lines.

    Raises:
        UsageError: If a file cannot be read.
    """

    def __init__(
        self, paths: Sequence[str | Path], captions_per_picture: int = 1, lines_per_part: int = LINES_PER_PART
    ):
        self.paths = [Path(path) for path in paths]
        if captions_per_picture < 1:
            raise UsageError(f"captions_per_picture is {captions_per_picture}; it must be 1 or more")
        self.captions_per_picture = captions_per_picture
        self._block = max(1, lines_per_part // captions_per_picture) * captions_per_picture
        lines = [_count_lines(path) for path in self.paths]
        self._blocks = [(file, start) for file, count in enumerate(lines) for start in range(0, count, self._block)]
        if not self._blocks:
            raise UsageError(f"{self.paths[0]}: the file contains no captions")
        self.description = (
            f"captions without pictures: {counted(sum(lines), 'line')} of {counted(len(self.paths), 'file')}"
        )
        self.identity = f"lines {' '.join(path.name for path in self.paths)}: {sum(lines)}"

    @property
    def parts(self) -> int:
        return len(self._blocks)

    def file_of(self, part: int) -> Path:
        """Return the file that contains a part."""
        return self.paths[self._blocks[part][0]]

    def read(self, part: int, start: int = 0) -> Iterator[Sample | SampleError]:
        file, first = self._blocks[part]
        path, size = self.paths[file], self.captions_per_picture
        with open_captions(path) as handle:
            lines = islice(handle, first + start * size, first + self._block)
            number = first // size + start
            while group := tuple(islice(lines, size)):
                number += 1
                captions = tuple(text for line in group if (text := line.strip()))
                yield Sample(f"{path.name}:{number}", b"", captions, source=f"{path.name}:{number}")


def _count_lines(path: Path) -> int:
    with open_captions(path) as lines:
        return sum(1 for _ in lines)


class JoinedSources(SampleSource):
    """One or more sources, one after the other."""

    def __init__(self, sources: Sequence[SampleSource]):
        self.sources = list(sources)
        self._ends = list(accumulate(source.parts for source in self.sources))
        self.description = "; ".join(source.description for source in self.sources)
        self.identity = "; ".join(source.identity for source in self.sources)
        self.problems = tuple(problem for source in self.sources for problem in source.problems)

    def content_files(self) -> Iterable[Path]:
        return (file for source in self.sources for file in source.content_files())

    @property
    def parts(self) -> int:
        return self._ends[-1]

    def place(self, part: int) -> tuple[SampleSource, int]:
        """Return the source of a part, and the part's number in it."""
        number = bisect_right(self._ends, part)
        return self.sources[number], part - (self._ends[number - 1] if number else 0)

    def read(self, part: int, start: int = 0) -> Iterator[Sample | SampleError]:
        source, own = self.place(part)
        return source.read(own, start)


def open_input(paths: Sequence[str], captions_per_picture: int = 1) -> SampleSource:
    """Open paths as one source.

    Args:
        paths: As for :func:`~anytag.datasets.opening.open_source`, and text files with a caption per line (``.txt``,
            ``.txt.gz``). Neighboring shards, Parquet files and text files make one source each.
        captions_per_picture: Lines of a text file per picture.

    Raises:
        UsageError: If a path's kind cannot be guessed, or it cannot be read.
    """
    if not paths:
        raise UsageError("give at least one source: shards, a folder, a table, JSON lines, Parquet or caption files")
    groups: list[tuple[str, list[str]]] = []
    # Absolute, since a cluster's workers run in other folders.
    for path in (path if is_web_address(path) else str(Path(path).absolute()) for path in paths):
        kind = "lines" if path.lower().endswith((".txt", ".txt.gz")) else guess_kind(path)
        if groups and groups[-1][0] == kind and kind in ("lines", "shards", "parquet"):
            groups[-1][1].append(path)
        else:
            groups.append((kind, [path]))
    sources = [
        CaptionLines(group, captions_per_picture)
        if kind == "lines"
        else open_source({"path": group if len(group) > 1 else group[0]})
        for kind, group in groups
    ]
    return sources[0] if len(sources) == 1 else JoinedSources(sources)


def digest_part(source: SampleSource, part: int, known: Sequence[Digest] = ()) -> list[Digest]:
    """Hash a part of a source, to notice changes; unchanged files among ``known`` digests are not read again.

    Shards, tables, lists and caption files, with the pictures in them, are identified by their content; pictures in
    folders by size and modification time. Pictures that a table names are not checked, and shards on the web are
    identified by their addresses.
    """
    if isinstance(source, JoinedSources):
        return digest_part(*source.place(part), known)
    whole = False
    if isinstance(source, CaptionLines):
        names = [str(source.file_of(part))]
    else:
        # A shard is a part; in other sources, any file may belong to any part.
        names = [str(name) for name in getattr(source, "paths", ()) or getattr(source, "shards", ())]
        whole = len(names) == source.parts
        if whole:
            names = [names[part]]
        elif not names and isinstance(path := getattr(source, "path", None), Path) and path.is_file():
            names = [str(path)]
    if not names:
        return [Digest.of_text("samples", "\n".join(_describe(item) for item in source.read(part)))]
    earlier = {digest.name: digest for digest in known}
    found = [
        Digest.of_text(name, name) if is_web_address(name) else Digest.of(Path(name), earlier.get(Path(name).name))
        for name in names
    ]
    if isinstance(source, IndexedSource) and not whole:
        rows = source.rows(part)
        found.append(Digest.of_text("rows", f"{rows.start} {rows.stop}"))
    return found


def _describe(item: Sample | SampleError) -> str:
    """Return everything that the engine reads of a sample, in a line."""
    if isinstance(item, SampleError):
        return str(item)
    picture = ""
    if isinstance(item.picture, Path):
        try:
            status = item.picture.stat()
            picture = f"{status.st_size} {status.st_mtime_ns}"
        except OSError as error:
            picture = str(error.strerror)
    return repr((item.id, item.captions, item.tags, picture))
