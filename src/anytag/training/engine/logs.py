"""Logs of a run: JSON lines, lines for people, curves, and external loggers."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from anytag.errors import UsageError
from anytag.evaluation.charts import chart_grid, measured_chart
from anytag.foundations.atomic_files import write_text
from anytag.foundations.report import Report
from anytag.model.directory import CURVES_FILE
from anytag.training.engine.checkpointing import SaveError
from anytag.training.engine.distributed import Strategy
from anytag.training.engine.loggers import open_logger

LOG_FILE = "log.jsonl"

#: The step and the metrics of each validation of a run, in order.
Validations = Sequence[tuple[int, Mapping[str, float]]]

#: Keys of a record that say where the run is.
PLACE = ("time", "step", "stage", "final", "epoch")

#: Keys of a record for the cost of a step; they have no curves.
COST = ("seconds", "pictures_per_second", "memory")

#: Minimum time between two drawings of the curves, in seconds, unless there is a validation.
_REDRAWN = 60.0


class Means:
    """Averages the loss components between two lines of the log.

    A component that some steps, micro-batches or processes lack (no caption among their pictures) is averaged over
    those that have it. A component that is a sum over pictures is added up over the pieces of a batch, so that it does
    not depend on how the batch is divided.

    Attributes:
        summed: Names of components that are sums over pictures.
        steps: Steps added since the last call of :meth:`take`.
    """

    def __init__(self, strategy: Strategy, summed: Collection[str] = ()):
        self.strategy, self.summed = strategy, summed
        self._clear()

    def _clear(self) -> None:
        self.steps = 0
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, parts: Sequence[Mapping[str, float]]) -> None:
        """Add a step: the loss components of each of its micro-batches in this process."""
        self.steps += 1
        for name in dict.fromkeys(name for own in parts for name in own):
            value = self._combined(name, [own[name] for own in parts if name in own])
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value, count + 1

    def take(self) -> dict[str, float]:
        """Return the means since the last call; all processes must call it together."""
        gathered = self.strategy.gathered(self._sums)
        self._clear()
        names = dict.fromkeys(name for own in gathered for name in own)
        return {
            name: self._combined(name, [own[name][0] / own[name][1] for own in gathered if name in own])
            for name in names
        }

    def _combined(self, name: str, values: Sequence[float]) -> float:
        return sum(values) if name in self.summed else sum(values) / len(values)


class Progress:
    """Describes the progress of a run for people."""

    def __init__(self, total_steps: int, steps_per_epoch: int, validate_every: int):
        self.total_steps, self.steps_per_epoch, self.validate_every = total_steps, steps_per_epoch, validate_every
        self._validation = 0.0

    def validated(self, seconds: float) -> None:
        """Note how long a validation took."""
        self._validation = seconds

    def left(self, step: int, seconds: float) -> float:
        """Seconds to the end, validations included, at ``seconds`` per step."""
        validations = self.total_steps // self.validate_every - step // self.validate_every
        return (self.total_steps - step) * seconds + (validations + 1) * self._validation

    def line(self, record: Mapping[str, Any]) -> str:
        """Describe a record of the log: "epoch 0.40 of 2, step 80/400, 31 pictures/s, 12 min left, 1.2 GB"."""
        step, epochs = record["step"], self.total_steps / self.steps_per_epoch
        words = [f"epoch {step / self.steps_per_epoch:.2f} of {epochs:.4g}", f"step {step:,}/{self.total_steps:,}"]
        if "pictures_per_second" in record:
            words.append(f"{record['pictures_per_second']:.3g} pictures/s")
            if step < self.total_steps:
                words.append(f"{_duration(self.left(step, record['seconds']))} left")
        if "memory" in record:
            words.append(f"{record['memory']:.2g} GB")
        return ", ".join(words)


def peak_memory(device: torch.device) -> float:
    """Peak memory of this process in gigabytes: the GPU's on CUDA, else main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    # Linux counts in kilobytes, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours / 24:.1f} days"


