"""Steps in units of work: each unit's output is written atomically, marked as done, and redone only after changes.

A unit is a part of the data, or a group of tags. Beside its output, ``….done.json`` has the step's settings and the
SHA-256 of all inputs and outputs: the same command, run again, does what is missing or out of date.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any, ClassVar

from anytag.data_engine.manifest import PartFormat, PictureRecord, part_name, write_part
from anytag.data_engine.report import StepReport
from anytag.datasets.bad_samples import place_and_reason
from anytag.errors import AnytagError, DataError, ModelError, PictureError, SampleError, UsageError, VocabularyError
from anytag.foundations.atomic_files import write_text
from anytag.model.directory import sha256

#: Version of the markers and of the steps' results: after a change, old outputs are out of date.
WORK_VERSION = 1

#: Examples and failures per unit and report; every failure is counted.
EXAMPLES_KEPT, FAILURES_KEPT = 3, 100

#: Samples before the share of bad ones counts.
_SEEN_BEFORE_STOP = 200


@dataclass
class Outcome:
    """The result of a unit.

    Attributes:
        counts: By name, summed over units.
        failures: Skipped pictures: ``place``, ``kind``, ``reason``.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    def fail(self, error: SampleError | PictureError | tuple[str, str, str]) -> None:
        """Count and record a skipped picture: an error, or its place, kind and reason."""
        self.counts["failed"] += 1
        if isinstance(error, tuple):
            place, kind, reason = error
        else:
            (place, reason), kind = place_and_reason(error), error.kind
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append({"place": place, "kind": kind, "reason": reason})

    @property
    def needs_example(self) -> bool:
        """Whether there is room for another example."""
        return len(self.examples) < EXAMPLES_KEPT


@dataclass(frozen=True, slots=True)
class Digest:
    """The SHA-256 of a file; while size and modification time stay the same, the file is not read again."""

    name: str
    sha256: str
    size: int = -1
    changed: int = -1

    @classmethod
    def of(cls, path: Path, known: Digest | None = None) -> Digest:
        """Hash a file, or reuse ``known`` if name, size and modification time are the same."""
        status = path.stat()
        if known and (known.name, known.size, known.changed) == (path.name, status.st_size, status.st_mtime_ns):
            return known
        return Digest(path.name, sha256(path), status.st_size, status.st_mtime_ns)

    @classmethod
    def of_all(cls, paths: Sequence[Path], known: Sequence[Digest]) -> list[Digest]:
        """Hash files; ``known`` are the digests of an earlier run, in the same order."""
        return [cls.of(path, before) for path, before in zip(paths, chain(known, repeat(None)), strict=False)]

    @classmethod
    def of_text(cls, name: str, text: str) -> Digest:
        """Hash an input that is not a file."""
        return cls(name, hashlib.sha256(text.encode()).hexdigest())


class Step(ABC):
    """A step of the engine. Steps are pickled, to run in other processes and on other machines.

    Attributes:
        noun: What a unit is called.
    """

    name: ClassVar[str]
    noun: ClassVar[str] = "part"
    suffix: ClassVar[str] = "jsonl"
    folder: Path

    @property
    @abstractmethod
    def units(self) -> int:
        """Number of units."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return everything besides the inputs that determines the output, JSON-serializable."""

    def files(self, unit: int) -> Sequence[Path]:
        """Return the files that a unit reads."""
        return ()

    def inputs(self, unit: int, known: Sequence[Digest] = ()) -> list[Digest]:
        """Hash everything that a unit reads; ``known`` are the digests of an earlier run."""
        return Digest.of_all(self.files(unit), known)

    @abstractmethod
    def run(self, unit: int, output: Path) -> Outcome:
        """Do a unit's work and write its output to that path.

        Raises:
            AnytagError: If the work cannot be done. Failures of single pictures are in the outcome.
        """

    def output(self, unit: int) -> Path:
        """Return the file of a finished unit's output."""
        return self.folder / f"{self.noun}-{unit:05}.{self.suffix}"

    def outputs(self) -> list[Path]:
        """Return the files of all units' outputs."""
        return [self.output(unit) for unit in range(self.units)]

    def marker_path(self, unit: int) -> Path:
        """Return the file of a unit's marker."""
        return self.folder / f"{self.output(unit).name}.done.json"


