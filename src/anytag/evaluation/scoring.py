"""Scores and captions of a whole benchmark, cached on disk.

An interrupted run continues where it stopped, and other thresholds need no new scores.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from anytag.errors import ModelError, PictureError, UsageError
from anytag.evaluation.benchmarks.benchmark import Benchmark
from anytag.evaluation.systems import System
from anytag.foundations.atomic_files import whole_file, write_text
from anytag.pictures import PictureSource
from anytag.recognition import Failure

_Result = TypeVar("_Result", NDArray[np.float32], str)

#: Pictures in a cache file.
CHUNK = 256


@dataclass(frozen=True)
class Scored:
    """Scores of a benchmark.

    Attributes:
        scores: ``[N, C]``; rows of pictures that could not be read, and columns of classes that the system cannot
            score, are NaN.
        thresholds: ``[C]``, the system's own; ``None`` if it has none.
    """

    scores: NDArray[np.float32]
    failures: tuple[Failure, ...]
    unscored: tuple[str, ...]
    thresholds: NDArray[np.float64] | None

    @property
    def read(self) -> NDArray[np.bool_]:
        """True for pictures that could be read, ``[N]``."""
        return np.asarray(~np.isnan(self.scores).all(1))


def score_benchmark(
    system: System,
    benchmark: Benchmark,
    folder: Path,
    advance: Callable[[], None] = lambda: None,
    set_texts: Callable[[Sequence[str]], None] | None = None,
) -> Scored:
    """Score every picture for every class, or read cached scores.

    Args:
        folder: Cache; each system, benchmark and list of classes has its own folder in it.
        set_texts: Makes the system compare pictures with whole texts instead of categories.

    Raises:
        UsageError: If it is not a tagging benchmark, or no picture could be read.
        ModelError: If a score is NaN, or the number of results differs from that of the pictures.
    """
    if benchmark.task != "tagging":
        raise UsageError(f"{benchmark.title} measures {benchmark.task}, not tagging")
    unscored: list[str] = []
    if set_texts is not None:
        set_texts(benchmark.texts)
    else:
        unscored = system.set_categories(benchmark.texts, benchmark.synonyms)
    if system.parser is not None and set_texts is None:
        scores, failures = _caption_scores(system, benchmark, folder, advance)
        return _checked(Scored(scores, tuple(failures), tuple(unscored), None), benchmark)
    is_scored = ~np.isin(benchmark.texts, unscored)

    def check(row: int, found: NDArray[np.float32]) -> None:
        if (wrong := np.isnan(found) & is_scored).any():
            name, category = benchmark.pictures.name(row), benchmark.texts[int(wrong.argmax())]
            raise ModelError(
                f"{system.title}: the score of {name} for {category!r} is not a number; the weights are damaged, "
                "or too large for the precision"
            )

    scores = np.full((len(benchmark.pictures), len(benchmark.names)), np.nan, np.float32)
    failures = []
    asked = (*benchmark.texts, str(sorted(benchmark.synonyms.items())))
    identity = f"texts {system.identity}" if set_texts is not None else system.identity
    place = _folder(system, identity, benchmark, folder, "scores", asked)

    def write(file: Path, results: Sequence[_Cached[NDArray[np.float32]]]) -> None:
        _write_scores(file, results, len(benchmark.names))

    for row, found in enumerate(
        _results(system, system.scores, benchmark, place, ".npz", _read_scores, write, advance, check)
    ):
        if isinstance(found, Failure):
            failures.append(found)
        else:
            scores[row] = found
    thresholds = system.thresholds() if set_texts is None else None
    return _checked(Scored(scores, tuple(failures), tuple(unscored), thresholds), benchmark)


def _checked(scored: Scored, benchmark: Benchmark) -> Scored:
    if not scored.read.any():
        first = f", the first: {scored.failures[0].message}" if scored.failures else ""
        raise UsageError(f"{benchmark.title}: no picture could be read ({len(scored.scores):,} tried){first}")
    return scored


def _caption_scores(
    system: System, benchmark: Benchmark, folder: Path, advance: Callable[[], None]
) -> tuple[NDArray[np.float32], list[Failure]]:
    """Score 1 for the categories that the caption names."""
    assert system.parser is not None
    captions, failures = caption_benchmark(system, benchmark, folder, advance)
    scores = np.full((len(captions), len(benchmark.names)), np.nan, np.float32)
    if rows := [row for row, caption in enumerate(captions) if caption is not None]:
        scores[rows] = system.parser([caption for caption in captions if caption is not None])
    return scores, failures


def caption_benchmark(
    system: System, benchmark: Benchmark, folder: Path, advance: Callable[[], None] = lambda: None
) -> tuple[list[str | None], list[Failure]]:
    """Caption every picture, or read cached captions; ``None`` where a picture could not be read."""
    place = _folder(system, system.identity, benchmark, folder, "captions", ())
    results = list(
        _results(system, system.captions, benchmark, place, ".json", _read_captions, _write_captions, advance)
    )
    captions = [None if isinstance(result, Failure) else result for result in results]
    return captions, [result for result in results if isinstance(result, Failure)]


@dataclass(frozen=True)
class _Cached(Generic[_Result]):
    """Result of a picture, with the stamp of its file: if the file has changed, it is predicted again."""

    result: _Result | Failure
    stamp: str


def _read_scores(file: Path) -> list[_Cached[NDArray[np.float32]]]:
    """Read a chunk; empty if the file is missing or damaged."""
    try:
        with np.load(file) as kept:
            scores, stamps, failures = kept["scores"], kept["stamps"].tolist(), json.loads(str(kept["failures"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return []
    failed = {int(row): Failure(**record) for row, record in failures.items()}
    return [_Cached(failed.get(row, scores[row]), stamp) for row, stamp in enumerate(stamps)]


def _write_scores(file: Path, results: Sequence[_Cached[NDArray[np.float32]]], classes: int) -> None:
    scores = np.full((len(results), classes), np.nan, np.float32)
    failures = {}
    for row, cached in enumerate(results):
        if isinstance(cached.result, Failure):
            failures[row] = asdict(cached.result)
        else:
            scores[row] = cached.result
    stamps = np.array([cached.stamp for cached in results])
    with whole_file(file) as part, part.open("wb") as handle:
        np.savez_compressed(handle, scores=scores, stamps=stamps, failures=np.array(json.dumps(failures)))


def _read_captions(file: Path) -> list[_Cached[str]]:
    """Read a chunk; empty if the file is missing or damaged."""
    try:
        return [
            _Cached(Failure(**record["failure"]) if "failure" in record else str(record["caption"]), record["stamp"])
            for record in json.loads(file.read_text(encoding="utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _write_captions(file: Path, results: Sequence[_Cached[str]]) -> None:
    records = [
        {"stamp": cached.stamp, "failure": asdict(cached.result)}
        if isinstance(cached.result, Failure)
        else {"stamp": cached.stamp, "caption": cached.result}
        for cached in results
    ]
    write_text(file, json.dumps(records, ensure_ascii=False))


def _results(
    system: System,
    predict: Callable[[Iterable[PictureSource]], Iterator[_Result | Failure]],
    benchmark: Benchmark,
    folder: Path,
    suffix: str,
    read: Callable[[Path], list[_Cached[_Result]]],
    write: Callable[[Path, Sequence[_Cached[_Result]]], None],
    advance: Callable[[], None],
    check: Callable[[int, _Result], None] = lambda row, result: None,
) -> Iterator[_Result | Failure]:
    """Yield one result per picture, from cache files or new; unreadable pictures are tried again."""
    count = len(benchmark.pictures)
    for chunk, start in enumerate(range(0, count, CHUNK)):
        rows = range(start, min(start + CHUNK, count))
        file = folder / f"{chunk:06d}{suffix}"
        stamps = [benchmark.pictures.stamp(row) for row in rows]
        done: dict[int, _Cached[_Result]] = {}
        for place, cached in enumerate(read(file)):
            if cached.stamp == stamps[place] and not isinstance(cached.result, Failure):
                done[place] = cached
                advance()
        if missing := [place for place in range(len(rows)) if place not in done]:
            for number, result in _predict(system, predict, benchmark, [rows[place] for place in missing]):
                place = missing[number]
                if not isinstance(result, Failure):
                    check(rows[place], result)
                done[place] = _Cached(result, stamps[place])
                advance()
            write(file, [done[place] for place in range(len(rows))])
        yield from (done[place].result for place in range(len(rows)))


def _predict(
    system: System,
    predict: Callable[[Iterable[PictureSource]], Iterator[_Result | Failure]],
    benchmark: Benchmark,
    rows: Sequence[int],
) -> Iterator[tuple[int, _Result | Failure]]:
    """Predict some pictures and yield each result with its place among them; failures have the pictures' names.

    Raises:
        ModelError: If there are more results than pictures, or fewer.
    """
    places: list[int] = []
    absent: list[tuple[int, Failure]] = []

    def sources() -> Iterator[PictureSource]:
        for place, row in enumerate(rows):
            try:
                source = benchmark.pictures.source(row)
            except PictureError as error:
                absent.append((place, Failure(benchmark.pictures.name(row), error.kind, str(error))))
                continue
            places.append(place)
            yield source

    number = 0
    for number, result in enumerate(predict(sources()), 1):
        if number > len(places):
            raise ModelError(f"{system.title}: it gave more results than the {len(places)} pictures that it took")
        place = places[number - 1]
        if isinstance(result, Failure):
            result = replace(result, path=benchmark.pictures.name(rows[place]))
        yield place, result
    if number < len(places):
        raise ModelError(f"{system.title}: it gave {number} results for {len(places)} pictures")
    yield from absent


def _folder(system: System, identity: str, benchmark: Benchmark, folder: Path, what: str, asked: Sequence[str]) -> Path:
    """Create a cache folder for this system, benchmark and list of classes."""
    digest = hashlib.blake2b(digest_size=8)
    names = (benchmark.pictures.name(row) for row in range(len(benchmark.pictures)))
    for text in (identity, system.paradigm, benchmark.key, *asked, "", *names):
        digest.update(text.encode() + b"\0")
    title = system.title.partition(": ")[0]  # Without the part that distinguishes systems of one run.
    stem = re.sub(r"[^\w.+-]+", "-", f"{title}-{system.paradigm}-{benchmark.key}").strip("-").lower()[-100:]
    place = folder / what / f"{stem}-{digest.hexdigest()}"
    place.mkdir(parents=True, exist_ok=True)
    return place
