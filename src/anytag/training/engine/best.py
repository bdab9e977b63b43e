"""The best weights of a run, by a validation metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from anytag.errors import UsageError
from anytag.training.engine.checkpointing import explained, read_state, write_state

#: The step and the metrics of each validation of a run, in order.
Validations = Sequence[tuple[int, Mapping[str, float]]]


class BestWeights:
    """The file ``best.pt``: weights of the best validation so far.

    The file holds its step, the log the metrics of all validations, and there is no other state: a run resumed with
    another metric or more patience behaves as if it had never stopped.

    Args:
        folder: The run folder.
        metric: Name of the metric.
        lower_is_better: Whether the lowest value is the best.
    """

    def __init__(self, folder: Path, metric: str, lower_is_better: bool = False):
        self.path, self.metric, self._sign = folder / "best.pt", metric, -1 if lower_is_better else 1

    @property
    def step(self) -> int | None:
        """The step of the stored weights, if there are any."""
        return int(read_state(self.path)["step"]) if self.path.exists() else None

    def is_beaten(self, validations: Validations) -> bool:
        """Whether the last validation is better than that of the stored weights.

        Raises:
            UsageError: If it lacks the metric.
        """
        value, (best, _) = self._value(validations[-1][1]), self._best(validations)
        return value == value and (best is None or value > best)

    def misses(self, validations: Validations) -> int:
        """Number of validations since that of the stored weights."""
        return self._best(validations)[1]

    def save(self, model: nn.Module, step: int) -> None:
        """Replace the stored weights by a model's.

        Raises:
            SaveError: If they cannot be written; the file stays as it was.
        """
        part = self.path.with_name(self.path.name + ".part")
        with explained(self.path, step):
            write_state({"step": torch.tensor(step), "model": model.state_dict()}, part)
            part.replace(self.path)

    def load_into(self, model: nn.Module) -> None:
        """Load the stored weights, if there are any, into a model."""
        if self.path.exists():
            model.load_state_dict(read_state(self.path)["model"])

    def _best(self, validations: Validations) -> tuple[float | None, int]:
        """Metric of the stored weights, and the number of later validations; (None, 0) if not in the log."""
        step = self.step
        for place, (validated, metrics) in enumerate(validations):
            if validated == step:
                return self._value(metrics), len(validations) - 1 - place
        return None, 0

    def _value(self, metrics: Mapping[str, float]) -> float:
        if self.metric not in metrics:
            raise UsageError(
                f"best_metric={self.metric}: the validation has no such figure; it has {', '.join(metrics)}"
            )
        return self._sign * float(metrics[self.metric])
