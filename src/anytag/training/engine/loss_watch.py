"""When to end a run before it ruins its own weights."""

from __future__ import annotations

from collections import deque
from statistics import median

from anytag.errors import AnytagError

#: The running median is taken over so many steps.
WINDOW = 200

#: With fewer steps behind it, a median says little.
FEWEST = 50


class DivergedError(AnytagError):
    """The loss became infinite, not a number, or stayed far above what it was."""

    kind = "diverged"


class LossWatch:
    """Compares every loss with the median of those before it.

    A median of 0 or less says nothing of what would be large (rewards make losses negative): such losses pass.

    Args:
        factor: A loss above so many times the median is out of bounds; 0: none is.
        steps: So many in a row are a divergence.
    """

    def __init__(self, factor: float, steps: int):
        self.factor, self.steps = factor, steps
        self.restart()

    def restart(self) -> None:
        """Forget what was: another stage may have another objective."""
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._outside = 0

    def add(self, loss: float) -> None:
        """Take in the loss of a step."""
        middle = self.median
        outside = middle is not None and 0 < middle * self.factor < loss
        self._outside = self._outside + 1 if outside else 0
        self._losses.append(loss)

    @property
    def median(self) -> float | None:
        """Of the last steps; ``None`` while there are too few."""
        return median(self._losses) if len(self._losses) >= FEWEST else None

    @property
    def is_calm(self) -> bool:
        """Whether the last loss was within bounds."""
        return not self._outside

    @property
    def has_diverged(self) -> bool:
        """Whether so many losses in a row were not."""
        return self._outside >= self.steps