class PartsStep(Step):
    """A step whose outputs are the parts of a manifest."""

    format: PartFormat

    def output(self, unit: int) -> Path:
        return self.folder / part_name(unit, self.format)

    @abstractmethod
    def records(self, unit: int, outcome: Outcome) -> Iterator[PictureRecord]:
        """Yield the records of a part, and add counts, examples and failures to ``outcome``."""

    def run(self, unit: int, output: Path) -> Outcome:
        outcome = Outcome()
        write_part(output, self.records(unit, outcome), self.format)
        return outcome


@dataclass
class Marker:
    """A finished unit."""

    unit: int
    settings: dict[str, Any]
    inputs: list[Digest]
    output: Digest
    outcome: Outcome
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the content of the marker's file."""
        return {
            "version": WORK_VERSION,
            "unit": self.unit,
            "settings": self.settings,
            "inputs": [astuple(digest) for digest in self.inputs],
            "output": astuple(self.output),
            "counts": dict(self.outcome.counts),
            "examples": self.outcome.examples,
            "failures": self.outcome.failures,
            "seconds": round(self.seconds, 4),
        }

    @classmethod
    def from_json(cls, record: Any) -> Marker | None:
        """Restore a marker; ``None`` if the record is something else or of another version."""
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
        """Read a marker; ``None`` if it is missing or damaged."""
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None


def finished(step: Step, unit: int) -> Marker | None:
    """Return the marker of a unit that is done and up to date; ``None`` if it needs to be done."""
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
    """An :class:`~anytag.errors.AnytagError` that stopped a unit, in a form that can be sent between processes."""

    message: str
    kind: str = AnytagError.kind

    def error(self, step: str) -> AnytagError:
        """Return the error, with the step's name before its message."""
        classes = {cls.kind: cls for cls in (DataError, ModelError, UsageError, VocabularyError)}
        return classes.get(self.kind, AnytagError)(f"{step}: {self.message}")


def perform(step: Step, unit: int) -> Marker | Problem:
    """Do one unit, and mark it as done."""
    started = time.perf_counter()
    output = step.output(unit)
    # Two workers may do the same unit if a cluster believes that one of them died.
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


#: Performs units of a step, and yields results as they are done, in any order.
Executor = Callable[[Step, Sequence[int]], Iterable[Marker | Problem]]

#: Called after every unit with the step's name, the number of finished units, that of all units, and the marker.
Progress = Callable[[str, int, int, Marker], None]


def run_step(
    step: Step,
    execute: Executor,
    progress: Progress | None = None,
    bad_share: float = 0.5,
    redo: bool = False,
) -> StepReport:
    """Do all units that are not done yet, or all with ``redo``.

    Args:
        step: The step.
        execute: See :mod:`anytag.data_engine.executors`.
        progress: Called after every unit.
        bad_share: Share of pictures that may fail before the step stops. Half by default, since up to a third of the
            links on the web are dead, and each is reported.
        redo: Repeat finished units.

    Raises:
        AnytagError: The error that stopped a unit.
        DataError: If too many pictures fail.
    """
    started = time.perf_counter()
    markers: dict[int, Marker] = {}
    if not redo:
        markers = {unit: marker for unit in range(step.units) if (marker := finished(step, unit))}
    missing = [unit for unit in range(step.units) if unit not in markers]
    if missing:
        # The manifest is not complete while parts are redone.
        (step.folder / "manifest.json").unlink(missing_ok=True)
    _sweep(step.folder)
    for done in execute(step, missing):
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
    return StepReport(
        step=step.name,
        settings=step.settings(),
        unit=step.noun,
        units=step.units,
        kept=step.units - len(missing),
        counts=dict(sorted(counts.items())),
        examples=[example for marker in ordered for example in marker.outcome.examples][:EXAMPLES_KEPT],
        failures=[failure for marker in ordered for failure in marker.outcome.failures][:FAILURES_KEPT],
        work_seconds=sum(marker.seconds for marker in ordered),
        wall_seconds=time.perf_counter() - started,
        pictures_now=sum(markers[unit].outcome.counts["pictures_in"] for unit in missing),
    )


def _sweep(folder: Path) -> None:
    """Remove incomplete files of killed workers."""
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
            f"{step.name}: {failed:,} of {seen:,} pictures fail, more than the allowed {share:.0%}. Fix or remove "
            f"them, or raise the share. The first error: {first}"
        )


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as JSON would return them."""
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain
