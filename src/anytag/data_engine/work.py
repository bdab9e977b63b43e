"""Steps in units of work: each unit's output is written whole, marked as done, and redone only if something changed.

A unit is a part of the data, or a group of tags. Beside its output lies ``….done.json`` with the step's settings and
the SHA-256 of all that was read and written: the same command run again does what is missing or out of date.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from anytag.data_engine.manifest import PartFormat, PictureRecord, write_part
from anytag.data_engine.report import StepReport
from anytag.errors import (
    AnytagError,
    DataError,
    ModelError,
    PictureError,
    SampleError,
    UsageError,
    VocabularyError,
)
from anytag.foundations.atomic_files import write_text
from anytag.model.directory import sha256

#: Version of the markers and of what the steps compute: a change of either makes old outputs out of date.
WORK_VERSION = 1

#: Examples and failures that a unit keeps for the report; every failure is counted.
EXAMPLES_KEPT, FAILURES_KEPT = 3, 100

#: Samples that have to be seen before the share of bad ones counts.
_SEEN_BEFORE_STOP = 200


@dataclass
class Outcome:
    """What a unit came to.

    Attributes:
        counts: By name; names of all units are added up.
        examples: A few JSON-able records for people.
        failures: What was skipped and why: ``place``, ``kind``, ``reason``.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    def fail(self, error: SampleError | PictureError | tuple[str, str, str]) -> None:
        """Count and keep something that was skipped: an error, or its place, kind and reason."""
        self.counts["failed"] += 1
        if isinstance(error, tuple):
            place, kind, reason = error
        elif isinstance(error, SampleError):
            place, kind, reason = error.source, error.kind, error.reason
        else:
            place, kind, reason = error.path, error.kind, str(error)
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append({"place": place, "kind": kind, "reason": reason})

    def show(self, example: Callable[[], dict[str, Any]]) -> None:
        """Keep an example, if there are not enough yet."""
        if len(self.examples) < EXAMPLES_KEPT:
            self.examples.append(example())


@dataclass(frozen=True, slots=True)
class Digest:
    """What a file held when it was looked at; size and time spare reading it again."""

    name: str
    sha256: str
    size: int = -1
    changed: int = -1

    @classmethod
    def of(cls, path: Path, known: Digest | None = None) -> Digest:
        """A file's digest; ``known`` is believed if size and time of change are still the same."""
        status = path.stat()
        if known and (known.size, known.changed) == (status.st_size, status.st_mtime_ns):
            return Digest(path.name, known.sha256, known.size, known.changed)
        return Digest(path.name, sha256(path), status.st_size, status.st_mtime_ns)

    @classmethod
    def of_all(cls, paths: Iterable[Path], known: Sequence[Digest]) -> list[Digest]:
        """The files' digests, in order; ``known`` are earlier ones, found by the files' names."""
        earlier = {digest.name: digest for digest in known}
        return [cls.of(path, earlier.get(path.name)) for path in paths]

    @classmethod
    def of_text(cls, name: str, text: str) -> Digest:
        """The digest of something that is not a file."""
        return cls(name, hashlib.sha256(text.encode()).hexdigest())


class Step(ABC):
    """One step of the engine. Steps are pickled: they run in other processes and on other machines.

    Attributes:
        name: Of the step.
        noun: What a unit is called.
        suffix: Of the outputs' names.
        folder: Where outputs go.
    """

    name: ClassVar[str]
    noun: ClassVar[str] = "part"
    folder: Path

    @property
    @abstractmethod
    def units(self) -> int:
        """How many units there are."""

    @property
    def suffix(self) -> str:
        """Of the outputs' names."""
        return "jsonl"

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything that decides the output beside the inputs; JSON-able."""

    @abstractmethod
    def inputs(self, unit: int, known: Sequence[Digest] = ()) -> list[Digest]:
        """What the unit reads.

        Args:
            unit: Which.
            known: Digests of the same inputs from an earlier run.
        """

    @abstractmethod
    def run(self, unit: int, output: Path) -> Outcome:
        """Do the unit's work and write its output to that path.

        Raises:
            AnytagError: If the work cannot be done at all. What is wrong with single pictures is in the outcome.
        """

    def output(self, unit: int) -> Path:
        """Where the unit's output lies when it is done."""
        return self.folder / f"{self.noun}-{unit:05}.{self.suffix}"

    def marker_path(self, unit: int) -> Path:
        """Where the unit's marker lies."""
        return self.folder / f"{self.output(unit).name}.done.json"


