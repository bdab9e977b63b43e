"""A training loop whose checkpoints include the position in the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anytag.datasets.stream import merge_states
from anytag.errors import ModelError
from anytag.foundations.atomic_files import write_text
from anytag.training.engine.checkpointing import SaveError
from anytag.training.engine.loop import TrainingLoop
from anytag.training.engine.task import Batches


class StreamLoop(TrainingLoop):
    """Saves the stream positions of all processes with every checkpoint, and resumes from there.

    A file ``positions-STEP.json`` is written before the checkpoint of that step, and earlier ones are removed after it,
    so that a checkpoint always finds its positions, whenever the process ends. Batches that depend on the step only
    need none.

    Attributes:
        batches: What the step function draws from; set it before the first step.
    """

    batches: Batches

    def save(self) -> None:
        """Write positions and checkpoint, each whole or not at all.

        Raises:
            SaveError: In every process, if either cannot be written; the ones before stay.
        """
        states = self.strategy.gathered(self.batches.state())
        if not any(states):
            super().save()
            return
        path = self._positions_file()
        failure = self._write_positions(path, states) if self.strategy.is_first else None
        # The others must not go on to a checkpoint that the first will not take part in.
        if reason := self.strategy.gathered(failure)[0]:
            raise SaveError(reason)
        super().save()
        if self.strategy.is_first:
            for old in self.folder.glob("positions-*.json"):
                if old != path:
                    old.unlink(missing_ok=True)

    def resume(self) -> bool:
        """Load the checkpoint and the positions, if there are any; return whether there were.

        Raises:
            ModelError: If the positions are missing.
            UsageError: If they belong to other data.
        """
        if not super().resume():
            return False
        if not self.batches.state():
            return True
        path = self._positions_file()
        try:
            states: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: the places in the data cannot be read ({error}); begin a new run") from error
        own = len(states) == self.strategy.world
        self.batches.restore(states[self.strategy.rank] if own else merge_states(states))
        return True

    def _write_positions(self, path: Path, states: list[dict[str, Any]]) -> str | None:
        """Write the positions; return the error message, if any."""
        try:
            write_text(path, json.dumps(states))
        except OSError as error:
            return (
                f"{path}: the places in the data at step {self.step} could not be written ({error}); the checkpoint "
                "before is untouched. Make room, then go on with the same command."
            )
        return None

    def _positions_file(self) -> Path:
        return self.folder / f"positions-{self.step:09d}.json"
