"""Detection of diverging losses, before they ruin the weights."""

from __future__ import annotations

from collections import deque
from statistics import median

from anytag.errors import AnytagError

#: Steps of the running median.
WINDOW = 200

#: With fewer steps, there is no median.
FEWEST = 50


class DivergedError(AnytagError):
    """The loss became infinite or NaN, or stayed far above its running median."""

    kind = "diverged"


class LossWatch:
    """Compares every loss with the running median of those before it.

    If the median is 0 or less (rewards make losses negative), no loss counts as too large.

    Args:
        factor: A loss above this many times the median is too large; 0: none is.
        steps: This many large losses in a row are a divergence.
    """

    def __init__(self, factor: float, steps: int):
        self.factor, self.steps = factor, steps
        self.restart()

    def restart(self) -> None:
        """Forget all losses: another stage may have another objective."""
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._outside = 0

    def add(self, loss: float) -> None:
        middle = self.median
        outside = middle is not None and 0 < middle * self.factor < loss
        self._outside = self._outside + 1 if outside else 0
        self._losses.append(loss)

    @property
    def median(self) -> float | None:
        """Running median of the losses; ``None`` if there are too few."""
        return median(self._losses) if len(self._losses) >= FEWEST else None

    @property
    def is_calm(self) -> bool:
        """Whether the last loss was not too large."""
        return not self._outside

    @property
    def has_diverged(self) -> bool:
        """Whether the last ``steps`` losses were too large."""
        return self._outside >= self.steps
