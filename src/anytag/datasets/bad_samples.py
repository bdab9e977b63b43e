"""Count unreadable samples, and stop if there are too many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anytag.datasets.samples import Log
from anytag.errors import DataError, PictureError, SampleError, UsageError

_EXAMPLES = 3


def place_and_reason(error: SampleError | PictureError) -> tuple[str, str]:
    """Return where an error occurred, and why."""
    return (error.source, error.reason) if isinstance(error, SampleError) else (error.path, str(error))


class BadSamples:
    """Counts unreadable samples per epoch, so that a file that fails in every epoch counts once.

    Args:
        share: Largest share of unreadable samples among an epoch's samples so far, and of truncated shards among an
            epoch's shards (one is always allowed).
        minimum: Samples of an epoch before the share counts.
        log: Receives a record of each: ``event``, ``source``, ``kind``, ``reason``, ``epoch``, and how many were
            ``bad`` of those ``seen``.

    Raises:
        UsageError: If the share is not from 0 to 1.
    """

    def __init__(self, share: float = 0.01, minimum: int = 200, log: Log | None = None):
        if not 0 <= share <= 1:
            raise UsageError(f"bad_share is a share from 0 to 1, not {share}")
        self.share, self.minimum, self._log = share, minimum, log
        self.seen = self.bad = 0
        self.broken_parts = 0
        self._epoch = 0
        self._examples: list[str] = []
        # Bad and seen samples of the last complete epoch.
        self._complete: list[int] | None = None

    def state(self) -> dict[str, Any]:
        """Return all counts, JSON-serializable."""
        counts = {"seen": self.seen, "bad": self.bad, "broken_parts": self.broken_parts, "epoch": self._epoch}
        return counts | {"examples": list(self._examples), "complete": self._complete or [self.bad, self.seen]}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the counts of :meth:`state`."""
        self.seen, self.bad, self.broken_parts = state["seen"], state["bad"], state["broken_parts"]
        self._epoch, self._examples = state["epoch"], list(state["examples"])
        self._complete = list(state["complete"]) if self._epoch and "complete" in state else None

    def begin(self, epoch: int) -> None:
        """Start another epoch, if this is the first sample of one.

        Raises:
            DataError: If nothing could be read in the last epoch.
        """
        if epoch != self._epoch:
            self.check_any()
            self._complete = [self.bad, self.seen]
            self._epoch, self.seen, self.bad, self.broken_parts = epoch, 0, 0, 0

    def check_any(self) -> None:
        """Stop if nothing could be read in this epoch.

        Raises:
            DataError: If so.
        """
        if (self.bad or self.broken_parts) and self.bad == self.seen:
            raise DataError(f"no sample can be read ({self.seen:,} tried). {self._advice()}")

    def good(self) -> None:
        """Count a readable sample.

        Raises:
            DataError: If too many samples were unreadable.
        """
        self.seen += 1
        self._check_share()

    def failed(self, error: SampleError | PictureError, parts: int) -> None:
        """Count and log an unreadable sample, or a truncated shard of the ``parts`` in an epoch.

        Raises:
            DataError: If there are too many.
        """
        is_shard = error.kind == "shard"
        self.broken_parts += is_shard
        self.seen += not is_shard
        self.bad += not is_shard
        if len(self._examples) < _EXAMPLES:
            self._examples.append(str(error))
        if self._log:
            place, reason = place_and_reason(error)
            event = "broken_shard" if is_shard else "bad_sample"
            record = {"event": event, "source": place, "kind": error.kind, "reason": reason}
            self._log(record | {"epoch": self._epoch, "bad": self.bad, "seen": self.seen})
        if is_shard and self.broken_parts > max(1, self.share * parts):
            raise DataError(
                f"{self.broken_parts:,} of {parts:,} shards are truncated, more than the allowed {self.share:.2%}. "
                f"{self._advice()}"
            )
        self._check_share()

    def _check_share(self) -> None:
        if self.seen >= self.minimum and self.bad > self.share * self.seen:
            raise DataError(
                f"{self.bad:,} of {self.seen:,} samples cannot be read, more than the allowed {self.share:.2%}. "
                f"{self._advice()}"
            )

    def _advice(self) -> str:
        examples = "".join(f"\n  {example}" for example in self._examples)
        return f"Fix or remove them, or raise bad_share. The first errors:{examples}"


class JsonLinesLog:
    """Appends each record to a file, in an existing folder, as a JSON line."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __call__(self, record: dict[str, Any]) -> None:
        """Append a record."""
        # One write per line, since ranks may share the file.
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(record, ensure_ascii=False) + "\n")
