"""Scores of a whole benchmark, kept as they come: a run that is stopped goes on, and thresholds change for free."""

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
    for chunk, rows in enumerate(_chunks(len(benchmark.pictures))):
        file = place / f"{chunk:06d}.npz"
        answers, are_new = _completed(system, system.scores, benchmark, rows, _read_scores(file), advance, check)
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer.found, Failure):
                failures.append(answer.found)
            else:
                scores[row] = answer.found
        if are_new:
            _write_scores(file, scores[rows.start : rows.stop], answers)
    return _checked(Scored(scores, tuple(failures), tuple(unscored), system.thresholds()), benchmark)


def _read_scores(file: Path) -> list[_Answer[NDArray[np.float32]]]:
    """What was kept of a chunk; nothing if it is not whole anymore."""
    if not file.exists():
        return []
    try:
        with np.load(file) as kept:
            scores, stamps, failures = kept["scores"], kept["stamps"].tolist(), json.loads(str(kept["failures"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return []
    failed = {int(row): Failure(**record) for row, record in failures.items()}
    return [_Answer(failed.get(row, scores[row]), stamp) for row, stamp in enumerate(stamps)]


def _write_scores(file: Path, scores: NDArray[np.float32], answers: Sequence[_Answer[NDArray[np.float32]]]) -> None:
    failures = {row: asdict(answer.found) for row, answer in enumerate(answers) if isinstance(answer.found, Failure)}
    stamps = np.array([answer.stamp for answer in answers])
    with whole_file(file) as part, part.open("wb") as handle:
        np.savez_compressed(handle, scores=scores, stamps=stamps, failures=np.array(json.dumps(failures)))


def _checked(scored: Scored, benchmark: Benchmark) -> Scored:
    if not scored.read.any():
        first = f", the first: {scored.failures[0].message}" if scored.failures else ""
        raise UsageError(f"{benchmark.title}: no picture could be read ({len(scored.scores):,} tried){first}")
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


@dataclass(frozen=True)
class _Answer(Generic[_Result]):
    """What a system says of a picture, or why it could not be read.

    Attributes:
        found: That.
        stamp: Of the picture's file: another file of that name is looked at anew.
    """

    found: _Result | Failure
    stamp: str


def _completed(
    system: System,
    ask: Callable[[Iterable[PictureSource]], Iterator[_Result | Failure]],
    benchmark: Benchmark,
    rows: range,
    kept: Sequence[_Answer[_Result]],
    advance: Callable[[], None],
    check: Callable[[int, _Result], None] = lambda row, found: None,
) -> tuple[list[_Answer[_Result]], bool]:
    """A chunk's answers: those that were kept, and those that the system has yet to give.

    A picture that could not be read the last time, or was not there, is tried again.

    Args:
        system: What is evaluated.
        ask: Its answers.
        benchmark: The benchmark.
        rows: The chunk's pictures.
        kept: Their answers as far as they are known: none, or one a picture.
        advance: Called after every picture.
        check: Refuses an answer.

    Returns:
        One answer a picture, and whether any is new.
    """
    stamps = [benchmark.pictures.stamp(row) for row in rows]
    done: dict[int, _Answer[_Result]] = {}
    for place, answer in enumerate(kept):
        if answer.stamp == stamps[place] and not isinstance(answer.found, Failure):
            done[place] = answer
            advance()
    missing = [place for place in range(len(rows)) if place not in done]
    for number, found in _of_pictures(system, ask, benchmark, [rows[place] for place in missing]):
        place = missing[number]
        if not isinstance(found, Failure):
            check(rows[place], found)
        done[place] = _Answer(found, stamps[place])
        advance()
    return [done[place] for place in range(len(rows))], bool(missing)


def _of_pictures(
    system: System,
    ask: Callable[[Iterable[PictureSource]], Iterator[_Result | Failure]],
    benchmark: Benchmark,
    rows: Sequence[int],
) -> Iterator[tuple[int, _Result | Failure]]:
    """What a system says of some pictures, each with its place among them; failures under the pictures' names.

    Raises:
        ModelError: If there are more results than pictures, or fewer.
    """
    if not rows:
        return
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
        answers, are_new = _completed(system, system.captions, benchmark, rows, _read_captions(file), advance)
        if are_new:
            records = [
                {"stamp": answer.stamp, "failure": asdict(answer.found)}
                if isinstance(answer.found, Failure)
                else {"stamp": answer.stamp, "caption": answer.found}
                for answer in answers
            ]
            write_text(file, json.dumps(records, ensure_ascii=False))
        failures += [answer.found for answer in answers if isinstance(answer.found, Failure)]
        written += [None if isinstance(answer.found, Failure) else answer.found for answer in answers]
    return written, failures


def _read_captions(file: Path) -> list[_Answer[str]]:
    """What was kept of a chunk; nothing if it is not whole anymore."""
    if not file.exists():
        return []
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
        return [
            _Answer(Failure(**record["failure"]) if "failure" in record else str(record["caption"]), record["stamp"])
            for record in records
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _chunks(count: int) -> list[range]:
    return [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def _place(system: System, benchmark: Benchmark, folder: Path, what: str) -> Path:
    """A folder of this system, benchmark and list of classes alone."""
    digest = hashlib.blake2b(digest_size=8)
    names = (benchmark.pictures.name(row) for row in range(len(benchmark.pictures)))
    # Captions do not depend on what is asked for.
    asked = (*benchmark.texts, str(sorted(benchmark.synonyms.items()))) if what == "scores" else ()
    for text in (system.identity, system.paradigm, benchmark.key, *asked, "", *names):
        digest.update(text.encode() + b"\0")
    title = system.title.partition(": ")[0]  # Not what tells it apart from another system of this run.
    stem = re.sub(r"[^\w.+-]+", "-", f"{title}-{system.paradigm}-{benchmark.key}").strip("-").lower()[-100:]
    place = folder / what / f"{stem}-{digest.hexdigest()}"
    place.mkdir(parents=True, exist_ok=True)
    return place