class PartsStep(Step):
    """A step whose outputs are the parts of a manifest.

    Attributes:
        format: Of the parts.
    """

    format: PartFormat

    @property
    def suffix(self) -> str:
        return self.format

    @abstractmethod
    def records(self, unit: int, outcome: Outcome) -> Iterator[PictureRecord]:
        """The records of a part.

        Args:
            unit: Which.
            outcome: Receives counts, examples and failures.
        """

    def run(self, unit: int, output: Path) -> Outcome:
        outcome = Outcome()
        write_part(output, self.records(unit, outcome), self.format)
        return outcome


@dataclass
class Marker:
    """A unit that is done."""

    unit: int
    settings: dict[str, Any]
    inputs: list[Digest]
    output: Digest
    outcome: Outcome
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The marker as it stands in its file."""
        return {
            "version": WORK_VERSION,
            "unit": self.unit,
            "settings": self.settings,
            "inputs": [[d.name, d.sha256, d.size, d.changed] for d in self.inputs],
            "output": [self.output.name, self.output.sha256, self.output.size, self.output.changed],
            "counts": dict(self.outcome.counts),
            "examples": self.outcome.examples,
            "failures": self.outcome.failures,
            "seconds": round(self.seconds, 4),
        }

    @classmethod
    def from_json(cls, record: Any) -> Marker | None:
        """Read what :meth:`to_json` wrote; ``None`` if it is something else or of another version."""
        try:
            if record["version"] != WORK_VERSION:
                return None
            outcome = Outcome(Counter(record["counts"]), record["examples"], record["failures"])
            inputs = [Digest(*entry) for entry in record["inputs"]]
            return cls(
                record["unit"], record["settings"], inputs, Digest(*record["output"]), outcome, record["seconds"]
            )
        except (KeyError, TypeError):
            return None

    @classmethod
    def load(cls, path: Path) -> Marker | None:
        """Read a marker; ``None`` if there is none, or it is damaged."""
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None


def finished(step: Step, unit: int) -> Marker | None:
    """The marker of a unit that is done and up to date; ``None`` if there is work to do."""
    marker = Marker.load(step.marker_path(unit))
    if marker is None or marker.settings != _plain(step.settings()):
        return None
    now = step.inputs(unit, marker.inputs)
    if [d.sha256 for d in now] != [d.sha256 for d in marker.inputs]:
        return None
    try:
        output = Digest.of(step.output(unit), marker.output)
    except OSError:
        return None
    return marker if output.sha256 == marker.output.sha256 else None


@dataclass
class Problem:
    """Why a unit cannot be done: an :class:`~anytag.errors.AnytagError` in a form that any process can send.

    Attributes:
        message: What it says.
        kind: Its kind.
    """

    message: str
    kind: str = AnytagError.kind

    def error(self, step: str) -> AnytagError:
        """The error, with the step's name before its message."""
        classes = {cls.kind: cls for cls in (DataError, ModelError, UsageError, VocabularyError)}
        return classes.get(self.kind, AnytagError)(f"{step}: {self.message}")