class RunLog:
    """The log of a run, written by one process: ``log.jsonl``, ``curves.svg``, readable lines, and loggers.

    Raises:
        MissingExtraError: If the package of a logger is not installed.
    """

    def __init__(self, folder: Path, progress: Progress, report: Report, loggers: Sequence[str] = ()):
        self.folder, self.path = folder, folder / LOG_FILE
        self.progress, self.report = progress, report
        self._loggers = {kind: open_logger(kind, folder) for kind in loggers}
        self._silent: set[str] = set()
        self._drawn = 0.0

    def begin(self, step: int, settings: Mapping[str, Any]) -> None:
        """Continue from a step: drop lines of later steps, which will run again, and lines that a kill cut off."""
        for kind, logger in self._loggers.items():
            try:
                logger.begin(step, settings)
            except Exception as error:
                raise UsageError(
                    f"loggers: {kind} cannot begin a run ({type(error).__name__}: {error}); mend its settings, or "
                    "leave it out"
                ) from error
        if self.path.exists():
            kept = [line for line, record in _lines(self.path) if record["step"] <= step]
            write_text(self.path, "".join(f"{line}\n" for line in kept))

    def validations(self, step: int) -> Validations:
        """Steps and metrics of the validations up to a step, except final ones."""
        return [
            (record["step"], record["validation"])
            for record in read_log(self.path)
            if "validation" in record and not record.get("final") and record["step"] <= step
        ]

    def final_figures(self, step: int) -> dict[str, float] | None:
        """Metrics of the final validation, if it was made at that step."""
        records = [record for record in read_log(self.path) if record.get("final") and record["step"] == step]
        return dict(records[-1]["validation"]) if records else None

    def note(self, record: dict[str, Any]) -> None:
        """Add a record without metrics, with at least ``step``."""
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({"time": round(time.time(), 1), **record}, ensure_ascii=False) + "\n")

    def write(self, record: dict[str, Any]) -> None:
        """Add a record, with at least ``step`` and ``stage``.

        Raises:
            SaveError: If it cannot be written; half a line is dropped when the run is resumed.
        """
        record = {"time": round(time.time(), 1), **_rounded(record)}
        try:
            with self.path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(record) + "\n")
            self._draw("validation" in record)
        except OSError as error:
            raise SaveError(
                f"{self.path}: the log of step {record['step']} could not be written ({error}); checkpoints are "
                "untouched. Make room, then go on with the same command."
            ) from error
        group = "validation" if "validation" in record else "training"
        kind = "final validation " if record.get("final") else "validation " if "validation" in record else ""
        figures = {name: value for name, value in record.items() if name not in (*PLACE, "validation")}
        figures |= record.get("validation", {})
        self._send(record["step"], {f"{group}/{name}": value for name, value in figures.items()})
        shown = " ".join(f"{name} {value}" for name, value in figures.items() if name not in COST)
        self.report(f"{record['stage']}, {self.progress.line(record)}: {kind}{shown}")

    def close(self) -> None:
        with suppress(OSError):
            self._draw(True)
        for logger in self._loggers.values():
            logger.close()

    def _draw(self, now: bool) -> None:
        if now or time.monotonic() - self._drawn > _REDRAWN:
            draw_curves(read_log(self.path), self.folder / CURVES_FILE)
            self._drawn = time.monotonic()

    def _send(self, step: int, figures: dict[str, float]) -> None:
        """Pass metrics to the loggers. A service that fails does not end the run; there is one warning."""
        for kind, logger in self._loggers.items():
            try:
                logger.write(step, figures)
            except Exception as error:
                if kind not in self._silent:
                    self.report(f"warning: {kind} does not take the log of step {step:,} ({error}); log.jsonl has it")
                self._silent.add(kind)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the records of a log, oldest first, except lines that were cut off; none if there is no log."""
    return [record for _, record in _lines(path)]


def _lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Lines of a log, and their records."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        with suppress(json.JSONDecodeError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                found.append((line, record))
    return found


def _rounded(record: dict[str, Any]) -> dict[str, Any]:
    def short(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.4g}")
        return _rounded(value) if isinstance(value, dict) else value

    return {key: short(value) for key, value in record.items()}


def draw_curves(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write an SVG of a log's curves, if there are any, whole or not at all.

    Training metrics are means since the previous record; final validations, which are more thorough, have no curve.
    """
    if curves := find_curves(records):
        write_text(path, chart_grid([measured_chart([(name, *curve)], "step", name) for name, curve in curves.items()]))


def find_curves(records: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[int], list[float]]]:
    """Steps and values of every metric by name, losses first: ``tagging``, ``validation map``."""
    losses: dict[str, tuple[list[int], list[float]]] = {}
    figures: dict[str, tuple[list[int], list[float]]] = {}
    for record in records:
        if record.get("final"):
            continue
        validation = record.get("validation")
        named = {name: value for name, value in record.items() if name not in PLACE and name not in COST}
        if validation:
            named = {f"validation {name}": value for name, value in validation.items()}
        for name, value in named.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                steps, values = (figures if validation else losses).setdefault(name, ([], []))
                steps.append(record["step"])
                values.append(float(value))
    return losses | figures
