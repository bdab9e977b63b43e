"""The best weights of a run by a figure of its validation, and how long there have been no better ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from anytag.errors import UsageError
from anytag.training.engine.checkpointing import explained, read_state, write_state

#: Of a run, in order: the step of each validation, and its figures.
Validations = Sequence[tuple[int, Mapping[str, float]]]


class BestWeights:
    """The file ``best.pt``: the weights of the best validation so far.

    The file knows its step, the log has the figures of all validations, and nothing else is remembered: a run that is
    taken up again, by other figures or with more patience, stands where it would without the break.

    Args:
        folder: The run folder.
        metric: The figure.
        lower_is_better: Whether the best one is the lowest.
    """

    def __init__(self, folder: Path, metric: str, lower_is_better: bool = False):
        self.path, self.metric, self._sign = folder / "best.pt", metric, -1 if lower_is_better else 1

    @property
    def step(self) -> int | None:
        """The step of the weights; ``None`` if there are none."""
        if not self.path.exists():
            return None
        return int(read_state(self.path)["step"])

    def is_beaten(self, validations: Validations) -> bool:
        """Whether the last validation is better than that of the weights.

        Raises:
            UsageError: If it lacks the figure.
        """
        kept, _ = self._kept(validations)
        value = self._value(validations[-1][1])
        return value == value and (kept is None or value > kept)

    def misses(self, validations: Validations) -> int:
        """How many validations there were since that of the weights."""
        _, since = self._kept(validations)
        return since

    def save(self, model: nn.Module, step: int) -> None:
        """Put a model's weights in place of those that are there.

        Raises:
            SaveError: If they cannot be written; those before stay.
        """
        part = self.path.with_name(self.path.name + ".part")
        with explained(self.path, step):
            write_state({"step": torch.tensor(step), "model": model.state_dict()}, part)
            part.replace(self.path)

    def load_into(self, model: nn.Module) -> None:
        """Give a model the weights, if there are any."""
        if self.path.exists():
            model.load_state_dict(read_state(self.path)["model"])

    def _kept(self, validations: Validations) -> tuple[float | None, int]:
        """The figure that the weights have, and how many validations came later; none of what the log has forgotten."""
        step = self.step
        for place, (validated, figures) in enumerate(validations):
            if validated == step:
                return self._value(figures), len(validations) - 1 - place
        return None, 0

    def _value(self, figures: Mapping[str, float]) -> float:
        if self.metric not in figures:
            raise UsageError(
                f"best_metric={self.metric}: the validation has no such figure; it has {', '.join(figures)}"
            )
        return self._sign * float(figures[self.metric])