def perform(step: Step, unit: int) -> Marker | Problem:
    """Do one unit, and mark it as done."""
    started = time.perf_counter()
    output = step.output(unit)
    # Two workers may have the same unit when a cluster takes one of them for dead.
    unfinished = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        step.folder.mkdir(parents=True, exist_ok=True)
        inputs = step.inputs(unit)
        outcome = step.run(unit, unfinished)
        unfinished.replace(output)
    except AnytagError as error:
        unfinished.unlink(missing_ok=True)
        return Problem(str(error), error.kind)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        return Problem(f"{error.filename or output}: {error.strerror or error}")
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    seconds = time.perf_counter() - started
    marker = Marker(unit, _plain(step.settings()), inputs, Digest.of(output), outcome, seconds)
    write_text(step.marker_path(unit), json.dumps(marker.to_json(), ensure_ascii=False) + "\n")
    return marker


#: Called after every unit with how many are done and how many there are.
Progress = Callable[[str, int, int, Marker], None]


def run_step(
    step: Step,
    execute: Callable[[Step, Sequence[int]], Iterable[Marker | Problem]],
    progress: Progress | None = None,
    bad_share: float = 0.5,
    redo: bool = False,
) -> StepReport:
    """Do all units that are not done yet.

    Args:
        step: The step.
        execute: Performs units, in any order; see :mod:`anytag.data_engine.executors`.
        progress: Told of every unit that is done.
        bad_share: The share of pictures that may fail; more stop the step. Generous by default: links of the web die
            by the third, and each is reported.
        redo: Whether to do units that are done, too.

    Raises:
        AnytagError: What a unit cannot go on with.
        DataError: If too many pictures fail.
    """
    started = time.perf_counter()
    markers: dict[int, Marker] = {}
    if not redo:
        markers = {unit: marker for unit in range(step.units) if (marker := finished(step, unit))}
    wanted = [unit for unit in range(step.units) if unit not in markers]
    kept = len(markers)
    if wanted:
        # What marks the whole as complete is not true while parts are being redone.
        (step.folder / "manifest.json").unlink(missing_ok=True)
    _sweep(step.folder)
    for done in execute(step, wanted):
        if isinstance(done, Problem):
            raise done.error(step.name)
        markers[done.unit] = done
        if progress:
            progress(step.name, len(markers), step.units, done)
        _stop_if_bad(step, markers.values(), bad_share)
    _sweep(step.folder)
    _stop_if_bad(step, markers.values(), bad_share, whole=True)
    ordered = [markers[unit] for unit in range(step.units)]
    counts: Counter[str] = Counter()
    for marker in ordered:
        counts.update(marker.outcome.counts)
    now = set(wanted)
    return StepReport(
        step=step.name,
        settings=step.settings(),
        unit=step.noun,
        units=step.units,
        kept=kept,
        counts=dict(sorted(counts.items())),
        examples=[example for marker in ordered for example in marker.outcome.examples][:EXAMPLES_KEPT],
        failures=[failure for marker in ordered for failure in marker.outcome.failures][:FAILURES_KEPT],
        work_seconds=sum(marker.seconds for marker in ordered),
        wall_seconds=time.perf_counter() - started,
        pictures_now=sum(marker.outcome.counts["pictures_in"] for marker in ordered if marker.unit in now),
    )


def _sweep(folder: Path) -> None:
    """Remove what workers that were killed have left half written."""
    for left in folder.glob("*.part"):
        left.unlink(missing_ok=True)


def _stop_if_bad(step: Step, markers: Iterable[Marker], share: float, whole: bool = False) -> None:
    seen = failed = 0
    first = ""
    for marker in markers:
        seen += marker.outcome.counts["pictures_in"]
        failed += marker.outcome.counts["failed"]
        if not first and marker.outcome.failures:
            failure = marker.outcome.failures[0]
            first = f"{failure['place']}: {failure['reason']}"
    if (whole and failed and failed == seen) or (seen >= _SEEN_BEFORE_STOP and failed > share * seen):
        raise DataError(
            f"{step.name}: {failed:,} of {seen:,} pictures fail, more than the {share:.0%} that may. Mend them, leave "
            f"them out, or raise the share. The first: {first}"
        )


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON gives them back."""
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain
