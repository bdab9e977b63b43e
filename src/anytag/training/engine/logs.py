"""What a run says of itself: JSON lines always, TensorBoard's files if they are asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anytag.errors import MissingExtraError
from anytag.foundations.atomic_files import write_text
from anytag.foundations.report import Report
from anytag.training.engine.checkpointing import SaveError


class RunLog:
    """The log of a run; one process of it writes.

    Args:
        folder: The run folder: ``log.jsonl``, and ``tensorboard/`` if asked for.
        total_steps: For the time that is left.
        report: Receives the lines in a readable form.
        tensorboard: Write for TensorBoard, too.

    Raises:
        MissingExtraError: If TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, total_steps: int, report: Report, tensorboard: bool = False):
        self.path, self.total_steps, self.report = folder / "log.jsonl", total_steps, report
        self._board: Any = None
        self._board_folder = folder / "tensorboard" if tensorboard else None
        if tensorboard:
            _summary_writer()

    def begin(self, step: int) -> None:
        """Go on from a step: drop the lines of steps that will be run again, and a line that a kill cut off."""
        if self._board_folder is not None:
            self._board = _summary_writer()(str(self._board_folder), purge_step=step + 1)
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

    def has_figures(self, step: int) -> bool:
        """Whether the figures of a validation at that step were written."""
        if not self.path.exists():
            return False
        records = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        return any(record["step"] == step and "validation" in record for record in records)

    def note(self, record: dict[str, Any]) -> None:
        """Add a record that is no figure; it has at least ``step``."""
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
        except OSError as error:
            raise SaveError(
                f"{self.path}: the log of step {record['step']} could not be written ({error}); checkpoints are "
                "untouched. Make room, then go on with the same command."
            ) from error
        figures = [(k, v) for k, v in _flat(record) if k not in ("time", "step", "stage")]
        if self._board is not None:
            group = "validation" if "validation" in record else "training"
            for name, value in figures:
                self._board.add_scalar(f"{group}/{name}", value, record["step"])
            self._board.flush()
        left = (self.total_steps - record["step"]) * record.get("seconds", 0.0)
        eta = f", {left / 60:.0f} min left" if left else ""
        shown = " ".join(f"{name} {value}" for name, value in figures)
        self.report(f"{record['stage']} {record['step']}/{self.total_steps}{eta}: {shown}")

    def close(self) -> None:
        """Nothing more will come."""
        if self._board is not None:
            self._board.close()
            self._board = None


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError("Writing TensorBoard's files", "tensorboard") from None
    return SummaryWriter


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
