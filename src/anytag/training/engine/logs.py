"""What a run says of itself: JSON lines, lines for people, curves, and other loggers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from anytag.errors import UsageError
from anytag.foundations.atomic_files import write_text
from anytag.foundations.report import Report
from anytag.model.directory import CURVES_FILE
from anytag.training.engine.best import Validations
from anytag.training.engine.checkpointing import SaveError
from anytag.training.engine.curves import COST, PLACE, draw_curves
from anytag.training.engine.loggers import open_logger
from anytag.training.engine.progress import Progress

LOG_FILE = "log.jsonl"

#: Seconds between two drawings of the curves, unless a validation comes.
_REDRAWN = 60.0


class RunLog:
    """The log of a run; one process of it writes.

    Args:
        folder: The run folder: ``log.jsonl``, ``curves.svg``, and what the loggers keep.
        progress: Says how far the run is.
        report: Receives the lines in a readable form.
        loggers: Names of others that receive the log.

    Raises:
        MissingExtraError: If one of these is not installed.
    """

    def __init__(self, folder: Path, progress: Progress, report: Report, loggers: Sequence[str] = ()):
        self.folder, self.path = folder, folder / LOG_FILE
        self.progress, self.report = progress, report
        self._loggers = {kind: open_logger(kind, folder) for kind in loggers}
        self._silent: set[str] = set()
        self._drawn = 0.0

    def begin(self, step: int, settings: Mapping[str, Any]) -> None:
        """Go on from a step: drop the lines of steps that will be run again, and a line that a kill cut off."""
        for kind, logger in self._loggers.items():
            try:
                logger.begin(step, settings)
            except Exception as error:
                raise UsageError(
                    f"loggers: {kind} cannot begin a run ({type(error).__name__}: {error}); mend its settings, or "
                    "leave it out"
                ) from error
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (json.JSONDecodeError, KeyError, TypeError):
                continue
        write_text(self.path, "".join(kept))

    def validations(self, step: int) -> Validations:
        """Steps and figures of the validations up to a step, without final ones."""
        return [
            (record["step"], record["validation"])
            for record in read_log(self.path)
            if "validation" in record and not record.get("final") and record["step"] <= step
        ]

    def final_figures(self, step: int) -> dict[str, float] | None:
        """The figures of the final validation, if it was at that step."""
        records = [record for record in read_log(self.path) if record.get("final") and record["step"] == step]
        return dict(records[-1]["validation"]) if records else None

    def note(self, record: dict[str, Any]) -> None:
        """Add a record that is not a figure; it has at least ``step``."""
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({"time": round(time.time(), 1), **record}, ensure_ascii=False) + "\n")

    def write(self, record: dict[str, Any]) -> None:
        """Add a record, which has at least ``step`` and ``stage``.

        Raises:
            SaveError: If it cannot be written; half a line goes when the run is taken up again.
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
        figures = dict(_flat({name: value for name, value in record.items() if name not in PLACE}))
        self._send(record["step"], {f"{group}/{name}": value for name, value in figures.items()})
        shown = " ".join(f"{name} {value}" for name, value in figures.items() if name not in COST)
        kind = "final validation " if record.get("final") else "validation " if "validation" in record else ""
        self.report(f"{record['stage']}, {self.progress.line(record)}: {kind}{shown}")

    def close(self) -> None:
        """Nothing more will come."""
        with suppress(OSError):
            self._draw(True)
        for logger in self._loggers.values():
            logger.close()

    def _draw(self, now: bool) -> None:
        if now or time.monotonic() - self._drawn > _REDRAWN:
            draw_curves(read_log(self.path), self.folder / CURVES_FILE)
            self._drawn = time.monotonic()

    def _send(self, step: int, figures: dict[str, float]) -> None:
        """Give figures to the loggers. A service that does not answer ends no run; it is said once."""
        for kind, logger in self._loggers.items():
            try:
                logger.write(step, figures)
            except Exception as error:
                if kind not in self._silent:
                    self.report(f"warning: {kind} does not take the log of step {step:,} ({error}); log.jsonl has it")
                self._silent.add(kind)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log, oldest first; none if there is none. A line that was cut off is left out."""
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and "step" in record:
            records.append(record)
    return records


def _rounded(record: dict[str, Any]) -> dict[str, Any]:
    def short(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.4g}")
        return _rounded(value) if isinstance(value, dict) else value

    return {key: short(value) for key, value in record.items()}


def _flat(record: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield key, value
