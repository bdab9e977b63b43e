"""Interfaces between the training loop and what it trains: tasks and batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn

from anytag.training.engine.config import LoopConfig
from anytag.training.engine.distributed import Share


class Shared:
    """Base of objects that copies of a task share (data, tables, other models) instead of copying them."""

    def __deepcopy__(self, memo: object) -> Self:
        return self


class Task(nn.Module, ABC):
    """A model together with its objective: one module with everything that is trained, averaged and saved.

    The loop knows nothing of either. A task is copied for the moving average, except for what is :class:`Shared`.

    Attributes:
        summed_parts: Names of loss components that are sums over pictures, not means.
    """

    summed_parts: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, batch: Any, stage: Any) -> tuple[Tensor, dict[str, float]]:
        """Compute the loss of a batch, as a mean over its pictures, and its components."""

    @abstractmethod
    def groups(self, config: LoopConfig) -> list[dict[str, Any]]:
        """Parameter groups of an optimizer; see :data:`~anytag.training.engine.parameters.GroupFunction`."""

    def enter(self, index: int, stage: Any, average: Callable[[], Any]) -> None:
        """Prepare for a stage that begins or is resumed; does nothing by default.

        ``average`` returns the moving average of this task, or the task itself if there is none. All processes have to
        call it together.
        """


class Batches(ABC):
    """The batches of one process; without a state, they depend on the step only."""

    @abstractmethod
    def draw(self, step: int, stage: Any, share: Share) -> Any:
        """Return the process's part of a micro-batch of a step."""

    def state(self) -> dict[str, Any]:
        """Position after the last batch, as JSON, whatever was read ahead."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Continue at the position of :meth:`state`.

        Raises:
            UsageError: If it belongs to other data or settings.
        """

    def close(self) -> None:  # noqa: B027
        """Stop reading ahead."""


@dataclass(frozen=True)
class Setup:
    """Everything that a loop needs.

    Attributes:
        task: What is trained.
        batches: The training batches.
        validator: Computes metrics of a task; its second argument is true for the final, thorough validation. ``None``:
            there are no validation data.
        steps_per_epoch: Steps in one pass over the data.
        pictures: Training pictures.
    """

    task: Any
    batches: Batches
    validator: Callable[[Any, bool], dict[str, float]] | None
    steps_per_epoch: int
    pictures: int
