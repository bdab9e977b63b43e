"""Counting what cannot be read, and stopping when it is too much."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anytag.datasets.samples import Log
from anytag.errors import DataError, PictureError, SampleError, UsageError

_EXAMPLES = 3


class BadSamples:
    """What could not be read, epoch by epoch: a file that fails in every epoch is one bad file.

    Args:
        share: Of an epoch's samples seen, how many may be unreadable; and of an epoch's shards, how many may break off
            (one always may).
        minimum: Samples of an epoch that have to be seen before the share counts.
        log: Receives a record for each: ``event``, ``source``, ``kind``, ``reason``, ``epoch``, and how many were
            ``bad`` of those ``seen``.

    Raises:
        UsageError: If the share is not one.
    """

    def __init__(self, share: float = 0.01, minimum: int = 200, log: Log | None = None):
        if not 0 <= share <= 1:
            raise UsageError(f"bad_share is a share from 0 to 1, not {share}")
        self.share, self.minimum, self._log = share, minimum, log
        self.seen = self.bad = 0
        self.broken_parts = 0
        self._epoch = 0
        self._examples: list[str] = []
        # Bad and seen of the last epoch that is over; of this one while there is none.
        self._complete: list[int] | None = None

    def state(self) -> dict[str, Any]:
        """All counts, JSON-able."""
        counts = {"seen": self.seen, "bad": self.bad, "broken_parts": self.broken_parts, "epoch": self._epoch}
        return counts | {"examples": list(self._examples), "complete": self._complete or [self.bad, self.seen]}

    def restore(self, state: dict[str, Any]) -> None:
        """Set all counts."""
        self.seen, self.bad, self.broken_parts = state["seen"], state["bad"], state["broken_parts"]
        self._epoch, self._examples = state["epoch"], list(state["examples"])
        self._complete = list(state["complete"]) if self._epoch and "complete" in state else None

    def begin(self, epoch: int) -> None:
        """Note that a sample of this epoch comes next.

        Raises:
            DataError: If an epoch has passed in which nothing could be read.
        """
        if epoch != self._epoch:
            self.check_any()
            self._complete = [self.bad, self.seen]
            self._epoch, self.seen, self.bad, self.broken_parts = epoch, 0, 0, 0

    def check_any(self) -> None:
        """Stop if everything in this epoch was unreadable.

        Raises:
            DataError: If so.
        """
        if (self.bad or self.broken_parts) and self.bad == self.seen:
            raise DataError(f"no sample can be read ({self.seen:,} tried). {self._shown()}")

    def good(self) -> None:
        """Count a sample that was read.

        Raises:
            DataError: If too many before it were not.
        """
        self.seen += 1
        self._check_share()

    def failed(self, error: SampleError | PictureError, parts: int) -> None:
        """Count and log what was not.

        Args:
            error: Why.
            parts: Parts that an epoch reads, for what breaks off.

        Raises:
            DataError: If there are too many.
        """
        of_part = error.kind == "shard"
        self.broken_parts += of_part
        self.seen += not of_part
        self.bad += not of_part
        if len(self._examples) < _EXAMPLES:
            self._examples.append(str(error))
        if self._log:
            source = error.source if isinstance(error, SampleError) else error.path
            reason = error.reason if isinstance(error, SampleError) else str(error)
            self._log(
                {
                    "event": "broken_shard" if of_part else "bad_sample",
                    "source": source,
                    "kind": error.kind,
                    "reason": reason,
                    "epoch": self._epoch,
                    "bad": self.bad,
                    "seen": self.seen,
                }
            )
        if of_part and self.broken_parts > max(1, self.share * parts):
            raise DataError(
                f"{self.broken_parts:,} of {parts:,} shards break off, more than the {self.share:.2%} that may. "
                f"{self._shown()}"
            )
        self._check_share()

    def _check_share(self) -> None:
        if self.seen >= self.minimum and self.bad > self.share * self.seen:
            raise DataError(
                f"{self.bad:,} of {self.seen:,} samples cannot be read, more than the {self.share:.2%} that may. "
                f"{self._shown()}"
            )

    def _shown(self) -> str:
        examples = "".join(f"\n  {example}" for example in self._examples)
        return f"Mend them, leave them out, or raise bad_share. The first:{examples}"


class JsonLinesLog:
    """A log that appends each record to a file as a JSON line.

    Args:
        path: The file; its folder must exist.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __call__(self, record: dict[str, Any]) -> None:
        """Append a record."""
        # One write of a whole line: ranks may share the file.
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record, ensure_ascii=False) + "\n")
