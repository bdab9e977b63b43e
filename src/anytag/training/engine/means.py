"""Means of loss components over steps, micro-batches and processes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from anytag.training.engine.distributed import Strategy


class Means:
    """Averages the loss components between two lines of the log.

    A component that some steps, micro-batches or processes lack (no caption among their pictures) is averaged over
    those that have it. A component that is a sum over pictures is added up over the pieces of a batch, so that it does
    not depend on how the batch is divided.

    Args:
        strategy: How processes share the run.
        summed: Names of components that are sums over pictures.

    Attributes:
        steps: Steps added since the last call of :meth:`take`.
    """

    def __init__(self, strategy: Strategy, summed: Collection[str] = ()):
        self.strategy, self.summed = strategy, summed
        self._clear()

    def _clear(self) -> None:
        self.steps = 0
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, parts: Sequence[Mapping[str, float]]) -> None:
        """Add a step: the loss components of each of its micro-batches in this process."""
        self.steps += 1
        for name in dict.fromkeys(name for own in parts for name in own):
            value = self._combined(name, [own[name] for own in parts if name in own])
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value, count + 1

    def take(self) -> dict[str, float]:
        """Return the means since the last call; all processes must call it together."""
        gathered = self.strategy.gathered(self._sums)
        self._clear()
        names = dict.fromkeys(name for own in gathered for name in own)
        return {
            name: self._combined(name, [own[name][0] / own[name][1] for own in gathered if name in own])
            for name in names
        }

    def _combined(self, name: str, values: Sequence[float]) -> float:
        return sum(values) if name in self.summed else sum(values) / len(values)
