"""Scores of a whole benchmark, kept as they come: a run that is stopped goes on, and thresholds change for free."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from anytag.errors import ModelError, PictureError, UsageError
from anytag.evaluation.benchmarks.benchmark import Benchmark
from anytag.evaluation.systems import System
from anytag.foundations.atomic_files import whole_file, write_text
from anytag.pictures import PictureSource
from anytag.recognition import Failure

_Result = TypeVar("_Result")

#: Pictures that are kept together.
CHUNK = 256


@dataclass(frozen=True)
class Scored:
    """What a system says of a benchmark.

    Attributes:
        scores: ``[N, C]``; rows of pictures that could not be read, and columns of classes that the system cannot
            score, are NaN.
        failures: Pictures that could not be read.
        unscored: Classes that the system cannot score.
        thresholds: ``[C]``, the system's own; ``None`` if it has none.
    """

    scores: NDArray[np.float32]
    failures: tuple[Failure, ...]
    unscored: tuple[str, ...]
    thresholds: NDArray[np.float64] | None

    @property
    def read(self) -> NDArray[np.bool_]:
        """``[N]``, true for pictures that could be read."""
        return np.asarray(~np.isnan(self.scores).all(1))


def score_benchmark(
    system: System, benchmark: Benchmark, folder: Path, advance: Callable[[], None] = lambda: None
) -> Scored:
    """Score every picture for every class, or read what was kept.

    Args:
        system: What is evaluated.
        benchmark: A tagging benchmark.
        folder: Where scores are kept: those of another system, benchmark or list of classes lie elsewhere in it.
        advance: Called after every picture.

    Raises:
        UsageError: If the benchmark is not one of tagging, or no picture could be read.
        ModelError: If a score is not a number, or there are more or fewer than pictures.
    """
    if benchmark.task != "tagging":
        raise UsageError(f"{benchmark.title} measures {benchmark.task}, not tagging")
    unscored = system.ask(benchmark.texts, benchmark.synonyms)
    if system.parser is not None:
        scores, failures = _scores_of_captions(system, benchmark, folder, advance)
        return _checked(Scored(scores, tuple(failures), tuple(unscored), None), benchmark)
    place = _place(system, benchmark, folder, "scores")
    parts: list[NDArray[np.float32]] = []
    failures = []
    for chunk, rows in enumerate(_chunks(len(benchmark.pictures))):
        file = place / f"{chunk:06d}.npz"
        if not file.exists():
            _score_chunk(system, benchmark, rows, file, advance, np.isin(benchmark.texts, unscored))
        else:
            for _ in rows:
                advance()
        with np.load(file) as kept:
            parts.append(kept["scores"])
            failures += [Failure(**record) for record in json.loads(str(kept["failures"]))]
    return _checked(Scored(np.concatenate(parts), tuple(failures), tuple(unscored), system.thresholds()), benchmark)


def _checked(scored: Scored, benchmark: Benchmark) -> Scored:
    if not scored.read.any():
        first = f", the first: {scored.failures[0].message}" if scored.failures else ""
        raise UsageError(f"{benchmark.title}: none of {len(scored.scores):,} pictures could be read{first}")
    return scored


def _scores_of_captions(
    system: System, benchmark: Benchmark, folder: Path, advance: Callable[[], None]
) -> tuple[NDArray[np.float32], list[Failure]]:
    """1 for what a caption names; captions are kept, and serve wherever they are wanted again."""
    assert system.parser is not None
    captions, failures = caption_benchmark(system, benchmark, folder, advance)
    scores = np.full((len(captions), len(benchmark.names)), np.nan, np.float32)
    rows = [row for row, caption in enumerate(captions) if caption is not None]
    if rows:
        scores[rows] = system.parser([caption for caption in captions if caption is not None])
    return scores, failures


def _score_chunk(
    system: System,
    benchmark: Benchmark,
    rows: range,
    file: Path,
    advance: Callable[[], None],
    unscored: NDArray[np.bool_],
) -> None:
    scores = np.full((len(rows), len(benchmark.names)), np.nan, np.float32)
    failures: list[dict[str, str]] = []
    for place, found in _of_pictures(system, system.scores, benchmark, rows):
        if isinstance(found, Failure):
            failures.append(asdict(found))
        else:
            if (wrong := np.isnan(found) & ~unscored).any():
                name, category = benchmark.pictures.name(rows[place]), benchmark.texts[int(wrong.argmax())]
                raise ModelError(
                    f"{system.title}: the score of {name} for {category!r} is not a number; the weights are damaged, "
                    "or too large for the precision"
                )
            scores[place] = found
        advance()
    with whole_file(file) as part, part.open("wb") as handle:
        np.savez_compressed(handle, scores=scores, failures=np.array(json.dumps(failures)))


def _of_pictures(
    system: System,
    ask: Callable[[Iterable[PictureSource]], Iterator[_Result | Failure]],
    benchmark: Benchmark,
    rows: range,
) -> Iterator[tuple[int, _Result | Failure]]:
    """What a system says of some pictures, each with its place among them; failures under the pictures' names.

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
    for number, result in enumerate(ask(sources()), 1):
        if number > len(places):
            raise ModelError(f"{system.title}: it gave more results than the {len(places)} pictures that it took")
        place = places[number - 1]
        if isinstance(result, Failure):
            result = replace(result, path=benchmark.pictures.name(rows[place]))
        yield place, result
    if number < len(places):
        raise ModelError(f"{system.title}: it gave {number} results for {len(places)} pictures")
    yield from absent


def caption_benchmark(
    system: System, benchmark: Benchmark, folder: Path, advance: Callable[[], None] = lambda: None
) -> tuple[list[str | None], list[Failure]]:
    """Write a caption of every picture, or read what was kept; ``None`` where a picture could not be read."""
    place = _place(system, benchmark, folder, "captions")
    written: list[str | None] = []
    failures: list[Failure] = []
    for chunk, rows in enumerate(_chunks(len(benchmark.pictures))):
        file = place / f"{chunk:06d}.json"
        if not file.exists():
            write_text(file, json.dumps(_caption_chunk(system, benchmark, rows, advance), ensure_ascii=False))
        else:
            for _ in rows:
                advance()
        for item in json.loads(file.read_text(encoding="utf-8")):
            if isinstance(item, dict):
                failures.append(Failure(**item))
                written.append(None)
            else:
                written.append(item)
    return written, failures


def _caption_chunk(
    system: System, benchmark: Benchmark, rows: range, advance: Callable[[], None]
) -> list[str | dict[str, str]]:
    """Per picture a caption, or why it could not be read."""
    record: list[str | dict[str, str]] = ["" for _ in rows]
    for place, found in _of_pictures(system, system.captions, benchmark, rows):
        record[place] = asdict(found) if isinstance(found, Failure) else found
        advance()
    return record


def _chunks(count: int) -> list[range]:
    return [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def _place(system: System, benchmark: Benchmark, folder: Path, what: str) -> Path:
    """A folder of this system, benchmark and list of classes alone."""
    digest = hashlib.blake2b(digest_size=8)
    names = (benchmark.pictures.name(row) for row in range(len(benchmark.pictures)))
    asked = benchmark.texts if what == "scores" else ()  # Captions do not depend on what is asked for.
    for text in (system.identity, system.paradigm, benchmark.key, *asked, "", *names):
        digest.update(text.encode() + b"\0")
    stem = re.sub(r"[^\w.+-]+", "-", f"{system.title}-{system.paradigm}-{benchmark.key}").strip("-").lower()
    place = folder / what / f"{stem}-{digest.hexdigest()}"
    place.mkdir(parents=True, exist_ok=True)
    return place
