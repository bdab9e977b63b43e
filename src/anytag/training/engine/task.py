"""What the loop trains: a task, which joins a model with its objective, and the batches that it learns from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

from torch import Tensor, nn

from anytag.training.engine.config import LoopConfig
from anytag.training.engine.distributed import Share


class Shared:
    """What the copies of a task share: data, tables, other models. The moving average would double them."""

    def __deepcopy__(self, memo: object) -> Self:
        return self


class Task(nn.Module, ABC):
    """A model together with its objective, so that one module holds all that is trained, averaged and kept.

    The loop knows nothing of either. A task is copied for the moving average; what is not to be copied with it is
    :class:`Shared`.

    Attributes:
        summed_parts: Parts of the loss that are sums over pictures, not means.
    """

    summed_parts: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, batch: Any, stage: Any) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, as a mean over its pictures, and the parts of the loss.

        Args:
            batch: Of the task's own kind.
            stage: The stage that the step is in.
        """

    @abstractmethod
    def groups(self, config: LoopConfig) -> list[dict[str, Any]]:
        """Parameter groups of an optimizer.

        Beside ``params`` a group has ``part``, which says whether the stage's ``encoder_learning_rate``
        (``"encoder"``) or its ``learning_rate`` is the group's, and it may have ``weight_decay`` and ``scale``, by
        which the rate is multiplied.
        """

    def enter(self, index: int, stage: Any, average: Callable[[], Any]) -> None:
        """A stage begins, or is taken up after a resume; nothing by default.

        Args:
            index: Its number.
            stage: The stage.
            average: Gives the moving average of this task, or the task itself if there is none. All processes have to
                ask together.
        """


class Batches(Protocol):
    """Gives one process's batches."""

    def draw(self, step: int, stage: Any, share: Share) -> Any:
        """What the process learns from in a micro-batch of a step."""

    def state(self) -> dict[str, Any]:
        """The place behind the last batch, JSON-able; empty where a step's number says which batch it has."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""

    def close(self) -> None:
        """No more batches are wanted."""


@dataclass(frozen=True)
class Setup:
    """What a loop needs.

    Attributes:
        task: What is trained.
        batches: What it learns from.
        validator: Gives figures of a task; its second argument is true for the final, thorough validation. ``None``:
            there are no validation data.
        steps_per_epoch: Steps in one pass over the data.
        pictures: Training pictures.
    """

    task: Any
    batches: Batches
    validator: Callable[[Any, bool], dict[str, float]] | None
    steps_per_epoch: int
    pictures: int
